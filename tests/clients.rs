//! The clients that people have work unchanged: curl, Python's httpx and grpcio, Node's fetch and ws, Chromium.
//! `tests/run` installs them.

use std::time::Duration;

use crate::harness::{Backend, Proxy, Scripted, Site, hash, installed, pattern};

const WHILE: Duration = Duration::from_secs(60);

fn one() -> (Backend, Proxy, String) {
    let v1 = Backend::start("v1");
    let proxy = Proxy::start(&Site::of(&[("v1", v1.endpoint())]));
    let url = format!("http://{}", proxy.address("in"));
    (v1, proxy, url)
}

#[test]
fn curl_gets_posts_and_speaks_http_2() {
    let (_v1, proxy, url) = one();
    let curl = installed("curl");
    let ask = |args: &[&str]| curl.run(&[&["-sS", "--max-time", "20"], args].concat(), WHILE);
    let told = ask(&[&format!("{url}/a?b=c")]);
    assert!(told.contains("\"target\":\"/a?b=c\""), "{told}");
    for version in ["--http1.0", "--http1.1", "--http2-prior-knowledge"] {
        let told = ask(&[
            version,
            "-w",
            " %{http_code} %{http_version}",
            "-d",
            "hello",
            &url,
        ]);
        assert!(
            told.contains(" 200 ") && told.contains(&hash(b"hello")),
            "{version}: {told}"
        );
    }
    let big = proxy.folder().join("big");
    std::fs::write(&big, pattern(2_000_000)).unwrap();
    let upload = format!("@{}", big.display());
    let told = ask(&["-T", big.to_str().unwrap(), &url]);
    assert!(told.contains(&hash(&pattern(2_000_000))), "{told}");
    let told = ask(&["--data-binary", &upload, "-H", "Expect: 100-continue", &url]);
    assert!(
        told.contains(&hash(&pattern(2_000_000))),
        "with Expect: {told}"
    );
    let told = ask(&[
        "-X",
        "POST",
        "-H",
        "Transfer-Encoding: chunked",
        "--data-binary",
        &upload,
        &url,
    ]);
    assert!(told.contains("2000000"), "chunked: {told}");
    let down = proxy.folder().join("down");
    ask(&[
        "--compressed",
        "-o",
        down.to_str().unwrap(),
        &format!("{url}/?bytes=2000000"),
    ]);
    assert!(std::fs::read(&down).unwrap() == pattern(2_000_000));
    let head = ask(&["-I", &format!("{url}/?bytes=10")]);
    assert!(
        head.contains("200") && head.to_ascii_lowercase().contains("content-length: 10"),
        "{head}"
    );
}

#[test]
fn python_httpx_works_over_http_1_and_http_2() {
    let (_v1, _proxy, url) = one();
    let script = r#"
import sys, httpx
url = sys.argv[1]
for options in ({"http1": True, "http2": False}, {"http1": False, "http2": True}):
    with httpx.Client(timeout=20, **options) as client:
        for n in range(20):
            got = client.get(f"{url}/{n}", params={"q": "a b"}, headers={"x-user-id": str(n)})
            assert got.status_code == 200 and got.headers["x-version"] == "v1", got
            assert got.json()["target"] == f"/{n}?q=a+b" or got.json()["target"] == f"/{n}?q=a%20b", got.text
        body = bytes(n % 251 for n in range(300000))
        assert client.post(url, content=body).json()["length"] == 300000
        def pieces():
            for n in range(10):
                yield b"x" * 1000
        assert client.post(url, content=pieces()).json()["length"] == 10000
        with client.stream("GET", f"{url}/?bytes=500000&chunks=20") as answer:
            assert sum(len(piece) for piece in answer.iter_bytes()) == 500000
        assert client.get(f"{url}/?status=503").status_code == 503
        assert client.head(f"{url}/?bytes=10").status_code == 200
        print(client.get(url).http_version)
"#;
    let told = installed("python").run(&["-c", script, &url], WHILE);
    assert_eq!(
        told.split_whitespace().collect::<Vec<_>>(),
        ["HTTP/1.1", "HTTP/2"]
    );
}

