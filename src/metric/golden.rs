//! Every metric of embeddings alone against numpy 2.4.6 and scipy 1.17.1; `golden.py` beside this file makes the values.
//! Probes have a golden of their own.

use super::fixture::TEMPERATURE;
use super::golden_probes::PROBES;
use super::{Evaluation, METRICS, Modality};

const N: usize = 24;
const D: usize = 6;

/// Two orders of a few hundred `f64` operations, relative to values between 0.01 and 20.
const TOLERANCE: f64 = 1e-12;

/// The embeddings of `golden.py`: integers over 16, so that both start from the same bits, with one text and one image
/// that occur twice.
fn raw() -> (Vec<f32>, Vec<f32>) {
    let image = |i: usize, k: usize| ((i * 37 + k * 101 + i * k * 13) % 97) as f32 - 48.0;
    let shift = |i: usize, k: usize| ((i * 53 + k * 29 + i * i * 7) % 89) as f32 - 44.0;
    let table =
        |value: &dyn Fn(usize, usize) -> f32| (0..N * D).map(|at| value(at / D, at % D) / 16.0).collect::<Vec<f32>>();
    let img = table(&|i, k| image(if i == 10 { 2 } else { i }, k));
    let txt = table(&|i, k| {
        let i = if i == 7 { 3 } else { i };
        image(i, k) + shift(i, k)
    });
    (img, txt)
}

#[test]
fn every_metric_matches_numpy_and_scipy() {
    let (img, txt) = raw();
    let evaluation = Evaluation::new(&img, &txt, D, TEMPERATURE).unwrap();
    let families = METRICS.iter().filter(|family| !PROBES.contains(&family.name));
    let values = families.flat_map(|family| family.measure(&evaluation));
    let mut got: Vec<(String, f64)> = values.map(|(name, value)| (name.to_string(), value.unwrap())).collect();
    for modality in [Modality::Img, Modality::Txt] {
        for (k, eigenvalue) in evaluation.spectrum(modality).unwrap().iter().enumerate() {
            got.push((format!("eigenvalue_{k}_{}", modality.name()), *eigenvalue));
        }
    }
    got.sort_by(|a, b| a.0.cmp(&b.0));
    let names: Vec<&str> = got.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, GOLDEN.map(|(name, _)| name), "golden.py and the registry name the same metrics");
    for ((name, got), (_, golden)) in got.iter().zip(GOLDEN) {
        assert!((got - golden).abs() <= TOLERANCE * golden.abs().max(1.0), "{name}: {got} is not {golden}");
    }
}

#[rustfmt::skip]
const GOLDEN: [(&str, f64); 62] = [
    ("effective_rank_img", 5.695310032677672),
    ("effective_rank_txt", 4.917249661681121),
    ("eigenvalue_0_img", 0.2542907648223726),
    ("eigenvalue_0_txt", 0.35368825671934007),
    ("eigenvalue_1_img", 0.2145528107507265),
    ("eigenvalue_1_txt", 0.24456065565249782),
    ("eigenvalue_2_img", 0.18437623237681994),
    ("eigenvalue_2_txt", 0.18169701507626299),
    ("eigenvalue_3_img", 0.1516434182556203),
    ("eigenvalue_3_txt", 0.11400586075919363),
    ("eigenvalue_4_img", 0.13622518038912765),
    ("eigenvalue_4_txt", 0.07520081187446487),
    ("eigenvalue_5_img", 0.08675776009372116),
    ("eigenvalue_5_txt", 0.043345851710781313),
    ("hub_gini_i2t", 0.4861111111111111),
    ("hub_gini_t2i", 0.4895833333333333),
    ("hub_top1_share_i2t", 0.125),
    ("hub_top1_share_t2i", 0.16666666666666666),
    ("hub_top5_share_i2t", 0.5),
    ("hub_top5_share_t2i", 0.5),
    ("k_occurrence_skewness_i2t", -0.2509640255491662),
    ("k_occurrence_skewness_t2i", -0.2741012223434215),
    ("logit_diagonal_mean", 9.26301294513784),
    ("logit_diagonal_p05", 5.84391975330238),
    ("logit_diagonal_p50", 9.674910486331548),
    ("logit_diagonal_p95", 12.355294176497294),
    ("logit_margin_mean_i2t", -0.625898829407901),
    ("logit_margin_mean_t2i", -1.6837900630496196),
    ("logit_margin_p05_i2t", -6.535233468663665),
    ("logit_margin_p05_t2i", -5.833760474832374),
    ("logit_off_diagonal_mean", -0.11442710664120201),
    ("logit_off_diagonal_p05", -9.785054208863913),
    ("logit_off_diagonal_p50", -0.3436017429505214),
    ("logit_off_diagonal_p95", 9.475653103267577),
    ("mean_cosine_cross", -0.00800989746488414),
    ("mean_cosine_img", -0.027846166710004554),
    ("mean_cosine_txt", -0.01249844975110728),
    ("mean_rank_i2t", 2.9166666666666665),
    ("mean_rank_t2i", 2.7916666666666665),
    ("median_rank_i2t", 2.0),
    ("median_rank_t2i", 1.5),
    ("norm_mean_img", 4.202830451398262),
    ("norm_mean_txt", 5.587398953131523),
    ("norm_sd_img", 0.9025846334684497),
    ("norm_sd_txt", 1.7192710541423963),
    ("participation_ratio_img", 5.45213927185653),
    ("participation_ratio_txt", 4.299228857206416),
    ("rank_divergence", 0.7780603709965508),
    ("retrieval_at_1_i2t", 0.4583333333333333),
    ("retrieval_at_1_t2i", 0.5),
    ("retrieval_at_5_i2t", 0.875),
    ("retrieval_at_5_t2i", 0.875),
    ("symmetry_gap_at_1", -0.041666666666666685),
    ("symmetry_gap_at_5", 0.0),
    ("top_eigen_share_img", 0.24740157920875513),
    ("top_eigen_share_txt", 0.34932226917795844),
    ("variance_median_img", 0.17561773031406794),
    ("variance_median_txt", 0.15120135978106136),
    ("variance_min_img", 0.14560440034491243),
    ("variance_min_txt", 0.1275910382141938),
    ("variance_p05_img", 0.1490387729942407),
    ("variance_p05_txt", 0.1329173757117848),
];
