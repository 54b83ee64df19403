//! Frames of HTTP/2 as no honest caller sends them.

/// The preface and SETTINGS without anything.
pub(super) const OPENING: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00";
/// The preface and SETTINGS that shut every stream's window.
pub(super) const OPENING_SHUT: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x06\x04\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x00";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// `CANCEL`.
pub(super) const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// The number of the dynamic table's newest field, as an indexed field of a header block.
pub(super) const NEWEST: u8 = 0xbe;

/// Writes one frame; the payload is at most 16 KiB.
pub(super) fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    let length = u32::try_from(payload.len())
        .expect("frames are short")
        .to_be_bytes();
    out.extend_from_slice(&[length[1], length[2], length[3], kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// The header block of a GET request without the dynamic table.
pub(super) fn get(path: &str) -> Vec<u8> {
    // 2 is GET, 6 is http, 4 is :path, 1 is :authority.
    let mut block = vec![0x82, 0x86, 0x04];
    text(&mut block, path);
    block.push(0x01);
    text(&mut block, "attacked");
    block
}

/// The header block of a POST request.
pub(super) fn post() -> Vec<u8> {
    let mut block = get("/up");
    block[0] = 0x83;
    block
}

/// A field that joins the dynamic table.
pub(super) fn remembered(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0x40);
    text(block, name);
    text(block, value);
}

/// A field that does not.
pub(super) fn literal(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    text(block, name);
    text(block, value);
}

fn text(block: &mut Vec<u8>, text: &str) {
    let mut left = text.len();
    if left < 127 {
        block.push(left as u8);
    } else {
        block.push(127);
        left -= 127;
        while left >= 128 {
            block.push((left % 128) as u8 | 128);
            left /= 128;
        }
        block.push(left as u8);
    }
    block.extend_from_slice(text.as_bytes());
}
