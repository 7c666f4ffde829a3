//! Every probe against numpy 2.4.6, scipy 1.17.1, scikit-learn 1.9.1 and statsmodels 0.15.0; `golden_probes.py` beside
//! this file makes the values. What permutes has tests of its own, and sensitivities are given.

use super::fixture::TEMPERATURE;
use super::{Context, Evaluation, METRICS, Modality, Scale, Variable, correlation, information};

const N: usize = 300;
const D: usize = 6;

/// Two orders of some ten thousand `f64` operations and, in canonical correlations, two ways to invert a covariance whose
/// eigenvalues differ by a factor of ten.
const TOLERANCE: f64 = 1e-11;

/// Families of probes.
pub(super) const PROBES: [&str; 10] = [
    "alignment",
    "uniformity",
    "symmetry",
    "neighbours",
    "separability",
    "separability_null",
    "information",
    "correlation",
    "cross_group",
    "sensitivity",
];

/// Sixteenths of the embeddings of `golden_probes.py`: integers, so that both start from the same bits.
fn raw(i: usize, k: usize) -> [i32; 2] {
    let image = (i * 37 + k * 101 + i * k * 13 + i * i * (k + 1)) % 97;
    let shift = (i * 53 + k * 29 + i * i * 7) % 89;
    [image as i32 - 48, image as i32 - 48 + shift as i32 - 44]
}

fn evaluation() -> Evaluation {
    let side = |m: usize| (0..N * D).map(|at| raw(at / D, at % D)[m] as f32 / 16.0).collect::<Vec<f32>>();
    let line = |bins| Scale::Line { low: 0.0, high: 64.0, bins };
    let circle = Scale::Circle { period: 64.0, bins: 16 };
    let variable = |name: &str, scale, value: &dyn Fn(i32, i32, i32) -> i32| Variable {
        name: name.to_string(),
        scale,
        values: (0..N).map(|i| f64::from(value(i as i32, raw(i, 0)[0], raw(i, 1)[0]))).collect(),
    };
    let variables = vec![
        variable("shape", Scale::Kinds, &|i, a, _| (a.div_euclid(25) + 4 + i / 90) % 4),
        variable("orientation", circle, &|i, _, b| (b + 48 + i * i % 17) % 64),
        variable("frequency", line(8), &|i, a, _| (i * 19 + a).rem_euclid(64)),
        variable("phase", circle, &|i, _, _| i * 29 % 64),
        variable("thickness", line(8), &|_, _, b| (b + 48) * 5 / 8 % 64),
        variable("confounder", Scale::Kinds, &|_, a, _| (a + 48) / 40),
    ];
    let evaluation = Evaluation::new(&side(0), &side(1), D, TEMPERATURE).unwrap();
    evaluation.with_context(Context { variables, ..Context::default() }).unwrap()
}

#[test]
fn every_probe_matches_other_tools() {
    let evaluation = evaluation();
    let elsewhere = |name: &str| {
        ["_excess", "_null_sd", "_bin_span"].iter().any(|end| name.ends_with(end)) || name.starts_with("sensitivity")
    };
    let families = METRICS.iter().filter(|family| PROBES.contains(&family.name));
    let values = families.flat_map(|family| family.measure(&evaluation)).filter(|(name, _)| !elsewhere(name));
    let mut got: Vec<(String, f64)> = values.map(|(name, value)| (name.to_string(), value.unwrap())).collect();
    for modality in [Modality::Img, Modality::Txt] {
        for name in ["shape", "orientation", "frequency", "phase", "thickness", "confounder"] {
            let [two, _, four] = information::over_bins(&evaluation, modality, name);
            let name = format!("mi_{name}_{}", modality.name());
            got.extend([(format!("{name}_2_bins"), two), (format!("{name}_4_bins"), four)]);
        }
    }
    let plain = correlation::at_ridge(&evaluation, 0.0).into_iter().enumerate();
    got.extend(plain.map(|(k, correlation)| (format!("correlation_{k}"), correlation)));
    got.sort_by(|a, b| a.0.cmp(&b.0));
    let names: Vec<&str> = got.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, GOLDEN.map(|(name, _)| name), "golden_probes.py and the registry name the same metrics");
    for ((name, got), (_, golden)) in got.iter().zip(GOLDEN) {
        assert!((got - golden).abs() <= TOLERANCE * golden.abs().max(1.0), "{name}: {got} is not {golden}");
    }
}

