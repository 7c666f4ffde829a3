//! What a spec may say, from the registries: a table for people, a schema for editors.

use serde_json::{Map, Value, json};

use super::condition::is_operator;
use super::config::Config;
use super::draft::KEYS;
use super::gate::LOST;
use super::params::{Kind, LEAST, PARAMS, Param, Role};
use super::preset::PRESETS;
use super::scalar::sections;
use crate::metric::descriptors;

/// Every key of a spec, every preset and every parameter, as Markdown.
pub fn reference() -> String {
    let mut out = String::from("| key | what |\n|---|---|\n");
    for (key, doc) in KEYS {
        out.push_str(&format!("| `{key}` | {doc} |\n"));
    }
    out.push_str("\n| preset | what |\n|---|---|\n");
    for preset in PRESETS {
        out.push_str(&format!("| `{}` | {} |\n", preset.name, preset.doc));
    }
    let defaults = Config::default().scalars();
    out.push_str(&format!(
        "\nA number that is not 0 is at least {LEAST:e} away from it: nearer ones have fewer digits than others in the \
         32-bit arithmetic of training, or count as 0.\n"
    ));
    out.push_str("\n| parameter | accepts | default | what | in a pack |\n|---|---|---|---|---|\n");
    for param in PARAMS {
        out.push_str(&format!(
            "| `{}` | {} | `{}` | {} | {} |\n",
            param.path,
            param.kind.describe(),
            defaults[param.path],
            param.doc,
            role(param.role)
        ));
    }
    out
}

fn role(role: Role) -> &'static str {
    match role {
        Role::Structure => "shared",
        Role::Lane => "per cell",
        Role::Switch => "per cell, zero apart",
    }
}

/// A JSON Schema (draft 2020-12) for specs that write parameters in sections; paths in quotes are also valid TOML
/// keys, and are allowed by pattern.
pub fn schema() -> Value {
    let defaults = Config::default().scalars();
    let mut properties = Map::new();
    let mut axes = Map::new();
    for param in PARAMS {
        let mut scalar = scalar(param);
        axes.insert(param.path.to_string(), axis(param, &scalar));
        scalar["default"] = defaults[param.path].clone();
        scalar["description"] = Value::from(param.doc);
        match param.path.split_once('.') {
            None => {
                properties.insert(param.path.to_string(), scalar);
            }
            Some((section, key)) => {
                let empty = json!({ "type": "object", "additionalProperties": false, "properties": {} });
                let table = properties.entry(section).or_insert(empty);
                table["properties"][key] = scalar.clone();
                properties.insert(param.path.to_string(), scalar);
            }
        }
    }
    for (key, doc) in KEYS {
        properties.insert((*key).to_string(), key_schema(key, doc, &axes));
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Cliffline spec",
        "type": "object",
        "required": ["name"],
        "additionalProperties": false,
        "properties": properties,
    })
}

fn scalar(param: &Param) -> Value {
    match param.kind {
        Kind::Float { min, max } if min > 0.0 => json!({ "type": "number", "minimum": min, "maximum": max }),
        Kind::Float { min, max } => {
            let too_small = json!({ "exclusiveMinimum": -LEAST, "exclusiveMaximum": LEAST, "not": { "const": 0 } });
            json!({ "type": "number", "minimum": min, "maximum": max, "not": too_small })
        }
        Kind::Int { min, max } => json!({ "type": "integer", "minimum": min, "maximum": max }),
        Kind::Bool => json!({ "type": "boolean" }),
        Kind::Choice(names) => json!({ "enum": names }),
    }
}

fn axis(param: &Param, scalar: &Value) -> Value {
    let mut forms = vec![json!({ "type": "array", "minItems": 1, "items": scalar })];
    if matches!(param.kind, Kind::Float { .. } | Kind::Int { .. }) {
        for form in ["linear", "log"] {
            forms.push(json!({
                "type": "object",
                "additionalProperties": false,
                "required": [form, "n"],
                "properties": {
                    form: { "type": "array", "minItems": 2, "maxItems": 2, "items": scalar },
                    "n": { "type": "integer", "minimum": 2 },
                },
            }));
        }
    }
    if param.path == "seed" {
        forms.push(json!({
            "type": "object",
            "additionalProperties": false,
            "required": ["seeds"],
            "properties": { "seeds": { "type": "integer", "minimum": 1 }, "first": scalar },
        }));
    }
    json!({ "description": param.doc, "anyOf": forms })
}

