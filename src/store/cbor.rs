//! The structure of CBOR, looked at without decoding it: where records begin and end, and how much there is of them.

const ARRAY: u8 = 4;
const MAP: u8 = 5;
/// Deeper than any record; a bound, so that a forged one cannot exhaust the stack.
const DEEPEST: usize = 64;

/// The elements of a CBOR array, each as its bytes. None when the bytes are no array, when something follows it, or when
/// it has more than `most_elements` elements or more than `most` items in all. An item of one byte takes up to some tens
/// of bytes in memory.
pub(super) fn elements(cbor: &[u8], most_elements: usize, most: u64) -> Option<Vec<&[u8]>> {
    let (major, count, mut rest) = head(cbor)?;
    if major != ARRAY || count? > most_elements as u64 {
        return None;
    }
    let (mut elements, mut left) = (Vec::new(), most);
    for _ in 0..count? {
        let after = skip(rest, 0, &mut left)?;
        elements.push(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    rest.is_empty().then_some(elements)
}

/// The head of an array of so many elements, as short as it can be up to 255.
pub(super) fn array_head(elements: usize) -> Vec<u8> {
    match u8::try_from(elements) {
        Ok(few @ 0..=23) => vec![ARRAY << 5 | few],
        Ok(few) => vec![ARRAY << 5 | 24, few],
        Err(_) => [&[ARRAY << 5 | 27][..], &(elements as u64).to_be_bytes()].concat(),
    }
}

/// The value of a text key of a map, as its bytes.
pub(super) fn entry<'a>(map: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let (major, count, mut rest) = head(map)?;
    if major != MAP {
        return None;
    }
    let mut left = u64::MAX;
    for _ in 0..count? {
        let value = skip(rest, 0, &mut left)?;
        let after = skip(value, 0, &mut left)?;
        let name = rest.get(..rest.len() - value.len())?;
        if name.strip_suffix(key.as_bytes()).is_some_and(|head| text_of_length(head, key.len())) {
            return value.get(..value.len() - after.len());
        }
        rest = after;
    }
    None
}

/// Whether `bytes` are the head of a text of `length` bytes.
fn text_of_length(bytes: &[u8], length: usize) -> bool {
    matches!(head(bytes), Some((3, Some(found), [])) if found == length as u64)
}

/// What follows the first item. Every item is taken from `left`.
fn skip<'a>(cbor: &'a [u8], depth: usize, left: &mut u64) -> Option<&'a [u8]> {
    if depth > DEEPEST {
        return None;
    }
    *left = left.checked_sub(1)?;
    let (major, count, mut rest) = head(cbor)?;
    let items = match (major, count) {
        // Integers and simple values: all is in the head.
        (0 | 1 | 7, Some(_)) => 0,
        // Bytes and text.
        (2 | 3, Some(length)) => return rest.get(usize::try_from(length).ok()?..),
        (ARRAY, Some(items)) => items,
        (MAP, Some(pairs)) => pairs.checked_mul(2)?,
        // A tag has one item.
        (6, Some(_)) => 1,
        // Records are written with definite lengths.
        _ => return None,
    };
    for _ in 0..items {
        rest = skip(rest, depth + 1, left)?;
    }
    Some(rest)
}

/// Major type and argument of the first item, and what follows its head. No argument: an indefinite length.
fn head(cbor: &[u8]) -> Option<(u8, Option<u64>, &[u8])> {
    let (first, rest) = cbor.split_first()?;
    let (major, low) = (first >> 5, first & 0x1f);
    let width = match low {
        0..=23 => return Some((major, Some(u64::from(low)), rest)),
        24..=27 => 1 << (low - 24),
        31 => return Some((major, None, rest)),
        _ => return None,
    };
    let (argument, rest) = rest.split_at_checked(width)?;
    let value = argument.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
    Some((major, Some(value), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::record::CellRecord;
    use crate::store::record::tests::sample;

    const MANY: u64 = 1 << 20;

    #[test]
    fn elements_are_what_an_encoder_wrote_and_nothing_else_is_taken() {
        let records: Vec<CellRecord> = (0..3).map(sample).collect();
        let mut cbor = Vec::new();
        ciborium::into_writer(&records, &mut cbor).unwrap();
        let found = elements(&cbor, 1 << 20, MANY).unwrap();
        let decoded: Vec<CellRecord> = found.iter().map(|bytes| ciborium::from_reader(*bytes).unwrap()).collect();
        assert_eq!(decoded, records);
        assert_eq!(found.iter().map(|bytes| bytes.len()).sum::<usize>() + 1, cbor.len());
        assert!(elements(&cbor[..cbor.len() - 1], 1 << 20, MANY).is_none(), "cut off");
        assert!(elements(&[cbor.as_slice(), &[0]].concat(), 1 << 20, MANY).is_none(), "something follows");
        assert!(elements(&cbor, 1 << 20, 10).is_none(), "more items than may be");
        assert!(elements(&cbor, found.len() - 1, MANY).is_none(), "more elements than may be");
        for n in [0, 3, 23, 24, 255, 256, 70_000] {
            let zeros = [array_head(n), vec![0; n]].concat();
            assert_eq!(elements(&zeros, 1 << 20, MANY).map(|found| found.len()), Some(n));
            let mut written = Vec::new();
            ciborium::into_writer(&vec![0u8; n], &mut written).unwrap();
            assert!(n > 255 || written == zeros, "{n}");
        }
        for bad in
            [&[][..], &[0xa1, 0, 0], &[0x9f, 0xff], &[0x81, 0x1c], &[0x9b, 255, 255, 255, 255, 255, 255, 255, 255]]
        {
            assert!(elements(bad, 1 << 20, MANY).is_none(), "{bad:?}");
        }
        let mut deep = vec![0x81; 1000];
        deep.push(0);
        assert!(elements(&deep, 1 << 20, MANY).is_none());
    }

    #[test]
    fn an_entry_of_a_map_is_found_by_its_whole_key() {
        let mut cbor = Vec::new();
        ciborium::into_writer(&sample(2), &mut cbor).unwrap();
        let config: serde_json::Value = ciborium::from_reader(entry(&cbor, "config").unwrap()).unwrap();
        assert_eq!(config, sample(2).config);
        assert_eq!(entry(&cbor, "onfig"), None);
        assert_eq!(entry(&cbor, ""), None);
        assert_eq!(entry(&[0x80], "config"), None, "no map");
    }
}