#[rustfmt::skip]
const GOLDEN: [(&str, f64); 74] = [
    ("alignment", 0.6469356908849273),
    ("cca_1", 0.9717046750412266),
    ("cca_1_ridge_span", 0.10851474507876391),
    ("cca_mean", 0.7841556721885901),
    ("cca_mean_ridge_span", 0.08058134812081885),
    ("correlation_0", 0.9729358765329462),
    ("correlation_1", 0.8924309227151876),
    ("correlation_2", 0.8827123224822782),
    ("correlation_3", 0.695081442977222),
    ("correlation_4", 0.4821368911299287),
    ("correlation_5", 0.42011940243891227),
    ("cross_group_gap_i2t", 0.19406654567240478),
    ("cross_group_gap_t2i", 0.24034339523011106),
    ("mi_confounder_img", 0.6055757166304314),
    ("mi_confounder_img_2_bins", 0.3594103784045883),
    ("mi_confounder_img_4_bins", 0.7629447634599057),
    ("mi_confounder_txt", 0.2769716515432463),
    ("mi_confounder_txt_2_bins", 0.24323504178644026),
    ("mi_confounder_txt_4_bins", 0.42352316735073936),
    ("mi_frequency_img", 0.03872513326477417),
    ("mi_frequency_img_2_bins", -0.036953943547545345),
    ("mi_frequency_img_4_bins", 0.1201903340066316),
    ("mi_frequency_txt", 0.10881002944960025),
    ("mi_frequency_txt_2_bins", -0.004929100153475946),
    ("mi_frequency_txt_4_bins", 0.4277762324495279),
    ("mi_orientation_img", 0.4145981473302126),
    ("mi_orientation_img_2_bins", 0.16746818596516766),
    ("mi_orientation_img_4_bins", 0.7005449284400238),
    ("mi_orientation_txt", 0.17327973673991431),
    ("mi_orientation_txt_2_bins", 0.047575614219395296),
    ("mi_orientation_txt_4_bins", 0.4818115464028245),
    ("mi_phase_img", 0.5069934775540562),
    ("mi_phase_img_2_bins", 0.14062320097460318),
    ("mi_phase_img_4_bins", 0.7698431557267462),
    ("mi_phase_txt", 0.1830450263847988),
    ("mi_phase_txt_2_bins", 0.024114520376853257),
    ("mi_phase_txt_4_bins", 0.5023741811270611),
    ("mi_shape_img", -0.055120411460795146),
    ("mi_shape_img_2_bins", -0.012367055447398259),
    ("mi_shape_img_4_bins", -0.06971135684118843),
    ("mi_shape_txt", 0.04547995744955645),
    ("mi_shape_txt_2_bins", 0.007937367791458441),
    ("mi_shape_txt_4_bins", 0.14398567948311705),
    ("mi_thickness_img", 1.0964169159051613),
    ("mi_thickness_img_2_bins", 0.3882570300785265),
    ("mi_thickness_img_4_bins", 1.417244530461682),
    ("mi_thickness_txt", 0.3465799639610672),
    ("mi_thickness_txt_2_bins", 0.11293158168468029),
    ("mi_thickness_txt_4_bins", 0.6702813651213979),
    ("modality_gap", 0.047547162513877694),
    ("neighbour_orientation_gap", 0.021481540244554953),
    ("neighbour_orientation_i2t", 1.441713406580857),
    ("neighbour_orientation_t2i", 1.420231866336302),
    ("neighbour_shape_gap", 0.003085016849525335),
    ("neighbour_shape_i2t", 0.22557976106816585),
    ("neighbour_shape_t2i", 0.22249474421864052),
    ("norm_divergence", 0.28548134121747554),
    ("retrieval_across_group_i2t", 0.785984245832816),
    ("retrieval_across_group_t2i", 0.7959423230272488),
    ("retrieval_within_group_i2t", 0.5919177001604112),
    ("retrieval_within_group_t2i", 0.5555989277971377),
    ("separability_frequency_img", 0.014384788747146427),
    ("separability_frequency_txt", 0.01625544181983276),
    ("separability_orientation_img", 0.08424063686602107),
    ("separability_orientation_txt", 0.06495626551840945),
    ("separability_phase_img", 0.09600732199325496),
    ("separability_phase_txt", 0.0867322516319544),
    ("separability_shape_img", 0.010922828268090516),
    ("separability_shape_txt", 0.007910115194612896),
    ("separability_thickness_img", 0.29806227519209194),
    ("separability_thickness_txt", 0.12014700057719414),
    ("spectrum_divergence", 0.006687011421270043),
    ("uniformity_img", -2.6458739182405537),
    ("uniformity_txt", -2.648228454971417),
];
