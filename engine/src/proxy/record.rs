//! What is known of a request when it ends, and the one place where counters, metrics and a line of the access log are
//! made of it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;

use super::forwarded::is_trusted;
use super::{Client, Done, Session};
use crate::access_log::AccessLog;
use crate::access_log::line::{Asked, Entry, Origin, Target};
use crate::error::Failure;
use crate::http::Version;
use crate::http::head::{Answer, Fields, Request};
use crate::metrics::series::Labels;
use crate::snapshot::table::{EntryPoint, Route, Settings};
use crate::stats::EntryPointStats;
use crate::worker::Worker;

/// The counters of an entry point. A connection has one reference to them, which its requests share: that costs no other
/// worker anything.
pub(super) struct Counted(pub(super) Arc<EntryPointStats>);

impl std::fmt::Debug for Counted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Counted")
    }
}

/// How much of a request the access log wants to know.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    /// It has no line.
    #[default]
    Nothing,
    /// What there is anyway.
    Line,
    /// The fields of the answers' heads too.
    Heads,
}

/// What becomes known of a request while it is served.
#[derive(Debug, Default)]
pub(super) struct Record {
    entry_point: Option<Rc<Counted>>,
    /// If it is measured.
    labels: Option<Labels>,
    wanted: Wanted,
    route: Option<Arc<Route>>,
    /// The server of the last attempt, by its place in the service.
    server: Option<usize>,
    attempted: Option<Instant>,
    retries: u32,
    /// What that server answered.
    origin: Option<(u16, Option<Fields>)>,
    /// The fields of the head that the client got.
    sent: Option<Fields>,
    /// Bytes of the request's body that were read.
    read: u64,
    /// Who the user has proven to be.
    user: Option<Box<str>>,
    /// What of the engine has answered instead of a server.
    answered_by: Option<String>,
}

impl Record {
    /// An entry point takes the request. One that is `internal` (ping, metrics) is neither measured nor logged, as in
    /// Traefik.
    pub(super) fn accepted(
        &mut self,
        session: &Session,
        entry_point: &EntryPoint,
        settings: &Settings,
        request: &Request,
        internal: bool,
    ) {
        let stats = session.counted(&entry_point.stats);
        if !internal {
            if settings.metrics.is_some() {
                let labels = Labels::of(request);
                stats.0.series.opened(session.worker.index, labels);
                self.labels = Some(labels);
            }
            self.wanted = match &settings.access_log {
                None => Wanted::Nothing,
                Some(log) if log.wants_heads() => Wanted::Heads,
                Some(_) => Wanted::Line,
            };
        }
        self.entry_point = Some(stats);
    }

    /// A service is to answer.
    pub(super) fn routed(&mut self, worker: &Worker, route: &Arc<Route>) {
        if let Some(labels) = self.labels {
            route.service.stats.series.opened(worker.index, labels);
        }
        self.route = Some(Arc::clone(route));
    }

    /// A server is tried. The same one once more is for the connection's sake, and no other attempt.
    pub(super) fn attempt(&mut self, server: usize) {
        if self.server.is_some_and(|before| before != server) {
            self.retries += 1;
        }
        self.server = Some(server);
        if self.wanted > Wanted::Nothing {
            self.attempted = Some(Instant::now());
        }
    }

    /// A server has answered; `head` is what the client gets.
    pub(super) fn answered(&mut self, answer: &Answer, head: impl FnOnce() -> Bytes) {
        let has_heads = self.wanted == Wanted::Heads;
        self.origin = Some((answer.status, has_heads.then(|| answer.fields.clone())));
        self.sent(head);
    }

    /// The head of the answer that the client gets.
    pub(super) fn sent(&mut self, head: impl FnOnce() -> Bytes) {
        if self.wanted == Wanted::Heads {
            self.sent = Answer::parse(head(), "HEAD").ok().map(|answer| answer.fields);
        }
    }

    /// Who the user is.
    pub(super) fn is(&mut self, user: Option<&str>) {
        if self.user.is_none() && self.wanted > Wanted::Nothing {
            self.user = user.map(Box::from);
        }
    }

    /// No server answers, but a part of the engine that the access log names.
    pub(super) fn answered_by(&mut self, name: Option<String>) {
        self.answered_by = name;
    }

    /// The servers that were tried, to be told again after others were asked for something else.
    pub(super) fn attempts(&self) -> Attempts {
        Attempts { server: self.server, attempted: self.attempted, retries: self.retries }
    }

    /// What was tried before is what counts.
    pub(super) fn restore(&mut self, attempts: Attempts) {
        Attempts { server: self.server, attempted: self.attempted, retries: self.retries } = attempts;
    }

    /// How much of the request's body was read.
    pub(super) fn read(&mut self, bytes: u64) {
        self.read = bytes;
    }
}

/// Which servers were tried for a request.
pub(super) struct Attempts {
    server: Option<usize>,
    attempted: Option<Instant>,
    retries: u32,
}

/// A request while it is served. When it is dropped the request has ended, also if nobody waited for that, or by a panic.
pub(super) struct Turn<'t, 'c> {
    pub(super) client: &'t mut Client<'c>,
    pub(super) request: Option<Request>,
    begun: Instant,
    outcome: Outcome,
}

/// How a request ended.
enum Outcome {
    /// It was broken off from outside.
    BrokenOff,
    /// It was not looked at.
    Void,
    /// In order, or with a failure.
    Done { status: u16, bytes: u64, failure: Option<Failure> },
}

