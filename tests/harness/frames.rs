//! HTTP/2 frame by frame (RFC 9113 §4.1): versions that send what no library would.

use super::Scripted;

/// A frame of HTTP/2 (RFC 9113 §4.1).
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const GOAWAY: u8 = 7;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
/// `:status: 200` by its index (RFC 7541, Appendix A).
pub const STATUS_200: &[u8] = &[0x88];

/// Speaks HTTP/2 as far as settings; the head of each request is answered with the frames of `answer`, which is told
/// the connection's number from 1 and the stream.
pub fn answering(answer: impl Fn(usize, u32) -> Vec<u8> + Send + Sync + 'static) -> Scripted {
    Scripted::start(move |scene, number| {
        scene
            .reader
            .take(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".len())?;
        scene.write(frame(SETTINGS, 0, 0, &[]))?;
        loop {
            let head = scene.reader.take(9)?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            scene.reader.take(length as usize)?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            match (head[3], head[4]) {
                (SETTINGS, 0) => scene.write(frame(SETTINGS, 1, 0, &[]))?,
                (HEADERS, _) => scene.write(answer(number, stream))?,
                _ => {}
            }
        }
    })
}
