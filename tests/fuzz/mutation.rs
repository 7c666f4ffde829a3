//! Changes of sound inputs, by their grammar and by their bytes. A change is a few numbers, so that what fails shrinks.

use ciborium::Value;
use proptest::prelude::*;

/// A change of a tree of values: where, and what.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Which of the values, as a share of all in their order.
    at: f64,
    pub change: Change,
}

#[derive(Clone, Debug)]
pub enum Change {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    /// A number times this; else as `Float`.
    Scale(f64),
    Text(String),
    /// A text with one character changed; else as `Null`.
    Letter(f64, char),
    Remove,
    Twice,
    /// Another value of the tree in its place.
    Other(f64),
    /// Inside so many lists.
    Nest(usize),
    /// A list of so many nulls.
    Long(usize),
    Empty,
}

fn change() -> impl Strategy<Value = Change> {
    let numbers = prop_oneof![
        Just(0.0),
        Just(-0.0),
        Just(1.0),
        Just(-1.0),
        Just(f64::NAN),
        Just(f64::INFINITY),
        Just(f64::MAX),
        Just(5e-324),
        Just(9999.0),
        Just(0.5),
        any::<f64>(),
        0.0..1.0f64,
    ];
    let integers = prop_oneof![Just(i64::MAX), Just(i64::MIN), Just(-1), Just(0), Just(1 << 40), 0..100i64];
    let scales = prop_oneof![Just(-1.0), Just(2.0), Just(1e3), Just(1.0 + 1e-9), Just(1.0 - 1e-15), 0.5..1.5f64];
    let texts = prop_oneof![
        Just(String::new()),
        Just("ok".to_string()),
        Just("failed".to_string()),
        Just("diverged".to_string()),
        Just("clean".to_string()),
        Just("f".repeat(64)),
        Just("F".repeat(64)),
        Just("\u{1b}[2J\0\n\"".to_string()),
        Just("../../outside".to_string()),
        "[a-z_.0-9]{1,12}",
        any::<String>(),
    ];
    prop_oneof![
        1 => Just(Change::Null),
        1 => any::<bool>().prop_map(Change::Bool),
        3 => integers.prop_map(Change::Int),
        4 => numbers.prop_map(Change::Float),
        4 => scales.prop_map(Change::Scale),
        3 => texts.prop_map(Change::Text),
        3 => (0.0..1.0f64, prop::sample::select(vec!['0', 'a', 'f', 'z', '-', '\u{e9}'])).prop_map(|(at, c)| Change::Letter(at, c)),
        3 => Just(Change::Remove),
        2 => Just(Change::Twice),
        3 => (0.0..1.0f64).prop_map(Change::Other),
        1 => prop_oneof![Just(1usize), Just(3), Just(70), Just(300), Just(5000)].prop_map(Change::Nest),
        1 => prop_oneof![Just(1usize), Just(100), Just(100_000)].prop_map(Change::Long),
        1 => Just(Change::Empty),
    ]
}

/// One to a few changes of a tree.
pub fn edits() -> impl Strategy<Value = Vec<Edit>> {
    prop::collection::vec((0.0..1.0f64, change()).prop_map(|(at, change)| Edit { at, change }), 1..4)
}

/// Makes the changes.
pub fn edit(value: &mut Value, edits: &[Edit]) {
    for Edit { at, change } in edits {
        let count = nodes(value);
        let place = |share: f64| ((share * count as f64) as usize).min(count.saturating_sub(1));
        let other = match change {
            Change::Other(share) => find(value, place(*share)).cloned(),
            _ => None,
        };
        apply(value, place(*at), change, other);
    }
}

/// How many values there are in all.
fn nodes(value: &Value) -> usize {
    let below = match value {
        Value::Array(items) => items.iter().map(nodes).sum(),
        Value::Map(entries) => entries.iter().map(|(_, inner)| nodes(inner)).sum(),
        Value::Tag(_, inner) => nodes(inner),
        _ => 0,
    };
    1 + below
}

/// Value number `at`, the outer before the inner.
fn find(value: &Value, mut at: usize) -> Option<&Value> {
    if at == 0 {
        return Some(value);
    }
    at -= 1;
    let inner: Vec<&Value> = match value {
        Value::Array(items) => items.iter().collect(),
        Value::Map(entries) => entries.iter().map(|(_, inner)| inner).collect(),
        Value::Tag(_, inner) => vec![inner],
        _ => Vec::new(),
    };
    for inner in inner {
        let count = nodes(inner);
        if at < count {
            return find(inner, at);
        }
        at -= count;
    }
    None
}

/// Changes value number `at`.
fn apply(value: &mut Value, at: usize, change: &Change, other: Option<Value>) {
    if at == 0 {
        replace(value, change, other);
        return;
    }
    let mut left = at - 1;
    match value {
        Value::Array(items) => {
            for place in 0..items.len() {
                let count = nodes(&items[place]);
                if left < count {
                    match change {
                        Change::Remove if left == 0 => drop(items.remove(place)),
                        Change::Twice if left == 0 => items.insert(place, items[place].clone()),
                        _ => apply(&mut items[place], left, change, other),
                    }
                    return;
                }
                left -= count;
            }
        }
        Value::Map(entries) => {
            for place in 0..entries.len() {
                let count = nodes(&entries[place].1);
                if left < count {
                    match change {
                        Change::Remove if left == 0 => drop(entries.remove(place)),
                        Change::Twice if left == 0 => entries.push(entries[place].clone()),
                        _ => apply(&mut entries[place].1, left, change, other),
                    }
                    return;
                }
                left -= count;
            }
        }
        Value::Tag(_, inner) => apply(inner, left, change, other),
        _ => {}
    }
}