fn key_schema(key: &str, doc: &str, axes: &Map<String, Value>) -> Value {
    // Axis paths may be nested tables as well as quoted paths.
    let mut axis_properties = axes.clone();
    for section in sections() {
        axis_properties.insert(section.to_string(), json!({ "type": "object" }));
    }
    let paths: Vec<&str> = PARAMS.iter().map(|param| param.path).collect();
    let mut value = match key {
        "name" => json!({ "type": "string", "pattern": "^[a-z0-9][a-z0-9-]{0,63}$" }),
        "preset" => json!({ "enum": PRESETS.iter().map(|preset| preset.name).collect::<Vec<_>>() }),
        "axes" => json!({ "type": "object", "additionalProperties": false, "properties": axis_properties }),
        "zip" => json!({
            "type": "array",
            "items": { "type": "array", "minItems": 2, "uniqueItems": true, "items": { "enum": paths } },
        }),
        "condition" => condition_schema(axes),
        "gate" => json!({ "type": "array", "items": gate_schema() }),
        "exclude" | "include" => json!({ "type": "array", "items": { "type": "object", "minProperties": 1 } }),
        _ => json!({ "type": "string" }),
    };
    value["description"] = Value::from(doc);
    value
}

fn gate_schema() -> Value {
    let names: Vec<&str> = descriptors().map(|d| d.name).chain([LOST]).collect();
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["metric"],
        "anyOf": [{ "required": ["min"] }, { "required": ["max"] }],
        "properties": {
            "name": { "type": "string" },
            "metric": { "enum": names },
            "min": { "type": "number" },
            "max": { "type": "number" },
            "condition": { "type": "string" },
            "where": { "type": "object" },
            "share": { "type": "number", "exclusiveMinimum": 0, "maximum": 1 },
            "min_seeds": { "type": "integer", "minimum": 1 },
        },
    })
}

/// A name and at least one operator, as quoted paths or in sections.
fn condition_schema(axes: &Map<String, Value>) -> Value {
    let mut properties = Map::from_iter([("name".to_string(), key_schema("name", "unique in the spec", axes))]);
    for param in PARAMS.iter().filter(|param| is_operator(param)) {
        properties.insert(param.path.to_string(), scalar(param));
        if let Some((section, _)) = param.path.split_once('.') {
            properties.entry(section).or_insert_with(|| json!({ "type": "object" }));
        }
    }
    let table = json!({
        "type": "object", "required": ["name"], "minProperties": 2, "additionalProperties": false,
        "properties": properties,
    });
    json!({ "type": "array", "items": table })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_refuses_what_is_too_near_to_zero() {
        let schema = schema();
        let scored = &schema["properties"]["score"]["properties"]["temperature"];
        assert_eq!((&scored["minimum"], &scored["maximum"]), (&json!(0.0), &json!(100.0)));
        assert_eq!(
            scored["not"],
            json!({"exclusiveMinimum": -1.2e-38, "exclusiveMaximum": 1.2e-38, "not": {"const": 0}})
        );
        assert_eq!(schema["properties"]["train"]["properties"]["epsilon"]["minimum"], json!(1.2e-38));
    }

    #[test]
    fn every_parameter_key_and_preset_is_in_the_table_and_the_schema() {
        let text = reference();
        let schema = schema();
        for param in PARAMS {
            assert!(!param.doc.is_empty());
            assert!(text.contains(&format!("| `{}` | {}", param.path, param.kind.describe())), "{}", param.path);
            assert!(schema["properties"]["axes"]["properties"][param.path].is_object());
            let pointer = format!("/properties/{}", param.path.replace('.', "/properties/"));
            assert!(schema.pointer(&pointer).is_some(), "{pointer}");
        }
        for name in KEYS.iter().map(|(key, _)| key).chain(PRESETS.iter().map(|preset| &preset.name)) {
            assert!(text.contains(&format!("| `{name}` |")), "{name}");
        }
        for (key, _) in KEYS {
            assert!(schema["properties"][key].is_object());
        }
    }
}
