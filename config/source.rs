//! A file that was read, and the cursor that walks over its shape and knows where everything stands.

use std::path::PathBuf;

use crate::place::{Place, Places, Step, push_step};
use crate::problem::{MAX_PROBLEMS, Problem, Severity, plain};

/// A file's name, text and places.
#[derive(Debug)]
pub(crate) struct Source {
    /// As problems name it.
    pub(crate) name: PathBuf,
    pub(crate) text: String,
    pub(crate) places: Places,
    /// Where each line begins, in bytes.
    starts: Vec<usize>,
    is_ascii: bool,
}

/// So many characters around a place are kept for its problem.
const AROUND: usize = 200;

impl Source {
    pub(crate) fn new(name: PathBuf, text: String, places: Places) -> Self {
        let mut starts = vec![0];
        let bytes = text.as_bytes();
        // As YAML counts lines: each of LF, CR LF and CR ends one.
        starts.extend((0..bytes.len()).filter_map(|at| match bytes[at] {
            b'\n' => Some(at + 1),
            b'\r' if bytes.get(at + 1) != Some(&b'\n') => Some(at + 1),
            _ => None,
        }));
        Self {
            name,
            is_ascii: text.is_ascii(),
            text,
            places,
            starts,
        }
    }

    /// A line without its end, from 1; empty beyond the file.
    pub(crate) fn line(&self, number: usize) -> &str {
        let Some(start) = number.checked_sub(1).and_then(|n| self.starts.get(n)) else {
            return "";
        };
        let end = self.starts.get(number).copied().unwrap_or(self.text.len());
        self.text[*start..end].trim_end_matches(['\n', '\r'])
    }

    /// What stands behind so many characters of a line.
    fn behind(&self, line: usize, characters: usize) -> &str {
        let line = self.line(line);
        // Files in one long line of JSON are common: in plain ASCII the place is found without a walk.
        let at = if self.is_ascii {
            Some(characters)
        } else {
            line.char_indices().nth(characters).map(|(at, _)| at)
        };
        at.and_then(|at| line.get(at..)).unwrap_or_default()
    }

    /// How much to underline: the parser counts white space and comments behind a value as a part of it.
    fn width(&self, place: Place) -> usize {
        let behind = self.behind(place.line, place.column.saturating_sub(1));
        let stretch: Vec<char> = behind.chars().take(place.width.min(AROUND)).collect();
        let end = match stretch.first() {
            Some(quote @ ('"' | '\'')) => {
                let escapes = |at: &usize| {
                    stretch[..*at]
                        .iter()
                        .rev()
                        .take_while(|c| **c == '\\')
                        .count()
                };
                let closes = |at: &usize| {
                    stretch[*at] == *quote && (*quote == '\'' || escapes(at).is_multiple_of(2))
                };
                // In single quotes a quote is doubled: the one before the next other sign closes.
                let last =
                    (1..stretch.len()).find(|at| closes(at) && stretch.get(at + 1) != Some(&'\''));
                last.map(|at| at + 1)
            }
            Some('{' | '[') => stretch
                .iter()
                .rposition(|c| matches!(c, '}' | ']'))
                .map(|at| at + 1),
            _ => None,
        };
        let shown = end.unwrap_or_else(|| {
            stretch
                .iter()
                .rposition(|c| !c.is_whitespace())
                .map_or(1, |at| at + 1)
        });
        shown.max(1)
    }

    /// A problem at a place of this file.
    pub(crate) fn problem(
        &self,
        place: Place,
        code: &'static str,
        message: &str,
        hint: &str,
    ) -> Problem {
        // Where a parser names the end of the text, the last line that there is stands for it; it may also count a
        // character too many.
        let line = place.line.clamp(1, self.starts.len());
        let named = if line == place.line {
            place.column
        } else {
            usize::MAX
        };
        let column = named.clamp(1, self.line(line).chars().take(named).count() + 1);
        // Of a line without end only what a message shows is kept.
        let source_from = (column - 1).saturating_sub(AROUND);
        let shown = self.behind(line, source_from);
        Problem {
            line,
            column,
            source_line: shown.chars().take(3 * AROUND).collect(),
            source_from,
            width: self.width(Place {
                line,
                column,
                ..place
            }),
            ..Problem::of_file(code, self.name.clone(), message, hint)
        }
    }
}

/// A value of a file, by the way that leads to it. It costs nothing until something is wrong.
#[derive(Debug, Clone, Copy)]
pub(crate) struct At<'a> {
    source: &'a Source,
    way: Option<(&'a Self, Step<'a>)>,
}

impl<'a> At<'a> {
    /// The whole file.
    pub(crate) fn root(source: &'a Source) -> Self {
        Self { source, way: None }
    }

    /// The value of a key.
    pub(crate) fn key<'b>(&'b self, key: &'b str) -> At<'b> {
        At {
            source: self.source,
            way: Some((self, Step::Key(key))),
        }
    }

