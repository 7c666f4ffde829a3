//! Parquet tables whose bytes were changed: in their pages, their footers, their lengths.

use cliffline::store::{StoreError, read_columns, read_rows, read_table, read_table_info};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use super::mutation::{Cut, cut, cuts};
use super::{Fuzz, Verdict};

/// Time series with nulls, numbers by words, and lists.
const SEEDS: [&[u8]; 3] = [
    include_bytes!("../fixtures/fuzz/curves.parquet"),
    include_bytes!("../fixtures/fuzz/spectra.parquet"),
    include_bytes!("../fixtures/fuzz/exemplars.parquet"),
];

/// Changes of the footer, which says where everything is and how much there is of it, or of any bytes.
fn change() -> impl Strategy<Value = (usize, Vec<Cut>, bool)> {
    (0..SEEDS.len(), cuts(), prop::bool::weighted(0.7))
}

pub fn tables(fuzz: &mut Fuzz) {
    fuzz.check(change(), |(seed, cuts, in_footer)| {
        let sound = SEEDS[seed];
        let mut bytes = sound.to_vec();
        if in_footer {
            let length = sound[sound.len() - 8..][..4].iter().rev().fold(0, |n, byte| n << 8 | usize::from(*byte));
            let mut footer = bytes.split_off(sound.len() - 8 - length);
            let end = footer.split_off(length);
            cut(&mut footer, &cuts);
            bytes.extend(&footer);
            // The length is that of the changed footer, so that the change is met and not its length.
            bytes.extend((footer.len() as u32).to_le_bytes());
            bytes.extend(&end[4..]);
        } else {
            cut(&mut bytes, &cuts);
        }
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("cells.parquet");
        std::fs::write(&path, &bytes).expect("a table");
        let columns = ["cell_id", "loss", "step", "eigenvalue", "modality", "z_img", "role"].map(String::from);
        let results = [
            read_table_info(&path).map(drop),
            read_columns(&path, &columns).map(drop),
            read_rows(&path, &columns, 2, 3).map(drop),
            read_table(&path).map(drop),
        ];
        let mut refused = false;
        for result in results {
            match result {
                Ok(()) => {}
                Err(StoreError::Io { source, .. }) => return Err(TestCaseError::fail(source.to_string())),
                Err(error) => {
                    prop_assert!(!error.to_string().is_empty());
                    refused = true;
                }
            }
        }
        // A table has no hash of its own; the manifest has it.
        Ok(match refused {
            true => Verdict::Refused,
            false if bytes == sound => Verdict::Unchanged,
            false => Verdict::Told,
        })
    });
}
