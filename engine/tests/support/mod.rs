//! The real engine, a small origin server and a raw client. Waiting is done with deadlines, never by sleeping.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::panic, clippy::expect_used)]

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// Longest that anything may take.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// Calls `check` until it gives something.
pub fn eventually<T>(what: &str, mut check: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(result) = check() {
            return result;
        }
        assert!(Instant::now() < end, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A running engine; killed when dropped.
pub struct Engine {
    pub child: Child,
    pub control: PathBuf,
    pub folder: tempfile::TempDir,
}

impl Engine {
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let control = folder.path().join("control.sock");
        let child = command(&control).spawn().unwrap();
        let engine = Self { child, control, folder };
        eventually("the control socket", || UnixStream::connect(&engine.control).ok());
        engine
    }

    /// With a snapshot in force.
    pub fn with(snapshot: &Value) -> Self {
        let engine = Self::start();
        engine.put(snapshot);
        engine
    }

    /// A request to the control socket: status and body.
    pub fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = UnixStream::connect(&self.control).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: engine\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    pub fn put(&self, snapshot: &Value) {
        let (status, answer) = self.ask("PUT", "/snapshot", &snapshot.to_string());
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["revision"], snapshot["revision"]);
    }

    pub fn get(&self, path: &str) -> Value {
        let (status, answer) = self.ask("GET", path, "");
        assert_eq!(status, 200, "{answer}");
        answer
    }

    /// Where an entry point listens.
    pub fn address(&self, entry_point: &str) -> SocketAddr {
        let status = self.get("/status");
        let listeners = status["listeners"].as_array().unwrap();
        let listener = listeners.iter().find(|listener| listener["entry_point"] == entry_point).unwrap();
        listener["address"].as_str().unwrap().parse().unwrap()
    }

    /// A connection to the entry point `http`.
    pub fn connect(&self) -> Client {
        Client::connect(self.address("http"))
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn exit_code(&mut self) -> Option<i32> {
        eventually("the engine's end", || self.child.try_wait().unwrap()).code()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The engine's command line.
pub fn command(control: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_traefikee-engine"));
    command.args(["--workers", "2", "--control"]).arg(control).stderr(Stdio::null());
    command
}

/// A snapshot with the entry point `http` on a port of the system's choice, and nothing else.
pub fn empty_snapshot() -> Value {
    json!({
        "format": 1,
        "revision": 1,
        "settings": {
            "server_name": "node", "log_level": "debug", "dial_timeout_ms": 5000, "response_header_timeout_ms": 0,
            "request_header_timeout_ms": 60000, "idle_timeout_ms": 60000, "read_timeout_ms": 0, "write_timeout_ms": 0, "stall_timeout_ms": 60000, "retry": null, "access_log": null, "metrics": null, "grace_timeout_ms": 10000, "request_accept_grace_timeout_ms": 0,
            "max_idle_connections_per_server": 200, "insecure_skip_verify": false, "root_ca_pem": "", "ticket_keys": [],
        },
        "entry_points": [entry_point("http")],
        "routes": [], "services": [], "certificates": [],
    })
}

pub fn entry_point(name: &str) -> Value {
    json!({
        "name": name, "address": "127.0.0.1:0", "proxy_protocol": null, "ping": false, "metrics": false, "tls": null,
        "middlewares": [],
        "forwarded_headers": {"insecure": true, "trusted_ips": []},
        "limits": {"max_connections": 0, "max_connections_per_client": 0},
    })
}

/// A route that takes everything on `http`.
pub fn route(id: &str, service: &str) -> Value {
    json!({
        "id": id, "entry_points": ["http"], "priority": 1, "matchers": [], "modifiers": [], "service": service,
        "pass_host_header": true, "client_roles": [], "forward_client_identity": false,
        "middlewares": [], "chain": "",
    })
}

pub fn service(id: &str, urls: &[String]) -> Value {
    let servers: Vec<Value> = urls.iter().map(|url| json!({"name": url, "url": url, "weight": 1})).collect();
    json!({
        "id": id, "balancer": "wrr", "servers": servers, "sticky": null, "health_check": null,
        "max_connections": null, "circuit_breaker": null, "buffering": null,
    })
}

/// Everything on `http` goes to `url`.
pub fn snapshot_to(url: &str) -> Value {
    let mut snapshot = empty_snapshot();
    snapshot["routes"] = json!([route("all", "all")]);
    snapshot["services"] = json!([service("all", &[url.to_owned()])]);
    snapshot
}

/// Bytes both ways.
pub trait Stream: Read + Write + Send {}
impl<T: Read + Write + Send> Stream for T {}

/// A connection with what was read from it.
pub struct Peer<S> {
    pub stream: S,
    pub buffer: Vec<u8>,
}

pub type Client = Peer<TcpStream>;

/// A parsed answer, or request.
#[derive(Debug)]
pub struct Message {
    pub head: String,
    pub body: Vec<u8>,
}

impl Message {
    pub fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        let named = |line: &&str| line.split_once(':').is_some_and(|(found, _)| found.eq_ignore_ascii_case(name));
        self.head.lines().skip(1).find(named).and_then(|line| line.split_once(": ")).map(|(_, value)| value)
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self::new(stream)
    }
}

impl<S: Read + Write> Peer<S> {
    pub fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self.stream.flush().unwrap();
    }

    /// Reads once; false at the end.
    pub fn fill(&mut self) -> bool {
        let mut room = [0; 16384];
        match self.stream.read(&mut room) {
            Ok(0) => false,
            Ok(length) => {
                self.buffer.extend_from_slice(&room[..length]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}; so far {:?}", String::from_utf8_lossy(&self.buffer)),
        }
    }

    /// Takes everything up to and with `end`; `None` if the connection ends before.
    pub fn until(&mut self, end: &str) -> Option<Vec<u8>> {
        loop {
            let found = self.buffer.windows(end.len()).position(|window| window == end.as_bytes());
            if let Some(at) = found {
                return Some(self.buffer.drain(..at + end.len()).collect());
            }
            if !self.fill() {
                return None;
            }
        }
    }

    pub fn exactly(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert!(self.fill(), "ended after {:?}", String::from_utf8_lossy(&self.buffer));
        }
        self.buffer.drain(..length).collect()
    }

    /// A head with its empty line; `None` if the connection ends before.
    pub fn head(&mut self) -> Option<Message> {
        let head = String::from_utf8(self.until("\r\n\r\n")?).unwrap();
        Some(Message { head, body: Vec::new() })
    }

    /// A whole message, framed by length or chunks.
    pub fn message(&mut self) -> Message {
        let mut message = self.head().expect("a head");
        if message.field("Transfer-Encoding").is_some() {
            message.body = self.chunks();
        } else if let Some(length) = message.field("Content-Length") {
            message.body = self.exactly(length.parse().unwrap());
        }
        message
    }

    /// The data of a chunked body whose trailers are empty.
    pub fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let line = String::from_utf8(self.until("\r\n").unwrap()).unwrap();
            let size = usize::from_str_radix(line.trim(), 16).unwrap();
            if size == 0 {
                assert_eq!(self.exactly(2), b"\r\n");
                return body;
            }
            body.extend(self.exactly(size));
            assert_eq!(self.exactly(2), b"\r\n");
        }
    }

    /// Everything until the end.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.fill() {}
        std::mem::take(&mut self.buffer)
    }

    pub fn get(&mut self, path: &str) -> Message {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n"));
        self.message()
    }
}

