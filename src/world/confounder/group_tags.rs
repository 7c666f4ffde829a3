//! Group tags: each sample belongs to one of eight groups, as content does to a site or a device.

use super::{Confounder, label_patterns, one_hot};
use crate::spec::config::ConfounderKind;

const GROUPS: usize = 8;

pub const CONFOUNDER: Confounder = Confounder {
    name: "group_tags",
    kind: ConfounderKind::GroupTags,
    doc: "marks an eighth of the image's border and adds one of eight filler tokens, one of each per group; the strength is the marker's intensity and the token's count",
    groups: GROUPS,
    dimension: GROUPS,
    code: |stream, _, code| one_hot(stream.below(GROUPS), code),
    patterns: |split, modality| label_patterns(split, modality, GROUPS, border),
};

/// 1 where the group's octant meets the border, which is a sixteenth of the side wide, at least one pixel.
fn border(group: usize, row: usize, column: usize, side: usize) -> f64 {
    let width = (side / 16).max(1);
    let to_edge = row.min(column).min(side - 1 - row).min(side - 1 - column);
    // Twice the offsets from the centre.
    let (dx, dy) = (2 * column as i64 + 1 - side as i64, 2 * row as i64 + 1 - side as i64);
    let octant = usize::from(dx >= 0) + 2 * usize::from(dy >= 0) + 4 * usize::from(dx.abs() > dy.abs());
    f64::from(u8::from(to_edge < width && octant == group))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pixel_of_the_border_belongs_to_one_group_and_every_group_has_some() {
        for side in [8, 9, 16, 24, 64] {
            let pixels = |group| (0..side * side).filter(move |i| border(group, i / side, i % side, side) == 1.0);
            let of_group: Vec<usize> = (0..GROUPS).map(|group| pixels(group).count()).collect();
            assert!(of_group.iter().all(|&n| n > 0), "{of_group:?}");
            let width = (side / 16).max(1);
            assert_eq!(of_group.iter().sum::<usize>(), side * side - (side - 2 * width).pow(2));
            let mut all: Vec<usize> = (0..GROUPS).flat_map(pixels).collect();
            all.sort_unstable();
            all.dedup();
            assert_eq!(all.len(), of_group.iter().sum::<usize>(), "no pixel belongs to two");
        }
    }
}
