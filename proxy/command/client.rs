//! How a command asks a running Tidegate: one HTTP/1.1 request over a connection of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// From the first packet to the last byte.
const WHOLE_EXCHANGE: Duration = Duration::from_secs(30);
/// Bytes of an answer; a status of ten thousand services is far below.
const ANSWER_BYTES: usize = 64 << 20;

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

impl Admin {
    /// Asks, and waits for the answer's JSON.
    ///
    /// # Errors
    /// Where there is none, or it is a no.
    pub fn ask(&self, method: Method, path: &str) -> Result<Value, NoAnswer> {
        let unreachable = |why: &dyn std::fmt::Display| NoAnswer::Unreachable {
            url: self.admin.clone(),
            why: why.to_string(),
        };
        let authority = authority(&self.admin).map_err(|why| NoAnswer::Url {
            url: self.admin.clone(),
            why,
        })?;
        let token = self.token_file.as_deref().map(token).transpose()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let exchange = async {
            match tokio::time::timeout(WHOLE_EXCHANGE, exchange(&authority, method, path, token))
                .await
            {
                Ok(answer) => answer.map_err(|error| unreachable(&error)),
                Err(_) => Err(unreachable(&format_args!(
                    "it took longer than {} s",
                    WHOLE_EXCHANGE.as_secs()
                ))),
            }
        };
        let (status, body) = runtime
            .map_err(|error| unreachable(&error))?
            .block_on(exchange)?;
        let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
        if status.is_success() && !body.is_null() {
            return Ok(body);
        }
        let detail = body["detail"]
            .as_str()
            .unwrap_or("not an answer of tidegate's; is this its admin.address?")
            .to_owned();
        Err(NoAnswer::Refused {
            url: self.admin.clone(),
            status,
            detail,
        })
    }
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

async fn exchange(
    authority: &str,
    method: Method,
    path: &str,
    token: Option<HeaderValue>,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = TcpStream::connect(authority).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, authority);
    request = request
        .header(ACCEPT, "application/json")
        .header(CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(AUTHORIZATION, token);
    }
    let request = request.body(Full::new(Bytes::new()))?;
    // The connection is driven beside the answer and dropped with it.
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_BYTES)
            .collect()
            .await?
            .to_bytes();
        Ok((status, body))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        // The connection may end before the last byte of the answer was handed over.
        _ = connection => answer.await,
    }
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
