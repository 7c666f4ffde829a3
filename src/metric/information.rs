//! Mutual information with each factor and the confounder (M8): what embeddings tell about what is known.

use super::context::{CONFOUNDER, Groups};
use super::null;
use super::separability::FACTORS;
use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Modality, NO_VARIANCE, Panel, Values};
use crate::numerics::information::Dependence;
use crate::numerics::linalg::dot;
use crate::numerics::spectral::symmetric_eigen;

/// Principal components that embeddings are projected onto: two for a quantity on a circle, and another.
const COMPONENTS: usize = 3;

/// Quantile bins per projection.
const BINS: [usize; 3] = [2, 3, 4];

/// Place in [`BINS`] of the count whose value is reported: 27 cells, which 512 samples fill with 19 each.
const REFERENCE: usize = 1;

/// Fewest samples per cell of the signature, and per group of the variable, on average. With fewer most cells of the
/// table are empty, where the correction no longer corrects.
const SAMPLES_PER_CELL: usize = 4;

/// Bins of a quantity: with more, the table has more cells than there are samples.
const MOST_GROUPS: usize = 8;

/// Mutual information between a signature of the embeddings and each variable, in nats.
///
/// The signature is the cell of a sample in a grid of quantile bins along the three largest principal components of z
/// (fewer where fewer have any variance). Reported is the Miller-Madow estimate at 3 bins per component; what remains of
/// its bias goes with the mean under permutation, which the excess leaves out (all but that of the dependence itself). It is a proxy from below: information in
/// other directions, or finer than a bin, is not seen. Its dependence on the bins is the span, over all of which fewer
/// than 4 samples per cell (256 in all) are an error. So are constant embeddings, a variable with one value, and
/// one that has too many groups to be known from so few samples, such as an identity of each.
pub(super) const FAMILY: Family = Family {
    name: "information",
    panel: Panel::Full,
    about: "Signature of a sample: centred z is projected onto the eigenvectors of its covariance with the 3 largest eigenvalues, or fewer where fewer eigenvalues are above 1e-12. Each eigenvector is turned so that the sum of the cubes of the projections is not negative. Each projection is cut into m bins. The edges of bins are the values at places floor(k N / m), k = 1 to m - 1, of its N sorted values, places counted from 0. A value's bin is the number of edges that are not above it. The bins of all projections together are the cell of the sample, one of m^3; m is 3, and 2, 3 and 4 for the span. The label: groups as above, but at most 8 equal-width bins of a quantity. Value, in nats: sum over cells c and labels l of p(c,l) ln(p(c,l) / (p(c) p(l))) with shares of samples for p, plus (C + L - J - 1) / 2N. C, L and J are how many cells, labels and pairs of both occur; the term is Miller and Madow's correction. What is left of its bias is in the mean of the null, which permutes the label: read the excess. Span: the largest less the smallest excess over m = 2, 3 and 4. Of an ID code the label is the signs of 3 of its 16 entries, a part of what it says. Missing with fewer than 4 samples per possible cell (27, and 64 for the span) or per label, and where embeddings are constant. Information in other directions, or finer than a bin, is not seen.",
    descriptors: &[
        factor(
            "mi_shape_img",
            "mutual information of shape and 3 binned principal components of image embeddings, corrected",
        ),
        factor("mi_shape_img_excess", "mi_shape_img less its mean with shape permuted"),
        null_sd("mi_shape_img_null_sd", "standard deviation of mi_shape_img with shape permuted"),
        span("mi_shape_img_bin_span", "largest less smallest mi_shape_img_excess over 2, 3 and 4 bins per component"),
        factor(
            "mi_orientation_img",
            "mutual information of orientation and 3 binned principal components of image embeddings, corrected",
        ),
        factor("mi_orientation_img_excess", "mi_orientation_img less its mean with orientation permuted"),
        null_sd("mi_orientation_img_null_sd", "standard deviation of mi_orientation_img with orientation permuted"),
        span(
            "mi_orientation_img_bin_span",
            "largest less smallest mi_orientation_img_excess over 2, 3 and 4 bins per component",
        ),
        factor(
            "mi_frequency_img",
            "mutual information of frequency and 3 binned principal components of image embeddings, corrected",
        ),
        factor("mi_frequency_img_excess", "mi_frequency_img less its mean with frequency permuted"),
        null_sd("mi_frequency_img_null_sd", "standard deviation of mi_frequency_img with frequency permuted"),
        span(
            "mi_frequency_img_bin_span",
            "largest less smallest mi_frequency_img_excess over 2, 3 and 4 bins per component",
        ),
        factor(
            "mi_phase_img",
            "mutual information of phase and 3 binned principal components of image embeddings, corrected",
        ),
        factor("mi_phase_img_excess", "mi_phase_img less its mean with phase permuted"),
        null_sd("mi_phase_img_null_sd", "standard deviation of mi_phase_img with phase permuted"),
        span("mi_phase_img_bin_span", "largest less smallest mi_phase_img_excess over 2, 3 and 4 bins per component"),
        factor(
            "mi_thickness_img",
            "mutual information of thickness and 3 binned principal components of image embeddings, corrected",
        ),
        factor("mi_thickness_img_excess", "mi_thickness_img less its mean with thickness permuted"),
        null_sd("mi_thickness_img_null_sd", "standard deviation of mi_thickness_img with thickness permuted"),
        span(
            "mi_thickness_img_bin_span",
            "largest less smallest mi_thickness_img_excess over 2, 3 and 4 bins per component",
        ),
        confounder(
            "mi_confounder_img",
            "mutual information of confounder and 3 binned principal components of image embeddings, corrected",
        ),
        confounder("mi_confounder_img_excess", "mi_confounder_img less its mean with confounder permuted"),
        null_sd("mi_confounder_img_null_sd", "standard deviation of mi_confounder_img with confounder permuted"),
        span(
            "mi_confounder_img_bin_span",
            "largest less smallest mi_confounder_img_excess over 2, 3 and 4 bins per component",
        ),
        factor(
            "mi_shape_txt",
            "mutual information of shape and 3 binned principal components of text embeddings, corrected",
        ),
        factor("mi_shape_txt_excess", "mi_shape_txt less its mean with shape permuted"),
        null_sd("mi_shape_txt_null_sd", "standard deviation of mi_shape_txt with shape permuted"),
        span("mi_shape_txt_bin_span", "largest less smallest mi_shape_txt_excess over 2, 3 and 4 bins per component"),
        factor(
            "mi_orientation_txt",
            "mutual information of orientation and 3 binned principal components of text embeddings, corrected",
        ),
        factor("mi_orientation_txt_excess", "mi_orientation_txt less its mean with orientation permuted"),
        null_sd("mi_orientation_txt_null_sd", "standard deviation of mi_orientation_txt with orientation permuted"),
        span(
            "mi_orientation_txt_bin_span",
            "largest less smallest mi_orientation_txt_excess over 2, 3 and 4 bins per component",
        ),
        factor(
            "mi_frequency_txt",
            "mutual information of frequency and 3 binned principal components of text embeddings, corrected",
        ),
        factor("mi_frequency_txt_excess", "mi_frequency_txt less its mean with frequency permuted"),
        null_sd("mi_frequency_txt_null_sd", "standard deviation of mi_frequency_txt with frequency permuted"),
        span(
            "mi_frequency_txt_bin_span",
            "largest less smallest mi_frequency_txt_excess over 2, 3 and 4 bins per component",
        ),
        factor(
            "mi_phase_txt",
            "mutual information of phase and 3 binned principal components of text embeddings, corrected",
        ),
        factor("mi_phase_txt_excess", "mi_phase_txt less its mean with phase permuted"),
        null_sd("mi_phase_txt_null_sd", "standard deviation of mi_phase_txt with phase permuted"),
        span("mi_phase_txt_bin_span", "largest less smallest mi_phase_txt_excess over 2, 3 and 4 bins per component"),
        factor(
            "mi_thickness_txt",
            "mutual information of thickness and 3 binned principal components of text embeddings, corrected",
        ),
        factor("mi_thickness_txt_excess", "mi_thickness_txt less its mean with thickness permuted"),
        null_sd("mi_thickness_txt_null_sd", "standard deviation of mi_thickness_txt with thickness permuted"),
        span(
            "mi_thickness_txt_bin_span",
            "largest less smallest mi_thickness_txt_excess over 2, 3 and 4 bins per component",
        ),
        confounder(
            "mi_confounder_txt",
            "mutual information of confounder and 3 binned principal components of text embeddings, corrected",
        ),
        confounder("mi_confounder_txt_excess", "mi_confounder_txt less its mean with confounder permuted"),
        null_sd("mi_confounder_txt_null_sd", "standard deviation of mi_confounder_txt with confounder permuted"),
        span(
            "mi_confounder_txt_bin_span",
            "largest less smallest mi_confounder_txt_excess over 2, 3 and 4 bins per component",
        ),
    ],
    compute,
};

