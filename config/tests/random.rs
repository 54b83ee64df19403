//! Whatever stands in the file, it is told and nothing falls over.

use std::path::Path;

use proptest::prelude::*;

use super::parsed;
use crate::file::{decode, node};
use crate::place::Places;
use crate::source::{At, Problems, Source};
use crate::{Loaded, parse, shape};

/// Words of the file, in any order and nesting.
fn fragment() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec![
        "1",
        "0",
        "-1",
        "1.5",
        "true",
        "~",
        "v1",
        "10s",
        "5%",
        "64KiB",
        "\"x\"",
        "auto",
        "none",
        "127.0.0.1:80",
        "[]",
        "{}",
        "!t x",
        "10.0.0.0/8",
        "edge",
        "h2c",
        "h2",
        "*",
        "user",
        "by_endpoints",
        "UTC",
        "09:00",
        "2026-01-01T00:00",
        "\"http://a/\"",
        "5xx",
        "\"\\u001b[2J\"",
    ])
    .prop_map(str::to_owned);
    let key = prop::sample::select(vec![
        "version",
        "runtime",
        "workers",
        "drain",
        "min",
        "max",
        "include",
        "admin",
        "address",
        "listeners",
        "name",
        "limits",
        "timeouts",
        "idle",
        "rollouts",
        "service",
        "candidate",
        "stages",
        "weight",
        "mirror",
        "hold",
        "max_hold",
        "guard",
        "compare",
        "error_rate",
        "failures",
        "metrics",
        "prometheus",
        "above",
        "windows",
        "allow",
        "deny",
        "from",
        "to",
        "zone",
        "gates",
        "rollout",
        "services",
        "stable",
        "versions",
        "endpoints",
        "tags",
        "routes",
        "service",
        "match",
        "path",
        "prefix",
        "regex",
        "rules",
        "when",
        "header",
        "any",
        "not",
        "region",
        "country",
        "to",
        "split",
        "by",
        "weights",
        "guard",
        "respond",
        "status",
        "redirect",
        "identity",
        "user",
        "v1",
        "x",
        "<<",
        "1",
    ]);
    leaf.prop_recursive(6, 60, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(", "))),
            prop::collection::vec((key.clone(), inner), 0..6).prop_map(|entries| {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(key, value)| format!("{key}: {value}"))
                    .collect();
                format!("{{ {} }}", entries.join(", "))
            }),
        ]
    })
}

fn well_told(loaded: &Loaded, bytes: &[u8]) {
    let lines = bytes.split(|b| matches!(b, b'\n' | b'\r')).count();
    assert_eq!(
        loaded.config.is_none(),
        loaded.problems.iter().any(crate::Problem::is_error)
    );
    for problem in &loaded.problems {
        assert!(
            problem.line <= lines,
            "line {} of {lines}: {problem}",
            problem.line
        );
        assert!(problem.line == 0 || problem.column > 0, "{problem}");
        assert!(problem.width > 0, "{problem}");
        let shown = problem.render(false);
        assert!(
            shown.chars().all(|c| c == '\n' || !c.is_control()),
            "{shown:?}"
        );
        assert_ne!(problem.code, "T999", "{problem}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn no_bytes_make_the_parser_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        well_told(&parse(&bytes, "x.yaml", Path::new("")), &bytes);
    }

    #[test]
    fn no_text_of_yaml_signs_makes_the_parser_panic(text in "[-a:,\\[\\]{}&*!|>'\"%@#?~ \n\r\t<0é\u{feff}]{0,80}") {
        well_told(&parsed(&text), text.as_bytes());
    }

    #[test]
    fn no_values_make_the_check_panic(text in fragment()) {
        well_told(&parsed(&text), text.as_bytes());
    }

    #[test]
    fn a_shape_without_a_problem_is_decoded(text in fragment()) {
        let Ok((places, repeated)) = Places::read(&text) else { return Ok(()) };
        let Ok(node) = node(&text) else { return Ok(()) };
        let source = Source::new("x.yaml".into(), text.clone(), places);
        let mut problems = Problems::default();
        shape::walk(&At::root(&source), &node, &mut problems);
        let decoded = decode(&text);
        if !problems.has_errors() && repeated.is_empty() {
            prop_assert!(decoded.is_ok(), "{text}: {decoded:?}");
        }
    }
}
