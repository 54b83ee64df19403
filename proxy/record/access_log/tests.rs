//! Promises about the log as a whole, on real files and pipes.

use std::fs::{self, File};
use std::io::{PipeReader, Read as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use tidegate_config::Share;

use super::line::tests::{line, policy};
use super::*;
use crate::record::FailureKind;

const SOON: Duration = Duration::from_secs(10);

fn log() -> (AccessLog, Arc<AtomicU64>) {
    let dropped = Arc::new(AtomicU64::new(0));
    (AccessLog::start(Arc::clone(&dropped)).unwrap(), dropped)
}

fn to_file(path: &Path) -> config::AccessLog {
    config::AccessLog {
        output: LogOutput::File(path.to_owned()),
        ..policy()
    }
}

fn to_pipe(log: &AccessLog) -> PipeReader {
    let (reader, writer) = io::pipe().unwrap();
    let sink = Sink::new("a pipe".to_owned(), File::from(OwnedFd::from(writer))).unwrap();
    log.switch(OpenedLog {
        output: Some(LogOutput::Stdout),
        sink: Some(Some(sink)),
    });
    reader
}

/// Writes lines whose path is their number.
fn write(log: &AccessLog, numbers: std::ops::Range<usize>) {
    let pen = log.pen();
    for number in numbers {
        pen.write(
            &policy(),
            &Line {
                path: number.to_string().as_bytes(),
                ..line()
            },
        );
    }
}

/// The numbers in a text in which every line must be whole.
fn numbers(text: &str) -> Vec<usize> {
    let number = |line: &str| {
        let line: serde_json::Value =
            serde_json::from_str(line).unwrap_or_else(|e| panic!("a torn line, {e}: {line}"));
        line["path"].as_str().unwrap().parse().unwrap()
    };
    assert!(text.is_empty() || text.ends_with('\n'));
    text.lines().map(number).collect()
}

fn lost(dropped: &AtomicU64) -> usize {
    dropped.load(Ordering::Relaxed) as usize
}

#[test]
fn lines_are_written_in_order_and_none_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (log, dropped) = log();
    log.reconfigure(Some(&to_file(&path))).unwrap();
    write(&log, 0..5000);
    assert!(log.flush(SOON));
    assert_eq!(
        numbers(&fs::read_to_string(&path).unwrap()),
        (0..5000).collect::<Vec<_>>()
    );
    assert_eq!(lost(&dropped), 0);
}

#[test]
fn after_a_rename_and_reopen_lines_go_to_the_new_file() {
    let folder = tempfile::tempdir().unwrap();
    let (path, old) = (
        folder.path().join("access.log"),
        folder.path().join("access.log.1"),
    );
    let (log, dropped) = log();
    log.reconfigure(Some(&to_file(&path))).unwrap();
    write(&log, 0..100);
    assert!(log.flush(SOON));
    fs::rename(&path, &old).unwrap();
    write(&log, 100..200);
    assert!(log.flush(SOON));
    log.reopen().unwrap();
    write(&log, 200..300);
    assert!(log.flush(SOON));
    assert_eq!(
        numbers(&fs::read_to_string(&old).unwrap()),
        (0..200).collect::<Vec<_>>()
    );
    assert_eq!(
        numbers(&fs::read_to_string(&path).unwrap()),
        (200..300).collect::<Vec<_>>()
    );
    assert_eq!(lost(&dropped), 0);
}

#[test]
fn an_edit_moves_the_log_and_turns_it_off_and_on() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.log"), folder.path().join("b.log"));
    let (log, dropped) = log();
    for (wanted, range) in [
        (Some(to_file(&a)), 0..10),
        (Some(to_file(&b)), 10..20),
        (None, 20..30),
        (Some(to_file(&a)), 30..40),
    ] {
        log.reconfigure(wanted.as_ref()).unwrap();
        write(&log, range);
        assert!(log.flush(SOON));
    }
    assert_eq!(
        numbers(&fs::read_to_string(&a).unwrap()),
        (0..10).chain(30..40).collect::<Vec<_>>()
    );
    assert_eq!(
        numbers(&fs::read_to_string(&b).unwrap()),
        (10..20).collect::<Vec<_>>()
    );
    assert_eq!(lost(&dropped), 0);
}

#[test]
fn a_file_that_cannot_be_opened_is_an_error_and_the_old_one_stays_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let missing = folder.path().join("no such folder/access.log");
    let (log, _) = log();
    log.reconfigure(Some(&to_file(&path))).unwrap();
    let error = log.reconfigure(Some(&to_file(&missing))).unwrap_err();
    assert!(
        error.to_string().starts_with(&format!(
            "cannot open the access log {}: ",
            missing.display()
        )),
        "{error}"
    );
    write(&log, 0..3);
    assert!(log.flush(SOON));
    assert_eq!(numbers(&fs::read_to_string(&path).unwrap()), [0, 1, 2]);
}

