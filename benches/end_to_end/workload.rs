//! What is sent, and how: the columns of the table.

use std::net::SocketAddr;

/// One kind of traffic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Workload {
    /// As given to `--workloads`.
    pub(crate) name: &'static str,
    /// For the table.
    pub(crate) what: &'static str,
    /// Connections that are open at a time.
    pub(crate) connections: usize,
    /// HTTP/2 by prior knowledge, with so many requests at a time on each connection; `None` is HTTP/1.1.
    pub(crate) streams: Option<usize>,
    /// So many connections of HTTP/2 beside them, with [`STREAMS_BESIDE`] requests at a time each.
    pub(crate) beside: usize,
    /// Over TLS 1.3, with HTTP/2 as the handshake agrees on it.
    pub(crate) tls: bool,
    /// A new connection for each request.
    pub(crate) close: bool,
    method: &'static str,
    path: &'static str,
    headers: &'static str,
    body: usize,
}

const PLAIN: Workload = Workload {
    name: "W1",
    what: "GET, answer of 1 KiB, 64 keep-alive connections",
    connections: 64,
    streams: None,
    beside: 0,
    tls: false,
    close: false,
    method: "GET",
    path: "/",
    headers: "",
    body: 0,
};

/// On each of the connections that [`Workload::beside`] counts.
pub(crate) const STREAMS_BESIDE: usize = 8;

/// Both protocols at a time, for `--edits`.
pub(crate) const MIXED: Workload = Workload {
    name: "mixed",
    what: "GET, answer of 1 KiB, 48 keep-alive connections and 8 of HTTP/2",
    connections: 48,
    beside: 8,
    ..PLAIN
};

/// Those who are honest, for `--attack`.
pub(crate) const HONEST: Workload = Workload {
    name: "honest",
    what: "GET, answer of 1 KiB, 32 keep-alive connections and 4 of HTTP/2",
    connections: 32,
    beside: 4,
    ..PLAIN
};

/// In the order of the table.
pub(crate) const ALL: [Workload; 9] = [
    PLAIN,
    Workload {
        name: "W1h",
        what: "as W1, with the eleven headers of a browser",
        path: "/api/v1/items?id=12345",
        headers: BROWSER,
        ..PLAIN
    },
    Workload {
        name: "W2",
        what: "POST of 4 KiB, answer of 1 KiB, 64 keep-alive connections",
        method: "POST",
        path: "/up",
        headers: "Content-Type: application/octet-stream\r\n",
        body: 4096,
        ..PLAIN
    },
    Workload {
        name: "W3",
        what: "GET, answer of 1 MiB, 16 keep-alive connections",
        connections: 16,
        path: "/big",
        ..PLAIN
    },
    Workload {
        name: "W4",
        what: "GET, answer of 1 KiB, a connection a request, 64 at a time",
        close: true,
        ..PLAIN
    },
    Workload {
        name: "H2c",
        what: "HTTP/2 without TLS: GET, answer of 1 KiB, 16 connections of 8 streams",
        connections: 16,
        streams: Some(8),
        ..PLAIN
    },
    Workload {
        name: "T1",
        what: "as W1 over TLS 1.3",
        tls: true,
        ..PLAIN
    },
    Workload {
        name: "T3",
        what: "as W3 over TLS 1.3",
        connections: 16,
        path: "/big",
        tls: true,
        ..PLAIN
    },
    Workload {
        name: "H2",
        what: "HTTP/2 over TLS 1.3: GET, answer of 1 KiB, 16 connections of 8 streams",
        connections: 16,
        streams: Some(8),
        tls: true,
        ..PLAIN
    },
];

/// What a browser sends beside Host and the user.
const BROWSER: &str = "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Accept-Language: en-US,en;q=0.9,sv;q=0.8\r\n\
    Cookie: session=3f2a9c0d8e7b4a6f9c1d2e3f4a5b6c7d; theme=dark; visits=GA1.1.1234567890.1700000000\r\n\
    X-Request-Id: 0af7651916cd43dd8448eb211c80319c\r\n\
    Referer: https://www.example.com/products/list?page=2\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Cache-Control: no-cache\r\n\
    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
    DNT: 1\r\n";

/// Users that are met before one comes again.
const USERS: u32 = 1_000_000;
/// Prime to `USERS`: every user is met, and neighbours in time are no neighbours in number.
const STRIDE: u32 = 7919;

/// The requests of a workload: the same bytes each time, but for the seven digits of the user.
pub(crate) struct Requests {
    bytes: Vec<u8>,
    digits: usize,
    user: u32,
}

impl Requests {
    /// HTTP/1.1 requests to a proxy at this address.
    pub(crate) fn http1(workload: &Workload, to: SocketAddr) -> Self {
        let Workload {
            method,
            path,
            headers,
            body,
            ..
        } = workload;
        let close = if workload.close {
            "Connection: close\r\n"
        } else {
            ""
        };
        let length = if *body > 0 {
            format!("Content-Length: {body}\r\n")
        } else {
            String::new()
        };
        let mut bytes = format!(
            "{method} {path} HTTP/1.1\r\nHost: {to}\r\n{headers}{close}{length}X-User-Id: user-"
        )
        .into_bytes();
        let digits = bytes.len();
        bytes.extend_from_slice(b"0000000\r\n\r\n");
        bytes.resize(bytes.len() + body, b'z');
        Self {
            bytes,
            digits,
            user: 0,
        }
    }

    /// HPACK header blocks of GET requests, without the dynamic table and without Huffman coding.
    pub(crate) fn http2(workload: &Workload, to: SocketAddr) -> Self {
        // Static table: 2 is GET, 6 is http, 7 is https; 4 is :path and 1 is :authority, each with a literal value.
        let mut bytes = vec![0x82, if workload.tls { 0x87 } else { 0x86 }];
        literal(&mut bytes, &[0x04], workload.path);
        literal(&mut bytes, &[0x01], &to.to_string());
        literal(&mut bytes, b"\x00\x09x-user-id", "user-0000000");
        let digits = bytes.len() - 7;
        Self {
            bytes,
            digits,
            user: 0,
        }
    }

    /// The next user's request.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.user = (self.user + STRIDE) % USERS;
        let mut rest = self.user;
        for digit in self.bytes[self.digits..self.digits + 7].iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        &self.bytes
    }
}

fn literal(block: &mut Vec<u8>, name: &[u8], value: &str) {
    block.extend_from_slice(name);
    block.push(u8::try_from(value.len()).expect("header values of the load are short"));
    block.extend_from_slice(value.as_bytes());
}