const UNBOUNDED: (f64, f64) = (f64::NEG_INFINITY, f64::INFINITY);
const SOURCE: &str = "Multimodality Under Governance, 2.8.1; Miller 1955; 200 permutations";

const fn factor(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "nats", range: UNBOUNDED, healthy: Healthy::Higher, source: SOURCE, summary }
}
const fn confounder(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "nats", range: UNBOUNDED, healthy: Healthy::Lower, source: SOURCE, summary }
}
const fn null_sd(name: &'static str, summary: &'static str) -> Descriptor {
    let range = (0.0, f64::INFINITY);
    Descriptor { name, unit: "nats", range, healthy: Healthy::Neither, source: SOURCE, summary }
}
const fn span(name: &'static str, summary: &'static str) -> Descriptor {
    null_sd(name, summary)
}

fn compute(evaluation: &Evaluation) -> Values {
    let all = [Modality::Img, Modality::Txt].map(|modality| by_variable(evaluation, modality));
    Ok(all.into_iter().flatten().flatten().collect())
}

/// The four values of every variable in one modality.
fn by_variable(evaluation: &Evaluation, modality: Modality) -> Vec<Vec<Result<f64, MetricError>>> {
    let variables = FACTORS.into_iter().chain([CONFOUNDER]);
    let signatures =
        projections(evaluation, modality).map(|projections| BINS.map(|bins| signature(&projections, bins)));
    let signatures = match signatures {
        Ok(signatures) => signatures,
        Err(reason) => return variables.map(|_| vec![Err(reason.clone()); 4]).collect(),
    };
    variables.map(|name| values(evaluation, modality, name, &signatures)).collect()
}

