//! One thing that is wrong with the file, and where.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

/// Whether a problem keeps the file from being used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is refused.
    Error,
    /// It is used; somebody should look.
    Warning,
}

/// One thing that is wrong, with its place and a way out. Serializes as the contract's JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// `T201`: stable across releases.
    pub code: &'static str,
    /// Error or warning.
    pub severity: Severity,
    /// The file that it stands in.
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
    /// The line of the file, for the caret.
    #[serde(skip)]
    pub source_line: String,
    /// Characters that the caret underlines, at least 1.
    #[serde(skip)]
    pub width: usize,
}

impl fmt::Display for Problem {
    /// `FILE:LINE:COL: error[CODE]: what`, without the line and the caret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        write!(f, ": {severity}[{}]: {}", self.code, self.message)
    }
}
