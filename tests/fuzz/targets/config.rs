use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tidegate_config::{Config, Loaded, MAX_PROBLEMS, Problem, Severity, parse};

use crate::route::Table;

/// No file of this size takes longer, however it is written.
const LONGEST: Duration = Duration::from_secs(5);

const NAME: &str = "fuzz.yaml";

/// Where relative files are looked for, and none is found.
static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = tempfile::tempdir().expect("a folder");
    folder.keep()
});

/// Whatever stands in the file, it is loaded or told, at once and each time alike; every problem has a place inside.
pub(super) fn run(input: &[u8]) {
    if searches(input) {
        return;
    }
    let began = Instant::now();
    let once = parse(input, NAME, &FOLDER);
    assert!(began.elapsed() < LONGEST, "{:?}", began.elapsed());
    let errors = once
        .problems
        .iter()
        .filter(|p| p.severity == Severity::Error);
    assert_eq!(
        errors.count() == 0,
        once.config.is_some(),
        "{:?}",
        once.problems
    );
    assert!(once.problems.len() <= MAX_PROBLEMS + 1);
    for problem in &once.problems {
        has_a_place(problem, input);
        can_be_shown(problem);
    }
    let again = parse(input, NAME, &FOLDER);
    assert_eq!(again.problems, once.problems);
    assert_eq!(again.fingerprint, once.fingerprint);
    if let (Some(config), Some(_)) = (&once.config, &again.config) {
        compiles(config, &once);
    }
}

/// What a fuzzer makes up is no reason to search the whole machine.
fn searches(input: &[u8]) -> bool {
    let has = |text: &[u8]| input.windows(text.len()).any(|w| w == text);
    has(b"include") && (has(b"**") || has(b".."))
}

fn has_a_place(problem: &Problem, input: &[u8]) {
    assert_eq!(problem.line == 0, problem.column == 0, "{problem:?}");
    if problem.line == 0 || problem.file != Path::new(NAME) {
        return;
    }
    // As editors count: CR LF, CR and LF end a line, and so do the separators that YAML 1.1 knew.
    let text = String::from_utf8_lossy(input);
    let mut lines = text.split('\n');
    let count = text.split(['\n', '\r']).count();
    assert!(
        problem.line <= count,
        "line {} of {count}: {problem:?}",
        problem.line
    );
    if !text.contains('\r') {
        let line = lines.nth(problem.line - 1).unwrap_or_default();
        let width = line.chars().count();
        assert!(
            problem.column <= width + 1,
            "column {} of {width}: {problem:?}",
            problem.column
        );
    }
}

/// In a terminal and in a log, a problem is text: nothing that the file holds is an order to either.
fn can_be_shown(problem: &Problem) {
    assert!(
        problem.code.starts_with('T') && problem.code != "T999",
        "{problem:?}"
    );
    assert!(!problem.message.is_empty(), "{problem:?}");
    for text in [&problem.message, &problem.hint, &problem.path] {
        assert!(!text.chars().any(char::is_control), "{text:?}");
    }
    let mut shown = String::new();
    let _ = write!(shown, "{problem}"); // a String takes everything
    let shown = problem.render(false) + &shown;
    let controls = shown.chars().filter(|c| c.is_control() && *c != '\n');
    assert_eq!(controls.count(), 0, "{shown:?}");
    assert!(serde_json::to_string(problem).is_ok());
}

fn compiles(config: &Config, loaded: &Loaded) {
    let began = Instant::now();
    drop(Table::compile(config, None));
    assert!(
        began.elapsed() < LONGEST,
        "{:?}: {:?}",
        began.elapsed(),
        loaded.problems
    );
}