fn values(
    evaluation: &Evaluation,
    modality: Modality,
    name: &str,
    signatures: &[Signature; BINS.len()],
) -> Vec<Result<f64, MetricError>> {
    let groups = evaluation.variable(modality, name).and_then(|variable| {
        let groups = variable.groups(MOST_GROUPS)?;
        let (count, samples) = (groups.sizes.len(), evaluation.samples());
        let many = MetricError::TooManyGroups { variable: name.to_string(), groups: count, samples };
        if samples < SAMPLES_PER_CELL * count { Err(many) } else { Ok(groups) }
    });
    let groups = match groups {
        Ok(groups) => groups,
        Err(reason) => return vec![Err(reason); 4],
    };
    let value = information(evaluation, modality, &signatures[REFERENCE], &groups);
    let over_bins = signatures.each_ref().map(|signature| {
        let value = information(evaluation, modality, signature, &groups)?;
        null::excess(value, &null(evaluation, signature, &groups))
    });
    let span = || {
        let all: Vec<f64> =
            over_bins.iter().map(|excess| Ok(excess.clone()?[0])).collect::<Result<_, MetricError>>()?;
        let largest = all.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Ok(largest - all.iter().copied().fold(f64::INFINITY, f64::min))
    };
    let mut values = vec![value];
    values.extend(null::each(over_bins[REFERENCE].clone()));
    values.push(span());
    values
}

/// A discrete summary of each embedding.
struct Signature {
    /// Cell of each sample, `[N]`.
    of: Vec<u32>,
    /// Samples in each cell.
    sizes: Vec<u32>,
}

