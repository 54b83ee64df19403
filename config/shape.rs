//! The walk over a file's shape: every unknown key, wrong kind, missing key and bad choice, not only the first.
//!
//! It holds the values against the JSON Schema that `tidegate schema` prints, so the two cannot drift apart. Only the
//! keywords that our own types produce are understood; a test holds that there are no others.

use serde_json::{Map, Value};

use crate::file::{LATER, Node, schema};
use crate::names::{list, nearest};
use crate::problem::quoted;
use crate::source::{At, Problems};

/// Tells all that is wrong with a file's shape. Where it tells nothing, the typed decode succeeds.
pub(crate) fn walk(at: &At<'_>, node: &Node, problems: &mut Problems) {
    Walk { schema: schema() }.value(at, node, schema(), problems);
}

struct Walk {
    schema: &'static Value,
}

impl Walk {
    fn value(&self, at: &At<'_>, node: &Node, schema: &Value, problems: &mut Problems) {
        let (name, schema) = self.resolve(schema);
        if let Node::Tagged(tag) = node {
            let message = format!("the tag {} is not understood here", quoted(tag));
            return problems.error(at, "T104", message, "write the plain value");
        }
        if let Some(choices) = choices(schema) {
            return choice(at, node, name, &choices, problems);
        }
        if let Some(branches) = schema.get("anyOf").and_then(Value::as_array) {
            // At most one of them has keys, and then its keys are what can be wrong.
            let keyed = branches
                .iter()
                .find(|branch| self.resolve(branch).1["type"] == "object");
            if let (Node::Map(_), Some(keyed)) = (node, keyed) {
                return self.value(at, node, keyed, problems);
            }
            if !branches.iter().any(|branch| self.fits(node, branch)) {
                mismatch(at, node, schema, problems);
            }
            return;
        }
        match (schema["type"].as_str().unwrap_or_default(), node) {
            ("object", Node::Map(entries)) => self.map(at, entries, name, schema, problems),
            ("array", Node::List(items)) => {
                for (index, item) in items.iter().enumerate() {
                    let at = at.index(index);
                    if *item == Node::Null {
                        problems.error(
                            &at,
                            "T111",
                            "an entry of the list is empty",
                            "give it a value or remove it",
                        );
                    } else {
                        self.value(&at, item, &schema["items"], problems);
                    }
                }
            }
            ("string", Node::Text(_))
            | ("integer" | "number", Node::Whole(_))
            | ("number", Node::Number(_))
            | ("boolean", Node::Bool(_)) => {}
            _ => mismatch(at, node, schema, problems),
        }
    }

    fn map(
        &self,
        at: &At<'_>,
        entries: &[(Node, Node)],
        name: &str,
        schema: &Value,
        problems: &mut Problems,
    ) {
        let none = Map::new();
        let properties = schema
            .get("properties")
            .and_then(Value::as_object)
            .unwrap_or(&none);
        let any_key = schema
            .get("additionalProperties")
            .filter(|rest| rest.is_object());
        for (key, value) in entries {
            let Node::Text(key) = key else {
                let message = format!("a key must be a text, this is {}", kind(key));
                problems.error(at, "T104", message, "put it in quotes");
                continue;
            };
            let at = at.key(key);
            let Some(schema) = properties.get(key).or(any_key) else {
                unknown_key(&at, key, name, properties, problems);
                continue;
            };
            if *value == Node::Null {
                let message = format!("`{}` has no value", shown(key));
                let hint = format!("give it {}, or remove the key", self.expected(schema));
                problems.key_error(&at, "T111", message, hint);
            } else {
                self.value(&at, value, schema, problems);
            }
        }
        let has = |key: &Value| {
            entries
                .iter()
                .any(|(k, _)| matches!(k, Node::Text(t) if *key == t.as_str()))
        };
        for key in schema
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter(|key| !has(key))
        {
            let key = key.as_str().unwrap_or_default();
            let hint = format!(
                "add it: {}",
                properties.get(key).map(describe).unwrap_or_default()
            );
            problems.error(at, "T105", format!("`{key}` is missing"), hint);
        }
    }

