//! Ids in memory: two of every finished cell are, so they are small. On disk they are text.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Hex digits of an id that is a hash.
const DIGITS: usize = 32;

/// The id of a cell, or of its training.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Id {
    /// 32 lower-case hex digits, as this program makes them.
    Hash([u8; DIGITS / 2]),
    /// Anything else.
    Text(Box<str>),
}

impl Id {
    /// A number that no other id has: the digits, else half of the hash of the text.
    pub(crate) fn key(&self) -> u128 {
        match self {
            Self::Hash(bytes) => u128::from_be_bytes(*bytes),
            Self::Text(text) => {
                let hash = blake3::hash(text.as_bytes());
                hash.as_bytes().iter().take(DIGITS / 2).fold(0, |key, byte| key << 8 | u128::from(*byte))
            }
        }
    }
}

impl From<&str> for Id {
    fn from(text: &str) -> Self {
        let digits = text.len() == DIGITS && text.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        match u128::from_str_radix(text, 16) {
            Ok(number) if digits => Self::Hash(number.to_be_bytes()),
            _ => Self::Text(text.into()),
        }
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(_) => write!(f, "{:032x}", self.key()),
            Self::Text(text) => f.write_str(text),
        }
    }
}

impl Serialize for Id {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_string())
    }
}

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Id;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an id")
            }

            fn visit_str<E>(self, text: &str) -> Result<Id, E> {
                Ok(Id::from(text))
            }
        }
        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_their_text_again_and_have_keys_of_their_own() {
        let hash = "0123456789abcdef0123456789abcdef";
        assert_eq!(Id::from(hash).key(), 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef);
        let others =
            [hash, "", "a", "+123456789abcdef0123456789abcdef", "0123456789ABCDEF0123456789abcdef", &"0".repeat(32)];
        for text in others {
            let id = Id::from(text);
            assert_eq!(id.to_string(), text);
            let (mut ours, mut plain) = (Vec::new(), Vec::new());
            ciborium::into_writer(&id, &mut ours).unwrap();
            ciborium::into_writer(text, &mut plain).unwrap();
            assert_eq!(ours, plain, "on disk it is text");
            assert_eq!(ciborium::from_reader::<Id, _>(ours.as_slice()).unwrap(), id);
        }
        let keys: std::collections::BTreeSet<u128> = others.iter().map(|text| Id::from(*text).key()).collect();
        assert_eq!(keys.len(), others.len());
    }
}