/// Embeddings along their largest principal components, `[components, N]`.
///
/// A component has no direction of its own: it is turned so that its third moment is positive, and bins do not depend on
/// what the solver returned. Components that hold only the rounding of `f32` are left out.
fn projections(evaluation: &Evaluation, modality: Modality) -> Result<Vec<Vec<f64>>, MetricError> {
    let d = evaluation.dimension();
    let centred = evaluation.centred(modality)?;
    let eigen = symmetric_eigen(evaluation.covariance(modality)?, d)?;
    let kept = eigen.values.iter().zip(eigen.vectors.chunks_exact(d)).filter(|(l, _)| **l > NO_VARIANCE);
    let project = |direction: &[f64]| {
        let mut values: Vec<f64> = centred.chunks_exact(d).map(|row| dot(row, direction)).collect();
        if values.iter().map(|x| x * x * x).sum::<f64>() < 0.0 {
            values.iter_mut().for_each(|x| *x = -*x);
        }
        values
    };
    Ok(kept.take(COMPONENTS).map(|(_, direction)| project(direction)).collect())
}

/// The cell of each sample in the grid of quantile bins. Equal projections share a bin.
fn signature(projections: &[Vec<f64>], bins: usize) -> Signature {
    let n = projections.first().map_or(0, Vec::len);
    let mut of = vec![0u32; n];
    for values in projections {
        let mut sorted = values.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        let edges: Vec<f64> = (1..bins).map(|edge| sorted[edge * n / bins]).collect();
        for (cell, value) in of.iter_mut().zip(values) {
            let bin = edges.iter().filter(|edge| value >= *edge).count();
            *cell = *cell * bins as u32 + bin as u32;
        }
    }
    let mut sizes = vec![0; bins.pow(projections.len() as u32)];
    of.iter().for_each(|&cell| sizes[cell as usize] += 1);
    Signature { of, sizes }
}

fn information(
    evaluation: &Evaluation,
    modality: Modality,
    signature: &Signature,
    groups: &Groups,
) -> Result<f64, MetricError> {
    let (samples, needed) = (evaluation.samples(), SAMPLES_PER_CELL * signature.sizes.len());
    if samples < needed {
        return Err(MetricError::TooFewSamples { samples, needed });
    }
    if signature.sizes.iter().filter(|size| **size > 0).count() < 2 {
        return Err(MetricError::OneCell { modality });
    }
    let cells = signature.sizes.len();
    let mut joint = vec![0; cells * groups.sizes.len()];
    signature.of.iter().zip(&groups.of).for_each(|(cell, group)| joint[*group as usize * cells + *cell as usize] += 1);
    Ok(Dependence::new(&signature.sizes, &groups.sizes).miller_madow(&joint))
}

/// The information under every permutation. As in the null of separability, the first group is any so many samples.
fn null(evaluation: &Evaluation, signature: &Signature, groups: &Groups) -> Vec<f64> {
    let cells = signature.sizes.len();
    let dependence = Dependence::new(&signature.sizes, &groups.sizes);
    let mut joint = vec![0u32; cells * groups.sizes.len()];
    let of = |order: &[u32]| {
        joint.fill(0);
        let mut rest = order;
        for (counts, &size) in joint.chunks_exact_mut(cells).zip(&groups.sizes) {
            let (group, after) = rest.split_at(size as usize);
            group.iter().for_each(|sample| counts[signature.of[*sample as usize] as usize] += 1);
            rest = after;
        }
        dependence.miller_madow(&joint)
    };
    evaluation.permutations().map(of).collect()
}

