//! What only a metrics store knows: the queries of running rollouts, asked again and again, and how each stands.
//!
//! A query is `GET {url}/api/v1/query` (Prometheus' HTTP API, which Thanos, Mimir and VictoriaMetrics speak too) and must
//! give one number. Whether that is bad, and for how long, is `standing`'s to say; what in an answer is a number is
//! `answer`'s. The judge is synchronous: it says with [`Queries::follow`] which rollouts run and reads with
//! [`Queries::standing`] what is known. The questions are tasks on control's runtime, one for each query.

mod answer;
mod standing;

use std::collections::HashMap;
use std::sync::Arc;
#[expect(
    clippy::disallowed_types,
    reason = "the judge and the questions meet here, some times a second; no request does"
)]
use std::sync::Mutex;
use std::sync::{MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use http::header::{ACCEPT, HeaderMap, HeaderValue};
use tidegate_config::plan::PrometheusQuery;
use tidegate_config::tls::Authorities;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::AbortHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::fetch;
use standing::Track;

pub use standing::Standing;

/// A query that takes longer has no answer; the store is told so too, that it does not work for nobody.
pub const QUERY_TIMEOUT: Duration = Duration::from_secs(10);
/// Queries under way at one time, over all rollouts: a store that is slow is not made slower. More wait for their turn,
/// and their time-out counts from there.
const QUERIES_AT_ONCE: usize = 16;
/// No store is asked the same more often, whatever the file says.
const LEAST_PERIOD: Duration = Duration::from_millis(100);

/// A query that a running rollout is judged by.
#[derive(Debug, Clone, PartialEq)]
pub struct Watched {
    /// Its name.
    pub rollout: String,
    /// Which attempt of it: what was bad in one does not count in the next.
    pub attempt: u32,
    /// The name of the guard's metric.
    pub metric: String,
    /// What is asked.
    pub query: PrometheusQuery,
}

/// The queries that are asked now. Dropped, it asks nothing any more.
#[derive(Debug)]
pub struct Queries {
    runtime: Handle,
    places: Arc<Semaphore>,
    tracks: Arc<Tracks>,
}

impl Queries {
    /// Nothing is asked yet. Questions will run on this runtime.
    pub fn new(runtime: Handle) -> Self {
        Self {
            runtime,
            places: Arc::new(Semaphore::new(QUERIES_AT_ONCE)),
            tracks: Arc::default(),
        }
    }

    /// Asks these from now on, at once and then every `every`, and nothing else. Those that were asked before keep what
    /// is known; what is not named is forgotten. May be called from any thread, as often as one likes.
    pub fn follow(&self, watched: impl IntoIterator<Item = Watched>) {
        let mut asked = self.tracks.lock();
        let mut before = std::mem::take(&mut asked.by_name);
        for watched in watched {
            let name = (watched.rollout.clone(), watched.metric.clone());
            let stays = before
                .remove(&name)
                .filter(|asked| asked.watched == watched);
            let next = stays.unwrap_or_else(|| {
                asked.questions += 1;
                let number = asked.questions;
                let question = Question {
                    number,
                    name: name.clone(),
                    url: answer::url(&watched.query, QUERY_TIMEOUT),
                    authorities: watched.query.authorities.clone(),
                    every: watched.query.every.max(LEAST_PERIOD),
                    places: Arc::clone(&self.places),
                    tracks: Arc::clone(&self.tracks),
                };
                Asked {
                    number,
                    track: Track::new(&watched.query, Instant::now()),
                    watched,
                    task: self.runtime.spawn(question.run()).abort_handle(),
                }
            });
            asked.by_name.insert(name, next);
        }
    }

    /// How this metric of this rollout stands at `now`; `None` where nobody asks for it.
    pub fn standing(&self, rollout: &str, metric: &str, now: Instant) -> Option<Standing> {
        let asked = self.tracks.lock();
        // The key is a pair of owned names, and this is asked some times a second.
        let asked = asked
            .by_name
            .get(&(rollout.to_owned(), metric.to_owned()))?;
        Some(asked.track.standing(now))
    }
}

impl Drop for Queries {
    fn drop(&mut self) {
        self.follow([]);
    }
}

/// What the judge and the questions share.
#[derive(Default)]
struct Tracks(
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
    watched: Watched,
    track: Track,
    task: AbortHandle,
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Tracks {
    fn lock(&self) -> MutexGuard<'_, AskedNow> {
        // What stands there is whole at any moment: whoever panicked has not left it half written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an answer, unless something else is asked under this name by now.
    fn saw(&self, number: u64, name: &(String, String), value: Result<f64, String>) {
        let mut asked = self.lock();
        if let Some(asked) = asked.by_name.get_mut(name)
            && asked.number == number
        {
            asked.track.saw(value, Instant::now());
        }
    }
}

impl std::fmt::Debug for Tracks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let asked = self.lock();
        f.debug_set().entries(asked.by_name.keys()).finish()
    }
}

