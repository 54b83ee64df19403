//! One thing that is wrong with the file, and where.
//!
//! | code | what |
//! |---|---|
//! | T100 | the file holds nothing |
//! | T101 | it is not YAML, or more YAML than one document |
//! | T102 | a key stands twice in one place |
//! | T103 | a key that does not exist |
//! | T104 | a value of another kind than expected |
//! | T105 | a key that must be there is missing |
//! | T106 | a choice that does not exist |
//! | T107 | a key or value that this version does not support yet |
//! | T108 | none or several of keys of which exactly one is needed, or a key that does not go with another |
//! | T109 | larger or deeper than is read |
//! | T110 | not UTF-8 |
//! | T111 | a key without a value |
//! | T112 | a version of the format that is not known |
//! | T201 | a name that nothing has |
//! | T202 | a name, section or entry given twice |
//! | T203 | a name that cannot be one |
//! | T204 | a list that needs at least one entry |
//! | T205 | two listeners on one address |
//! | T206 | a rollout or guard that has no candidate, or more than one |
//! | T207 | a rule whose rollout is another service's |
//! | T301 | a duration, size or share that cannot be read |
//! | T302 | a number or quantity out of its range |
//! | T303 | weights that do not add up to 100 % |
//! | T304 | an address or endpoint that cannot be read |
//! | T305 | a network that cannot be read |
//! | T306 | a regular expression that cannot be read, or is too large |
//! | T307 | a header's name or value that cannot be sent |
//! | T308 | a cookie's name |
//! | T309 | a method |
//! | T310 | a country, subdivision or continent |
//! | T311 | a host or path |
//! | T312 | a status |
//! | T313 | a header that is the proxy's own to write |
//! | T314 | values that contradict each other |
//! | T315 | an admin API open to others without tokens |
//! | T316 | everybody is a trusted proxy |
//! | T317 | a word for what a split goes by, for what is retried, or for what is a failure |
//! | T318 | stages that lead nowhere: they fall, repeat a weight, mirror after a weight |
//! | T319 | a time zone, a time of the day or a moment that cannot be read |
//! | T320 | windows in which nothing ever grows |
//! | T401 | a file that cannot be read |
//! | T402 | a file that does not hold what it should |
//! | T403 | a pattern of files to include |
//! | T404 | a certificate and a key that are not each other's |
//! | T405 | warning: a certificate that has ended |
//! | T406 | a file that holds a secret, or authorities, and that others may write |
//! | T407 | warning: an OCSP answer that is none |
//! | T408 | warning: a server name that the certificate is not for, or a certificate that is never shown |
//! | T409 | a machine that has no certificate authorities |
//! | T410 | warning: a certificate that ends soon |
//! | T411 | warning: files of a pair that are none at the moment; the old pair stays in force |
//! | T501 | an address that the machine does not give |
//! | T502 | a region database that cannot be used |
//! | T503 | an access log that cannot be opened |
//! | T901 | warning: a rule that is never reached |
//! | T902 | warning: a route that is never reached |
//! | T903 | warning: `region` without `geo` never holds |
//! | T904 | warning: a header never counts: no listener trusts it, or lets in the underscore of its name |
//! | T905 | warning: outsiders choose the cookie that says who they are |
//! | T906 | warning: the user is asked for, and nobody says who it is |
//! | T907 | warning: a rollout that no rule names |
//! | T908 | warning: a rollout that is not compared, because another one has its salt |
//! | T909 | warning: a rollout whose candidate is stable already |
//! | T910 | warning: what only a restart changes |
//! | T911 | warning: a guard that never fires |
//! | T912 | warning: a file that holds a secret and that others may read |
//! | T913 | warning: a file of the configuration that others may write |
//! | T914 | warning: a file of the configuration that belongs to a stranger |
//! | T915 | warning: client certificates count, and no listener asks for them |
//! | T999 | a fault of Tidegate itself |

use std::any::Any;
use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// The most problems of one file that are kept; one more says how many there were.
pub const MAX_PROBLEMS: usize = 1000;

