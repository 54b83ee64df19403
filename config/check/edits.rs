//! Edits of headers, and the templates of their values.

use std::collections::{BTreeMap, HashMap};

use super::Check;
use super::value::is_header_value;
use crate::file;
use crate::names::nearest;
use crate::problem::quoted;
use crate::source::At;
use crate::{HeaderEdits, HeaderTemplate, TemplatePart};

/// Headers that frame a message or end at the next hop: the proxy writes them itself.
const OWN: &[&str] = &[
    "connection",
    "content-length",
    "http2-settings",
    "keep-alive",
    "proxy-authenticate",
    "proxy-authorization",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const PLACES: &[(&str, TemplatePart)] = &[
    ("version", TemplatePart::Version),
    ("service", TemplatePart::Service),
    ("route", TemplatePart::Route),
    ("rule", TemplatePart::Rule),
    ("client_address", TemplatePart::ClientAddress),
    ("request_id", TemplatePart::RequestId),
];

impl Check<'_> {
    pub(super) fn edits(
        &mut self,
        at: &At<'_>,
        written: Option<&file::HeaderEdits>,
    ) -> HeaderEdits {
        let Some(written) = written else {
            return HeaderEdits::default();
        };
        let remove_at = at.key("remove");
        self.no_entry_twice(&remove_at, &written.remove, str::to_ascii_lowercase);
        let remove = written
            .remove
            .iter()
            .enumerate()
            .map(|(index, name)| self.edited(&remove_at.index(index), name, false));
        let remove = remove.collect();
        HeaderEdits {
            remove,
            set: self.values(&at.key("set"), &written.set),
            add: self.values(&at.key("add"), &written.add),
        }
    }

    fn values(
        &mut self,
        at: &At<'_>,
        written: &BTreeMap<String, String>,
    ) -> Vec<(String, HeaderTemplate)> {
        let mut seen = HashMap::new();
        let mut values = Vec::with_capacity(written.len());
        for (name, text) in written {
            let at = at.key(name);
            let lower = self.edited(&at, name, true);
            if let Some(first) = seen.insert(lower.clone(), name) {
                let message = format!("{} and {} are one header", quoted(first), quoted(name));
                self.problems
                    .key_error(&at, "T202", message, "remove one of the two");
            }
            let template = self.template(&at, text);
            values.push((lower, template));
        }
        values
    }

    /// A header's name, which must be one that may be edited.
    fn edited(&mut self, at: &At<'_>, name: &str, is_key: bool) -> String {
        let lower = name.to_ascii_lowercase();
        let hint = match lower.as_str() {
            "host" => "use `rewrite: { host: … }`",
            name if name.starts_with(':') => {
                "use `rewrite` for the path and the host; others cannot be changed"
            }
            name if OWN.contains(&name) => {
                "remove the entry: it belongs to the connection, not to the request"
            }
            _ if !super::value::is_token(name) => {
                let message = format!("{} cannot be a header's name", quoted(name));
                self.key_or_value(at, is_key, "T307", &message, "use letters, digits and `-`");
                return lower;
            }
            _ => return lower,
        };
        let message = format!("the proxy writes {} itself", quoted(name));
        self.key_or_value(at, is_key, "T313", &message, hint);
        lower
    }

    fn key_or_value(
        &mut self,
        at: &At<'_>,
        is_key: bool,
        code: &'static str,
        message: &str,
        hint: &str,
    ) {
        if is_key {
            self.problems.key_error(at, code, message, hint);
        } else {
            self.problems.error(at, code, message, hint);
        }
    }

    fn template(&mut self, at: &At<'_>, text: &str) -> HeaderTemplate {
        if !is_header_value(text) {
            let message = "the value has control characters, which no header may have";
            self.problems
                .error(at, "T307", message, "write it on one line");
        }
        match parse_template(text) {
            Ok(template) => template,
            Err((message, hint)) => {
                self.problems.error(at, "T307", message, hint);
                HeaderTemplate(Vec::new())
            }
        }
    }
}

/// `{name}` is a place, `{{` and `}}` are braces.
fn parse_template(text: &str) -> Result<HeaderTemplate, (String, String)> {
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(brace) {
            plain.push_str(brace);
            rest = after;
            continue;
        }
        let doubled = || "write `{{` and `}}` for plain braces".to_owned();
        let ("{", Some(end)) = (brace, rest.find('}')) else {
            return Err((format!("the brace `{brace}` stands alone"), doubled()));
        };
        let name = &rest[..end];
        let Some((_, part)) = PLACES.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = PLACES.iter().map(|(known, _)| *known).collect();
            let hint = match nearest(name, names.iter().copied()) {
                Some(near) => format!("did you mean `{{{near}}}`?"),
                None => format!("known: {}; {}", names.join(", "), doubled()),
            };
            return Err((
                format!("nothing is called {} here", quoted(&format!("{{{name}}}"))),
                hint,
            ));
        };
        if !plain.is_empty() {
            parts.push(TemplatePart::Text(std::mem::take(&mut plain)));
        }
        parts.push(part.clone());
        rest = &rest[end + 1..];
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(TemplatePart::Text(plain));
    }
    Ok(HeaderTemplate(parts))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_template_is_text_with_places_to_fill_in() {
        let parsed = parse_template("a {{{version}}} b {rule}").unwrap();
        let text = |t: &str| TemplatePart::Text(t.to_owned());
        assert_eq!(
            parsed.0,
            [
                text("a {"),
                TemplatePart::Version,
                text("} b "),
                TemplatePart::Rule
            ]
        );
        assert_eq!(parse_template("").unwrap().0, []);
        for wrong in ["{", "}", "{version", "a}b", "{}", "{Version}", "{versoin}"] {
            assert!(parse_template(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_text_with_its_braces_doubled_stays_as_it_is(text in "[a-z{} ]{0,40}") {
            let doubled = text.replace('{', "{{").replace('}', "}}");
            let parts = parse_template(&doubled).unwrap().0;
            let expected = if text.is_empty() { vec![] } else { vec![TemplatePart::Text(text)] };
            prop_assert_eq!(parts, expected);
        }
    }
}