impl<'t, 'c> Turn<'t, 'c> {
    /// A request begins; `None` if it could not be understood.
    pub(super) fn begin(client: &'t mut Client<'c>, request: Option<Request>) -> Self {
        client.session.worker.stats().requests_open.add(1);
        client.record = Record::default();
        Self { client, request, begun: Instant::now(), outcome: Outcome::BrokenOff }
    }

    /// It was not looked at, and does not count.
    pub(super) fn void(mut self) {
        self.outcome = Outcome::Void;
    }

    /// It was served.
    pub(super) fn done(mut self, done: Done) {
        self.outcome = Outcome::Done { status: done.status, bytes: done.body_bytes, failure: done.failure };
    }
}

impl Drop for Turn<'_, '_> {
    fn drop(&mut self) {
        let session = self.client.session;
        let worker = &*session.worker;
        worker.stats().requests_open.take_one();
        let gone = Failure::ClientGone;
        let (status, bytes, failure) = match &self.outcome {
            Outcome::Void => return,
            // The panic itself was counted where it was caught.
            Outcome::BrokenOff if std::thread::panicking() => (500, 0, None),
            Outcome::BrokenOff => (gone.status(), 0, Some(&gone)),
            Outcome::Done { status, bytes, failure } => (*status, *bytes, failure.as_ref()),
        };
        let ended = Ended { status, bytes, failure, duration: self.begun.elapsed() };
        ended.count(session, &self.client.record);
        if let Some(request) = &self.request
            && self.client.record.wanted > Wanted::Nothing
        {
            ended.log(session, &self.client.record, request);
        }
    }
}

/// A request that has ended.
struct Ended<'a> {
    status: u16,
    /// Bytes of the answer's body.
    bytes: u64,
    failure: Option<&'a Failure>,
    duration: Duration,
}

impl Ended<'_> {
    fn count(&self, session: &Session, record: &Record) {
        let (worker, index) = (&*session.worker, session.worker.index);
        let stats = worker.stats();
        stats.requests.add(1);
        stats.status(self.status);
        stats.response_bytes.add(self.bytes);
        stats.duration_ns.add(u64::try_from(self.duration.as_nanos()).unwrap_or(u64::MAX));
        if let Some(failure) = self.failure {
            stats.failure(failure.kind(), failure.cause());
        }
        match &record.entry_point {
            Some(entry_point) => {
                entry_point.0.request(index);
                if let Some(labels) = record.labels {
                    entry_point.0.series.closed(index, labels, self.status, self.duration);
                }
            }
            None => {
                if let Some(entry_point) = worker.shared.tables.load().entry_points.get(&session.slot) {
                    entry_point.stats.request(index);
                }
            }
        }
        if let Some(route) = &record.route {
            let stats = &route.service.stats;
            stats.request(index, self.failure.is_some_and(Failure::is_servers), record.retries);
            if let Some(labels) = record.labels {
                stats.series.closed(index, labels, self.status, self.duration);
            }
        }
    }

    fn log(&self, session: &Session, record: &Record, request: &Request) {
        let tables = session.worker.shared.tables.load();
        let Some(log) = &tables.settings.access_log else { return };
        let count = log.next_count();
        if !log.layout.filters.accept(self.status, record.retries, self.duration) {
            return;
        }
        let entry_point = tables.entry_points.get(&session.slot);
        let trusted = entry_point.is_some_and(|it| is_trusted(&it.trust, session.peer.ip()));
        self.write(session, log, record, request, count, trusted);
    }

    fn write(&self, session: &Session, log: &AccessLog, record: &Record, request: &Request, count: u64, trusted: bool) {
        let (path, query) = request.path_and_query();
        let (method, host, fields) = (request.method(), request.host(), &request.fields);
        let server = record.route.as_ref().zip(record.server);
        let target = match &server {
            Some((route, server)) => Some(Target::Server {
                frontend: route.name(),
                backend: route.service.name(),
                url: route.service.servers.get(*server).map_or("", |server| &server.url),
            }),
            None if matches!(self.failure, Some(Failure::NoRoute)) => Some(Target::Engine("backend not found")),
            None => record.answered_by.as_deref().map(Target::Engine),
        };
        let origin = target.map(|_| {
            let (status, fields) = record.origin.as_ref().map_or((self.status, None), |it| (it.0, it.1.as_ref()));
            let duration = record.attempted.map(|attempted| attempted.elapsed());
            Origin { status, bytes: self.bytes, duration, fields }
        });
        let peer: SocketAddr = session.peer;
        session.worker.lines.push(
            log,
            &Entry {
                started: SystemTime::now().checked_sub(self.duration).unwrap_or(SystemTime::UNIX_EPOCH),
                duration: self.duration,
                count,
                client: peer,
                user: record.user.as_deref(),
                trusted,
                request: Asked {
                    method,
                    path,
                    query,
                    protocol: protocol(request.version),
                    host,
                    fields,
                    bytes: record.read,
                },
                target,
                origin,
                status: self.status,
                bytes: self.bytes,
                fields: record.sent.as_ref(),
                retries: record.retries,
            },
        );
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::Http10 => "HTTP/1.0",
        Version::Http11 => "HTTP/1.1",
        Version::Http2 => "HTTP/2.0",
    }
}
