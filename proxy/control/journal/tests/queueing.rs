//! What waits is bounded, and the newest counts.

use std::collections::HashMap;
use std::sync::mpsc::TryRecvError;

use super::batch::Batch;
use super::queue::{Queue, Turn};
use super::*;

/// A queue that nobody empties but the test.
fn take(queue: &Queue) -> Batch {
    match queue.next(Instant::now(), None) {
        Some(Turn::Write(batch)) => batch,
        _ => panic!("something waits"),
    }
}

fn put(queue: &Queue, write: Write) -> Answer {
    let (done, told) = answer();
    queue.write(write, done).expect("there is room");
    told
}

fn value<'a>(batch: &'a Batch, rollout: &str) -> Option<&'a str> {
    batch.states[rollout]
        .value
        .as_deref()
        .map(|bytes| str::from_utf8(bytes).unwrap())
}

#[test]
fn of_a_rollouts_states_the_newest_is_written_and_all_who_wait_are_told() {
    let queue = Queue::default();
    let told: Vec<_> = ["1", "2", "3"]
        .map(|state| put(&queue, kept(&[("shop", state)])))
        .into();
    let mut batch = take(&queue);
    assert_eq!(value(&batch, "shop"), Some("3"));
    assert_eq!(told[0].try_recv(), Err(TryRecvError::Empty));
    batch.tell(&Ok(()));
    told.iter().for_each(|told| assert_eq!(heard(told), Ok(())));
}

#[test]
fn a_growth_that_was_overtaken_is_told_so() {
    let queue = Queue::default();
    let grown = put(&queue, growth(&[("shop", "25 %")]));
    let back = put(&queue, kept(&[("shop", "rolled back")]));
    let mut batch = take(&queue);
    assert_eq!(value(&batch, "shop"), Some("rolled back"));
    batch.tell(&Ok(()));
    assert_eq!(heard(&grown), Err(WriteError::Overtaken));
    assert_eq!(heard(&back), Ok(()));
}

#[test]
fn a_growth_that_failed_goes_back_to_what_was_durable() {
    let queue = Queue::default();
    let _grown = put(&queue, growth(&[("shop", "25 %"), ("new", "1 %")]));
    let batch = take(&queue);
    queue.put_back(
        batch,
        &HashMap::from([("shop".to_owned(), b"5 %".to_vec())]),
    );
    let batch = take(&queue);
    assert_eq!(
        value(&batch, "shop"),
        Some("5 %"),
        "whether the growth reached the disk is not known"
    );
    assert_eq!(value(&batch, "new"), None);
    assert!(batch.states.contains_key("new"), "it is removed");
}

#[test]
fn a_growth_that_failed_does_not_take_what_waited_before_it_along() {
    let queue = Queue::default();
    let _paused = put(&queue, kept(&[("shop", "paused at 5 %")]));
    let _grown = put(&queue, growth(&[("shop", "25 %")]));
    let _more = put(&queue, growth(&[("shop", "50 %")]));
    let batch = take(&queue);
    assert_eq!(value(&batch, "shop"), Some("50 %"));
    queue.put_back(batch, &HashMap::new());
    assert_eq!(value(&take(&queue), "shop"), Some("paused at 5 %"));
}

#[test]
fn what_came_while_a_write_failed_is_newer() {
    let queue = Queue::default();
    let _first = put(&queue, kept(&[("shop", "1")]));
    let batch = take(&queue);
    let _second = put(&queue, kept(&[("shop", "2")]));
    queue.put_back(batch, &HashMap::new());
    let batch = take(&queue);
    assert_eq!(value(&batch, "shop"), Some("2"));
    let _third = put(&queue, growth(&[("shop", "3")]));
    queue.put_back(batch, &HashMap::new());
    let batch = take(&queue);
    assert_eq!(value(&batch, "shop"), Some("3"));
    queue.put_back(batch, &HashMap::new());
    assert_eq!(
        value(&take(&queue), "shop"),
        Some("2"),
        "the growth failed, what was kept is not lost"
    );
}

#[test]
fn a_full_queue_refuses_growths_and_keeps_the_newest_of_everything_else() {
    let queue = Queue::default();
    let told: Vec<_> = (0..WRITES_WAITING)
        .map(|number| put(&queue, kept(&[("shop", &number.to_string())])))
        .collect();
    let (done, _told) = answer();
    assert_eq!(
        queue.write(growth(&[("shop", "grown")]), done),
        Err(Refused::Full)
    );
    let (done, _told) = answer();
    assert_eq!(
        queue.write(kept(&[("shop", "rolled back")]), done),
        Err(Refused::Full)
    );
    let mut batch = take(&queue);
    assert_eq!(value(&batch, "shop"), Some("rolled back"));
    batch.tell(&Ok(()));
    assert_eq!(
        told.iter().map(|told| heard(told).unwrap()).count(),
        WRITES_WAITING
    );
    let long = vec![0; VALUE_BYTES + 1];
    assert_eq!(queue.snapshot("shop", long), Err(Refused::TooLarge));
}

