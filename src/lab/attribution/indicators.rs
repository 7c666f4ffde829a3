//! What attribution looks at, and in which units.

use serde::{Deserialize, Serialize};

use crate::lab::matters;
use crate::lab::observed::Quantity;

use Quantity::{Difference, Explained, ExplainedDifference, Late, LogRatio, Mean, Metric, Unrest};

/// Which indicators are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// What one would look at without a panel.
    RetrievalAndLoss,
    /// Everything that is measured as trained.
    Panel,
}

impl View {
    pub const ALL: [Self; 2] = [Self::RetrievalAndLoss, Self::Panel];

    /// The words for tables.
    pub fn words(self) -> &'static str {
        match self {
            Self::RetrievalAndLoss => "retrieval and loss alone",
            Self::Panel => "the panel",
        }
    }

    /// Its indicators.
    pub fn indicators(self) -> impl Iterator<Item = &'static Indicator> {
        INDICATORS.iter().filter(move |indicator| self == Self::Panel || indicator.headline)
    }
}

/// One thing that is looked at. None knows how a cell was configured: what is measured of a confounder exists only where one
/// is declared, and is no part of it.
#[derive(Clone, Copy, Debug)]
pub struct Indicator {
    pub quantity: Quantity,
    /// A difference that matters: the unit in which distances from the baseline are counted.
    pub unit: f64,
    /// Whether it is of retrieval or loss.
    pub headline: bool,
}

const fn headline(quantity: Quantity, unit: f64) -> Indicator {
    Indicator { quantity, unit, headline: true }
}
const fn panel(quantity: Quantity, unit: f64) -> Indicator {
    Indicator { quantity, unit, headline: false }
}

/// Every indicator.
pub const INDICATORS: &[Indicator] = &[
    headline(Metric("retrieval_at_1_i2t"), matters::RETRIEVAL),
    headline(Metric("retrieval_at_1_t2i"), matters::RETRIEVAL),
    headline(Metric("retrieval_at_5_i2t"), matters::RETRIEVAL),
    headline(Metric("retrieval_at_5_t2i"), matters::RETRIEVAL),
    headline(Late("loss"), matters::LOSS),
    headline(Difference("retrieval_at_1_i2t", "retrieval_at_1_t2i"), matters::RETRIEVAL),
    panel(LogRatio("grad_norm_img", "grad_norm_txt"), matters::GRADIENTS),
    panel(LogRatio("grad_norm_img_layer1", "grad_norm_img_layer2"), matters::GRADIENTS),
    panel(LogRatio("grad_norm_txt_layer1", "grad_norm_txt_layer2"), matters::GRADIENTS),
    panel(Unrest("loss"), matters::UNREST),
    panel(Mean("effective_rank_img", "effective_rank_txt"), matters::RANK),
    panel(Difference("effective_rank_img", "effective_rank_txt"), matters::RANK_DIVERGENCE),
    panel(Mean("top_eigen_share_img", "top_eigen_share_txt"), matters::TOP_SHARE),
    panel(Mean("mean_cosine_img", "mean_cosine_txt"), matters::COSINE),
    panel(Difference("mean_cosine_img", "mean_cosine_txt"), matters::COSINE),
    panel(Mean("hub_gini_i2t", "hub_gini_t2i"), matters::HUBNESS),
    panel(Difference("hub_gini_i2t", "hub_gini_t2i"), matters::HUBNESS),
    panel(Explained("separability_shape_img", "separability_shape_txt"), matters::EXPLAINED),
    panel(ExplainedDifference("separability_shape_img", "separability_shape_txt"), matters::EXPLAINED),
    panel(Explained("separability_orientation_img", "separability_orientation_txt"), matters::EXPLAINED),
    panel(ExplainedDifference("separability_orientation_img", "separability_orientation_txt"), matters::EXPLAINED),
    panel(Explained("separability_thickness_img", "separability_thickness_txt"), matters::EXPLAINED),
    panel(Mean("mi_shape_img_excess", "mi_shape_txt_excess"), matters::INFORMATION),
    panel(Mean("mi_orientation_img_excess", "mi_orientation_txt_excess"), matters::INFORMATION_ON_ORIENTATION),
    panel(Difference("mi_orientation_img_excess", "mi_orientation_txt_excess"), matters::INFORMATION_ON_ORIENTATION),
    panel(Mean("neighbour_shape_i2t", "neighbour_shape_t2i"), matters::NEIGHBOURS),
    panel(Metric("cca_mean"), matters::CORRELATION),
    panel(Metric("modality_gap"), matters::DISTANCE),
    panel(Metric("alignment"), matters::DISTANCE),
    panel(Metric("sensitivity_pairing"), matters::SENSITIVITY),
    panel(Metric("sensitivity_noise_img"), matters::SENSITIVITY),
    panel(Metric("sensitivity_dropout_txt"), matters::SENSITIVITY),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metric::descriptor;

    #[test]
    fn indicators_are_measured_and_none_tells_the_configuration() {
        for indicator in INDICATORS {
            assert!(indicator.unit > 0.0);
            for name in indicator.quantity.metrics() {
                assert!(descriptor(name).is_some(), "{name}");
                assert!(!name.contains("confounder") && !name.contains("group"), "{name}");
            }
        }
        assert!(View::RetrievalAndLoss.indicators().count() < View::Panel.indicators().count());
        let looks_elsewhere = |i: &&Indicator| i.quantity.metrics().iter().any(|m| !m.starts_with("retrieval"));
        assert_eq!(View::RetrievalAndLoss.indicators().find(looks_elsewhere).map(|i| i.quantity), None);
    }
}
