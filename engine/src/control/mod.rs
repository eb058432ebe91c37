//! The control socket: HTTP/1.1 and JSON, for the agent and for curl.

mod apply;
mod drain;
mod handover;
mod replaced;
mod socket;

use std::cell::{Cell, RefCell};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Buf, BytesMut};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, mpsc, oneshot};

use crate::explain;
use crate::http::body::Incoming;
use crate::http::chunked::Decoded;
use crate::http::head::Request;
use crate::http::scan::{Found, Scanner};
use crate::http::{Framing, Malformed, Version, write};
use crate::io::{Conn, Stream};
use crate::log::{Kept, Level};
use crate::snapshot::Problem;
use crate::state::Shared;
use crate::stats;
use crate::worker::Order;
use apply::{Applier, Refused};

pub(crate) use handover::Predecessor;
pub(crate) use socket::bind;

/// How long tunnels may take to end once the grace time is over.
const FAREWELL: Duration = Duration::from_millis(250);
/// Largest body that is accepted.
const MAX_BODY: usize = 256 << 20;
/// How long an engine that is to take over waits for its first snapshot.
const TAKE_OVER: Duration = Duration::from_secs(60);
/// How long an engine that was replaced goes on with what it has.
const RETIREMENT: Duration = Duration::from_secs(15 * 60);

/// How long the end of the engine waits for the access log.
const FLUSH: Duration = Duration::from_secs(1);

/// The engine, as the control socket sees it.
pub(crate) struct Control {
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Order>>,
    applier: tokio::sync::Mutex<Applier>,
    started: Instant,
    stop: Notify,
    /// Where the control socket is found.
    path: RefCell<PathBuf>,
    /// The engine that is to be replaced, until it is.
    predecessor: RefCell<Option<Predecessor>>,
    /// Whether another engine is about to take over.
    lent: Cell<bool>,
    /// Told when another engine has taken over.
    left: Notify,
    retired: Cell<bool>,
    drain: drain::Drain,
    /// The newest lines of the log.
    lines: Kept,
}

/// Serves the control socket, found at `path`, until the engine is told to stop, and stops it. False if it was told twice,
/// so that requests were not waited for.
pub(crate) async fn run(
    listener: UnixListener,
    path: &Path,
    mut predecessor: Option<Predecessor>,
    shared: Arc<Shared>,
    workers: Vec<mpsc::UnboundedSender<Order>>,
    level: Level,
    lines: Kept,
) -> std::io::Result<bool> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let inherited = predecessor.as_mut().map(Predecessor::take_listeners).unwrap_or_default();
    let control = Rc::new(Control {
        applier: tokio::sync::Mutex::new(Applier::new(Arc::clone(&shared), workers.clone(), level, inherited)),
        shared,
        workers,
        started: Instant::now(),
        stop: Notify::new(),
        path: RefCell::new(path.to_owned()),
        predecessor: RefCell::new(predecessor),
        lent: Cell::new(false),
        left: Notify::new(),
        retired: Cell::new(false),
        drain: drain::Drain::default(),
        lines,
    });
    tokio::task::spawn_local(drain::run(Rc::clone(&control)));
    tokio::task::spawn_local(accept(listener, Rc::clone(&control)));
    tokio::task::spawn_local(rotate(signal(SignalKind::user_defined1())?, Rc::clone(&control)));
    let ended = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        () = control.stop.notified() => None,
        () = control.retire() => Some(Ok(true)),
        error = control.is_left_waiting() => Some(Err(error)),
    };
    let ended = match ended {
        Some(ended) => ended,
        None => tokio::select! {
            () = control.drain() => Ok(true),
            _ = terminate.recv() => Ok(false),
            _ = interrupt.recv() => Ok(false),
        },
    };
    control.flush_log().await;
    // Somebody may have removed it.
    let _ = std::fs::remove_file(&*control.path.borrow());
    ended
}

