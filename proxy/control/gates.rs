//! The gates before stages: who is asked now, and what was said last.
//!
//! While a rollout stands before a stage with a gate, that gate is asked at once and then again and again: 2xx is yes,
//! everything else is a no with a sentence. A yes is asked for again too, as long as the rollout stands there (its
//! window may be closed for hours), so that what counts is never older than [`FRESH`]. Once the stage is entered nobody
//! wants the answer any more, and it is forgotten: the next time starts with a new question.
//!
//! The judge is synchronous: it says with [`Gates::follow`] which gates it stands before and reads with
//! [`Gates::answer`] what is known. The questions are tasks on control's runtime, one for each gate.

use std::collections::HashMap;
use std::sync::Arc;
#[expect(
    clippy::disallowed_types,
    reason = "the judge and the questions meet here, some times a second; no request does"
)]
use std::sync::Mutex;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use tidegate_config::plan::Gate;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;

use super::fetch;

/// From one answer of a gate to the next question.
pub const GATE_PERIOD: Duration = Duration::from_secs(30);
/// An answer counts for so long beyond the gate's own time-out; past it a gate that could not be asked again, because
/// too many others were, has said nothing.
pub const FRESH: Duration = Duration::from_secs(90);
/// Questions under way at one time; more wait for their turn, and their time-out counts from there.
const QUESTIONS_AT_ONCE: usize = 32;

/// What a gate says now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing yet: nobody asked, or the answer is still under way.
    NotAsked,
    /// The stage may be entered.
    Yes,
    /// It may not, and why: `gate e2e said 503`.
    No(String),
}

/// A gate that a rollout stands before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Its name.
    pub rollout: String,
    /// Which attempt of it: an answer to one does not count for the next.
    pub attempt: u32,
    /// Who is asked.
    pub gate: Gate,
}

/// The gates that are asked now. Dropped, it asks nobody any more.
#[derive(Debug)]
pub struct Gates {
    runtime: Handle,
    period: Duration,
    places: Arc<Semaphore>,
    answers: Arc<Answers>,
}

impl Gates {
    /// Nobody is asked yet. Questions will run on this runtime.
    pub fn new(runtime: Handle) -> Self {
        Self::every(runtime, GATE_PERIOD)
    }

    fn every(runtime: Handle, period: Duration) -> Self {
        Self {
            runtime,
            period,
            places: Arc::new(Semaphore::new(QUESTIONS_AT_ONCE)),
            answers: Arc::default(),
        }
    }

    /// Asks these from now on, and nobody else. Those that were due before keep their answers; what is not named is
    /// forgotten at once. May be called from any thread, as often as one likes.
    pub fn follow(&self, due: impl IntoIterator<Item = Due>) {
        let mut asked = self.answers.lock();
        let mut before = std::mem::take(&mut asked.by_name);
        for due in due {
            let name = (due.rollout.clone(), due.gate.name.clone());
            let stays = before.remove(&name).filter(|asked| asked.due == due);
            let next = stays.unwrap_or_else(|| {
                asked.questions += 1;
                let number = asked.questions;
                let question = Question {
                    number,
                    name: name.clone(),
                    gate: due.gate.clone(),
                    period: self.period,
                    places: Arc::clone(&self.places),
                    answers: Arc::clone(&self.answers),
                };
                let task = self.runtime.spawn(question.run()).abort_handle();
                Asked {
                    number,
                    due,
                    said: None,
                    task,
                }
            });
            asked.by_name.insert(name, next);
        }
    }

    /// What this gate of this rollout says, at `now`.
    pub fn answer(&self, rollout: &str, gate: &str, now: Instant) -> Answer {
        let asked = self.answers.lock();
        // The key is a pair of owned names, and this is asked some times a second.
        let Some(asked) = asked.by_name.get(&(rollout.to_owned(), gate.to_owned())) else {
            return Answer::NotAsked;
        };
        match &asked.said {
            Some((answer, at))
                if now.saturating_duration_since(*at) <= FRESH + asked.due.gate.timeout =>
            {
                answer.clone()
            }
            _ => Answer::NotAsked,
        }
    }
}

impl Drop for Gates {
    fn drop(&mut self) {
        self.follow([]);
    }
}

/// What the judge and the questions share.
#[derive(Default)]
struct Answers(
    #[expect(
        clippy::disallowed_types,
        reason = "taken when somebody is asked, answers or looks; never by a request"
    )]
    Mutex<AskedNow>,
);

