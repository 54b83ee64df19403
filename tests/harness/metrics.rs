//! A Prometheus page, parsed as strictly as a scraper's checker would.

use std::collections::{BTreeMap, BTreeSet};

/// One sample: name, labels, value.
#[derive(Debug, Clone)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// All samples of one scrape.
#[derive(Debug, Clone, Default)]
pub struct Metrics {
    pub samples: Vec<Sample>,
    /// Metric name → its TYPE.
    pub types: BTreeMap<String, String>,
    /// What a checker would complain about.
    pub complaints: Vec<String>,
}

impl Metrics {
    pub fn parse(page: &str) -> Self {
        let mut metrics = Self::default();
        let mut helped = BTreeSet::new();
        let mut seen = BTreeSet::new();
        if !page.ends_with('\n') {
            metrics
                .complaints
                .push("the page does not end with a line end".into());
        }
        for line in page.lines().filter(|l| !l.trim().is_empty()) {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                let (name, kind) = rest.split_once(' ').unwrap_or((rest, ""));
                if metrics
                    .types
                    .insert(name.to_owned(), kind.to_owned())
                    .is_some()
                {
                    metrics.complaints.push(format!("TYPE of {name} twice"));
                }
                if kind == "counter" && !name.ends_with("_total") {
                    metrics
                        .complaints
                        .push(format!("counter {name} does not end with _total"));
                }
            } else if let Some(rest) = line.strip_prefix("# HELP ") {
                helped.insert(rest.split(' ').next().unwrap_or("").to_owned());
            } else if !line.starts_with('#') {
                match sample(line) {
                    Some(sample) => {
                        if !seen.insert((sample.name.clone(), sample.labels.clone())) {
                            metrics.complaints.push(format!("a series twice: {line}"));
                        }
                        metrics.samples.push(sample);
                    }
                    None => metrics.complaints.push(format!("not a sample: {line}")),
                }
            }
        }
        for name in metrics.types.keys() {
            if !helped.contains(name) {
                metrics.complaints.push(format!("no HELP for {name}"));
            }
        }
        for sample in &metrics.samples {
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|s| sample.name.strip_suffix(s));
            if !metrics.types.contains_key(&sample.name)
                && !family.is_some_and(|f| metrics.types.contains_key(f))
            {
                metrics
                    .complaints
                    .push(format!("no TYPE for {}", sample.name));
            }
        }
        metrics.complaints.dedup();
        metrics
    }

    /// The sum over all series of this name that carry these labels.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.matching(name, labels).map(|s| s.value).sum()
    }

    pub fn matching<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |s| {
            s.name == name
                && labels
                    .iter()
                    .all(|(k, v)| s.labels.get(*k).is_some_and(|have| have == v))
        })
    }

    /// Whether any series has this name.
    pub fn has(&self, name: &str) -> bool {
        self.samples.iter().any(|s| s.name == name)
    }
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = match line.rfind('}') {
        Some(end) => (&line[..=end], line[end + 1..].trim()),
        None => line.split_once(' ')?,
    };
    let value = value.split(' ').next()?.parse().ok()?;
    let Some((name, inside)) = series.split_once('{') else {
        return Some(Sample {
            name: series.to_owned(),
            labels: BTreeMap::new(),
            value,
        });
    };
    let mut labels = BTreeMap::new();
    let mut rest = inside.strip_suffix('}')?;
    while !rest.is_empty() {
        let (key, after) = rest.split_once("=\"")?;
        let (text, after) = quoted(after)?;
        if labels.insert(key.to_owned(), text).is_some() {
            return None;
        }
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// The text up to the closing quote, unescaped, and what follows the quote.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
    None
}