#[test]
fn what_was_opened_for_an_edit_that_failed_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = (folder.path().join("a.log"), folder.path().join("b.log"));
    let (log, _) = log();
    log.reconfigure(Some(&to_file(&a))).unwrap();
    drop(log.open(Some(&to_file(&b))).unwrap());
    write(&log, 0..3);
    assert!(log.flush(SOON));
    assert_eq!(numbers(&fs::read_to_string(&a).unwrap()), [0, 1, 2]);
}

#[test]
fn a_full_disk_loses_lines_counts_them_and_stops_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let (log, dropped) = log();
    log.reconfigure(Some(&to_file(Path::new("/dev/full"))))
        .unwrap();
    write(&log, 0..100);
    assert!(log.flush(SOON));
    assert_eq!(lost(&dropped), 100);

    log.reconfigure(Some(&to_file(&path))).unwrap();
    write(&log, 100..200);
    assert!(log.flush(SOON));
    assert_eq!(
        numbers(&fs::read_to_string(&path).unwrap()),
        (100..200).collect::<Vec<_>>()
    );
    assert_eq!(lost(&dropped), 100);
}

#[test]
fn a_pipe_whose_reader_has_gone_loses_lines_counts_them_and_stops_nothing() {
    let (log, dropped) = log();
    let mut reader = to_pipe(&log);
    write(&log, 0..1);
    assert!(log.flush(SOON));
    let mut first = [0; 8];
    reader.read_exact(&mut first).unwrap();
    drop(reader);
    write(&log, 1..101);
    assert!(log.flush(SOON));
    assert_eq!(lost(&dropped), 100);
}

#[test]
fn a_pipe_that_nobody_reads_holds_nobody_up_and_every_line_is_written_whole_or_counted() {
    const LINES: usize = 5000;
    let (log, dropped) = log();
    let mut reader = to_pipe(&log);
    write(&log, 0..LINES);
    assert!(log.flush(SOON), "the writer gives up what it cannot write");
    assert!(lost(&dropped) > 0);

    let reading = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).map(|_| text)
    });
    write(&log, LINES..LINES + 10);
    assert!(log.flush(SOON));
    log.reconfigure(None).unwrap();
    assert!(log.flush(SOON));
    let seen = numbers(&reading.join().unwrap().unwrap());
    assert_eq!(seen.len() + lost(&dropped), LINES + 10);
    assert!(seen.is_sorted());
    assert!(
        seen.ends_with(&(LINES..LINES + 10).collect::<Vec<_>>()),
        "it recovers when somebody reads again"
    );
}

#[test]
fn a_queue_that_is_full_loses_lines_instead_of_waiting() {
    let dropped = Arc::new(AtomicU64::new(0));
    #[expect(clippy::disallowed_types, reason = "as in the log itself")]
    let next = Mutex::new(None);
    let shared = Arc::new(Shared {
        waiting_bytes: AtomicUsize::new(0),
        dropped: Arc::clone(&dropped),
        next,
    });
    let (queue, lines) = sync_channel(QUEUE_LINES);
    let pen = LogPen {
        queue,
        shared: Arc::clone(&shared),
    };
    for _ in 0..QUEUE_LINES + 7 {
        pen.write(&policy(), &line());
    }
    assert_eq!(lost(&dropped), 7);

    let long = vec![b'\x01'; 4096];
    assert_eq!(lines.try_iter().count(), QUEUE_LINES);
    shared
        .waiting_bytes
        .store(QUEUE_BYTES - 5000, Ordering::Relaxed);
    pen.write(
        &policy(),
        &Line {
            path: &long,
            ..line()
        },
    );
    assert_eq!(lost(&dropped), 8, "bytes are bounded as well as lines");
    assert_eq!(
        shared.waiting_bytes.load(Ordering::Relaxed),
        QUEUE_BYTES - 5000
    );
}

#[test]
fn the_sample_is_the_share_that_was_asked_for_and_failures_have_their_own() {
    let share = |text: &str| text.parse::<Share>().unwrap();
    let policy = config::AccessLog {
        sample_success: share("10%"),
        sample_failure: share("100%"),
        ..policy()
    };
    let at = |status, failure: Option<FailureKind>| Outcome {
        status,
        failure: failure.map(FailureKind::failure),
        duration: Duration::ZERO,
    };
    let tenth = u64::MAX / 10;
    assert!(LogPen::wants(&policy, &at(200, None), tenth - 1));
    assert!(!LogPen::wants(
        &policy,
        &at(200, None),
        tenth + u64::MAX / 100_000
    ));
    for failed in [
        at(500, None),
        at(499, Some(FailureKind::Aborted)),
        at(200, Some(FailureKind::Truncated)),
        at(200, Some(FailureKind::Aborted)),
    ] {
        assert!(LogPen::wants(&policy, &failed, u64::MAX), "{failed:?}");
    }
    assert!(
        !LogPen::wants(&policy, &at(404, Some(FailureKind::Refused)), u64::MAX),
        "a refusal with 4xx is an answer"
    );
    let none = config::AccessLog {
        sample_success: Share::ZERO,
        ..policy
    };
    assert!(!LogPen::wants(&none, &at(200, None), 0));
}