#[derive(Default)]
struct AskedNow {
    by_name: HashMap<(String, String), Asked>,
    /// Questions begun so far; each has its number.
    questions: u64,
}

struct Asked {
    number: u64,
    due: Due,
    said: Option<(Answer, Instant)>,
    task: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Answers {
    fn lock(&self) -> MutexGuard<'_, AskedNow> {
        // What stands there is whole at any moment: whoever panicked has not left it half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps an answer, unless somebody else is asked under this name by now.
    fn keep(&self, number: u64, name: &(String, String), answer: Answer) {
        let mut asked = self.lock();
        if let Some(asked) = asked.by_name.get_mut(name)
            && asked.number == number
        {
            asked.said = Some((answer, Instant::now()));
        }
    }
}

impl std::fmt::Debug for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let asked = self.lock();
        f.debug_set().entries(asked.by_name.keys()).finish()
    }
}

/// One gate, asked for as long as its task lives.
struct Question {
    number: u64,
    name: (String, String),
    gate: Gate,
    period: Duration,
    places: Arc<Semaphore>,
    answers: Arc<Answers>,
}

impl Question {
    async fn run(self) {
        loop {
            let answer = {
                let _place = self
                    .places
                    .acquire()
                    .await
                    .expect("the semaphore is never closed");
                ask(&self.gate).await
            };
            let (rollout, gate) = &self.name;
            tracing::debug!(rollout, gate, ?answer, "gate asked");
            self.answers.keep(self.number, &self.name, answer);
            tokio::time::sleep(self.period).await;
        }
    }
}

