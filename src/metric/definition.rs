//! What is printed of the registry: the definitions from which anyone can compute the metrics again.

use super::{METRICS, Panel};

/// What holds for several families: a term, and what it means. No line breaks within.
pub const CONVENTIONS: [(&str, &str); 6] = [
    (
        "Embeddings",
        "Row i of `z_img` and row i of `z_txt` are a pair: an image, and the text that it is shown with. There are N rows \
         of D numbers. z is u / sqrt(u.u + 1e-12), rounded to 32 bits, of the raw embedding u. `cliffline embed` writes \
         both of the test split. All metrics but the sensitivities are computed from these numbers, in 64 bits. A \
         similarity, or cosine, is the dot product of two rows of z. Standard deviations have N - 1 in the denominator. \
         Quantiles interpolate linearly between order statistics, as numpy.quantile does.",
    ),
    (
        "Labels",
        "An image has the factors of its row. A text has those of the sample that it describes, which is the row whose \
         `index` is `index_txt`, also where pairs are wrong. The confounder's labels are `confounder_img` of the image and \
         `confounder_txt` of the text; none is a label of its own. Under a condition that takes the confounder away they \
         are what the samples carried in training.",
    ),
    (
        "Groups",
        "Samples with equal labels; of quantities, those in one of equally wide bins. Orientation and phase have 16 bins \
         from 0 to 2 pi, frequency 8 from 1 to 3, thickness 8 from 0.03 to 0.1. The bin is floor((x - low) / (high - low) \
         times bins). Bins without samples do not count. With one group, or fewer than 2 samples per group on average, \
         there is no value.",
    ),
    (
        "Nulls",
        "200 permutations of the N rows, the same for all metrics of a cell. Partners permuted: text p(i) takes the place of \
         text i. A label permuted: groups are in ascending order of their label; shapes in the order disc, square, \
         triangle, cross; no confounder last. The rows p(0), p(1), ... are dealt to the first group, then to the next, \
         as many as each has. `_excess` is the value less the mean over permutations, `_null_sd` their standard deviation; \
         there is neither where all permutations give the same. Permutation j is the Fisher-Yates shuffle of 0 to N - 1: \
         for i from N - 1 down to 1, i is swapped with a number below i + 1, which is drawn by Lemire's multiplication with \
         rejection. It is drawn from 64-bit words of ChaCha8, whose stream number is j. The key is BLAKE3 in key-derivation \
         mode, with the context `cliffline 2026-11 stream v1`, of the cell's seed in 8 little-endian bytes and the text \
         `metric.permutation`.",
    ),
    (
        "Missing",
        "An embedding shorter than 1e-6 before normalisation has no direction. A modality whose variances add up to \
         1e-12 or less is constant. Metrics that need what is lacking have no value there but a reason, in the column \
         `missing_metrics`.",
    ),
    (
        "Range",
        "What rounding takes past an end of the range, by up to 2.4e-7 of that end or of 1, is that end; further out there \
         is no value.",
    ),
];

/// The registry as Markdown: what holds for several families, a table with one row per metric, and how each family is
/// computed.
pub fn reference() -> String {
    let mut text = String::new();
    for (term, meaning) in CONVENTIONS {
        text.push_str(&format!("- **{term}.** {meaning}\n"));
    }
    text.push_str(
        "\n| metric | family | unit | range | healthy | what it is | source |\n|---|---|---|---|---|---|---|\n",
    );
    for family in METRICS {
        for d in family.descriptors {
            let (name, unit, healthy) = (d.name, d.unit, d.healthy.name());
            let range = interval(d.range);
            text.push_str(&format!(
                "| `{name}` | {} | {unit} | {range} | {healthy} | {} | {} |\n",
                family.name, d.summary, d.source
            ));
        }
    }
    text.push_str("\n| family | panel | how it is computed |\n|---|---|---|\n");
    for family in METRICS {
        text.push_str(&format!("| {} | {} | {} |\n", family.name, family.panel.name(), family.about));
    }
    text
}

impl Panel {
    /// The word of specs and tables.
    pub fn name(self) -> &'static str {
        match self {
            Panel::Fast => "fast",
            Panel::Full => "full",
        }
    }
}

fn interval((low, high): (f64, f64)) -> String {
    let left = if low.is_finite() { format!("[{low}") } else { "(-inf".to_string() };
    let right = if high.is_finite() { format!("{high}]") } else { "inf)".to_string() };
    format!("{left}, {right}")
}

