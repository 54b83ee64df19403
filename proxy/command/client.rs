//! How a command asks a running Tidegate: one HTTP/1.1 request over a connection of its own.

use std::fmt::Display;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::timeout;

use super::Exit;
use super::event_stream::{Event, Reader};

/// From the first packet to the last byte.
const WHOLE_EXCHANGE: Duration = Duration::from_secs(30);
/// Bytes of an answer; a status of ten thousand services is far below.
const ANSWER_BYTES: usize = 64 << 20;
/// A stream of events is given up after so long without a word: the proxy sends a comment every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

type AnyError = Box<dyn std::error::Error + Send + Sync>;

/// Where the admin API is, and what opens it.
#[derive(Debug, Clone, clap::Args)]
pub struct Admin {
    /// Where the admin API answers.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:9900")]
    admin: String,
    /// A file with a token: the token alone, or a line `role:token` as in admin.tokens_file.
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// Why there is no answer to show.
#[derive(Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The URL cannot be used.
    #[error("--admin {url}: {why}")]
    Url {
        /// As given.
        url: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The token cannot be read.
    #[error("--token-file {}: {why}", file.display())]
    Token {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody is there, or what is there does not speak HTTP.
    #[error("no answer from {url}: {why}; is tidegate running, and is this its admin.address?")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What happened.
        why: String,
    },
    /// It was there, and is no more.
    #[error("{url} is gone: {why}")]
    Gone {
        /// Who was asked.
        url: String,
        /// How that was seen.
        why: String,
    },
    /// It said no.
    #[error("{url} says {status}: {detail}")]
    Refused {
        /// Who was asked.
        url: String,
        /// The answer's status.
        status: StatusCode,
        /// Why.
        detail: String,
    },
}

impl NoAnswer {
    /// How a command ends without its answer.
    pub fn exit(&self) -> Exit {
        match self {
            Self::Refused { .. } => Exit::NO,
            Self::Url { .. }
            | Self::Token { .. }
            | Self::Unreachable { .. }
            | Self::Gone { .. } => Exit::CANNOT,
        }
    }
}

impl Admin {
    /// Asks, and waits for the answer's JSON.
    ///
    /// # Errors
    /// Where there is none, or it is a no.
    pub fn get(&self, path: &str) -> Result<Value, NoAnswer> {
        self.ask(Method::GET, path, Bytes::new())
    }

    /// Orders something, and waits for the answer's JSON.
    ///
    /// # Errors
    /// Where there is none, or it is a no.
    pub fn post(&self, path: &str, order: &Value) -> Result<Value, NoAnswer> {
        self.ask(Method::POST, path, order.to_string().into())
    }

    /// Listens to the events at `path` until `each` has had enough or somebody presses Ctrl-C.
    ///
    /// # Errors
    /// Where nobody tells any, or no more.
    pub fn follow(
        &self,
        path: &str,
        each: impl FnMut(&Event) -> ControlFlow<()>,
    ) -> Result<(), NoAnswer> {
        let (authority, request) =
            self.request(Method::GET, path, "text/event-stream", Bytes::new())?;
        self.runtime()?.block_on(async {
            tokio::select! {
                Ok(()) = tokio::signal::ctrl_c() => Ok(()),
                ended = self.listen(&authority, request, each) => ended,
            }
        })
    }

    fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Value, NoAnswer> {
        let (authority, request) = self.request(method, path, "application/json", body)?;
        let exchange = async {
            let response = send(&authority, request).await?;
            let status = response.status();
            Ok::<_, AnyError>((status, whole(response).await?))
        };
        // The timer belongs to the runtime, so it is set inside.
        let answered = async { timeout(WHOLE_EXCHANGE, exchange).await };
        let answered = self.runtime()?.block_on(answered);
        let (status, body) = self.in_time(answered)?;
        if status.is_success() && !body.is_null() {
            return Ok(body);
        }
        Err(self.refused(status, &body))
    }

    async fn listen(
        &self,
        authority: &str,
        request: Request<Full<Bytes>>,
        mut each: impl FnMut(&Event) -> ControlFlow<()>,
    ) -> Result<(), NoAnswer> {
        let response = self.in_time(timeout(WHOLE_EXCHANGE, send(authority, request)).await)?;
        let status = response.status();
        let kind = response.headers().get(CONTENT_TYPE);
        let is_stream = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        if !status.is_success() || !is_stream {
            let problem = self.in_time(timeout(WHOLE_EXCHANGE, whole(response)).await)?;
            return Err(self.refused(status, &problem));
        }
        let gone = |why: &dyn Display| NoAnswer::Gone {
            url: self.admin.clone(),
            why: why.to_string(),
        };
        let mut body = response.into_body();
        let mut reader = Reader::default();
        loop {
            let frame = match timeout(SILENCE, body.frame()).await {
                Ok(Some(frame)) => frame.map_err(|error| gone(&error))?,
                Ok(None) => return Err(gone(&"it ended the stream")),
                Err(_) => return Err(gone(&format_args!("silent for {} s", SILENCE.as_secs()))),
            };
            let bytes = frame.into_data().unwrap_or_default();
            for event in reader.feed(&bytes).map_err(|error| gone(&error))? {
                if each(&event).is_break() {
                    return Ok(());
                }
            }
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        accept: &'static str,
        body: Bytes,
    ) -> Result<(String, Request<Full<Bytes>>), NoAnswer> {
        let authority = authority(&self.admin).map_err(|why| NoAnswer::Url {
            url: self.admin.clone(),
            why,
        })?;
        let token = self.token_file.as_deref().map(token).transpose()?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &authority)
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = token {
            request = request.header(AUTHORIZATION, token);
        }
        let request = request.body(Full::new(body));
        Ok((
            authority,
            request.map_err(|error| self.unreachable(&error))?,
        ))
    }

