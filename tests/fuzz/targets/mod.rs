//! What the fuzzers feed. A target takes bytes, whatever they are, and panics where a promise is broken.
//!
//! The fuzzers are a package of their own, `tests/fuzz`: its program feeds one target with what libFuzzer makes up. Here
//! they are a part of the proxy's crate, so that they reach what its users cannot; an ordinary build leaves them out.
//! Whatever a fuzzer ever found, and the corpus that it begins with, is fed to its target by an ordinary test too.

/// Answers of a version, read and made ready for a caller.
mod answers;
/// The chunked coding, in pieces.
mod chunked;
/// The configuration file.
mod config;
/// The whole proxy between a caller that speaks HTTP/1 and a version.
mod exchange;
/// The whole proxy between a caller that speaks HTTP/2 and a version.
mod frames;
/// What every request that reaches a version is held against.
mod letter;
/// Any list of events in the life of a rollout.
mod rollout;
/// The compiled table against a plain reading of its file.
mod routing;
/// Requests that are read, screened, and written again.
mod screen;
/// Who belongs to which version.
mod split;
/// A proxy, a caller and a version in one thread and one second.
mod world;

/// Every target by its name, which is also its folder's in `tests/fuzz/corpus`.
#[allow(clippy::type_complexity, reason = "a name and a function")]
pub const TARGETS: &[(&str, fn(&[u8]))] = &[
    ("answers", answers::run),
    ("chunked", chunked::run),
    ("config", config::run),
    ("exchange", exchange::run),
    ("frames", frames::run),
    ("rollout", rollout::run),
    ("routing", routing::run),
    ("screen", screen::run),
    ("split", split::run),
];

/// A value of `strategy`, the same one for the same seed. Inputs hold many seeds, each for a small part: so what a fuzzer
/// changes leaves the rest as it was. (Bytes in the place of chance would not do: proptest halves what is left of them at
/// every choice, and draws zeros for ever behind them.)
fn drawn<S: proptest::strategy::Strategy>(strategy: &S, seed: &[u8]) -> S::Value {
    use proptest::strategy::ValueTree as _;
    use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

    let config = Config {
        failure_persistence: None,
        ..Config::default()
    };
    let mut whole = [0; 32];
    whole[..seed.len().min(32)].copy_from_slice(&seed[..seed.len().min(32)]);
    let chance = TestRng::from_seed(RngAlgorithm::ChaCha, &whole);
    let tree = strategy.new_tree(&mut TestRunner::new_with_rng(config, chance));
    tree.expect("no strategy here refuses").current()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::TARGETS;

    /// Feeds every input that is kept for a target.
    fn feed(name: &str) {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/fuzz/corpus")
            .join(name);
        let (_, run) = TARGETS
            .iter()
            .find(|(target, _)| *target == name)
            .expect("a target");
        let mut fed = 0;
        for file in fs::read_dir(&folder).expect("a corpus") {
            let path = file.expect("a file").path();
            let input = fs::read(&path).expect("an input");
            let kept = std::panic::catch_unwind(|| run(&input));
            assert!(kept.is_ok(), "{} breaks a promise", path.display());
            fed += 1;
        }
        assert!(fed > 0, "{} holds nothing", folder.display());
    }

    #[test]
    fn every_corpus_has_a_target() {
        let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        let mut names: Vec<String> = fs::read_dir(corpora)
            .expect("corpora")
            .map(|f| {
                f.expect("a folder")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        let targets: Vec<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names, targets);
    }

    #[test]
    fn answers_that_fuzzers_found_are_read_in_one_way() {
        feed("answers");
    }

    #[test]
    fn chunks_that_fuzzers_found_are_read_in_one_way() {
        feed("chunked");
    }

    #[test]
    fn files_that_fuzzers_found_are_told_or_loaded() {
        feed("config");
    }

    #[test]
    fn exchanges_that_fuzzers_found_stay_apart() {
        feed("exchange");
    }

    #[test]
    fn frames_that_fuzzers_found_stay_apart() {
        feed("frames");
    }

    #[test]
    fn lives_of_rollouts_that_fuzzers_found_keep_every_promise() {
        feed("rollout");
    }

    #[test]
    fn tables_that_fuzzers_found_decide_as_the_rules_say() {
        feed("routing");
    }

    #[test]
    fn requests_that_fuzzers_found_are_written_in_one_way() {
        feed("screen");
    }

    #[test]
    fn splits_that_fuzzers_found_are_monotone() {
        feed("split");
    }
}
