//! The file that a test gives to the proxy, a section at a time.

use std::fmt::Write as _;

/// A configuration by its top-level sections, in the order they were first set. The defaults are one listener `in` and
/// the admin API on free ports of loopback, two workers, and a drain that does not wait for a load balancer.
#[derive(Debug, Clone)]
pub struct Site {
    sections: Vec<(String, String)>,
}

impl Site {
    pub fn new() -> Self {
        Self {
            sections: Vec::new(),
        }
        .with("runtime", "{ workers: 2, drain: { min: 0s, max: 5s } }")
        .with("admin", "{ address: 127.0.0.1:0 }")
        .with(
            "listeners",
            "[{ name: in, address: 127.0.0.1:0, trusted_headers: [x-user-id] }]",
        )
        .with("identity", "{ user: [{ header: x-user-id }] }")
    }

    /// One service `app`, its versions in this order, the first one stable; its one route sends everybody there.
    pub fn of(versions: &[(&str, String)]) -> Self {
        Self::new()
            .service("", versions)
            .with("routes", "[{ service: app, rules: [] }]")
    }

    /// Replaces the services by `app` with these versions and further keys such as `protocol: h2c`, on lines of
    /// their own.
    pub fn service(self, more: &str, versions: &[(&str, String)]) -> Self {
        let text = Self::service_text("app", more, versions);
        self.with("services", &text)
    }

    /// The YAML of a service, as an item of `services`.
    pub fn service_text(name: &str, more: &str, versions: &[(&str, String)]) -> String {
        let mut text = format!(
            "\n  - name: {name}\n    stable: {}\n    versions:\n",
            versions[0].0
        );
        for (version, endpoints) in versions {
            let _ = writeln!(
                text,
                "      - {{ name: {version}, endpoints: [{}] }}",
                quote_each(endpoints)
            );
        }
        for line in more.lines() {
            let _ = writeln!(text, "    {}", line.trim_start());
        }
        text
    }

    /// The one route `app` with these rules: a YAML list.
    pub fn rules(self, rules: &str) -> Self {
        self.route("", rules)
    }

    /// The one route `app` with further keys, on lines of their own, and these rules.
    pub fn route(self, more: &str, rules: &str) -> Self {
        let mut text = String::from("\n  - name: app\n    service: app\n");
        for line in more.lines() {
            let _ = writeln!(text, "    {}", line.trim_start());
        }
        let _ = writeln!(text, "    rules: {rules}");
        self.with("routes", &text)
    }

    /// The one listener `in` on a free port with further keys, in flow style.
    pub fn listener(self, more: &str) -> Self {
        let text = format!("[{{ name: in, address: \"127.0.0.1:0\", {more} }}]");
        self.with("listeners", &text)
    }

    /// Sets a top-level section: the text after `key:`.
    pub fn with(mut self, key: &str, text: &str) -> Self {
        match self.sections.iter_mut().find(|(k, _)| k == key) {
            Some((_, old)) => text.clone_into(old),
            None => self.sections.push((key.to_owned(), text.to_owned())),
        }
        self
    }

    /// Adds to a section that is a list in block style.
    pub fn adding(mut self, key: &str, text: &str) -> Self {
        for (_, old) in self.sections.iter_mut().filter(|(k, _)| k == key) {
            old.push_str(text);
        }
        self
    }

    /// Leaves a section out.
    pub fn without(mut self, key: &str) -> Self {
        self.sections.retain(|(k, _)| k != key);
        self
    }

    /// The file.
    pub fn yaml(&self) -> String {
        let mut text = String::from("version: 1\n");
        for (key, value) in &self.sections {
            let _ = writeln!(text, "{key}: {}", value.trim_end());
        }
        text
    }
}

fn quote_each(endpoints: &str) -> String {
    endpoints
        .split(',')
        .map(|e| format!("\"{}\"", e.trim()))
        .collect::<Vec<_>>()
        .join(", ")
}
