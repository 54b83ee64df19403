//! One question to somebody else over HTTP: a GET over a connection of its own, bounded in time and in bytes.
//!
//! Redirects are not followed: whoever wrote the URL named whom to ask, and nobody else is asked. A URL with a user name or
//! a password is refused: the plan that holds it is shown by the API, in logs and in differences. Errors never repeat the
//! URL for the same reason, as a query may hold a token; they name host and port.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tidegate_config::tls::Authorities;
use tidegate_config::units::show_duration;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::rustls::pki_types::ServerName;

use crate::transport::dialer::{Dialer, Offer};
use crate::transport::fault::Fault;
use crate::transport::socket::Socket;

/// Bytes of an answer's body: numbers and verdicts are far below, and a wrong URL must not fill the memory.
pub const BODY_BYTES: usize = 1 << 20;
/// Bytes of an answer's head.
const HEAD_BYTES: usize = 64 * 1024;
/// How the proxy calls itself.
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("tidegate/", env!("CARGO_PKG_VERSION")));

/// A whole answer, whatever its status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// Its status; a redirect is shown as it is.
    pub status: StatusCode,
    /// At most [`BODY_BYTES`].
    pub body: Bytes,
}

/// Why there is no answer. Each reads after the name of who was asked: `gate e2e did not answer within 5s`.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The URL cannot be used.
    #[error("has a URL that cannot be asked: {0}")]
    Url(&'static str),
    /// No connection.
    #[error("cannot be reached at {authority}: {source}; is it running, and is this its address?")]
    Unreachable {
        /// Host and port.
        authority: String,
        /// What the system says.
        source: io::Error,
    },
    /// No TLS.
    #[error("cannot be asked by https at {authority}: {source}")]
    Tls {
        /// Host and port.
        authority: String,
        /// What was wrong.
        source: Fault,
    },
    /// It broke off, or what it said was no HTTP.
    #[error("gave no HTTP answer at {authority}: {source}; does it speak HTTP/1.1 there?")]
    Broken {
        /// Host and port.
        authority: String,
        /// What was wrong.
        source: hyper::Error,
    },
    /// The answer's body broke off.
    #[error("broke off in the middle of its answer: {0}")]
    CutShort(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// No whole answer in time.
    #[error("did not answer within {}", show_duration(*.0))]
    TimedOut(Duration),
    /// The body is larger than any answer that is meant for us.
    #[error("answered more than {} KiB; does the URL ask the right thing?", BODY_BYTES / 1024)]
    TooLong,
}

/// Asks, and waits for the whole answer. `within` counts from the first look-up of the name to the last byte. Who is asked
/// by https must be vouched for by `authorities`.
///
/// # Errors
/// Where there is no whole answer; a status that says no is an answer.
pub async fn fetch(
    url: &str,
    authorities: Option<&Authorities>,
    within: Duration,
    headers: &HeaderMap,
) -> Result<Fetched, FetchError> {
    let target = Target::of(url, authorities)?;
    timeout(within, target.whole(headers))
        .await
        .unwrap_or(Err(FetchError::TimedOut(within)))
}

/// Asks, and waits for the status alone: for those whose body says nothing.
///
/// # Errors
/// Where no head of an answer came.
pub async fn status(
    url: &str,
    authorities: Option<&Authorities>,
    within: Duration,
    headers: &HeaderMap,
) -> Result<StatusCode, FetchError> {
    let target = Target::of(url, authorities)?;
    let head = target.with_answer(headers, async |answer| Ok(answer.status()));
    timeout(within, head)
        .await
        .unwrap_or(Err(FetchError::TimedOut(within)))
}

/// Who is asked for what.
#[derive(Debug)]
struct Target {
    /// As it stands in `Host`.
    host: HeaderValue,
    /// Host and port.
    authority: String,
    /// What follows them.
    path: String,
    /// Whom it must prove to be, where it is asked by https.
    secure: Option<(Dialer, ServerName<'static>)>,
}

impl Target {
    fn of(url: &str, authorities: Option<&Authorities>) -> Result<Self, FetchError> {
        let uri: Uri = url
            .parse()
            .map_err(|_| FetchError::Url("it is no URL; write http://HOST:PORT/PATH"))?;
        let dialer = match (uri.scheme_str(), authorities) {
            (Some("http"), _) => None,
            (Some("https"), Some(authorities)) => {
                Some(Dialer::new(authorities, None, Offer::Http1))
            }
            (Some("https"), None) => {
                return Err(FetchError::Url(
                    "nobody is known here who could vouch for it",
                ));
            }
            _ => return Err(FetchError::Url("write http://HOST:PORT/PATH or https://")),
        };
        let named = uri
            .authority()
            .filter(|authority| !authority.host().is_empty())
            .ok_or(FetchError::Url(
                "it names no host; write http://HOST:PORT/PATH",
            ))?;
        if named.as_str().contains('@') {
            return Err(FetchError::Url(
                "it holds a user name or a password, which would be shown with the plan; take them out, and let the \
                 server trust this machine",
            ));
        }
        let host = HeaderValue::from_str(named.as_str())
            .map_err(|_| FetchError::Url("its host cannot stand in a header"))?;
        let secure = match dialer {
            Some(dialer) => Some((dialer, server_name(named.host())?)),
            None => None,
        };
        let port = named.port_u16();
        let port = port.unwrap_or(if secure.is_some() { 443 } else { 80 });
        Ok(Self {
            host,
            authority: format!("{}:{port}", named.host()),
            path: uri
                .path_and_query()
                .map_or_else(|| "/".to_owned(), ToString::to_string),
            secure,
        })
    }

    async fn whole(&self, headers: &HeaderMap) -> Result<Fetched, FetchError> {
        self.with_answer(headers, async |answer| {
            let status = answer.status();
            let body = Limited::new(answer.into_body(), BODY_BYTES).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => FetchError::TooLong,
                false => FetchError::CutShort(error),
            })?;
            Ok(Fetched {
                status,
                body: body.to_bytes(),
            })
        })
        .await
    }

    /// One exchange; the connection is driven beside it and ends with it.
    async fn with_answer<T>(
        &self,
        headers: &HeaderMap,
        read: impl AsyncFnOnce(Response<Incoming>) -> Result<T, FetchError>,
    ) -> Result<T, FetchError> {
        let stream = self.connect().await?;
        let broken = |source| FetchError::Broken {
            authority: self.authority.clone(),
            source,
        };
        let mut client = http1::Builder::new();
        client.max_buf_size(HEAD_BYTES);
        let (mut sender, connection) = client
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let request = self.request(headers)?;
        let exchange = async {
            let answer = sender.send_request(request).await.map_err(broken)?;
            read(answer).await
        };
        let mut exchange = std::pin::pin!(exchange);
        tokio::select! {
            done = &mut exchange => done,
            // The connection may end before the last byte of the answer was handed over.
            _ = connection => exchange.await,
        }
    }

    async fn connect(&self) -> Result<Socket, FetchError> {
        let authority = || self.authority.clone();
        let stream = TcpStream::connect(&self.authority).await;
        let stream = stream.map_err(|source| FetchError::Unreachable {
            authority: authority(),
            source,
        })?;
        let Some((dialer, name)) = &self.secure else {
            return Ok(stream.into());
        };
        let secured = dialer.handshake(stream, name.clone()).await;
        let (stream, _) = secured.map_err(|source| FetchError::Tls {
            authority: authority(),
            source,
        })?;
        Ok(stream.into())
    }

    fn request(&self, headers: &HeaderMap) -> Result<Request<Empty<Bytes>>, FetchError> {
        let mut request = Request::get(&self.path)
            .body(Empty::new())
            .map_err(|_| FetchError::Url("its path cannot be asked for"))?;
        let fields = request.headers_mut();
        fields.clone_from(headers);
        fields.insert(HOST, self.host.clone());
        fields.insert(CONNECTION, HeaderValue::from_static("close"));
        fields.entry(USER_AGENT).or_insert(AGENT);
        Ok(request)
    }
}

