//! The scalars of a configuration one by one, without a JSON object between: plans of many cells are made of them.

use std::fmt::Write;

use serde_json::Value;

use super::config::{
    AppliesTo, ConfounderKind, ConfounderModality, Optimiser, PairingKind, Panel, Select, TextFeatures,
};
use super::params::Kind;

/// One scalar of a configuration.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Scalar {
    Int(u64),
    Float(f64),
    Bool(bool),
    /// Which of the names of its [`Kind::Choice`].
    Choice(usize),
}

impl Scalar {
    /// The scalar as a JSON value. `kind` is that of its parameter.
    pub(super) fn value(self, kind: Kind) -> Value {
        match (self, kind) {
            (Self::Int(value), _) => value.into(),
            (Self::Float(value), _) => value.into(),
            (Self::Bool(value), _) => value.into(),
            (Self::Choice(index), Kind::Choice(names)) => names[index].into(),
            (Self::Choice(index), _) => index.into(),
        }
    }

    /// A number that equal scalars of one parameter share, and no others.
    pub(super) fn bits(self) -> u64 {
        match self {
            Self::Int(value) => value,
            Self::Float(value) => value.to_bits(),
            Self::Bool(value) => value.into(),
            Self::Choice(index) => index as u64,
        }
    }

    /// Appends the scalar as JSON. `kind` is that of its parameter.
    pub(super) fn write_json(self, kind: Kind, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match (self, kind) {
            (Self::Int(value), _) => write!(out, "{value}"),
            (Self::Float(value), _) => write!(out, "{}", Value::from(value)),
            (Self::Bool(value), _) => write!(out, "{value}"),
            (Self::Choice(index), Kind::Choice(names)) => write!(out, "\"{}\"", names[index]),
            (Self::Choice(index), _) => write!(out, "{index}"),
        };
    }
}

/// A scalar of the configuration, or a section of them.
pub(super) trait Field {
    /// Appends every scalar, in the order of the fields.
    fn scalars_into(&self, out: &mut Vec<Scalar>);

    /// Sets the scalar that `at` others go before; counts `at` down, past zero once that is done.
    fn assign(&mut self, at: &mut usize, value: &Value);
}

macro_rules! scalar_fields {
    ($($name:ty: $scalar:expr, $from:expr;)*) => {$(
        impl Field for $name {
            fn scalars_into(&self, out: &mut Vec<Scalar>) {
                out.push($scalar(*self));
            }

            fn assign(&mut self, at: &mut usize, value: &Value) {
                if *at == 0 {
                    *self = $from(value).expect("the value was checked against the registry");
                }
                *at = at.wrapping_sub(1);
            }
        }
    )*};
}

fn named<T: serde::de::DeserializeOwned>(value: &Value) -> Option<T> {
    serde_json::from_value(value.clone()).ok()
}

// The registry lists names in the order in which the enums do; a test of the configuration holds them to it.
scalar_fields! {
    u64: Scalar::Int, Value::as_u64;
    f64: Scalar::Float, Value::as_f64;
    bool: Scalar::Bool, Value::as_bool;
    TextFeatures: |value| Scalar::Choice(value as usize), named;
    PairingKind: |value| Scalar::Choice(value as usize), named;
    AppliesTo: |value| Scalar::Choice(value as usize), named;
    ConfounderKind: |value| Scalar::Choice(value as usize), named;
    ConfounderModality: |value| Scalar::Choice(value as usize), named;
    Panel: |value| Scalar::Choice(value as usize), named;
    Select: |value| Scalar::Choice(value as usize), named;
    Optimiser: |value| Scalar::Choice(value as usize), named;
}