#[test]
fn python_grpcio_calls_and_streams_through() {
    let folder = tempfile::tempdir().unwrap();
    let python = installed("python");
    // A server by the same library, so that both ends are real.
    let server = r#"
import sys, grpc, time
from concurrent import futures
def echo(request, context):
    if request == b"fail":
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")
    context.set_trailing_metadata((("x-trailer", "yes"),))
    return b"v1:" + request
def chat(requests, context):
    for request in requests:
        yield b"v1:" + request
def count(request, context):
    for n in range(int(request)):
        yield str(n).encode()
same = lambda x: x
handler = grpc.method_handlers_generic_handler("shop.Echo", {
    "Say": grpc.unary_unary_rpc_method_handler(echo, same, same),
    "Chat": grpc.stream_stream_rpc_method_handler(chat, same, same),
    "Count": grpc.unary_stream_rpc_method_handler(count, same, same)})
server = grpc.server(futures.ThreadPoolExecutor(8))
server.add_generic_rpc_handlers((handler,))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
open(sys.argv[1] + ".new", "w").write(str(port))
import os
os.rename(sys.argv[1] + ".new", sys.argv[1])
server.wait_for_termination(timeout=60)
"#;
    let port_file = folder.path().join("port");
    let mut process = std::process::Command::new(&python.program)
        .args(["-c", server, port_file.to_str().unwrap()])
        .spawn()
        .expect("python starts");
    let port = crate::harness::eventually("the gRPC server is up", Duration::from_secs(30), || {
        std::fs::read_to_string(&port_file).map_err(|e| e.to_string())
    });
    let site = Site::new()
        .service("protocol: h2c", &[("v1", format!("127.0.0.1:{port}"))])
        .rules("[]");
    let proxy = Proxy::start(&site);
    let client = r#"
import sys, grpc
same = lambda x: x
with grpc.insecure_channel(sys.argv[1]) as channel:
    say = channel.unary_unary("/shop.Echo/Say", same, same)
    for n in range(50):
        assert say(str(n).encode(), timeout=20) == b"v1:" + str(n).encode()
    answer, call = say.with_call(b"x", timeout=20)
    assert ("x-trailer", "yes") in [(k, v) for k, v in call.trailing_metadata()], call.trailing_metadata()
    big = b"y" * 1000000
    assert say(big, timeout=20) == b"v1:" + big
    try:
        say(b"fail", timeout=20)
        raise SystemExit("no failure")
    except grpc.RpcError as e:
        assert e.code() == grpc.StatusCode.FAILED_PRECONDITION and e.details() == "as asked", e
    chat = channel.stream_stream("/shop.Echo/Chat", same, same)
    assert list(chat(iter([b"a", b"b", b"c"]), timeout=20)) == [b"v1:a", b"v1:b", b"v1:c"]
    count = channel.unary_stream("/shop.Echo/Count", same, same)
    assert len(list(count(b"500", timeout=20))) == 500
    print("fine")
"#;
    let output = python.output(&["-c", client, &proxy.address("in").to_string()], WHILE);
    let _ = process.kill();
    let _ = process.wait();
    assert!(
        output.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn node_fetch_works() {
    let (_v1, _proxy, url) = one();
    let script = r#"
const url = process.argv[1];
(async () => {
  for (let n = 0; n < 30; n++) {
    const got = await fetch(`${url}/${n}`, { headers: { "x-user-id": String(n) } });
    if (got.status !== 200 || got.headers.get("x-version") !== "v1") throw new Error(`${got.status}`);
    if ((await got.json()).target !== `/${n}`) throw new Error("another answer");
  }
  const posted = await (await fetch(url, { method: "POST", body: "x".repeat(200000) })).json();
  if (posted.length !== 200000) throw new Error(JSON.stringify(posted));
  const stream = new ReadableStream({ start(c) { c.enqueue(new TextEncoder().encode("abc")); c.close(); } });
  const piped = await (await fetch(url, { method: "POST", body: stream, duplex: "half" })).json();
  if (piped.length !== 3) throw new Error(JSON.stringify(piped));
  const bytes = await (await fetch(`${url}/?bytes=1000000&chunks=10`)).arrayBuffer();
  if (bytes.byteLength !== 1000000) throw new Error(`${bytes.byteLength}`);
  const all = await Promise.all([...Array(40).keys()].map(async n => (await (await fetch(`${url}/p${n}`)).json()).target));
  all.forEach((target, n) => { if (target !== `/p${n}`) throw new Error("mixed answers"); });
  console.log("fine");
})().catch(e => { console.error(e); process.exit(1); });
"#;
    assert_eq!(
        installed("node").run(&["-e", script, &url], WHILE).trim(),
        "fine"
    );
}

#[test]
fn node_ws_works() {
    let (_v1, _proxy, url) = one();
    let script = r#"
const WebSocket = require("ws");
const socket = new WebSocket(process.argv[1].replace("http", "ws") + "/chat", { perMessageDeflate: true });
let heard = 0;
socket.on("open", () => socket.send("0"));
socket.on("message", (data, binary) => {
  if (binary) { if (data.length !== 100000) throw new Error("length"); socket.close(1000, "done"); return; }
  if (data.toString() !== `v1:${heard}`) throw new Error(data.toString());
  heard += 1;
  if (heard < 50) socket.send(String(heard)); else socket.send(Buffer.alloc(100000, 7));
});
socket.on("close", (code) => { console.log(heard === 50 && code === 1000 ? "fine" : `closed ${code} after ${heard}`); });
socket.on("error", (e) => { console.error(e); process.exit(1); });
"#;
    assert_eq!(
        installed("node").run(&["-e", script, &url], WHILE).trim(),
        "fine"
    );
}

#[test]
fn chromium_loads_a_page_that_fetches() {
    let page = "<!doctype html><title>page</title><body>waiting<script>\
        (async () => { const all = await Promise.all([...Array(12).keys()].map(async n => \
        (await (await fetch('/data?n=' + n)).text()))); \
        const posted = await (await fetch('/data', { method: 'POST', body: 'x'.repeat(50000) })).text(); \
        document.body.textContent = 'heard ' + all.join(',') + ' ' + posted; })()</script>";
    let backend = Scripted::start(move |scene, _| {
        loop {
            let echo = scene.request()?;
            let (kind, body) = match echo.target.as_str() {
                "/" => ("text/html", page.to_owned()),
                _ if echo.method == "POST" => ("text/plain", format!("posted={}", echo.length)),
                _ => (
                    "text/plain",
                    format!("n={}", echo.asked("n").unwrap_or("?")),
                ),
            };
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
                body.len()
            );
            scene.write(head + &body)?;
        }
    });
    let proxy = Proxy::start(&Site::of(&[("v1", backend.endpoint())]));
    let profile = tempfile::tempdir().unwrap();
    let told = installed("chromium").run(
        &[
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--disable-dev-shm-usage",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            &format!("--user-data-dir={}", profile.path().display()),
            "--virtual-time-budget=10000",
            "--dump-dom",
            &format!("http://{}/", proxy.address("in")),
        ],
        WHILE,
    );
    let expected: Vec<_> = (0..12).map(|n| format!("n={n}")).collect();
    assert!(
        told.contains(&format!("heard {} posted=50000", expected.join(","))),
        "{told}"
    );
}