    /// An entry of a list, from 0.
    pub(crate) fn index<'b>(&'b self, index: usize) -> At<'b> {
        At {
            source: self.source,
            way: Some((self, Step::Index(index))),
        }
    }

    /// The file that it stands in.
    pub(crate) fn source(&self) -> &'a Source {
        self.source
    }

    /// `tidegate.yaml:4`: for messages that name a second place.
    pub(crate) fn told(&self) -> String {
        format!("{}:{}", self.source.name.display(), self.value_place().line)
    }

    /// The key whose value it is, if it is one.
    pub(crate) fn last_key(&self) -> Option<&'a str> {
        match self.way {
            Some((_, Step::Key(key))) => Some(key),
            Some((_, Step::Index(_))) | None => None,
        }
    }

    /// Whether the file holds it.
    pub(crate) fn is_written(&self) -> bool {
        self.source.places.holds(&self.steps())
    }

    /// A problem there that says nothing yet.
    pub(crate) fn source_problem(&self) -> Problem {
        self.source.problem(self.value_place(), "", "", "")
    }

    /// Where the value stands.
    pub(crate) fn value_place(&self) -> Place {
        self.source.places.value(&self.steps())
    }

    fn steps(&self) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        let mut here = *self;
        while let Some((above, step)) = here.way {
            steps.push(step);
            here = *above;
        }
        steps.reverse();
        steps
    }
}

/// The problems found so far.
#[derive(Debug, Default)]
pub(crate) struct Problems {
    list: Vec<Problem>,
    dropped: usize,
    /// One of them is an error.
    refused: bool,
}

impl Problems {
    /// An error in a value.
    pub(crate) fn error(
        &mut self,
        at: &At<'_>,
        code: &'static str,
        message: impl AsRef<str>,
        hint: impl AsRef<str>,
    ) {
        self.tell(
            at,
            at.value_place(),
            Severity::Error,
            code,
            message.as_ref(),
            hint.as_ref(),
        );
    }

    /// An error in a key, or in that it is there at all.
    pub(crate) fn key_error(
        &mut self,
        at: &At<'_>,
        code: &'static str,
        message: impl AsRef<str>,
        hint: impl AsRef<str>,
    ) {
        let place = at.source.places.key(&at.steps());
        self.tell(
            at,
            place,
            Severity::Error,
            code,
            message.as_ref(),
            hint.as_ref(),
        );
    }

    /// Something that somebody should look at.
    pub(crate) fn warning(
        &mut self,
        at: &At<'_>,
        code: &'static str,
        message: impl AsRef<str>,
        hint: impl AsRef<str>,
    ) {
        self.tell(
            at,
            at.value_place(),
            Severity::Warning,
            code,
            message.as_ref(),
            hint.as_ref(),
        );
    }

    fn tell(
        &mut self,
        at: &At<'_>,
        place: Place,
        severity: Severity,
        code: &'static str,
        message: &str,
        hint: &str,
    ) {
        let is_told = severity == Severity::Warning || self.refused;
        if self.list.len() >= MAX_PROBLEMS && is_told {
            self.dropped += 1;
            return;
        }
        let mut path = String::new();
        at.steps()
            .into_iter()
            .for_each(|step| push_step(&mut path, step));
        let problem = at.source.problem(place, code, message, hint);
        self.push(Problem {
            severity,
            path: plain(&path),
            ..problem
        });
    }

    /// A problem that was made elsewhere.
    pub(crate) fn push(&mut self, problem: Problem) {
        // Errors are never crowded out by warnings: a file with a dropped error would be taken for a good one.
        let first_error = problem.is_error() && !self.refused;
        self.refused |= problem.is_error();
        if self.list.len() < MAX_PROBLEMS {
            self.list.push(problem);
        } else {
            self.dropped += 1;
            if first_error {
                self.list[MAX_PROBLEMS - 1] = problem;
            }
        }
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        self.list.len() + self.dropped
    }

    /// Whether the file is refused.
    pub(crate) fn has_errors(&self) -> bool {
        self.refused
    }

    /// All of them, file by file in the order given, from top to bottom.
    pub(crate) fn into_sorted(mut self, files: &[PathBuf]) -> Vec<Problem> {
        let order = |p: &Problem| {
            files
                .iter()
                .position(|f| *f == p.file)
                .unwrap_or(usize::MAX)
        };
        self.list.sort_by_key(|p| (order(p), p.line, p.column));
        if self.dropped > 0 {
            let file = files.first().cloned().unwrap_or_default();
            let message = format!("{} more problems are not shown", self.dropped);
            self.list.push(Problem {
                severity: if self.refused {
                    Severity::Error
                } else {
                    Severity::Warning
                },
                ..Problem::of_file("T109", file, &message, "solve these first")
            });
        }
        self.list
    }
}