/// The widest part of a line that [`Problem::render`] shows, in characters.
const MAX_SHOWN: usize = 100;

/// The longest text of the file that a message repeats, in characters.
const MAX_QUOTED: usize = 60;

/// Whether a problem keeps the file from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// It is used; somebody should look.
    Warning,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Error => "error",
            Self::Warning => "warning",
        })
    }
}

/// One thing that is wrong, with its place and a way out. Serializes as the contract's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `T201`: stable across releases.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// The file that it stands in.
    #[serde(serialize_with = "lossy")]
    pub file: PathBuf,
    /// From 1; 0 where the file as a whole is meant.
    pub line: usize,
    /// In characters from 1; 0 where the file as a whole is meant.
    pub column: usize,
    /// `routes[0].rules[1].to`; empty where the file as a whole is meant.
    pub path: String,
    /// What was seen and what was expected: lower case, no full stop.
    pub message: String,
    /// What to do.
    pub hint: String,
    /// The line of the file, for the caret; of a very long one the part around it.
    #[serde(skip)]
    pub source_line: String,
    /// So many characters of the line stand before `source_line`.
    #[serde(skip)]
    pub source_from: usize,
    /// Characters that the caret underlines, at least 1.
    #[serde(skip)]
    pub width: usize,
}

impl Problem {
    /// A problem of a file as a whole.
    pub fn of_file(code: &'static str, file: PathBuf, message: &str, hint: &str) -> Self {
        Self {
            code,
            severity: Severity::Error,
            file,
            line: 0,
            column: 0,
            path: String::new(),
            message: plain(message),
            hint: plain(hint),
            source_line: String::new(),
            source_from: 0,
            width: 1,
        }
    }

    /// A panic while an edit was taken, by what it said: a fault of Tidegate, for which the edit pays and nobody else.
    pub fn of_fault(file: PathBuf, panic: &(dyn Any + Send)) -> Self {
        let said = panic
            .downcast_ref::<&str>()
            .copied()
            .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
            .unwrap_or("it does not say which");
        let message = format!("a fault of tidegate: the edit is refused: {said}");
        let hint = "write the edit in another way, and report this with the file; what was loaded before stays in force";
        Self::of_file("T999", file, &message, hint)
    }

    /// Whether it keeps the file from being used.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }

    /// The problem as an operator reads it: [`Display`](fmt::Display), the line, a caret under it, and what to do.
    /// Ends with a line end. `colour` is for terminals.
    pub fn render(&self, colour: bool) -> String {
        let paint = |code: &'static str| if colour { code } else { "" };
        let (tone, bold, dim, end) = (
            paint(if self.is_error() {
                "\x1b[1;31m"
            } else {
                "\x1b[1;33m"
            }),
            paint("\x1b[1m"),
            paint("\x1b[2m"),
            paint("\x1b[0m"),
        );
        let mut out = format!(
            "{bold}{}{end}: {tone}{}[{}]{end}: {bold}{}{end}\n",
            self.place(),
            self.severity,
            self.code,
            plain(&self.message)
        );
        if let Some((shown, indent, width)) = self.excerpt() {
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            out.push_str(&format!("  {dim}{number} |{end} {shown}\n"));
            out.push_str(&format!(
                "  {dim}{gutter} |{end} {}{tone}{}{end}\n",
                " ".repeat(indent),
                "^".repeat(width)
            ));
        }
        if !self.hint.is_empty() {
            out.push_str(&format!("  {dim}hint:{end} {}\n", plain(&self.hint)));
        }
        out
    }

    fn place(&self) -> String {
        let file = plain(&self.file.display().to_string());
        if self.line == 0 {
            file
        } else {
            format!("{file}:{}:{}", self.line, self.column)
        }
    }

