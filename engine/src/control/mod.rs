//! The control socket: HTTP/1.1 and JSON, for the agent and for curl.

mod apply;
mod socket;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use serde_json::{Value, json};
use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, mpsc};

use crate::http::body::Incoming;
use crate::http::chunked::Decoded;
use crate::http::head::Request;
use crate::http::scan::{Found, Scanner};
use crate::http::{Framing, Malformed, Version, write};
use crate::io::{Conn, Stream};
use crate::log::Level;
use crate::state::Shared;
use crate::stats;
use crate::worker::Order;
use apply::{Applier, Refused};

pub(crate) use socket::bind;

/// Largest body that is accepted.
const MAX_BODY: usize = 256 << 20;

/// The engine, as the control socket sees it.
pub(crate) struct Control {
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Order>>,
    applier: tokio::sync::Mutex<Applier>,
    started: Instant,
    stop: Notify,
    /// Whether listeners are open.
    accepting: Cell<bool>,
}

/// Serves the control socket until the engine is told to stop, and stops it. False if it was told twice, so that requests
/// were not waited for.
pub(crate) async fn run(
    listener: UnixListener,
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Order>>,
    level: Level,
) -> std::io::Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let control = Rc::new(Control {
        applier: tokio::sync::Mutex::new(Applier::new(Arc::clone(&shared), workers.clone(), level)),
        shared,
        workers,
        started: Instant::now(),
        stop: Notify::new(),
        accepting: Cell::new(true),
    });
    tokio::task::spawn_local(accept(listener, Rc::clone(&control)));
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        () = control.stop.notified() => {}
    }
    tokio::select! {
        () = control.drain() => Ok(true),
        _ = terminate.recv() => Ok(false),
        _ = interrupt.recv() => Ok(false),
    }
}