/// Opens the access log again whenever the signal comes.
async fn rotate(mut signal: Signal, control: Rc<Control>) {
    while signal.recv().await.is_some() {
        control.reopen_log().await;
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

/// What is said of something that has problems.
fn refused(what: &str, problems: &[Problem]) -> Answer {
    let first = problems.first().map(|problem| problem.error.as_str()).unwrap_or_default();
    let error = match problems.len() {
        1 => format!("{what}: {first}"),
        count => format!("{what} for {count} problems, the first: {first}"),
    };
    (422, json!({"error": error, "problems": problems}))
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
            Ok(request) if request.upgrade().is_some_and(|to| to == handover::PROTOCOL.as_bytes()) => {
                match control.may_lend() {
                    Ok(()) => return control.lend(conn).await,
                    Err(error) => (problem(409, error), false),
                }
            }
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

/// The number of the line after which lines are asked for: that of `after=`, or 0.
fn after(query: Option<&str>) -> Option<u64> {
    match query.unwrap_or_default() {
        "" => Some(0),
        query => query.strip_prefix("after=")?.parse().ok(),
    }
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
        let (path, query) = request.path_and_query();
        match (request.method(), path) {
            ("PUT", "/snapshot") => self.applied(self.apply(body).await),
            ("PATCH", "/snapshot") => self.applied(self.change(body).await),
            ("POST", "/check") => match self.applier.lock().await.check(body) {
                Ok(problems) => (200, json!({"problems": problems})),
                Err(error) => problem(400, error),
            },
            ("POST", "/explain") => self.explain(body).await,
            ("GET", "/status") => (200, self.status().await),
            ("GET", "/counters") => (200, self.counters().await),
            ("GET", "/logs") => match after(query) {
                Some(number) => (200, self.lines.after(number)),
                None => problem(400, "after= is to be the number of a line"),
            },
            ("POST", "/reopen") => {
                self.reopen_log().await;
                (202, json!({}))
            }
            ("POST", "/drain") => self.take_out().await,
            ("POST", "/undrain") => self.bring_back().await,
            ("POST", "/stop") => {
                self.stop.notify_one();
                (202, json!({}))
            }
            (
                _,
                "/snapshot" | "/check" | "/explain" | "/status" | "/counters" | "/logs" | "/reopen" | "/drain"
                | "/undrain" | "/stop",
            ) => problem(405, format!("{} does not take {}", path, request.method())),
            _ => problem(404, format!("there is nothing at {path}")),
        }
    }

    async fn apply(&self, document: &[u8]) -> Result<u64, Refused> {
        self.changeable().await?.apply(document).await
    }

    async fn change(&self, document: &[u8]) -> Result<u64, Refused> {
        self.changeable().await?.change(document).await
    }

    /// What becomes of a request: with the tables in force, or with a snapshot of the question's own. That one is built on
    /// a thread of its own and has nothing in common with what is in force.
    async fn explain(&self, body: &[u8]) -> Answer {
        let (question, snapshot) = match explain::read(body) {
            Ok(read) => read,
            Err(error) => return problem(400, error),
        };
        let explained = match snapshot {
            Some(document) => {
                match tokio::task::spawn_blocking(move || explain::with(&question, document.as_bytes())).await {
                    Ok(explained) => explained,
                    Err(error) => return problem(500, format!("the question cannot be answered: {error}")),
                }
            }
            None => {
                let applier = self.applier.lock().await;
                let tables = self.shared.tables.load();
                explain::in_force(&question, &tables, applier.in_force())
            }
        };
        match explained {
            Ok(explained) => (200, explained),
            Err(explain::Unanswerable::Question(error)) => problem(400, error),
            Err(explain::Unanswerable::Snapshot(problems)) => {
                (422, json!({"error": "the snapshot has problems", "problems": problems}))
            }
        }
    }

    async fn changeable(&self) -> Result<tokio::sync::MutexGuard<'_, Applier>, Refused> {
        let applier = self.applier.lock().await;
        if self.lent.get() || self.retired.get() { Err(Refused::Stopping) } else { Ok(applier) }
    }

    /// What is said about a snapshot, or about a change of it.
    fn applied(&self, result: Result<u64, Refused>) -> Answer {
        match result {
            Ok(revision) => match self.take_over() {
                Ok(()) => (200, json!({"revision": revision})),
                Err(error) => {
                    self.stop.notify_one();
                    problem(503, format!("cannot take over: {error}"))
                }
            },
            Err(Refused::Malformed(error)) => problem(400, error),
            Err(Refused::OtherBase(error)) => problem(409, error),
            Err(Refused::Stopping) => problem(503, "the engine is stopping, or another one is taking over"),
            Err(Refused::Problems(problems)) => refused("the snapshot was refused", &problems),
        }
    }

    /// Replaces the engine that is to be replaced, if there is one.
    fn take_over(&self) -> std::io::Result<()> {
        match self.predecessor.take() {
            None => Ok(()),
            Some(predecessor) => {
                let own = self.path.borrow().clone();
                *self.path.borrow_mut() = predecessor.replace(&own)?;
                Ok(())
            }
        }
    }

    /// Waits for ever, but if this engine is to take over and is told nothing.
    async fn is_left_waiting(&self) -> std::io::Error {
        tokio::time::sleep(TAKE_OVER).await;
        if self.predecessor.borrow().is_none() {
            std::future::pending::<()>().await;
        }
        std::io::Error::other("no snapshot came with which it could take over")
    }

    fn may_lend(&self) -> Result<(), &'static str> {
        if self.retired.get() || self.shared.draining.load(Ordering::Relaxed) {
            Err("this engine is about to end")
        } else if self.predecessor.borrow().is_some() {
            Err("this engine has not taken over itself")
        } else if self.lent.replace(true) {
            Err("another engine is about to take over")
        } else {
            Ok(())
        }
    }

    /// Lends the listening sockets to another engine, and leaves if that one says so.
    async fn lend(&self, conn: Conn) {
        let Stream::Unix(mut stream) = conn.stream else { return };
        let sockets = self.applier.lock().await.sockets();
        let taken = match sockets {
            Ok(sockets) => handover::lend(&mut stream, &sockets).await,
            Err(error) => Err(error),
        };
        let stopping = self.shared.draining.load(Ordering::Relaxed);
        match taken {
            Ok(true) if !stopping => {
                self.leave().await;
                // The other one asks whether this one still answers if it does not hear it.
                let _ = stream.write_all(b"left\n").await;
            }
            Ok(_) => tracing::warn!("another engine was about to take over, and did not"),
            Err(error) => tracing::warn!(%error, "another engine was about to take over, and did not"),
        }
        self.lent.set(false);
    }

    /// Leaves listeners and the control socket's path to another engine.
    async fn leave(&self) {
        self.retired.set(true);
        let path = self.path.borrow().clone();
        let left = handover::left_path(&path);
        let _ = std::fs::remove_file(&left);
        if let Err(error) = std::fs::hard_link(&path, &left) {
            tracing::warn!(%error, path = %left.display(), "cannot be asked any more");
        }
        *self.path.borrow_mut() = left;
        self.applier.lock().await.release();
        let mut acknowledged = Vec::new();
        for worker in &self.workers {
            let (done, is_done) = oneshot::channel();
            let _ = worker.send(Order::Leave(done));
            acknowledged.push(is_done);
        }
        for is_done in acknowledged {
            // A worker that is gone has closed its listeners.
            let _ = is_done.await;
        }
        self.left.notify_one();
    }

    /// Once another engine has taken over: finishes what there is. Clients are told with their next answer to go;
    /// connections that stay silent for the grace time are closed; answers and tunnels may take longer.
    async fn retire(&self) {
        self.left.notified().await;
        let grace = self.shared.tables.load().settings.grace_timeout;
        tracing::info!(grace_seconds = grace.as_secs_f64(), "another engine has taken over; finishing what runs");
        if tokio::time::timeout(grace, self.until_closed()).await.is_ok() {
            return;
        }
        for worker in &self.workers {
            let _ = worker.send(Order::Drain);
        }
        if tokio::time::timeout(RETIREMENT, self.until_closed()).await.is_err() {
            tracing::warn!("requests were still running long after another engine had taken over; they are cut");
        }
    }

    /// Waits until no client is connected. Who drains tells of each connection that closes; the tick is for the others.
    async fn until_closed(&self) {
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
    }

    async fn status(&self) -> Value {
        let (listeners, closed) = {
            let applier = self.applier.lock().await;
            (applier.listeners(), applier.is_closed())
        };
        let connections = stats::sum(&self.shared, |stats| stats.open.get());
        let ending = self.retired.get() || self.shared.draining.load(Ordering::Relaxed);
        let state = match (ending, self.drain.is_wanted()) {
            (false, true) if closed && connections == 0 => "drained",
            (false, false) => "running",
            _ => "draining",
        };
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "uptime_seconds": (self.started.elapsed().as_secs_f64() * 1000.0).round() / 1000.0,
            "revision": self.shared.tables.load().revision,
            "state": state,
            "connections": connections,
            "requests": stats::sum(&self.shared, |stats| stats.requests_open.get()),
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
        self.shared.unavailable.store(true, Ordering::SeqCst);
        let (accepting, grace) = {
            let settings = &self.shared.tables.load().settings;
            (settings.request_accept_grace_timeout, settings.grace_timeout)
        };
        let (accept_seconds, grace_seconds) = (accepting.as_secs_f64(), grace.as_secs_f64());
        tracing::info!(accept_seconds, grace_seconds, "stopping");
        if !accepting.is_zero() && !self.retired.get() && !self.applier.lock().await.is_closed() {
            tokio::time::sleep(accepting).await;
        }
        self.applier.lock().await.release();
        for worker in &self.workers {
            // A worker that is gone has nothing to close.
            let _ = worker.send(Order::Drain);
        }
        if tokio::time::timeout(grace, self.until_closed()).await.is_err() {
            tracing::warn!("requests were still running when the grace time ended");
            for worker in &self.workers {
                let _ = worker.send(Order::Hurry);
            }
            // Tunnels say goodbye; everything else is cut.
            let _ = tokio::time::timeout(FAREWELL, self.until_closed()).await;
        }
    }

    /// Has the access log's file opened again by its name.
    async fn reopen_log(&self) {
        if let Some(sink) = self.applier.lock().await.log_sink() {
            sink.reopen();
        }
    }

    /// Has what is there of the access log written.
    async fn flush_log(&self) {
        let Some(sink) = self.applier.lock().await.log_sink() else { return };
        let flushed = self.workers.iter().filter_map(|worker| {
            let (done, is_done) = oneshot::channel();
            worker.send(Order::Flush(done)).ok().map(|()| is_done)
        });
        let flushed: Vec<_> = flushed.collect();
        let all = async {
            for is_done in flushed {
                // A worker that is gone has nothing to write.
                let _ = is_done.await;
            }
        };
        let _ = tokio::time::timeout(FLUSH, all).await;
        sink.flush(FLUSH);
    }
}