#[test]
fn events_beyond_the_bounds_are_counted_and_a_snapshot_makes_room() {
    let queue = Queue::new(HashMap::from([("old".to_owned(), EVENTS_KEPT - 1)]));
    assert_eq!(
        queue.evidence("old", vec![vec![1]; 3]),
        2,
        "so many are kept since a snapshot"
    );
    assert_eq!(
        queue.evidence("shop", vec![vec![1]; EVENTS_WAITING + 4]),
        5,
        "so many wait"
    );
    assert_eq!(queue.lost(), 7);
    queue.snapshot("shop", vec![2]).unwrap();
    assert_eq!(queue.evidence("shop", vec![vec![3]; 2]), 0);

    // What could not be written still waits, before what came since.
    let batch = take(&queue);
    assert_eq!(queue.evidence("shop", vec![vec![4]]), 0);
    queue.put_back(batch, &HashMap::new());
    let batch = take(&queue);
    let shop = &batch.evidence["shop"];
    assert_eq!(
        (&shop.snapshot, &shop.events),
        (&Some(vec![2]), &vec![vec![3], vec![3], vec![4]])
    );
    queue.written(&batch);
    assert_eq!(
        queue.evidence("big", vec![vec![0; EVENT_BYTES_WAITING], vec![0]]),
        1
    );
}

#[test]
fn history_of_a_growth_that_failed_never_happened() {
    let queue = Queue::default();
    let of = |seq| vec![entry(seq, Timestamp::UNIX_EPOCH)];
    let _kept = put(
        &queue,
        Write {
            history: of(1),
            ..kept(&[("shop", "1")])
        },
    );
    let _grown = put(
        &queue,
        Write {
            history: of(2),
            ..growth(&[("app", "2")])
        },
    );
    let batch = take(&queue);
    assert_eq!(batch.history.len(), 2);
    queue.put_back(batch, &HashMap::new());
    let batch = take(&queue);
    assert_eq!(
        batch
            .history
            .iter()
            .map(|(entry, _)| entry.seq)
            .collect::<Vec<_>>(),
        [1]
    );
}

#[test]
fn a_latch_waits_for_no_transaction() {
    let dir = tempfile::tempdir().unwrap();
    let (entered, enters) = sync_channel(1);
    let (go, going) = sync_channel::<()>(1);
    let going = parking(going);
    let steps = Steps::told_to(move |step| {
        if step == Step::Begin {
            entered.send(()).unwrap();
            going();
        }
    });
    let (journal, _) = Journal::open_with(dir.path(), steps).unwrap();
    reserve(&journal, "shop").unwrap();
    let (done, told) = answer();
    journal.write(kept(&[("shop", "1")]), done).unwrap();
    enters.recv_timeout(SOON).unwrap();
    // The transaction hangs on its disk.
    latch(&journal, rolled_back("shop", 1)).unwrap();
    assert_eq!(told.try_recv(), Err(TryRecvError::Empty));
    go.send(()).unwrap();
    heard(&told).unwrap();
    close(&journal);
}

/// A wait that may be called from any thread.
#[expect(clippy::disallowed_types, reason = "a test's own")]
fn parking(going: Receiver<()>) -> impl Fn() + Send + Sync {
    let going = std::sync::Mutex::new(going);
    move || going.lock().unwrap().recv_timeout(SOON).unwrap()
}

#[test]
fn a_closed_journal_takes_nothing_and_whoever_breaks_when_told_breaks_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, _) = open(dir.path());
    journal
        .write(
            kept(&[("shop", "1")]),
            Box::new(|_| panic!("a mistake of the caller")),
        )
        .unwrap();
    write(&journal, kept(&[("shop", "2")])).unwrap();
    close(&journal);
    let (done, _told) = answer();
    assert_eq!(
        journal.write(kept(&[("shop", "3")]), done),
        Err(Refused::Closed)
    );
    let (done, _told) = answer();
    assert_eq!(
        journal.latch(rolled_back("shop", 1), done),
        Err(Refused::Closed)
    );
    assert_eq!(journal.evidence("shop", vec![vec![1]]), 1);
}
