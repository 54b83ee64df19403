//! Header edits, compiled: names parsed, values without places to fill in made once.

use http::{HeaderMap, HeaderName, HeaderValue};
use tidegate_config as config;
use tidegate_config::TemplatePart;

/// What is done to a message's headers: removed first, then set, then added.
#[derive(Debug, Default)]
pub struct Edits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, Value)>,
    add: Vec<(HeaderName, Value)>,
}

#[derive(Debug)]
enum Value {
    Fixed(HeaderValue),
    Template(Vec<TemplatePart>),
}

/// What the places in a value are filled with.
#[derive(Debug, Clone, Copy)]
pub struct Places<'a> {
    /// `{version}`
    pub version: &'a str,
    /// `{service}`
    pub service: &'a str,
    /// `{route}`
    pub route: &'a str,
    /// `{rule}`; empty where no rule matched.
    pub rule: &'a str,
    /// `{client_address}`
    pub client: std::net::IpAddr,
    /// `{request_id}`
    pub request_id: &'a str,
}

impl Edits {
    /// Compiles what was written. Names and values were checked; one that is none after all is left out.
    pub fn compile(edits: &config::HeaderEdits) -> Self {
        let name = |n: &String| HeaderName::from_bytes(n.as_bytes()).ok();
        let pairs = |list: &[(String, config::HeaderTemplate)]| {
            list.iter()
                .filter_map(|(n, v)| Some((name(n)?, Value::compile(&v.0)?)))
                .collect()
        };
        Self {
            remove: edits.remove.iter().filter_map(name).collect(),
            set: pairs(&edits.set),
            add: pairs(&edits.add),
        }
    }

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Whether what is done depends on the version that the message goes to or comes from.
    pub fn name_the_version(&self) -> bool {
        let mut values = self.set.iter().chain(&self.add).map(|(_, value)| value);
        values.any(|value| match value {
            Value::Fixed(_) => false,
            Value::Template(parts) => parts.contains(&TemplatePart::Version),
        })
    }

    /// Does them.
    pub fn apply(&self, headers: &mut HeaderMap, places: Places<'_>) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            if let Some(value) = value.fill(places) {
                headers.insert(name.clone(), value);
            }
        }
        for (name, value) in &self.add {
            if let Some(value) = value.fill(places) {
                headers.append(name.clone(), value);
            }
        }
    }
}

impl Value {
    fn compile(parts: &[TemplatePart]) -> Option<Self> {
        match parts {
            [] => Some(Self::Fixed(HeaderValue::from_static(""))),
            [TemplatePart::Text(text)] => HeaderValue::from_str(text).ok().map(Self::Fixed),
            parts => Some(Self::Template(parts.to_vec())),
        }
    }

    fn fill(&self, places: Places<'_>) -> Option<HeaderValue> {
        use std::fmt::Write as _;
        let parts = match self {
            Self::Fixed(value) => return Some(value.clone()),
            Self::Template(parts) => parts,
        };
        let mut text = String::new();
        for part in parts {
            match part {
                TemplatePart::Text(t) => text.push_str(t),
                TemplatePart::Version => text.push_str(places.version),
                TemplatePart::Service => text.push_str(places.service),
                TemplatePart::Route => text.push_str(places.route),
                TemplatePart::Rule => text.push_str(places.rule),
                TemplatePart::ClientAddress => write!(text, "{}", places.client).ok()?,
                TemplatePart::RequestId => text.push_str(places.request_id),
            }
        }
        HeaderValue::from_maybe_shared(bytes::Bytes::from(text)).ok()
    }
}