/// One query, asked for as long as its task lives.
struct Question {
    number: u64,
    name: (String, String),
    url: String,
    authorities: Option<Arc<Authorities>>,
    every: Duration,
    places: Arc<Semaphore>,
    tracks: Arc<Tracks>,
}

impl Question {
    async fn run(self) {
        let mut turns = interval(self.every);
        // A question that took longer than the period is not made up for by two in a row.
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            turns.tick().await;
            let value = {
                let _place = self
                    .places
                    .acquire()
                    .await
                    .expect("the semaphore is never closed");
                ask(&self.url, self.authorities.as_deref()).await
            };
            let (rollout, metric) = &self.name;
            tracing::debug!(rollout, metric, ?value, "metrics store asked");
            self.tracks.saw(self.number, &self.name, value);
        }
    }
}

/// The number, or a sentence that says why there is none.
async fn ask(url: &str, authorities: Option<&Authorities>) -> Result<f64, String> {
    let mut headers = HeaderMap::new();
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    match fetch::fetch(url, authorities, QUERY_TIMEOUT, &headers).await {
        Ok(fetched) => answer::number(fetched.status, &fetched.body),
        Err(error) => Err(format!("prometheus {error}")),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tidegate_config::plan::Bad;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    fn watched(store: SocketAddr, attempt: u32, metric: &str) -> Watched {
        Watched {
            rollout: "shop-v2".to_owned(),
            attempt,
            metric: metric.to_owned(),
            query: PrometheusQuery {
                url: format!("http://{store}"),
                authorities: None,
                query: "pay".to_owned(),
                every: Duration::from_secs(15),
                bad: Bad::Above(0.1),
                lasting: Duration::ZERO,
            },
        }
    }

    fn standing(queries: &Queries, metric: &str) -> Option<Standing> {
        queries.standing("shop-v2", metric, Instant::now())
    }

    #[tokio::test]
    async fn what_was_bad_in_one_attempt_does_not_count_in_the_next() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = listener.local_addr().unwrap();
        let answers = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 4096]).await;
            let body = r#"{"status":"success","data":{"resultType":"scalar","result":[1,"0.5"]}}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            stream.write_all(answer.as_bytes()).await.unwrap();
        };
        let queries = Queries::new(Handle::current());
        assert_eq!(standing(&queries, "pay"), None, "nobody asks");
        queries.follow([watched(store, 1, "pay")]);
        answers.await;
        let begun = Instant::now();
        while !matches!(
            standing(&queries, "pay"),
            Some(Standing::Bad { fires: true, .. })
        ) {
            assert!(begun.elapsed() < Duration::from_secs(10));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        queries.follow([watched(store, 1, "pay")]);
        assert!(matches!(
            standing(&queries, "pay"),
            Some(Standing::Bad { .. })
        ));
        queries.follow([watched(store, 2, "pay")]);
        assert!(matches!(
            standing(&queries, "pay"),
            Some(Standing::NoData { .. })
        ));
    }

    #[tokio::test]
    async fn a_slow_store_gets_no_more_queries_than_a_few_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let store = listener.local_addr().unwrap();
        let queries = Queries::new(Handle::current());
        queries.follow((0..3 * QUERIES_AT_ONCE).map(|n| watched(store, 1, &format!("m{n}"))));
        let mut open = Vec::new();
        let quiet = Duration::from_millis(300);
        while let Ok(stream) = tokio::time::timeout(quiet, listener.accept()).await {
            open.push(stream.unwrap());
        }
        assert_eq!(open.len(), QUERIES_AT_ONCE);
        // Whoever is answered makes room for the next.
        open.clear();
        let next = tokio::time::timeout(Duration::from_secs(10), listener.accept()).await;
        assert!(next.is_ok(), "the others have their turn");
    }
}