async fn accept(listener: UnixListener, control: Rc<Control>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                tokio::task::spawn_local(serve(Conn::new(Stream::Unix(stream)), Rc::clone(&control)));
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept a control connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// An answer: status and body.
type Answer = (u16, Value);

fn problem(status: u16, error: impl std::fmt::Display) -> Answer {
    (status, json!({"error": error.to_string()}))
}

async fn serve(mut conn: Conn, control: Rc<Control>) {
    loop {
        let mut scanner = Scanner::default();
        let parsed = loop {
            match scanner.scan(&conn.buffer) {
                Ok(Found::Head { start, end }) => {
                    break Request::parse(conn.buffer.split_to(end).split_off(start).freeze());
                }
                Ok(Found::Partial) => {}
                Err(error) => break Err(error),
            }
            if !matches!(conn.fill().await, Ok(1..)) {
                return;
            }
        };
        let (answer, keep_alive) = match parsed {
            Err(error) => (problem(400, error), false),
            Ok(request) => match body(&mut conn, &request).await {
                Err(answer) => (answer, false),
                Ok(body) => (control.answer(&request, &body).await, request.keep_alive),
            },
        };
        conn.rest();
        if send(&mut conn, answer, keep_alive).await.is_err() || !keep_alive {
            return;
        }
    }
}

async fn send(conn: &mut Conn, (status, value): Answer, keep_alive: bool) -> std::io::Result<()> {
    let body = value.to_string();
    let mut out = BytesMut::with_capacity(body.len() + 256);
    write::status_line(&mut out, status, write::reason(status).as_bytes());
    write::field(&mut out, b"Content-Type", b"application/json");
    write::content_length(&mut out, body.len() as u64);
    if !keep_alive {
        out.extend_from_slice(b"Connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(body.as_bytes());
    conn.send(&out).await
}

/// Reads a whole body.
async fn body(conn: &mut Conn, request: &Request) -> Result<Vec<u8>, Answer> {
    let too_large = || problem(413, "the body is too large");
    let mut incoming = Incoming::new(request.framing);
    if matches!(request.framing, Framing::Length(length) if length > MAX_BODY as u64) {
        return Err(too_large());
    }
    let waits = request.fields.iter().any(|(_, name, _)| name.eq_ignore_ascii_case(b"expect"));
    if waits && request.version == Version::Http11 && conn.buffer.is_empty() {
        conn.send(b"HTTP/1.1 100 Continue\r\n\r\n").await.map_err(|error| problem(400, error))?;
    }
    let mut body = Vec::new();
    loop {
        match incoming.decode(&mut conn.buffer).map_err(|error: Malformed| problem(400, error))? {
            Decoded::End => return Ok(body),
            Decoded::Data(length) if body.len() + length > MAX_BODY => return Err(too_large()),
            Decoded::Data(length) => {
                body.extend_from_slice(&conn.buffer[..length]);
                conn.buffer.advance(length);
                incoming.consumed(length);
            }
            Decoded::More => match conn.fill().await {
                Ok(1..) => {}
                _ => return Err(problem(400, "the body is not complete")),
            },
        }
    }
}

impl Control {
    async fn answer(&self, request: &Request, body: &[u8]) -> Answer {
        let (path, _) = request.path_and_query();
        match (request.method(), path) {
            ("PUT", "/snapshot") => match self.applier.lock().await.apply(body).await {
                Ok(revision) => (200, json!({"revision": revision})),
                Err(Refused::NoSnapshot(error)) => problem(400, error),
                Err(Refused::Stopping) => problem(503, "the engine is stopping"),
                Err(Refused::Problems(problems)) => {
                    let count = problems.len();
                    let first = problems.first().map(|problem| problem.error.as_str()).unwrap_or_default();
                    let error = match count {
                        1 => format!("the snapshot was refused: {first}"),
                        _ => format!("the snapshot was refused for {count} problems, the first: {first}"),
                    };
                    (422, json!({"error": error, "problems": problems}))
                }
            },
            ("POST", "/check") => match self.applier.lock().await.check(body) {
                Ok(problems) => (200, json!({"problems": problems})),
                Err(error) => problem(400, error),
            },
            ("GET", "/status") => (200, self.status().await),
            ("GET", "/counters") => (200, self.counters().await),
            ("POST", "/stop") => {
                self.stop.notify_one();
                (202, json!({}))
            }
            (_, "/snapshot" | "/check" | "/status" | "/counters" | "/stop") => {
                problem(405, format!("{} does not take {}", path, request.method()))
            }
            _ => problem(404, format!("there is nothing at {path}")),
        }
    }

    async fn status(&self) -> Value {
        let draining = self.shared.draining.load(Ordering::Relaxed);
        let listeners = if self.accepting.get() { self.applier.lock().await.listeners() } else { Vec::new() };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_seconds": (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            "revision": self.shared.tables.load().revision,
            "state": if draining { "draining" } else { "running" },
            "listeners": listeners,
        })
    }

    async fn counters(&self) -> Value {
        let tables = self.shared.tables.load_full();
        let applier = self.applier.lock().await;
        let entry_points = applier.entry_point_stats().iter().map(|(name, stats)| (name, stats.as_ref()));
        stats::report(&self.shared, entry_points, tables.services.iter().map(AsRef::as_ref))
    }

    /// Goes on accepting for a while, in which pings say that the engine stops; then closes the listeners and waits for
    /// the connections, but not longer than the grace time.
    async fn drain(&self) {
        self.shared.draining.store(true, Ordering::SeqCst);
        let (accepting, grace) = {
            let settings = &self.shared.tables.load().settings;
            (settings.request_accept_grace_timeout, settings.grace_timeout)
        };
        let (accept_seconds, grace_seconds) = (accepting.as_secs_f64(), grace.as_secs_f64());
        tracing::info!(accept_seconds, grace_seconds, "stopping");
        if !accepting.is_zero() {
            tokio::time::sleep(accepting).await;
        }
        self.accepting.set(false);
        for worker in &self.workers {
            // A worker that is gone has nothing to close.
            let _ = worker.send(Order::Drain);
        }
        let finished = async {
            // Workers tell when their listeners are closed, and of each connection that closes after that. The tick is
            // for those that closed in between.
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            tick.tick().await;
            loop {
                tokio::select! {
                    () = self.shared.closed.notified() => {}
                    _ = tick.tick() => {}
                }
                if self.shared.stats.iter().all(|stats| stats.open.get() == 0) {
                    return;
                }
            }
        };
        if tokio::time::timeout(grace, finished).await.is_err() {
            tracing::warn!("requests were still running when the grace time ended");
        }
    }
}