    /// Whether a value would do for a branch of a choice between kinds.
    fn fits(&self, node: &Node, schema: &Value) -> bool {
        let (_, schema) = self.resolve(schema);
        match (choices(schema), node) {
            (Some(choices), Node::Text(text)) => choices.contains(&text.as_str()),
            (Some(_), _) => false,
            (None, Node::Text(_)) => schema["type"] == "string",
            (None, Node::Whole(_)) => schema["type"] == "integer" || schema["type"] == "number",
            (None, Node::Number(_)) => schema["type"] == "number",
            (None, Node::Bool(_)) => schema["type"] == "boolean",
            _ => false,
        }
    }

    fn expected(&self, schema: &Value) -> String {
        expected(self.resolve(schema).1)
    }

    /// The schema that a reference means, and the name of its type.
    fn resolve<'s>(&self, schema: &'s Value) -> (&'s str, &'s Value)
    where
        Self: 's,
    {
        match schema
            .get("$ref")
            .and_then(Value::as_str)
            .and_then(|r| r.strip_prefix("#/$defs/"))
        {
            Some(name) => (name, &self.schema["$defs"][name]),
            None => (
                schema
                    .get("title")
                    .and_then(Value::as_str)
                    .unwrap_or_default(),
                schema,
            ),
        }
    }
}

fn unknown_key(
    at: &At<'_>,
    key: &str,
    name: &str,
    properties: &Map<String, Value>,
    problems: &mut Problems,
) {
    if is_later(name, key) {
        let message = format!("`{}` is not supported by this version yet", shown(key));
        return problems.key_error(
            at,
            "T107",
            message,
            "remove it; nothing that it says would happen",
        );
    }
    let message = format!("unknown key `{}`", shown(key));
    let known: Vec<&str> = properties.keys().map(String::as_str).collect();
    let hint = match (key, nearest(key, known.iter().copied())) {
        ("<<", _) => "merge keys are not read; write the keys out".to_owned(),
        (_, Some(near)) => format!("did you mean `{near}`?"),
        (_, None) => format!("known here: {}", known.join(", ")),
    };
    problems.key_error(at, "T103", message, hint);
}

fn choice(at: &At<'_>, node: &Node, name: &str, choices: &[&str], problems: &mut Problems) {
    let Node::Text(text) = node else {
        let message = format!("expected {}, found {}", list(choices, "or"), kind(node));
        return problems.error(at, "T104", message, unquoted(at, node, choices));
    };
    if choices.contains(&text.as_str()) {
        return;
    }
    if is_later(name, text) {
        let message = format!("{} is not supported by this version yet", quoted(text));
        return problems.error(
            at,
            "T107",
            message,
            format!("supported: {}", list(choices, "and")),
        );
    }
    let message = format!("expected {}, found {}", list(choices, "or"), quoted(text));
    let hint = match nearest(text, choices.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "write one of them".to_owned(),
    };
    problems.error(at, "T106", message, hint);
}

/// What to do about a word that YAML takes for something else: `1.3` is a number.
fn unquoted(at: &At<'_>, node: &Node, choices: &[&str]) -> String {
    let meant = match node {
        Node::Number(text) => text.clone(),
        Node::Whole(number) => number.to_string(),
        Node::Bool(value) => value.to_string(),
        _ => return "write one of them".to_owned(),
    };
    if !choices.contains(&meant.as_str()) {
        return format!("write one of them: \"{}\"", choices.join("\" or \""));
    }
    match at.last_key() {
        Some(key) => format!("write it in quotes: `{}: \"{meant}\"`", shown(key)),
        None => format!("write it in quotes: \"{meant}\""),
    }
}

fn mismatch(at: &At<'_>, node: &Node, schema: &Value, problems: &mut Problems) {
    let message = format!("expected {}, found {}", expected(schema), kind(node));
    let example = schema["examples"][0].as_str();
    let hint = match (schema["type"].as_str().unwrap_or_default(), node, example) {
        ("string", Node::Bool(_) | Node::Whole(_) | Node::Number(_), Some(example)) => {
            format!("write it like `{example}`")
        }
        ("string", Node::Bool(value), None) => format!("put it in quotes: \"{value}\""),
        ("string", Node::Whole(value), None) => format!("put it in quotes: \"{value}\""),
        ("string", Node::Number(_), None) => "put it in quotes".to_owned(),
        ("array", Node::Map(_), _) => "begin each entry with `- `".to_owned(),
        ("array", Node::Text(text), _) => format!("write it as a list: [{}]", shown(text)),
        ("array", ..) => "write it as a list: [ … ]".to_owned(),
        ("object", Node::List(_), _) => "write keys without `- ` before them".to_owned(),
        ("object", Node::Text(text), _) if text.contains(':') => {
            "put a space after the colon".to_owned()
        }
        ("integer", Node::Text(_), _) => "write the number without quotes or unit".to_owned(),
        ("boolean", ..) => "write true or false, without quotes".to_owned(),
        _ => format!("write {}", expected(schema)),
    };
    problems.error(at, "T104", message, hint);
}

