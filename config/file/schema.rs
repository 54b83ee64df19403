//! The shape as a JSON Schema: for editors, and for the walk that tells all problems of shape.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use super::File;

/// The JSON Schema of the file, draft 2020-12.
pub(crate) fn schema() -> &'static Value {
    static SCHEMA: OnceLock<Value> = OnceLock::new();
    SCHEMA.get_or_init(|| {
        let generator = SchemaSettings::draft2020_12()
            .for_deserialize()
            .into_generator();
        let mut schema = generator.into_root_schema_for::<File>().to_value();
        tidy(&mut schema);
        schema
    })
}

/// Takes out what the derives say about Rust and not about the file: an optional key may be left out, but its value is
/// never `null`; formats such as `uint64` mean nothing to editors.
fn tidy(schema: &mut Value) {
    let Value::Object(object) = schema else {
        return;
    };
    object.remove("format");
    if let Some(Value::String(text)) = object.get_mut("description") {
        // Comments are broken at the width of our source, which is nobody else's.
        *text = text
            .split("\n\n")
            .map(|paragraph| paragraph.replace('\n', " "))
            .collect::<Vec<_>>()
            .join("\n\n");
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|t| t != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(branches)) = object.get_mut("anyOf") {
        branches.retain(|b| b.get("type").is_none_or(|t| t != "null"));
        if let [Value::Object(only)] = branches.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
    // Only what stands under these keywords is a schema again: a key of the file may be called `format` too.
    for (keyword, value) in object.iter_mut() {
        match (keyword.as_str(), value) {
            ("properties" | "$defs", Value::Object(named)) => named.values_mut().for_each(tidy),
            ("anyOf" | "oneOf", Value::Array(branches)) => branches.iter_mut().for_each(tidy),
            ("items" | "additionalProperties", value) => tidy(value),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_describes_every_key_and_allows_no_other() {
        let schema = schema();
        let definitions = schema["$defs"]
            .as_object()
            .expect("types are definitions")
            .values();
        for object in definitions
            .chain([schema])
            .filter(|d| d["type"] == "object")
        {
            assert_eq!(object["additionalProperties"], false, "{object}");
            for (key, property) in object["properties"]
                .as_object()
                .expect("an object has keys")
            {
                assert!(
                    property["description"].is_string(),
                    "{key} has no description"
                );
            }
        }
    }

    #[test]
    fn the_schema_never_offers_null() {
        assert!(!schema().to_string().contains("null"), "{:#}", schema());
    }
}
