//! The demo, as somebody runs it who has never seen it.

use std::path::Path;
use std::time::{Duration, Instant};

use crate::harness::{command, soon};

/// It ends by itself within a minute.
const WITHIN: Duration = Duration::from_secs(60);

#[test]
fn the_demo_shows_a_rollback_with_and_without_fallback_and_leaves_nothing_behind() {
    let begun = Instant::now();
    let output = command(&["demo"], "");
    let (took, told) = (begun.elapsed(), String::from_utf8_lossy(&output.stdout));
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(took < soon(WITHIN), "it took {took:?}");
    assert!(
        !told.contains("\x1b["),
        "no colours where there is no terminal"
    );
    let row = |name: &str| {
        let line = told
            .lines()
            .find(|line| line.trim_start().starts_with(name));
        let words = line
            .unwrap_or_else(|| panic!("{name} in {told}"))
            .split_whitespace();
        let numbers: Vec<u64> = words.filter_map(|word| word.parse().ok()).collect();
        // The last two: some names have a number of their own.
        numbers[numbers.len() - 2..].to_vec()
    };
    let (hit, errors) = (row("users hit"), row("errors that users saw"));
    let (failed, in_place) = (row("requests that v2 failed"), row("answered by v1"));
    assert!(
        (1..=40).contains(&hit[0]) && errors[0] == failed[0],
        "{told}"
    );
    assert_eq!((hit[1], errors[1]), (0, 0), "{told}");
    assert!(in_place[1] > 0 && in_place[1] == failed[1], "{told}");
    assert!(
        row("first failure").iter().all(|millis| *millis < 2000),
        "{told}"
    );

    let file = told.split_once("--config ").expect("the file is named").1;
    let folder = Path::new(file.lines().next().unwrap()).parent().unwrap();
    assert!(!folder.exists(), "{} is still there", folder.display());
}