fn replace(value: &mut Value, change: &Change, other: Option<Value>) {
    *value = match change {
        Change::Null | Change::Remove | Change::Twice => Value::Null,
        Change::Bool(flag) => Value::Bool(*flag),
        Change::Int(number) => Value::from(*number),
        Change::Float(number) => Value::Float(*number),
        Change::Scale(factor) => match value {
            Value::Float(number) => Value::Float(*number * factor),
            Value::Integer(number) => Value::from((i128::from(*number) as f64 * factor) as i64),
            _ => Value::Float(*factor),
        },
        Change::Text(text) => Value::Text(text.clone()),
        Change::Letter(share, letter) => match value {
            Value::Text(text) => {
                let mut letters: Vec<char> = text.chars().collect();
                let place = (share * letters.len() as f64) as usize;
                match letters.get_mut(place) {
                    Some(place) => *place = *letter,
                    None => letters.push(*letter),
                }
                Value::Text(letters.into_iter().collect())
            }
            _ => Value::Null,
        },
        Change::Other(_) => other.unwrap_or(Value::Null),
        Change::Nest(depth) => {
            (0..*depth).fold(std::mem::replace(value, Value::Null), |inner, _| Value::Array(vec![inner]))
        }
        Change::Long(length) => Value::Array(vec![Value::Null; *length]),
        Change::Empty => match value {
            Value::Map(_) => Value::Map(Vec::new()),
            Value::Text(_) => Value::Text(String::new()),
            _ => Value::Array(Vec::new()),
        },
    };
}

/// A change of bytes.
#[derive(Clone, Debug)]
pub struct Cut {
    /// Where, as a share of the length.
    at: f64,
    what: CutKind,
}

#[derive(Clone, Debug)]
enum CutKind {
    Flip(u8),
    Set(Vec<u8>),
    Insert(Vec<u8>),
    Delete(usize),
    Truncate,
    /// Bytes from another place, in place of those here.
    Copy(f64, usize),
}

/// One to a few changes of bytes.
pub fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let special = prop_oneof![
        Just(vec![0xff; 4]),
        Just(vec![0xff; 8]),
        Just(vec![0; 8]),
        Just(vec![0x7f, 0xff, 0xff, 0xff]),
        Just(b"{\"a\":".to_vec()),
        Just(b"1e999".to_vec()),
        Just(b"\n".to_vec()),
        prop::collection::vec(any::<u8>(), 1..6),
    ];
    let kind = prop_oneof![
        4 => (0..8u8).prop_map(CutKind::Flip),
        3 => special.clone().prop_map(CutKind::Set),
        2 => special.prop_map(CutKind::Insert),
        2 => (1..200usize).prop_map(CutKind::Delete),
        1 => Just(CutKind::Truncate),
        1 => (0.0..1.0f64, 1..64usize).prop_map(|(from, length)| CutKind::Copy(from, length)),
    ];
    prop::collection::vec((0.0..1.0f64, kind).prop_map(|(at, what)| Cut { at, what }), 1..4)
}

/// Makes the changes.
pub fn cut(bytes: &mut Vec<u8>, cuts: &[Cut]) {
    for Cut { at, what } in cuts {
        let place = |share: f64| ((share * bytes.len() as f64) as usize).min(bytes.len());
        let at = place(*at);
        match what {
            CutKind::Flip(bit) => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << bit),
            CutKind::Set(other) => bytes.iter_mut().skip(at).zip(other).for_each(|(byte, other)| *byte = *other),
            CutKind::Insert(other) => drop(bytes.splice(at..at, other.iter().copied())),
            CutKind::Delete(length) => drop(bytes.drain(at..(at + length).min(bytes.len()))),
            CutKind::Truncate => bytes.truncate(at),
            CutKind::Copy(from, length) => {
                let from = place(*from);
                let copied: Vec<u8> = bytes.iter().skip(from).take(*length).copied().collect();
                bytes.iter_mut().skip(at).zip(copied).for_each(|(byte, other)| *byte = other);
            }
        }
    }
}

/// A JSON document with changes of its tree; numbers that JSON has no word for become null.
pub fn edit_json(document: &serde_json::Value, edits: &[Edit]) -> serde_json::Value {
    let mut tree = Value::serialized(document).expect("JSON is CBOR");
    edit(&mut tree, edits);
    json(&tree)
}

fn json(value: &Value) -> serde_json::Value {
    use serde_json::Value as Json;
    match value {
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Integer(number) => i64::try_from(*number)
            .map(Json::from)
            .unwrap_or_else(|_| u64::try_from(*number).map_or(Json::Null, Json::from)),
        Value::Float(number) => Json::from(*number),
        Value::Text(text) => Json::String(text.clone()),
        Value::Array(items) => Json::Array(items.iter().map(json).collect()),
        Value::Map(entries) => {
            let entry = |(key, inner): &(Value, Value)| Some((key.as_text()?.to_string(), json(inner)));
            Json::Object(entries.iter().filter_map(entry).collect())
        }
        _ => Json::Null,
    }
}