/// The information at each number of bins, for goldens.
#[cfg(test)]
pub(super) fn over_bins(evaluation: &Evaluation, modality: Modality, name: &str) -> [f64; BINS.len()] {
    let groups = evaluation.variable(Modality::Img, name).unwrap().groups(MOST_GROUPS).unwrap();
    let projections = projections(evaluation, modality).unwrap();
    BINS.map(|bins| information(evaluation, modality, &signature(&projections, bins), &groups).unwrap())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::fixture::{labelled, noisy_pairs, value_of};
    use crate::metric::{Context, Scale, Variable};

    fn with(evaluation: Evaluation, name: &str, values: Vec<f64>) -> Evaluation {
        let variables = vec![Variable { name: name.into(), values, scale: Scale::Kinds }];
        evaluation.with_context(Context { variables, ..Context::default() }).unwrap()
    }

    #[test]
    fn a_plane_of_nine_points_is_known_to_its_cell() {
        // Directions to the nine points (1, a, b), a and b from -1, 0, 1, as often each: in two dimensions of variance
        // nearly, three bins a component tell all nine apart, of which the label names the three columns.
        let points: Vec<[f32; 3]> = (0..9).map(|i| [20.0, (i % 3) as f32 * 2.0 - 2.0, (i / 3) as f32 - 1.0]).collect();
        let rows = points.as_flattened().repeat(30);
        let column: Vec<f64> = (0..270).map(|i| (i % 3) as f64).collect();
        let evaluation = with(Evaluation::new(&rows, &rows, 3, 1.0).unwrap(), "frequency", column);
        let signature = signature(&projections(&evaluation, Modality::Img).unwrap()[..1], 3);
        assert_eq!(signature.sizes, [90, 90, 90]);
        let value = value_of(&evaluation, "mi_frequency_img").unwrap();
        // ln 3 and a correction of (cells + 3 - cells - 1) / 2N, as every cell lies in one column.
        assert!((value - 3f64.ln() - 2.0 / 540.0).abs() < 1e-12, "{value}");
        let excess = value_of(&evaluation, "mi_frequency_img_excess").unwrap();
        assert!((excess - 3f64.ln()).abs() < 0.02, "{excess}");
    }

    #[test]
    fn the_null_is_that_of_permuted_samples() {
        let evaluation = labelled(noisy_pairs(3, 300, 6, 0.5), 1);
        let signature = signature(&projections(&evaluation, Modality::Img).unwrap(), 3);
        let groups = evaluation.variable(Modality::Img, "phase").unwrap().groups(MOST_GROUPS).unwrap();
        let null = null(&evaluation, &signature, &groups);
        let mut sorted = groups.of.clone();
        sorted.sort_unstable();
        for (order, got) in evaluation.permutations().zip(null).step_by(50) {
            let mut of = vec![0; 300];
            order.iter().zip(&sorted).for_each(|(sample, group)| of[*sample as usize] = *group);
            let moved = Groups { of, sizes: groups.sizes.clone() };
            assert_eq!(information(&evaluation, Modality::Img, &signature, &moved), Ok(got));
        }
    }

    #[test]
    fn equal_embeddings_share_a_cell_and_bins_are_even() {
        let values: Vec<f64> = (0..10).map(f64::from).collect();
        assert_eq!(signature(&[values], 3).sizes, [3, 3, 4]);
        assert_eq!(signature(&[[1.0, 2.0, 2.0, 2.0, 2.0, 3.0].into()], 2).sizes, [1, 5]);
    }

    #[test]
    fn what_tells_nothing_has_a_reason() {
        let reason = |evaluation: &Evaluation, name| value_of(evaluation, name).unwrap_err().to_string();
        let n = 120;
        let random = || noisy_pairs(1, n, 5, 0.5);
        let kinds = |kinds: usize| (0..n).map(|i| (i % kinds) as f64).collect::<Vec<f64>>();
        let name = "mi_confounder_img";
        insta::assert_snapshot!(reason(&random(), name), @"no labels of confounder were given");
        insta::assert_snapshot!(reason(&with(random(), "confounder", kinds(1)), name), @"all samples have the same confounder");
        insta::assert_snapshot!(reason(&with(random(), "confounder", kinds(40)), name), @"40 groups of confounder are too many for 120 samples");
        let few = with(random(), "confounder", kinds(4));
        assert!(value_of(&few, name).is_ok());
        insta::assert_snapshot!(reason(&few, "mi_confounder_img_bin_span"), @"needs at least 256 samples, got 120");
        let constant = [0.6f32, 0.8].repeat(n);
        let collapsed = with(Evaluation::new(&constant, &constant, 2, 1.0).unwrap(), "confounder", kinds(2));
        assert!(reason(&collapsed, name).starts_with("img embeddings are constant"));
        // All but two the same: every quantile is the same.
        let mut nearly = constant.clone();
        nearly[2 * n - 4..].copy_from_slice(&[-0.6, -0.8, -0.6, -0.8]);
        let nearly = with(Evaluation::new(&nearly, &nearly, 2, 1.0).unwrap(), "confounder", kinds(2));
        insta::assert_snapshot!(reason(&nearly, name), @"the binned projections of the img embeddings are all the same");
    }
}