    /// The part of the line around the caret, what stands left of the caret and how wide it is.
    fn excerpt(&self) -> Option<(String, usize, usize)> {
        let column = self.column.checked_sub(1)?;
        if self.line == 0 || self.source_line.trim().is_empty() {
            return None;
        }
        // Tabs become one space and control characters a mark, so that a column is a column.
        let line: Vec<char> = self.source_line.chars().map(visible).collect();
        let column = column.saturating_sub(self.source_from).min(line.len());
        let width = self.width.clamp(1, (line.len() - column).max(1));
        let (from, to) = if line.len() <= MAX_SHOWN {
            (0, line.len())
        } else {
            let from = column.saturating_sub(MAX_SHOWN / 3);
            (from, (from + MAX_SHOWN).min(line.len()))
        };
        let mut shown = String::new();
        let mut indent = column - from;
        if from + self.source_from > 0 {
            shown.push('…');
            indent += 1;
        }
        shown.extend(&line[from..to]);
        if to < line.len() {
            shown.push('…');
        }
        Some((
            shown.trim_end().to_owned(),
            indent,
            width.min((to - column).max(1)),
        ))
    }
}

impl fmt::Display for Problem {
    /// `FILE:LINE:COL: error[CODE]: what`, without the line and the caret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {}[{}]: {}",
            self.place(),
            self.severity,
            self.code,
            plain(&self.message)
        )
    }
}

/// A path as JSON text, whatever its bytes are.
fn lossy<S: serde::Serializer>(path: &std::path::Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

/// A piece of the file's text for a message: in quotes, cut where it is long.
pub(crate) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_QUOTED).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    format!("\"{}\"", plain(&shown))
}

/// A text that is safe to print: what would move the cursor, colour the terminal or turn the direction is escaped.
pub(crate) fn plain(text: &str) -> String {
    if !text.chars().any(is_harmful) {
        return text.to_owned();
    }
    text.chars()
        .fold(String::with_capacity(text.len() + 8), |mut out, c| {
            if is_harmful(c) {
                out.extend(c.escape_unicode())
            } else {
                out.push(c)
            }
            out
        })
}

fn visible(c: char) -> char {
    match c {
        '\t' => ' ',
        c if is_harmful(c) => '\u{fffd}',
        c => c,
    }
}

fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(line: &str, column: usize, width: usize) -> Problem {
        Problem {
            line: 14,
            column,
            path: "routes[0].rules[0].to".to_owned(),
            source_line: line.to_owned(),
            width,
            ..Problem::of_file(
                "T201",
                "tidegate.yaml".into(),
                r#"route "shop" sends to version "v3", but service "shop" has "v1" and "v2""#,
                "name one of them",
            )
        }
    }

    #[test]
    fn a_problem_prints_its_place_its_line_and_a_way_out() {
        assert_eq!(
            problem("        to: v3", 13, 2).render(false),
            "tidegate.yaml:14:13: error[T201]: route \"shop\" sends to version \"v3\", but service \"shop\" has \"v1\" and \"v2\"\n\
             \x20 14 |         to: v3\n\
             \x20    |             ^^\n\
             \x20 hint: name one of them\n"
        );
    }

    #[test]
    fn a_long_line_is_cut_around_the_caret() {
        let line = format!("{}HERE{}", "a".repeat(500), "b".repeat(500));
        let text = problem(&line, 501, 4).render(false);
        let rows: Vec<&str> = text.lines().collect();
        assert!(rows[1].chars().count() < 120, "{text}");
        let at = rows[2].chars().position(|c| c == '^').expect("a caret");
        let under: String = rows[1].chars().skip(at).take(4).collect();
        assert_eq!(
            (under.as_str(), rows[2].matches('^').count()),
            ("HERE", 4),
            "{text}"
        );
    }

    #[test]
    fn tabs_count_as_one_column_and_control_characters_never_reach_the_terminal() {
        let mut bad = problem("\tto:\x1b[2J v3\u{202e}", 11, 2);
        bad.message.push_str("\x1b[31m\r");
        bad.hint.push('\x07');
        bad.file = "a\x1bb.yaml".into();
        for text in [bad.render(false), bad.to_string()] {
            assert!(
                text.chars().all(|c| c == '\n' || !is_harmful(c)),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_caret_beyond_the_line_still_points_to_its_end() {
        assert!(
            problem("to:", 40, 9)
                .render(false)
                .contains("\n     |    ^\n")
        );
    }
}
