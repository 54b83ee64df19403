//! WebSocket, and any other protocol after a 101: a client, and the backend's side.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{self, Message};

use super::backend::Echo;
use super::wire::Reader;

/// An open WebSocket.
pub struct WebSocket {
    socket: tungstenite::WebSocket<TcpStream>,
}

impl WebSocket {
    /// Connects and upgrades; a refusal is a failure of the test.
    #[track_caller]
    pub fn open(address: SocketAddr, target: &str, headers: &[(&str, &str)]) -> Self {
        let stream = TcpStream::connect(address).expect("the listener accepts");
        stream
            .set_read_timeout(Some(Duration::from_secs(15)))
            .expect("a timeout");
        stream.set_nodelay(true).expect("a socket");
        let mut request =
            tungstenite::client::IntoClientRequest::into_client_request(format!("ws://t{target}"))
                .expect("a WebSocket request");
        for (name, value) in headers {
            let name = http::HeaderName::from_bytes(name.as_bytes()).expect("a header name");
            request
                .headers_mut()
                .insert(name, value.parse().expect("a header value"));
        }
        let (socket, _) = tungstenite::client(request, stream).expect("the WebSocket opens");
        Self { socket }
    }

    /// Sends a text and reads one; the backend puts its version before what it echoes.
    pub fn try_say(&mut self, text: &str) -> Result<String, String> {
        self.socket
            .send(Message::text(text))
            .map_err(|e| e.to_string())?;
        self.try_hear()
    }

    #[track_caller]
    pub fn say(&mut self, text: &str) -> String {
        self.try_say(text)
            .unwrap_or_else(|e| panic!("no echo of {text:?}: {e}"))
    }

    pub fn try_hear(&mut self) -> Result<String, String> {
        match self.socket.read().map_err(|e| e.to_string())? {
            Message::Text(text) => Ok(text.as_str().to_owned()),
            Message::Binary(bytes) => Ok(format!("{} bytes", bytes.len())),
            other => Err(format!("{other:?}")),
        }
    }

    pub fn send_binary(&mut self, bytes: Vec<u8>) -> Result<(), String> {
        self.socket
            .send(Message::binary(bytes))
            .map_err(|e| e.to_string())
    }

    /// Reads one message, whatever it is.
    pub fn message(&mut self) -> Result<Message, String> {
        self.socket.read().map_err(|e| e.to_string())
    }

    /// Closes from this side and waits for the other's close; whether it came in order.
    pub fn close(mut self) -> bool {
        let _ = self.socket.close(None);
        loop {
            match self.socket.read() {
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed) => return true,
                Err(_) => return false,
            }
        }
    }
}

/// The backend's side of an upgrade: WebSocket echoes messages with the version before them, any other protocol
/// greets with the version and then echoes bytes.
pub fn serve(reader: &mut Reader<TcpStream>, version: &str, echo: &Echo) {
    let protocol = echo.header("upgrade").to_owned();
    let websocket = protocol.eq_ignore_ascii_case("websocket");
    let mut head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n"
    );
    head += &format!("x-version: {version}\r\n");
    if websocket {
        let key = derive_accept_key(echo.header("sec-websocket-key").as_bytes());
        head += &format!("Sec-WebSocket-Accept: {key}\r\n");
    }
    let early = std::mem::take(&mut reader.buffer);
    let Ok(stream) = reader.stream.try_clone() else {
        return;
    };
    let mut tunnel = Tunnel { early, stream };
    if tunnel.write_all((head + "\r\n").as_bytes()).is_err() {
        return;
    }
    let _ = if websocket {
        echo_messages(tunnel, version)
    } else {
        echo_bytes(tunnel, version)
    };
}

fn echo_messages(tunnel: Tunnel, version: &str) -> Result<(), tungstenite::Error> {
    let mut socket = tungstenite::WebSocket::from_raw_socket(tunnel, Role::Server, None);
    loop {
        match socket.read()? {
            Message::Text(text) => socket.send(Message::text(format!("{version}:{text}")))?,
            Message::Binary(bytes) => socket.send(Message::Binary(bytes))?,
            _ => {}
        }
    }
}

fn echo_bytes(mut tunnel: Tunnel, version: &str) -> Result<(), tungstenite::Error> {
    tunnel.write_all(format!("hello from {version}\n").as_bytes())?;
    let mut piece = [0; 65536];
    loop {
        let n = tunnel.read(&mut piece)?;
        if n == 0 {
            // The other side has ended; what it had sent is already back.
            return Ok(());
        }
        tunnel.write_all(&piece[..n])?;
    }
}

/// A stream whose first bytes were read already.
struct Tunnel {
    early: Vec<u8>,
    stream: TcpStream,
}

impl Read for Tunnel {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.early.is_empty() {
            return self.stream.read(into);
        }
        let n = into.len().min(self.early.len());
        into[..n].copy_from_slice(&self.early[..n]);
        self.early.drain(..n);
        Ok(n)
    }
}

impl Write for Tunnel {
    fn write(&mut self, from: &[u8]) -> io::Result<usize> {
        self.stream.write(from)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}
