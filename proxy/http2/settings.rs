//! What each side asks of the other (RFC 9113 §6.5).

use super::flow::{CONNECTION_WINDOW, DEFAULT_WINDOW, STREAM_WINDOW};
use super::frame::{self, Code, Kind, MOST};

const ENABLE_PUSH: u16 = 2;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;
const MAX_FRAME_SIZE: u16 = 5;
const MAX_HEADER_LIST_SIZE: u16 = 6;

/// Bounds of a listener, as they concern HTTP/2.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Requests under way at a time.
    pub streams: usize,
    /// Bytes of a head, as RFC 9113 §6.5.2 counts them.
    pub bytes: usize,
    /// Lines of a head, each piece of a cookie one.
    pub lines: usize,
}

/// What a caller asks of us, of what concerns us.
#[derive(Debug, Clone, Copy)]
pub struct Theirs {
    /// What each stream's window begins with.
    pub window: u32,
}

impl Default for Theirs {
    fn default() -> Self {
        Self {
            window: DEFAULT_WINDOW,
        }
    }
}

/// Writes ours, with which a server begins, and the connection's window.
pub fn ours(out: &mut Vec<u8>, bounds: Bounds) {
    let most = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    let all = [
        (MAX_CONCURRENT_STREAMS, most(bounds.streams)),
        (INITIAL_WINDOW_SIZE, STREAM_WINDOW),
        (MAX_HEADER_LIST_SIZE, most(bounds.bytes)),
    ];
    frame::head(out, Kind::Settings, 0, 0, all.len() * 6);
    for (name, value) in all {
        out.extend_from_slice(&name.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
    frame::window_update(out, 0, CONNECTION_WINDOW - DEFAULT_WINDOW);
}

impl Theirs {
    /// Takes the payload of a frame.
    ///
    /// # Errors
    /// Why the connection ends.
    pub fn take(&mut self, payload: &[u8]) -> Result<(), Code> {
        let settings = payload.chunks_exact(6);
        if !settings.remainder().is_empty() {
            return Err(Code::FrameSize);
        }
        for setting in settings {
            let [n0, n1, v0, v1, v2, v3] = *setting else {
                return Err(Code::FrameSize);
            };
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            match u16::from_be_bytes([n0, n1]) {
                ENABLE_PUSH if value > 1 => return Err(Code::Protocol),
                INITIAL_WINDOW_SIZE if value > MOST => return Err(Code::FlowControl),
                INITIAL_WINDOW_SIZE => self.window = value,
                MAX_FRAME_SIZE if !(0x4000..=0xff_ffff).contains(&value) => {
                    return Err(Code::Protocol);
                }
                // We send frames that everyone takes, refer to no table, push nothing; the rest is not known.
                _ => {}
            }
        }
        Ok(())
    }
}
