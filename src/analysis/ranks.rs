//! Ranks of values among the distinct ones, the groups that share several, and rows found by what names them.

use std::collections::HashMap;

use polars_core::prelude::{Column, DataType, PolarsResult};

/// For each value its rank among the distinct ones, from 0.
pub(super) fn ranks<T: Ord + Copy>(values: impl Iterator<Item = T>) -> Vec<u32> {
    let values: Vec<T> = values.collect();
    let mut distinct = values.clone();
    // Neighbours are often equal, which leaves little to sort and to look for.
    distinct.dedup();
    distinct.sort_unstable();
    distinct.dedup();
    let mut rank = 0;
    let mut rank_of = |value: &T| {
        if distinct[rank] != *value {
            // Every value is among the distinct ones, so less of them than there are lie below it.
            rank = distinct.partition_point(|other| other < value);
        }
        rank as u32
    };
    values.iter().map(&mut rank_of).collect()
}

/// [`ranks`] of a column of any type that parameters have; null comes first.
pub(super) fn ranks_of(column: &Column) -> PolarsResult<Vec<u32>> {
    // Bits that are ordered like the numbers: for negative ones all but the sign are turned round.
    let ordered = |x: f64| {
        let bits = x.to_bits() as i64;
        bits ^ (((bits >> 63) as u64) >> 1) as i64
    };
    Ok(match column.dtype() {
        DataType::Int64 => ranks(column.i64()?.iter()),
        DataType::Float64 => ranks(column.f64()?.iter().map(|x| x.map(ordered))),
        DataType::Boolean => ranks(column.bool()?.iter()),
        _ => ranks(column.str()?.iter()),
    })
}

/// Ranks of pairs, by their first part and then by their second. Both are ranks themselves, one pair per place.
pub(super) fn paired(first: &[u32], second: &[u32]) -> Vec<u32> {
    let many = |ranks: &[u32]| ranks.iter().max().map_or(0, |last| u64::from(*last) + 1);
    let width = many(second);
    let pairs = || first.iter().zip(second).map(|(a, b)| u64::from(*a) * width + u64::from(*b));
    let possible = many(first) * width;
    if possible > 2 * first.len() as u64 + 1 {
        return ranks(pairs());
    }
    // A grid has most pairs: a place for every one costs less than sorting those that there are.
    let mut rank = vec![0; possible as usize];
    pairs().for_each(|pair| rank[pair as usize] = 1);
    let mut next = 0;
    for rank in &mut rank {
        let there = *rank;
        *rank = next;
        next += there;
    }
    pairs().map(|pair| rank[pair as usize]).collect()
}

/// For each of `wanted` its place in `known`, whose names are distinct.
///
/// Tables of a run are in the order of its plan, so each name is looked for from where the last one was; the first that
/// is not ahead has all of them indexed.
pub(super) fn find<'a>(
    known: impl Iterator<Item = Option<&'a str>>,
    wanted: impl Iterator<Item = Option<&'a str>>,
) -> Vec<Option<u32>> {
    let known: Vec<Option<&str>> = known.collect();
    let mut at = 0;
    let mut index: Option<HashMap<&str, u32>> = None;
    let place = |name: Option<&'a str>| {
        let name = name?;
        if index.is_none()
            && let Some(ahead) = known[at..].iter().position(|other| *other == Some(name))
        {
            at += ahead;
            return Some(at as u32);
        }
        let all = || known.iter().zip(0..).filter_map(|(name, at)| Some(((*name)?, at))).collect();
        index.get_or_insert_with(all).get(name).copied()
    };
    wanted.map(place).collect()
}

#[cfg(test)]
mod tests {
    use polars_core::prelude::{NamedFrom, Series};

    use super::*;

    #[test]
    fn levels_of_every_type_ascend() {
        let floats = [Some(-1.0), Some(0.5), None, Some(-2.0), Some(0.5)];
        assert_eq!(ranks_of(&Series::new("a".into(), floats).into()).expect("known"), [2, 3, 0, 1, 3]);
        assert_eq!(ranks_of(&Series::new("a".into(), [17i64, 3]).into()).expect("known"), [1, 0]);
        assert_eq!(ranks_of(&Series::new("a".into(), ["swap", "block"]).into()).expect("known"), [1, 0]);
        assert_eq!(ranks_of(&Series::new("a".into(), [true, false]).into()).expect("known"), [1, 0]);
        assert_eq!(ranks_of(&Series::new("a".into(), [0i64; 0]).into()).expect("known"), [0; 0]);
    }

    #[test]
    fn pairs_are_ranked_alike_whether_most_of_them_are_there_or_few() {
        assert_eq!(paired(&[1, 0, 1, 0], &[0, 1, 1, 1]), [1, 0, 2, 0]);
        // Three of nine.
        assert_eq!(paired(&[2, 0, 1], &[0, 2, 1]), [2, 0, 1]);
        assert_eq!(paired(&[], &[]), [0; 0]);
    }

    #[test]
    fn names_are_found_in_order_and_out_of_it() {
        let places = |wanted: &[&str]| find(["a", "b", "c"].map(Some).into_iter(), wanted.iter().map(|w| Some(*w)));
        assert_eq!(places(&["a", "a", "c"]), [0, 0, 2].map(Some));
        assert_eq!(places(&["b", "x", "a", "c"]), [Some(1), None, Some(0), Some(2)]);
        assert_eq!(find([None, Some("a")].into_iter(), [None, Some("a")].into_iter()), [None, Some(1)]);
    }
}
