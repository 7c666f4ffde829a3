//! The published schema, held to reports without a library for schemas.

use serde_json::Value;

use super::{Piece, pieces};

/// As much of JSON Schema as the published schema uses, for tests: what `value` violates.
pub(crate) fn violations(schema: &Value, value: &Value) -> Vec<String> {
    fn is_a(name: &str, value: &Value) -> bool {
        match name {
            "object" => value.is_object(),
            "array" => value.is_array(),
            "string" => value.is_string(),
            "number" => value.is_number(),
            "boolean" => value.is_boolean(),
            "null" => value.is_null(),
            other => panic!("the check knows no type {other}"),
        }
    }
    fn check(root: &Value, schema: &Value, value: &Value, at: &str, out: &mut Vec<String>) {
        let mut wrong = |what: String| out.push(format!("{at}: {what}"));
        let mut below = Vec::new();
        for (key, rule) in schema.as_object().expect("a schema") {
            match key.as_str() {
                "$schema" | "$id" | "$defs" | "title" | "description" => {}
                "$ref" => {
                    let name = rule.as_str().and_then(|r| r.strip_prefix('#')).expect("a reference inside");
                    below.push((root.pointer(name).expect("a definition"), value, at.to_string()));
                }
                "type" => {
                    let names = rule.as_array().cloned().unwrap_or_else(|| vec![rule.clone()]);
                    if !names.iter().any(|name| is_a(name.as_str().expect("a name"), value)) {
                        wrong(format!("not {rule}"));
                    }
                }
                "const" if rule != value => wrong(format!("not {rule}")),
                "const" => {}
                "required" => {
                    for name in rule.as_array().expect("names").iter().filter_map(Value::as_str) {
                        if value.is_object() && value.get(name).is_none() {
                            wrong(format!("no {name}"));
                        }
                    }
                }
                "properties" => {
                    for (name, inner) in rule.as_object().expect("properties") {
                        below.extend(value.get(name).map(|value| (inner, value, format!("{at}/{name}"))));
                    }
                }
                "additionalProperties" => {
                    let known = |name: &str| schema["properties"].get(name).is_some();
                    for (name, inner) in value.as_object().into_iter().flatten().filter(|(name, _)| !known(name)) {
                        match rule {
                            Value::Bool(false) => wrong(format!("{name} is not allowed")),
                            rule => below.push((rule, inner, format!("{at}/{name}"))),
                        }
                    }
                }
                "items" => {
                    for (i, inner) in value.as_array().into_iter().flatten().enumerate() {
                        below.push((rule, inner, format!("{at}/{i}")));
                    }
                }
                "minItems" | "maxItems" => {
                    let length = value.as_array().map(|list| list.len() as u64);
                    let limit = rule.as_u64().expect("a count");
                    let within = |n: u64| if key == "minItems" { n >= limit } else { n <= limit };
                    if !length.is_none_or(within) {
                        wrong(format!("{key} {limit}"));
                    }
                }
                // The one pattern of values: text whose digits are all inside citations.
                "pattern" => {
                    let words = |piece: &Piece<'_>| matches!(piece, Piece::Words(w) if w.contains(|c: char| c.is_ascii_digit()));
                    assert_eq!(rule, r"^([^0-9{]|\{fact:[A-Za-z0-9._-]+\})*$");
                    if value.as_str().is_some_and(|text| pieces(text).iter().any(words)) {
                        wrong("a number without a fact".to_string());
                    }
                }
                "propertyNames" => {
                    assert_eq!(rule["pattern"], "^[A-Za-z0-9._-]+$");
                }
                other => panic!("the check knows no rule {other}"),
            }
        }
        below.into_iter().for_each(|(schema, value, at)| check(root, schema, value, &at, out));
    }
    let mut out = Vec::new();
    check(schema, schema, value, "", &mut out);
    out
}
