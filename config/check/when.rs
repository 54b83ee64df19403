//! Conditions.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::Check;
use super::value::is_token;
use crate::file::{self, PathText};
use crate::problem::quoted;
use crate::read::{Part, joined};
use crate::reader::MAX_USERS_FILE;
use crate::source::At;
use crate::{RegionMatch, TextMatch, When};

impl Check<'_> {
    pub(super) fn when(&mut self, at: &At<'_>, written: &file::When, part: &Part) -> When {
        let mut all = Vec::new();
        let texts = [
            ("header", &written.header),
            ("cookie", &written.cookie),
            ("query", &written.query),
        ];
        for (key, text) in texts {
            if let Some(text) = text {
                all.push(self.named_text(&at.key(key), key, text));
            }
        }
        if let Some(path) = &written.path {
            all.extend(self.path_match(&at.key("path"), path).map(When::Path));
        }
        if let Some(methods) = &written.method {
            all.push(When::Method(self.methods(&at.key("method"), methods)));
        }
        if let Some(region) = &written.region {
            all.push(When::Region(self.region(&at.key("region"), region)));
        }
        if let Some(networks) = &written.source {
            let at = at.key("source");
            self.not_empty(&at, networks.len(), "source");
            all.push(When::Source(self.networks(&at, networks)));
        }
        if let Some(users) = &written.user {
            all.push(When::User(self.users(&at.key("user"), users, part)));
        }
        if let Some(certificate) = &written.client_certificate {
            self.certificate_match(&at.key("client_certificate"), certificate, &mut all);
        }
        if let Some(list) = &written.any {
            all.push(When::Any(self.conditions(
                &at.key("any"),
                "any",
                list,
                part,
            )));
        }
        if let Some(list) = &written.all {
            all.push(When::All(self.conditions(
                &at.key("all"),
                "all",
                list,
                part,
            )));
        }
        if let Some(not) = &written.not {
            all.push(When::Not(Box::new(self.when(&at.key("not"), not, part))));
        }
        if *written == file::When::default() {
            self.problems.error(
                at,
                "T108",
                "the condition is empty",
                "add a key, or leave `when` out for everybody",
            );
        }
        match <[When; 1]>::try_from(all) {
            Ok([only]) => only,
            Err(all) => When::All(all),
        }
    }

    fn conditions(
        &mut self,
        at: &At<'_>,
        key: &str,
        list: &[file::When],
        part: &Part,
    ) -> Vec<When> {
        self.not_empty(at, list.len(), key);
        list.iter()
            .enumerate()
            .map(|(index, when)| self.when(&at.index(index), when, part))
            .collect()
    }

    pub(super) fn not_empty(&mut self, at: &At<'_>, entries: usize, key: &str) {
        if entries == 0 {
            self.problems.error(
                at,
                "T204",
                format!("`{key}` is an empty list"),
                "add an entry, or remove the key",
            );
        }
    }

    fn named_text(&mut self, at: &At<'_>, key: &str, written: &file::TextMatch) -> When {
        let name_at = at.key("name");
        let text = self.text_match(at, written);
        match key {
            "header" => When::Header(self.header_name(&name_at, &written.name), text),
            "cookie" => When::Cookie(self.cookie_name(&name_at, &written.name), text),
            _ => {
                if written.name.is_empty() {
                    self.problems.error(
                        &name_at,
                        "T203",
                        "a parameter's name is empty",
                        "write its name",
                    );
                }
                When::Query(written.name.clone(), text)
            }
        }
    }

    fn text_match(&mut self, at: &At<'_>, written: &file::TextMatch) -> TextMatch {
        let value = file::ValueMatch {
            exact: written.exact.clone(),
            prefix: written.prefix.clone(),
            contains: written.contains.clone(),
            regex: written.regex.clone(),
        };
        self.one_match(at, &value, written.present, "beside `name` there is")
    }

    /// What a value must be that has no name.
    pub(super) fn value_match(&mut self, at: &At<'_>, written: &file::ValueMatch) -> TextMatch {
        self.one_match(at, written, None, "there is")
    }

    fn one_match(
        &mut self,
        at: &At<'_>,
        written: &file::ValueMatch,
        present: Option<bool>,
        there_is: &str,
    ) -> TextMatch {
        let mut given = Vec::new();
        given.extend(written.exact.clone().map(TextMatch::Exact));
        given.extend(written.prefix.clone().map(TextMatch::Prefix));
        given.extend(written.contains.clone().map(TextMatch::Contains));
        given.extend(present.map(TextMatch::Present));
        for (key, text) in [("prefix", &written.prefix), ("contains", &written.contains)] {
            if text.as_ref().is_some_and(String::is_empty) {
                let message = format!("an empty `{key}` holds for every value");
                self.problems.error(
                    &at.key(key),
                    "T302",
                    message,
                    "write `present: true` for that",
                );
            }
        }
        let count = given.len() + usize::from(written.regex.is_some());
        if let Some(pattern) = &written.regex {
            given.extend(self.regex(&at.key("regex"), pattern).map(TextMatch::Regex));
        }
        if count != 1 {
            let message = format!("{there_is} exactly one key, here there are {count}");
            let hint = if there_is == "there is" {
                "write one of `exact`, `prefix`, `contains` and `regex`"
            } else {
                "write one of `exact`, `prefix`, `contains`, `regex` and `present`"
            };
            self.problems.error(at, "T108", message, hint);
        }
        given.into_iter().next().unwrap_or(TextMatch::Present(true))
    }

    fn methods(&mut self, at: &At<'_>, written: &[String]) -> Vec<String> {
        self.not_empty(at, written.len(), "method");
        self.no_entry_twice(at, written, str::to_owned);
        for (index, method) in written.iter().enumerate() {
            let hint = if matches!(method.as_str(), "CONNECT" | "TRACE") {
                "no route gets it: the proxy refuses it with 405".to_owned()
            } else if !is_token(method) {
                "write it like `GET`".to_owned()
            } else if method.bytes().any(|b| b.is_ascii_lowercase()) {
                format!("methods are upper case: `{}`", method.to_ascii_uppercase())
            } else {
                continue;
            };
            let message = format!("{} is no method to match", quoted(method));
            self.problems.error(&at.index(index), "T309", message, hint);
        }
        written.to_vec()
    }

    fn region(&mut self, at: &At<'_>, written: &file::Region) -> RegionMatch {
        if *written == file::Region::default() {
            let hint = "add `country`, `subdivision` or `continent`";
            self.problems.error(at, "T108", "the region is empty", hint);
        }
        if !self.has_geo {
            // Once is enough: it is the file that lacks something, not the rule.
            self.has_geo = true;
            let message = "`region` never holds: the file does not say where a region comes from";
            self.problems.warning(
                at,
                "T903",
                message,
                "add `geo: { header: x-region }` or `geo: { database: … }`",
            );
        }
        RegionMatch {
            country: self.codes(
                &at.key("country"),
                written.country.as_deref(),
                super::region::country,
            ),
            subdivision: self.codes(
                &at.key("subdivision"),
                written.subdivision.as_deref(),
                super::region::subdivision,
            ),
            continent: self.codes(
                &at.key("continent"),
                written.continent.as_deref(),
                super::region::continent,
            ),
        }
    }

    fn codes(
        &mut self,
        at: &At<'_>,
        written: Option<&[String]>,
        check: fn(&str) -> Result<(), (String, String)>,
    ) -> Vec<String> {
        let Some(written) = written else {
            return Vec::new();
        };
        self.not_empty(at, written.len(), "region");
        self.no_entry_twice(at, written, str::to_ascii_uppercase);
        let mut codes = Vec::with_capacity(written.len());
        for (index, code) in written.iter().enumerate() {
            let upper = code.to_ascii_uppercase();
            if let Err((message, hint)) = check(&upper) {
                self.problems.error(
                    &at.index(index),
                    "T310",
                    format!("{} is {message}", quoted(code)),
                    hint,
                );
            }
            codes.push(upper);
        }
        codes
    }

    fn users(
        &mut self,
        at: &At<'_>,
        written: &file::UserMatch,
        part: &Part,
    ) -> Arc<BTreeSet<String>> {
        if !self.has_identity {
            self.has_identity_told(at);
        }
        let listed = written.any_of.as_deref().unwrap_or_default();
        if written.any_of.is_some() {
            self.not_empty(&at.key("any_of"), listed.len(), "any_of");
            self.no_entry_twice(&at.key("any_of"), listed, str::to_owned);
        }
        let filed = written
            .file
            .as_ref()
            .map(|PathText(path)| self.users_file(&at.key("file"), &joined(&part.folder, path)));
        match (written.any_of.is_some(), filed) {
            (false, None) => {
                self.problems.error(
                    at,
                    "T108",
                    "no user is named",
                    "add `any_of: [\"42\"]` or `file: ./users.txt`",
                );
                Arc::default()
            }
            (false, Some(filed)) => filed,
            (true, filed) => {
                let trimmed = listed.iter().map(|user| user.trim().to_owned());
                Arc::new(
                    trimmed
                        .chain(filed.iter().flat_map(|users| users.iter().cloned()))
                        .collect(),
                )
            }
        }
    }

    fn has_identity_told(&mut self, at: &At<'_>) {
        let message = "`user` never holds: the file does not say who the user is";
        self.problems.warning(
            at,
            "T906",
            message,
            "add `identity: { user: [{ header: x-user-id }] }`",
        );
    }

    /// An ID a line. White space around it does not count, as it does not in a header.
    fn users_file(&mut self, at: &At<'_>, path: &Path) -> Arc<BTreeSet<String>> {
        if let Some(known) = self.users.get(path) {
            return Arc::clone(known);
        }
        let Some(bytes) = self.bytes(at, path, MAX_USERS_FILE) else {
            return Arc::default();
        };
        let text = match str::from_utf8(&bytes) {
            Ok(text) => text.strip_prefix('\u{feff}').unwrap_or(text),
            Err(_) => {
                let message = format!("{} is not UTF-8", quoted(&path.display().to_string()));
                self.problems
                    .error(at, "T402", message, "save it as UTF-8 with an ID a line");
                return Arc::default();
            }
        };
        let lines = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        let users: Arc<BTreeSet<String>> = Arc::new(lines.map(str::to_owned).collect());
        self.users.insert(path.to_owned(), Arc::clone(&users));
        users
    }
}
