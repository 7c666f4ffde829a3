//! Sensitivity (M10): what one perturbed training step does to retrieval. The experiment needs the model and its world,
//! so it is done where these are; here its results become metrics.

use super::null;
use super::{Descriptor, Evaluation, Family, Healthy, MetricError, Panel, Values};

/// Kinds of perturbation, as [`Context::sensitivity`](super::Context) and the columns call them.
const KINDS: [&str; 5] = ["pairing", "noise_img", "dropout_txt", "confounder_img", "confounder_txt"];

/// The mean over batches of how much retrieval@1 on the validation split differs between one plain and one perturbed step
/// from the final parameters, and the standard deviation over batches.
pub(super) const FAMILY: Family = Family {
    name: "sensitivity",
    panel: Panel::Full,
    about: "From the measured parameters one step of the cell's own update rule is taken on a minibatch, and one on the same minibatch disturbed. The value is the absolute difference of validation retrieval@1, the mean of both directions, after the two. The validation split is observed and paired as the cell's configuration says. Mean and standard deviation (3 in the denominator) over 4 minibatches. Minibatch b: the first train.batch_size samples of a permutation of the training split, item b of the stream `sensitivity`, with the texts that training pairs them with, observed as in training. The step has the cell's learning rate without warm-up, weights, regularisers and clipping; momentum and AdamW's moments begin at 0, and weights that follow gradients at their first values, as at the first step of a training. Disturbances, one each: a quarter of the minibatch's pairs swapped, as pairing.kind = swap does, by place in the minibatch; image.noise higher by 0.25; text.dropout higher by 0.25, at most 1. The last is confounder.strength higher by 0.25 in one modality; where the cell has no confounder, one of its confounder.kind with the factors left visible. Measured for the clean condition alone.",
    descriptors: &[
        sensitivity("sensitivity_pairing", "change in retrieval@1 by one step on a batch with some partners swapped"),
        spread("sensitivity_pairing_sd", "standard deviation over batches of sensitivity_pairing"),
        sensitivity("sensitivity_noise_img", "change in retrieval@1 by one step on a batch with noise on the images"),
        spread("sensitivity_noise_img_sd", "standard deviation over batches of sensitivity_noise_img"),
        sensitivity("sensitivity_dropout_txt", "change in retrieval@1 by one step on a batch with tokens dropped"),
        spread("sensitivity_dropout_txt_sd", "standard deviation over batches of sensitivity_dropout_txt"),
        sensitivity(
            "sensitivity_confounder_img",
            "change in retrieval@1 by one step with the confounder in images changed",
        ),
        spread("sensitivity_confounder_img_sd", "standard deviation over batches of sensitivity_confounder_img"),
        sensitivity(
            "sensitivity_confounder_txt",
            "change in retrieval@1 by one step with the confounder in texts changed",
        ),
        spread("sensitivity_confounder_txt_sd", "standard deviation over batches of sensitivity_confounder_txt"),
    ],
    compute,
};

const SOURCE: &str = "Multimodality Under Governance, 2.8.3";

const fn sensitivity(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "share", range: (0.0, 1.0), healthy: Healthy::Lower, source: SOURCE, summary }
}
const fn spread(name: &'static str, summary: &'static str) -> Descriptor {
    Descriptor { name, unit: "share", range: (0.0, 1.0), healthy: Healthy::Neither, source: SOURCE, summary }
}

fn compute(evaluation: &Evaluation) -> Values {
    let measured = &evaluation.context().sensitivity;
    let of = |kind: &str| match measured.get(kind) {
        Some(Ok(values)) => Ok(*values),
        Some(Err(reason)) => Err(MetricError::NotMeasured(reason.clone())),
        None => Err(MetricError::NotMeasured("no steps were taken".to_string())),
    };
    Ok(KINDS.into_iter().flat_map(|kind| null::each(of(kind))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::Context;
    use crate::metric::fixture::{noisy_pairs, value_of};

    #[test]
    fn what_was_measured_is_handed_through_and_what_was_not_has_a_reason() {
        let mut context = Context::default();
        context.sensitivity.insert("noise_img".into(), Ok([0.25, 0.125]));
        context.sensitivity.insert("confounder_txt".into(), Err("no confounder is on".into()));
        let evaluation = noisy_pairs(1, 9, 3, 0.5).with_context(context).unwrap();
        assert_eq!(value_of(&evaluation, "sensitivity_noise_img"), Ok(0.25));
        assert_eq!(value_of(&evaluation, "sensitivity_noise_img_sd"), Ok(0.125));
        let reason = value_of(&evaluation, "sensitivity_confounder_txt_sd").unwrap_err();
        insta::assert_snapshot!(reason, @"the sensitivity was not measured: no confounder is on");
        assert!(value_of(&evaluation, "sensitivity_pairing").is_err());
    }

    #[test]
    fn columns_are_named_after_kinds() {
        let names = KINDS.iter().flat_map(|kind| [format!("sensitivity_{kind}"), format!("sensitivity_{kind}_sd")]);
        assert!(names.eq(FAMILY.descriptors.iter().map(|d| d.name.to_string())));
    }
}
