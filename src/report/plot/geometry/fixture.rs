//! Hand-made cells for the tests of pictures.

use super::Exemplar;

/// `n` samples in `d` dimensions: pair i lies on axis i mod d, images and texts of lengths 1, 2, 3, ..., and texts a
/// little towards the last axis.
pub fn exemplar(role: &str, n: usize, d: usize) -> Exemplar {
    let shapes = ["disc", "square"];
    let at = |row: usize, k: usize| if row % d == k { (row + 1) as f64 } else { 0.0 };
    let lean = |k: usize| if k + 1 == d { 0.5 } else { 0.0 };
    let each = |value: &dyn Fn(usize) -> f64| (0..n).map(value).collect::<Vec<f64>>();
    Exemplar {
        role: role.to_string(),
        cell_id: format!("{role}-0123456789abcdef"),
        levels: vec![("train.temperature".to_string(), "0.1".to_string()), ("seed".to_string(), "0".to_string())],
        n,
        d,
        shape: (0..n).map(|row| shapes[row % 2].to_string()).collect(),
        factors: [
            each(&|row| row as f64),
            each(&|row| 6.0 - row as f64),
            each(&|row| 1.0 + row as f64 / n as f64),
            each(&|row| 0.03 + 0.01 * row as f64),
        ],
        described: (0..n).collect(),
        confounder: None,
        raw: [
            (0..n).flat_map(|row| (0..d).map(move |k| at(row, k))).collect(),
            (0..n).flat_map(|row| (0..d).map(move |k| at(row, k) + lean(k))).collect(),
        ],
        recorded: [[Some(2.5), Some(2.25)], [Some(0.125), Some(0.25)]],
    }
}