async fn ask(gate: &Gate) -> Answer {
    let name = &gate.name;
    match fetch::status(
        &gate.url,
        gate.authorities.as_deref(),
        gate.timeout,
        &HeaderMap::new(),
    )
    .await
    {
        Ok(status) if status.is_success() => Answer::Yes,
        Ok(status) if status.is_redirection() => Answer::No(format!(
            "gate {name} said {}, and redirects are not followed",
            status.as_u16()
        )),
        Ok(status) => Answer::No(format!("gate {name} said {}", status.as_u16())),
        Err(error) => Answer::No(format!("gate {name} {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use super::*;

    /// A gate whose mind can change.
    struct Keeper {
        url: String,
        says: Arc<AtomicU16>,
        asked: Arc<AtomicUsize>,
    }

    /// What makes a keeper say nothing at all.
    const SILENT: u16 = 0;

    impl Keeper {
        async fn that_says(status: u16) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/gate", listener.local_addr().unwrap());
            let (says, asked) = (
                Arc::new(AtomicU16::new(status)),
                Arc::new(AtomicUsize::new(0)),
            );
            let keeper = Self {
                url,
                says: Arc::clone(&says),
                asked: Arc::clone(&asked),
            };
            tokio::spawn(async move {
                let mut silent = Vec::new();
                while let Ok((mut stream, _)) = listener.accept().await {
                    let _ = stream.read(&mut [0; 4096]).await;
                    asked.fetch_add(1, Ordering::SeqCst);
                    match says.load(Ordering::SeqCst) {
                        SILENT => silent.push(stream),
                        status => {
                            let answer =
                                format!("HTTP/1.1 {status} So\r\nContent-Length: 0\r\n\r\n");
                            let _ = stream.write_all(answer.as_bytes()).await;
                        }
                    }
                }
            });
            keeper
        }

        fn due(&self, attempt: u32) -> Due {
            Due {
                rollout: "shop-v2".to_owned(),
                attempt,
                gate: Gate {
                    name: "e2e".to_owned(),
                    before_stage: 3,
                    url: self.url.clone(),
                    authorities: None,
                    timeout: Duration::from_millis(200),
                },
            }
        }
    }

    const OFTEN: Duration = Duration::from_millis(20);

    fn gates(period: Duration) -> Gates {
        Gates::every(Handle::current(), period)
    }

    fn said(gates: &Gates) -> Answer {
        gates.answer("shop-v2", "e2e", Instant::now())
    }

    async fn comes_to(gates: &Gates, wanted: &Answer) {
        let begun = Instant::now();
        while said(gates) != *wanted {
            assert!(
                begun.elapsed() < Duration::from_secs(10),
                "{:?}, not {wanted:?}",
                said(gates)
            );
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    fn no(why: &str) -> Answer {
        Answer::No(why.to_owned())
    }

    #[tokio::test]
    async fn a_gate_is_asked_at_once_and_again_until_it_opens_and_while_it_is_open() {
        let keeper = Keeper::that_says(503).await;
        let gates = gates(OFTEN);
        assert_eq!(said(&gates), Answer::NotAsked);
        gates.follow([keeper.due(1)]);
        comes_to(&gates, &no("gate e2e said 503")).await;
        keeper.says.store(204, Ordering::SeqCst);
        comes_to(&gates, &Answer::Yes).await;
        keeper.says.store(302, Ordering::SeqCst);
        comes_to(
            &gates,
            &no("gate e2e said 302, and redirects are not followed"),
        )
        .await;
        keeper.says.store(SILENT, Ordering::SeqCst);
        comes_to(&gates, &no("gate e2e did not answer within 200ms")).await;
    }

    #[tokio::test]
    async fn a_gate_that_is_not_there_says_no_with_what_to_do() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut due = Keeper::that_says(200).await.due(1);
        due.gate.url = format!("http://{}/", listener.local_addr().unwrap());
        drop(listener);
        let Answer::No(why) = ask(&due.gate).await else {
            panic!("nobody is there")
        };
        assert!(why.starts_with("gate e2e cannot be reached at"), "{why}");
        assert!(why.ends_with("is this its address?"), "{why}");
    }

    #[tokio::test]
    async fn what_was_said_is_forgotten_once_the_stage_is_entered() {
        let keeper = Keeper::that_says(200).await;
        let gates = gates(Duration::from_secs(60));
        gates.follow([keeper.due(1)]);
        comes_to(&gates, &Answer::Yes).await;
        gates.follow([keeper.due(1)]);
        assert_eq!(said(&gates), Answer::Yes, "still due, still known");
        gates.follow([]);
        assert_eq!(said(&gates), Answer::NotAsked);
        keeper.says.store(500, Ordering::SeqCst);
        gates.follow([keeper.due(1)]);
        assert_eq!(said(&gates), Answer::NotAsked, "asked anew");
        comes_to(&gates, &no("gate e2e said 500")).await;
        assert_eq!(keeper.asked.load(Ordering::SeqCst), 2, "once each time");
    }

    #[tokio::test]
    async fn an_answer_to_one_attempt_is_none_to_the_next() {
        let keeper = Keeper::that_says(200).await;
        let gates = gates(Duration::from_secs(60));
        gates.follow([keeper.due(1)]);
        comes_to(&gates, &Answer::Yes).await;
        keeper.says.store(SILENT, Ordering::SeqCst);
        gates.follow([keeper.due(2)]);
        assert_eq!(said(&gates), Answer::NotAsked);
    }

    #[tokio::test]
    async fn an_old_answer_is_none() {
        let keeper = Keeper::that_says(200).await;
        let gates = gates(Duration::from_secs(60));
        gates.follow([keeper.due(1)]);
        comes_to(&gates, &Answer::Yes).await;
        let later = Instant::now() + FRESH;
        assert_eq!(gates.answer("shop-v2", "e2e", later), Answer::Yes);
        let later = later + Duration::from_secs(1);
        assert_eq!(gates.answer("shop-v2", "e2e", later), Answer::NotAsked);
    }

    #[tokio::test]
    async fn nobody_is_asked_any_more_once_nobody_wants_to_know() {
        let keeper = Keeper::that_says(200).await;
        let gates = gates(OFTEN);
        gates.follow([keeper.due(1)]);
        comes_to(&gates, &Answer::Yes).await;
        drop(gates);
        tokio::time::sleep(OFTEN).await;
        let asked = keeper.asked.load(Ordering::SeqCst);
        tokio::time::sleep(OFTEN * 5).await;
        assert_eq!(keeper.asked.load(Ordering::SeqCst), asked);
    }

    #[test]
    fn the_judge_needs_no_runtime_of_its_own() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let keeper = runtime.block_on(Keeper::that_says(200));
        let gates = Gates::every(runtime.handle().clone(), OFTEN);
        let (leave, left) = oneshot::channel::<()>();
        let control = std::thread::spawn(move || runtime.block_on(left));
        gates.follow([keeper.due(1)]);
        let begun = Instant::now();
        while said(&gates) != Answer::Yes {
            assert!(begun.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(leave);
        let _ = control.join().unwrap();
    }
}