/// Whom somebody must prove to be.
fn server_name(host: &str) -> Result<ServerName<'static>, FetchError> {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    ServerName::try_from(bare.to_owned())
        .map_err(|_| FetchError::Url("its host is no name that a certificate could be for"))
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;
    use tokio::sync::oneshot;

    use super::*;

    const PLENTY: Duration = Duration::from_secs(10);

    /// Answers one request with these bytes and closes; gives the head that it read.
    async fn says(answer: impl Into<Vec<u8>>) -> (SocketAddr, oneshot::Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, told) = oneshot::channel();
        let answer = answer.into();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let _ = tell.send(String::from_utf8(head).unwrap());
            let _ = stream.write_all(&answer).await;
            let _ = stream.shutdown().await;
            // Whoever asked may still be reading.
            let _ = stream.read(&mut [0; 1]).await;
        });
        (address, told)
    }

    async fn asked(answer: impl Into<Vec<u8>>) -> Result<Fetched, FetchError> {
        let (address, _told) = says(answer).await;
        fetch(
            &format!("http://{address}/x"),
            None,
            PLENTY,
            &HeaderMap::new(),
        )
        .await
    }

    #[tokio::test]
    async fn an_answer_comes_whole_with_its_status() {
        let (address, told) =
            says("HTTP/1.1 503 Busy\r\nContent-Length: 5\r\n\r\nlater and more").await;
        let mut headers = HeaderMap::new();
        headers.insert("x-asks", HeaderValue::from_static("tidegate"));
        let url = format!("http://{address}/a/b?c=d%20e");
        let fetched = fetch(&url, None, PLENTY, &headers).await.unwrap();
        assert_eq!(
            (fetched.status.as_u16(), &fetched.body[..]),
            (503, &b"later"[..])
        );
        let told = told.await.unwrap();
        assert!(told.starts_with("GET /a/b?c=d%20e HTTP/1.1\r\n"), "{told}");
        for line in [
            format!("host: {address}"),
            "x-asks: tidegate".to_owned(),
            "connection: close".to_owned(),
        ] {
            assert!(
                told.contains(&format!("\r\n{line}\r\n")),
                "{line:?} is not in {told}"
            );
        }
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let fetched = asked(
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
        )
        .await
        .unwrap();
        assert_eq!(fetched.status, 302);
    }

    #[tokio::test]
    async fn a_body_without_an_end_is_cut_off_at_its_bound() {
        let mut endless = b"HTTP/1.1 200 OK\r\n\r\n".to_vec();
        endless.resize(endless.len() + BODY_BYTES, b'x');
        assert_eq!(asked(endless.clone()).await.unwrap().body.len(), BODY_BYTES);
        endless.push(b'x');
        let error = asked(endless).await.unwrap_err();
        assert!(matches!(error, FetchError::TooLong), "{error}");
        assert_eq!(
            error.to_string(),
            "answered more than 1024 KiB; does the URL ask the right thing?"
        );
    }

    #[tokio::test]
    async fn half_an_answer_is_none() {
        let error = asked("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
        assert!(matches!(error, Err(FetchError::CutShort(_))), "{error:?}");
        let error = asked("SSH-2.0-OpenSSH_9.2\r\n").await;
        assert!(matches!(error, Err(FetchError::Broken { .. })), "{error:?}");
        let error = asked("").await;
        assert!(matches!(error, Err(FetchError::Broken { .. })), "{error:?}");
        let mut head = b"HTTP/1.1 200 OK\r\nx-long: ".to_vec();
        head.resize(head.len() + 2 * HEAD_BYTES, b'x');
        let error = asked(head).await;
        assert!(matches!(error, Err(FetchError::Broken { .. })), "{error:?}");
    }

    #[tokio::test]
    async fn the_status_alone_does_not_wait_for_the_body() {
        let (address, _told) = says("HTTP/1.1 204 Fine\r\n\r\n").await;
        let url = format!("http://{address}");
        assert_eq!(
            status(&url, None, PLENTY, &HeaderMap::new()).await.unwrap(),
            204
        );
        let (address, _told) = says("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await;
        let url = format!("http://{address}");
        assert_eq!(
            status(&url, None, PLENTY, &HeaderMap::new()).await.unwrap(),
            200
        );
    }

    #[tokio::test]
    async fn silence_and_absence_are_told_with_what_to_do() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}/secret?token=hidden");
        let short = Duration::from_millis(50);
        let error = fetch(&url, None, short, &HeaderMap::new())
            .await
            .unwrap_err();
        assert_eq!(error.to_string(), "did not answer within 50ms");
        drop(listener);
        let error = fetch(&url, None, PLENTY, &HeaderMap::new())
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.starts_with(&format!(
                "cannot be reached at {address}: Connection refused"
            )),
            "{text}"
        );
        assert!(!text.contains("hidden"), "{text}");
    }

    #[test]
    fn a_url_names_a_host_and_no_secrets() {
        let target = |url| Target::of(url, None).map(|target| (target.authority, target.path));
        let both = |authority: &str, path: &str| (authority.to_owned(), path.to_owned());
        assert_eq!(target("http://gate").unwrap(), both("gate:80", "/"));
        assert_eq!(
            target("http://[::1]:70/a?b").unwrap(),
            both("[::1]:70", "/a?b")
        );
        for (wrong, why) in [
            ("https://gate/", "nobody is known here who could vouch"),
            ("gate:7000/x", "write http://HOST:PORT"),
            ("/x", "write http://HOST:PORT"),
            ("http://", "no URL"),
            ("http://a b/", "no URL"),
            ("", "no URL"),
            ("http://root:hunter2@gate/", "a user name or a password"),
            ("http://root@gate/", "a user name or a password"),
        ] {
            let error = target(wrong).expect_err(wrong).to_string();
            assert!(error.contains(why), "{wrong:?}: {error}");
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