    fn runtime(&self) -> Result<tokio::runtime::Runtime, NoAnswer> {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build();
        let runtime = runtime.map_err(|error| self.unreachable(&error))?;
        let inside = runtime.enter();
        for order in [SignalKind::user_defined1(), SignalKind::user_defined2()] {
            // Who means every proxy of this name must not end who only looks at one: once somebody hears it, a signal
            // ends nothing any more. Where it cannot be heard the command works all the same.
            drop(signal(order));
        }
        drop(inside);
        Ok(runtime)
    }

    fn in_time<T, E: Display>(
        &self,
        answered: Result<Result<T, E>, tokio::time::error::Elapsed>,
    ) -> Result<T, NoAnswer> {
        match answered {
            Ok(answer) => answer.map_err(|error| self.unreachable(&error)),
            Err(_) => Err(self.unreachable(&format_args!(
                "it took longer than {} s",
                WHOLE_EXCHANGE.as_secs()
            ))),
        }
    }

    fn unreachable(&self, why: &dyn Display) -> NoAnswer {
        NoAnswer::Unreachable {
            url: self.admin.clone(),
            why: why.to_string(),
        }
    }

    fn refused(&self, status: StatusCode, problem: &Value) -> NoAnswer {
        let detail = problem["detail"].as_str();
        let detail = detail.unwrap_or("not an answer of tidegate's; is this its admin.address?");
        NoAnswer::Refused {
            url: self.admin.clone(),
            status,
            detail: super::words::plain(detail),
        }
    }
}

/// A name as one segment of a path, or as a value in a query.
pub fn segment(name: &str) -> String {
    let mut text = String::with_capacity(name.len());
    for byte in name.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(byte));
            }
            _ => text.push_str(&format!("%{byte:02X}")),
        }
    }
    text
}

fn authority(url: &str) -> Result<String, &'static str> {
    let uri: Uri = url
        .parse()
        .map_err(|_| "not a URL; write http://HOST:PORT")?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("the admin API speaks plain HTTP; write http://HOST:PORT"),
        _ => return Err("write http://HOST:PORT"),
    }
    let authority = uri
        .authority()
        .ok_or("it names no host; write http://HOST:PORT")?;
    let port = authority.port_u16().unwrap_or(80);
    Ok(format!("{}:{port}", authority.host()))
}

fn token(file: &Path) -> Result<HeaderValue, NoAnswer> {
    let wrong = |why: String| NoAnswer::Token {
        file: file.to_owned(),
        why,
    };
    let text = std::fs::read_to_string(file).map_err(|error| wrong(error.to_string()))?;
    let line = text
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'));
    let line = line.ok_or_else(|| wrong("there is no token in it".to_owned()))?;
    let token = match line.split_once(':') {
        Some(("viewer" | "operator" | "approver" | "admin", token)) => token.trim(),
        _ => line,
    };
    let mut value = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| wrong("the token holds what no header may hold".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

async fn send(
    authority: &str,
    request: Request<Full<Bytes>>,
) -> Result<Response<Incoming>, AnyError> {
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Driven beside the answer. It ends with the runtime, which lives for this one question.
    tokio::spawn(connection);
    Ok(sender.send_request(request).await?)
}

/// An answer's JSON; null where it is none.
async fn whole(response: Response<Incoming>) -> Result<Value, AnyError> {
    let body = Limited::new(response.into_body(), ANSWER_BYTES);
    let body = body.collect().await?.to_bytes();
    Ok(serde_json::from_slice(&body).unwrap_or(Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_url_is_a_host_with_or_without_a_port() {
        assert_eq!(
            authority("http://127.0.0.1:9900").as_deref(),
            Ok("127.0.0.1:9900")
        );
        assert_eq!(authority("http://[::1]:9900/").as_deref(), Ok("[::1]:9900"));
        assert_eq!(
            authority("http://gate.internal").as_deref(),
            Ok("gate.internal:80")
        );
        for wrong in [
            "https://127.0.0.1:9900",
            "127.0.0.1:9900",
            "",
            "http://",
            "/api",
        ] {
            assert!(authority(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_name_stays_one_segment_of_the_path() {
        assert_eq!(segment("app.everyone"), "app.everyone");
        assert_eq!(segment("a/b?c d&e"), "a%2Fb%3Fc%20d%26e");
        assert_eq!(segment("用"), "%E7%94%A8");
    }

    #[test]
    fn a_token_stands_alone_or_behind_its_role() {
        let file = tempfile::NamedTempFile::new().unwrap();
        for (text, expected) in [
            ("secret\n", "Bearer secret"),
            ("# who: me\n\nviewer:secret\nadmin:other\n", "Bearer secret"),
            ("odd:secret", "Bearer odd:secret"),
        ] {
            std::fs::write(file.path(), text).unwrap();
            assert_eq!(token(file.path()).unwrap(), expected);
        }
        std::fs::write(file.path(), "\n").unwrap();
        assert!(token(file.path()).is_err());
    }
}