/// What a value should be, as a noun phrase.
fn expected(schema: &Value) -> String {
    if let Some(choices) = choices(schema) {
        return list(&choices, "or");
    }
    match (schema["type"].as_str(), schema["title"].as_str()) {
        (Some("object"), _) => "keys with values".to_owned(),
        (Some("array"), _) => "a list".to_owned(),
        (Some("integer"), _) => "a whole number from 0".to_owned(),
        (Some("boolean"), _) => "true or false".to_owned(),
        (_, Some(title)) => title.to_owned(),
        _ => "a text".to_owned(),
    }
}

/// The first sentence of what the schema says about a key.
fn describe(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let line = text
        .split("\n\n")
        .next()
        .unwrap_or_default()
        .replace('\n', " ");
    let end = line
        .find(['.', ';'])
        .filter(|at| line[*at + 1..].starts_with(' '))
        .unwrap_or(line.len());
    let sentence = line[..end].trim_end_matches('.');
    let mut chars = sentence.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}

/// The words that an enum allows.
fn choices(schema: &Value) -> Option<Vec<&str>> {
    if let Some(words) = schema.get("enum").and_then(Value::as_array) {
        return Some(words.iter().filter_map(Value::as_str).collect());
    }
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![word]);
    }
    let branches = schema.get("oneOf")?.as_array()?;
    Some(branches.iter().filter_map(choices).flatten().collect())
}

fn kind(node: &Node) -> String {
    match node {
        Node::Null => "nothing".to_owned(),
        Node::Bool(value) => value.to_string(),
        Node::Whole(value) => format!("the number {value}"),
        Node::Number(value) => format!("the number {value}"),
        Node::Text(text) => quoted(text),
        Node::List(_) => "a list".to_owned(),
        Node::Map(_) => "keys with values".to_owned(),
        Node::Tagged(tag) => format!("the tag {}", quoted(tag)),
    }
}

fn shown(key: &str) -> String {
    quoted(key).trim_matches('"').to_owned()
}

fn is_later(name: &str, word: &str) -> bool {
    LATER
        .iter()
        .any(|(owner, words)| *owner == name && words.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keywords that the walk obeys, and those that say nothing about what is allowed.
    const OBEYED: &[&str] = &[
        "type",
        "properties",
        "required",
        "additionalProperties",
        "items",
        "enum",
        "const",
        "oneOf",
        "anyOf",
        "$ref",
    ];
    const SILENT: &[&str] = &[
        "$schema",
        "$defs",
        "title",
        "description",
        "examples",
        "default",
        "minimum",
    ];

    fn keywords(schema: &Value, told: &mut Vec<String>) {
        let Value::Object(object) = schema else {
            return;
        };
        for (keyword, value) in object {
            told.push(keyword.clone());
            match (keyword.as_str(), value) {
                ("properties" | "$defs", Value::Object(named)) => {
                    named.values().for_each(|s| keywords(s, told))
                }
                ("anyOf" | "oneOf", Value::Array(branches)) => {
                    branches.iter().for_each(|s| keywords(s, told))
                }
                ("items" | "additionalProperties", value) => keywords(value, told),
                _ => {}
            }
        }
    }

    #[test]
    fn the_walk_obeys_every_keyword_of_the_schema() {
        let mut told = Vec::new();
        keywords(schema(), &mut told);
        told.retain(|k| !OBEYED.contains(&k.as_str()) && !SILENT.contains(&k.as_str()));
        assert!(told.is_empty(), "the walk does not know {told:?}");
    }

    #[test]
    fn what_comes_later_belongs_to_a_type_that_exists() {
        for (name, words) in LATER {
            let definition = if *name == "Tidegate" {
                schema()
            } else {
                &schema()["$defs"][*name]
            };
            assert!(definition.is_object(), "{name} is no type of the schema");
            for word in *words {
                let known = definition["properties"].get(*word).is_some()
                    || choices(definition).is_some_and(|c| c.contains(word));
                assert!(!known, "{name}.{word} works: take it off the list");
            }
        }
    }
}
