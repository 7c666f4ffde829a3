//! Parts made by hand: whatever is in them, every hash of them is right.

use std::path::{Path, PathBuf};

use ciborium::Value;

/// A part, taken apart.
#[derive(Clone, Debug)]
pub struct Forge {
    /// The keys of the header line; lengths and hashes are set as it is written.
    pub header: serde_json::Value,
    /// The index; lengths and hashes of its blocks are set as it is written.
    pub index: Value,
    pub blocks: Vec<Block>,
}

/// A block, as far as it is made.
#[derive(Clone, Debug)]
pub enum Block {
    Records(Vec<Value>),
    /// CBOR, or something else in its place.
    Plain(Vec<u8>),
    /// zstd, or something else in its place.
    Packed(Vec<u8>),
}

impl Block {
    fn packed(&self) -> Vec<u8> {
        let pack = |plain: &[u8]| zstd::encode_all(plain, 1).expect("packed in memory");
        match self {
            Self::Records(records) => pack(&encoded(&Value::Array(records.clone()))),
            Self::Plain(plain) => pack(plain),
            Self::Packed(bytes) => bytes.clone(),
        }
    }
}

/// A value as CBOR.
pub fn encoded(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    ciborium::into_writer(value, &mut bytes).expect("plain data into memory");
    bytes
}

/// The value of a text key.
pub fn get<'a>(map: &'a mut Value, key: &str) -> Option<&'a mut Value> {
    let entries = map.as_map_mut()?;
    entries.iter_mut().find(|(name, _)| name.as_text() == Some(key)).map(|(_, value)| value)
}

/// Puts a value in place of that of a text key, or beside the others.
pub fn set(map: &mut Value, key: &str, value: impl Into<Value>) {
    let value = value.into();
    match get(map, key) {
        Some(place) => *place = value,
        None => map.as_map_mut().into_iter().for_each(|map| map.push((key.into(), value.clone()))),
    }
}

impl Forge {
    /// Takes a sound part apart.
    pub fn of(path: &Path) -> Self {
        Self::of_bytes(&std::fs::read(path).expect("a part"))
    }

    pub fn of_bytes(bytes: &[u8]) -> Self {
        let end = bytes.iter().position(|byte| *byte == b'\n').expect("a header line");
        let header: serde_json::Value = serde_json::from_slice(&bytes[..end]).expect("a header");
        let index_bytes = header["index_bytes"].as_u64().expect("a length") as usize;
        let (index, mut rest) = bytes[end + 1..].split_at(index_bytes);
        let mut index: Value = ciborium::from_reader(index).expect("an index");
        let mut blocks = Vec::new();
        for entry in get(&mut index, "blocks").and_then(Value::as_array_mut).expect("blocks") {
            let length = get(entry, "bytes").and_then(|n| n.as_integer()).expect("a length");
            let (packed, after) = rest.split_at(u64::try_from(length).expect("a length") as usize);
            let plain = zstd::decode_all(packed).expect("a sound block");
            let records: Value = ciborium::from_reader(plain.as_slice()).expect("records");
            blocks.push(Block::Records(records.into_array().expect("records")));
            rest = after;
        }
        Self { header, index, blocks }
    }

    /// The records of the first block.
    pub fn records(&mut self) -> &mut Vec<Value> {
        match self.blocks.first_mut() {
            Some(Block::Records(records)) => records,
            other => panic!("no records: {other:?}"),
        }
    }

    /// Lists in the index the cells that the records name, each as far as it names one.
    pub fn list_again(&mut self) {
        let entries = get(&mut self.index, "blocks").and_then(Value::as_array_mut);
        for (entry, block) in entries.into_iter().flatten().zip(&mut self.blocks) {
            let Block::Records(records) = block else { continue };
            let mut named = |record: &mut Value| {
                let keys = ["cell_id", "train_id", "status"];
                let mut value = |key: &str| get(record, key).cloned().unwrap_or(Value::Null);
                Value::Map(keys.map(|key| (Value::from(key), value(key))).into())
            };
            let cells = records.iter_mut().map(&mut named).collect();
            set(entry, "cells", Value::Array(cells));
        }
    }

    /// The bytes of the part and the name that they ask for.
    pub fn bytes(&self) -> (String, Vec<u8>) {
        let packed: Vec<Vec<u8>> = self.blocks.iter().map(Block::packed).collect();
        let mut index = self.index.clone();
        let entries = get(&mut index, "blocks").and_then(Value::as_array_mut);
        for (entry, bytes) in entries.into_iter().flatten().zip(&packed) {
            set(entry, "bytes", bytes.len() as u64);
            set(entry, "blake3", blake3::hash(bytes).to_hex().as_str());
        }
        let index = encoded(&index);
        let mut header = self.header.clone();
        if let Some(header) = header.as_object_mut() {
            header.insert("index_bytes".into(), index.len().into());
            header.insert("bytes".into(), (index.len() + packed.iter().map(Vec::len).sum::<usize>()).into());
            header.insert("blake3".into(), blake3::hash(&index).to_hex().as_str().into());
        }
        let mut bytes = serde_json::to_vec(&header).expect("plain data");
        bytes.push(b'\n');
        let name = format!("{}.part", &blake3::hash(&bytes).to_hex()[..16]);
        bytes.extend(index);
        bytes.extend(packed.concat());
        (name, bytes)
    }

    /// Writes the part into a folder.
    pub fn write(&self, parts: &Path) -> PathBuf {
        let (name, bytes) = self.bytes();
        let path = parts.join(name);
        std::fs::write(&path, bytes).expect("a forged part");
        path
    }
}