/// Second implementations, written from what is printed and nothing else; `recompute.py` beside this file does the same
/// for all that can be computed from exported embeddings.
#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::{noisy_pairs, similarities, value_of, variables};
    use crate::metric::{Context, Evaluation, Modality, Scale, Variable};
    use crate::numerics::linalg::dot;
    use crate::numerics::spectral::symmetric_eigen;
    use crate::numerics::stats::{mean, sample_sd};

    const N: usize = 260;
    const D: usize = 5;
    /// Sums in another order.
    const ROUNDING: f64 = 1e-10;

    /// Images and texts with labels of their own, as where pairs are wrong and a confounder is randomised.
    fn labels() -> [Vec<Variable>; 2] {
        [variables(1, N), variables(2, N)]
    }

    fn evaluation([variables, texts]: [Vec<Variable>; 2]) -> Evaluation {
        let context = Context { seed: 5, variables, texts: Some(texts), ..Context::default() };
        noisy_pairs(3, N, D, 0.4).with_context(context).expect("labels that fit")
    }

    /// The group of each sample, counted from 0 in ascending order of labels.
    fn groups(variable: &Variable, most: usize) -> Vec<usize> {
        let label = |x: &f64| match variable.scale {
            Scale::Kinds => *x as usize,
            Scale::Line { low, high, bins } => {
                let bins = bins.min(most);
                (((x - low) / (high - low) * bins as f64).floor() as usize).min(bins - 1)
            }
            Scale::Circle { period, bins } => (x / period * bins.min(most) as f64).floor() as usize,
        };
        let labels: Vec<usize> = variable.values.iter().map(label).collect();
        let mut occurring = labels.clone();
        occurring.sort_unstable();
        occurring.dedup();
        labels.iter().map(|label| occurring.iter().position(|other| other == label).expect("it occurs")).collect()
    }

    /// The label of each sample when the samples in this order are dealt to the groups.
    fn dealt(groups: &[usize], order: &[u32]) -> Vec<usize> {
        let mut ascending = groups.to_vec();
        ascending.sort_unstable();
        let mut label = vec![0; groups.len()];
        order.iter().zip(ascending).for_each(|(sample, group)| label[*sample as usize] = group);
        label
    }

    fn assert_close(evaluation: &Evaluation, name: &str, expected: f64) {
        let got = value_of(evaluation, name).expect("a value");
        assert!((got - expected).abs() <= ROUNDING * expected.abs().max(1.0), "{name}: {got} is not {expected}");
    }

    fn assert_null(evaluation: &Evaluation, name: &str, value: f64, null: &[f64]) {
        assert_close(evaluation, name, value);
        assert_close(evaluation, &format!("{name}_excess"), value - mean(null).expect("values"));
        assert_close(evaluation, &format!("{name}_null_sd"), sample_sd(null).expect("values"));
    }

    fn separability(rows: &[&[f64]], groups: &[usize]) -> f64 {
        let mean_of = |of: &dyn Fn(usize) -> bool| -> Vec<f64> {
            let own: Vec<&[f64]> = rows.iter().zip(groups).filter(|(_, g)| of(**g)).map(|(row, _)| *row).collect();
            (0..D).map(|k| own.iter().map(|row| row[k]).sum::<f64>() / own.len() as f64).collect()
        };
        let squared = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>();
        let grand = mean_of(&|_| true);
        let means: Vec<Vec<f64>> = (0..=*groups.iter().max().expect("groups")).map(|g| mean_of(&|h| h == g)).collect();
        let between: f64 = groups.iter().map(|g| squared(&means[*g], &grand)).sum();
        between / rows.iter().zip(groups).map(|(row, g)| squared(row, &means[*g])).sum::<f64>()
    }

    #[test]
    fn separability_and_its_null_follow_from_what_is_printed() {
        let labels = labels();
        let evaluation = evaluation(labels.clone());
        for modality in [Modality::Img, Modality::Txt] {
            let rows: Vec<&[f64]> = evaluation.z(modality).chunks_exact(D).collect();
            for variable in labels[modality as usize].iter().filter(|variable| variable.name != "confounder") {
                let groups = groups(variable, usize::MAX);
                let null: Vec<f64> =
                    evaluation.permutations().map(|order| separability(&rows, &dealt(&groups, order))).collect();
                let name = format!("separability_{}_{}", variable.name, modality.name());
                assert_null(&evaluation, &name, separability(&rows, &groups), &null);
            }
        }
    }

    /// The cell of each sample with `m` bins.
    fn signature(evaluation: &Evaluation, modality: Modality, m: usize) -> Vec<usize> {
        let mean = evaluation.mean(modality);
        let rows = evaluation.z(modality).chunks_exact(D);
        let centred: Vec<Vec<f64>> = rows.map(|row| row.iter().zip(&mean).map(|(x, m)| x - m).collect()).collect();
        let covariance = |i: usize, j: usize| centred.iter().map(|r| r[i] * r[j]).sum::<f64>() / (N - 1) as f64;
        let covariance: Vec<f64> = (0..D * D).map(|at| covariance(at / D, at % D)).collect();
        let eigen = symmetric_eigen(&covariance, D).expect("it converges");
        let mut cells = vec![0; N];
        for direction in eigen.vectors.chunks_exact(D).take(3) {
            let mut x: Vec<f64> = centred.iter().map(|row| dot(row, direction)).collect();
            if x.iter().map(|x| x.powi(3)).sum::<f64>() < 0.0 {
                x.iter_mut().for_each(|x| *x = -*x);
            }
            let mut sorted = x.clone();
            sorted.sort_by(f64::total_cmp);
            for (cell, x) in cells.iter_mut().zip(&x) {
                *cell = *cell * m + (1..m).filter(|k| sorted[k * N / m] <= *x).count();
            }
        }
        cells
    }

    fn information(cells: &[usize], labels: &[usize]) -> f64 {
        let share = |of: &dyn Fn(usize) -> bool| (0..N).filter(|i| of(*i)).count() as f64 / N as f64;
        let (most, kinds) = (cells.iter().max().expect("cells") + 1, labels.iter().max().expect("labels") + 1);
        let (mut sum, mut pairs) = (0.0, 0);
        for (c, l) in (0..most).flat_map(|c| (0..kinds).map(move |l| (c, l))) {
            let both = share(&|i| cells[i] == c && labels[i] == l);
            if both > 0.0 {
                sum += both * (both / (share(&|i| cells[i] == c) * share(&|i| labels[i] == l))).ln();
                pairs += 1;
            }
        }
        let occurring = |of: &[usize], most: usize| (0..most).filter(|x| of.contains(x)).count() as i32;
        sum + f64::from(occurring(cells, most) + occurring(labels, kinds) - pairs - 1) / (2 * N) as f64
    }

    #[test]
    fn information_and_its_null_follow_from_what_is_printed() {
        let labels = labels();
        let evaluation = evaluation(labels.clone());
        // One quantity whose 16 bins become 8, and the confounder.
        for (modality, name) in [(Modality::Img, "orientation"), (Modality::Txt, "confounder")] {
            let variable = labels[modality as usize].iter().find(|variable| variable.name == name).expect("a label");
            let groups = groups(variable, 8);
            let name = format!("mi_{name}_{}", modality.name());
            let mut excesses = vec![];
            for m in [2, 3, 4] {
                let cells = signature(&evaluation, modality, m);
                let value = information(&cells, &groups);
                let null: Vec<f64> =
                    evaluation.permutations().map(|order| information(&cells, &dealt(&groups, order))).collect();
                excesses.push(value - mean(&null).expect("values"));
                if m == 3 {
                    assert_null(&evaluation, &name, value, &null);
                }
            }
            excesses.sort_by(f64::total_cmp);
            assert_close(&evaluation, &format!("{name}_bin_span"), excesses[2] - excesses[0]);
        }
    }

    #[test]
    fn cross_group_retrieval_follows_from_what_is_printed() {
        let labels = labels();
        let evaluation = evaluation(labels.clone());
        let confounder = labels.map(|side| groups(side.last().expect("the confounder"), usize::MAX));
        for ((way, rows), of) in
            ["i2t", "t2i"].iter().zip(similarities(&evaluation)).zip([&confounder[1], &confounder[0]])
        {
            let counts = |query: usize, within: bool| {
                let among = (0..N).filter(|j| *j != query && (of[*j] == of[query]) == within);
                let similar: Vec<f64> = among.map(|j| rows[query][j]).collect();
                let (n, b) = (similar.len(), similar.iter().filter(|s| **s >= rows[query][query]).count());
                (0..7).map(|k| (n - k).saturating_sub(b) as f64 / (n - k) as f64).product::<f64>()
            };
            let [within, across] = [true, false].map(|side| (0..N).map(|i| counts(i, side)).sum::<f64>() / N as f64);
            assert_ne!(within, across);
            assert_close(&evaluation, &format!("retrieval_within_group_{way}"), within);
            assert_close(&evaluation, &format!("retrieval_across_group_{way}"), across);
            assert_close(&evaluation, &format!("cross_group_gap_{way}"), across - within);
        }
    }

    /// Words of a sentence above which it has to be read twice.
    const MOST_WORDS: usize = 40;

    #[test]
    fn no_printed_sentence_is_longer_than_can_be_read_at_once() {
        let definitions = METRICS.iter().map(|family| (family.name, family.about));
        let parameters = crate::spec::PARAMS.iter().map(|param| (param.path, param.doc));
        for (name, text) in CONVENTIONS.into_iter().chain(definitions).chain(parameters) {
            let longest = text.split(". ").map(|sentence| (sentence.split_whitespace().count(), sentence)).max();
            assert!(longest.is_some_and(|(words, _)| words <= MOST_WORDS), "{name}: {longest:?}");
        }
    }

    #[test]
    fn every_definition_can_stand_in_a_table_and_ends() {
        for family in METRICS {
            assert!(family.about.ends_with('.') && !family.about.contains(['|', '\n']), "{}", family.name);
        }
        assert!(CONVENTIONS.iter().all(|(_, meaning)| meaning.ends_with('.') && !meaning.contains('\n')));
    }
}