/// An origin server: each connection is given to the handler, on a thread of its own.
pub struct Origin {
    pub url: String,
    connections: Arc<AtomicUsize>,
    pub seen: Arc<Mutex<Vec<u8>>>,
}

pub type OriginConn = Peer<Box<dyn Stream>>;

impl Origin {
    pub fn start(handler: impl Fn(&mut OriginConn) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self::serve(url, handler, move || listener.accept().map(|(stream, _)| Box::new(stream) as Box<dyn Stream>))
    }

    pub fn unix(path: &std::path::Path, handler: impl Fn(&mut OriginConn) + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let url = format!("unix:{}", path.display());
        Self::serve(url, handler, move || listener.accept().map(|(stream, _)| Box::new(stream) as Box<dyn Stream>))
    }

    fn serve(
        url: String,
        handler: impl Fn(&mut OriginConn) + Send + Sync + 'static,
        accept: impl Fn() -> std::io::Result<Box<dyn Stream>> + Send + 'static,
    ) -> Self {
        let connections = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&connections);
        let handler = Arc::new(handler);
        std::thread::spawn(move || {
            while let Ok(stream) = accept() {
                counter.fetch_add(1, Ordering::SeqCst);
                let handler = Arc::clone(&handler);
                std::thread::spawn(move || handler(&mut Peer::new(stream)));
            }
        });
        Self { url, connections, seen: Arc::default() }
    }

    /// Answers every request with its own head and body, as text.
    pub fn echo() -> Self {
        Self::start(echo)
    }

    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// Answers every request of a connection with its own head and body.
pub fn echo(conn: &mut OriginConn) {
    while let Some(request) = try_message(conn) {
        let body = [request.head.as_bytes(), &request.body].concat();
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        if conn.stream.write_all(&[head.as_bytes(), &body].concat()).is_err() {
            return;
        }
    }
}

/// A request, or `None` if the connection ends.
pub fn try_message(conn: &mut OriginConn) -> Option<Message> {
    let mut message = conn.head()?;
    if message.field("Transfer-Encoding").is_some() {
        message.body = conn.chunks();
    } else if let Some(length) = message.field("Content-Length") {
        message.body = conn.exactly(length.parse().unwrap());
    }
    Some(message)
}
