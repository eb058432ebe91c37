//! Sending a request to a server: choosing one, getting a connection, trying again where that is safe.

use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use bytes::Bytes;

use super::exchange::{Exchange, Pause};
use super::forwarded::Origin;
use super::pipe::Pipe;
use super::relay::{self, Rewritten};
use super::reply::Reply;
use super::sides::Upstream;
use super::{Client, Done, End};
use crate::error::{Failure, Retry};
use crate::http::body::{Incoming, Outgoing};
use crate::http::head::{Answer, Request};
use crate::http::{Framing, Malformed, Version};
use crate::io::Conn;
use crate::middleware::compress::Encoder;
use crate::middleware::{Finish, Page};
use crate::pool::connect::connect;
use crate::pool::multiplex::{Dial, Multiplexed, Outcome};
use crate::service::connections::Counted;
use crate::snapshot::table::{Route, Server, Service, Settings};

/// A request that is to be sent to a server, and what was decided about it.
#[derive(Clone, Copy)]
pub(super) struct Job<'a> {
    pub(super) request: &'a Request,
    pub(super) route: &'a Arc<Route>,
    pub(super) rewritten: &'a Rewritten,
    pub(super) trusted: bool,
    pub(super) settings: &'a Settings,
    /// What becomes of the answer.
    pub(super) finish: &'a Finish,
}

/// An answer whose head has come, and the connection on which its body follows.
pub(super) struct Answered {
    pub(super) answer: Answer,
    /// Its index in the service.
    pub(super) server: usize,
    pub(super) up: Upstream,
    pub(super) exchange: Exchange,
    /// The length of the body, if it was read whole.
    pub(super) kept: Option<u64>,
    /// What its body goes through.
    pub(super) encoder: Option<Box<Encoder>>,
}

impl Answered {
    /// The answer as its chain leaves it.
    fn finished(self, job: Job<'_>, server: &Server) -> Self {
        let Job { request, route, finish, .. } = job;
        let answer = stuck(finish.apply(self.answer), &route.service, server, request);
        Self { answer, ..self }.compressed(finish.compress, request)
    }
}

/// Which connection is wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// None that was idle.
    pub(super) fresh: bool,
    /// None that may have been closed unnoticed.
    pub(super) surely: bool,
    /// One on which the protocol can be changed.
    pub(super) upgrade: bool,
}

/// A connection to a server.
pub(super) struct Link {
    pub(super) kind: Kind,
    /// Whether it was used before.
    pub(super) reused: bool,
}

pub(super) enum Kind {
    Http1(Conn),
    Http2(Rc<Multiplexed>),
}

/// How often a request is sent, when a server refuses it or its connections break.
const ATTEMPTS: usize = 4;

impl Client<'_> {
    /// Has a request answered by a server of its route's service.
    pub(super) async fn forward(&mut self, job: Job<'_>) -> Done {
        let Job { request, route, .. } = job;
        self.record.routed(&self.session.worker, route);
        let service = &route.service;
        let began = service.breaker.as_ref().map(|_| Instant::now());
        let done = match self.admitted(job) {
            Ok(_counted) => {
                let mut is_read = request.framing == Framing::None;
                let answered = match &service.buffering {
                    Some(buffering) if request.upgrade().is_none() => {
                        Box::pin(self.buffered(job, buffering, &mut is_read)).await
                    }
                    _ => self.attempt(job, &mut None, &mut is_read).await,
                };
                match answered {
                    Ok(answered) if answered.answer.status == 101 => Box::pin(self.tunnel(request, answered)).await,
                    Ok(answered) => match page(route, answered.answer.status) {
                        None => {
                            let server = &route.service.servers[answered.server];
                            self.deliver(request, server, answered.finished(job, server), job.settings).await
                        }
                        Some(page) => {
                            let (status, is_read) = (answered.answer.status, answered.exchange.is_read());
                            drop(answered);
                            Box::pin(self.page(page, status, None, job, is_read)).await
                        }
                    },
                    Err(failure) => self.paged(job, failure, is_read).await,
                }
            }
            Err(failure) => {
                let is_read = self.down.skip_body(request.framing);
                self.paged(job, failure, is_read).await
            }
        };
        if let (Some(breaker), Some(began)) = (&service.breaker, began)
            && !matches!(done.failure, Some(Failure::BreakerOpen))
        {
            breaker.record(done.status, began.elapsed());
        }
        if let Some(failure) = &done.failure {
            let (peer, status, route) = (self.session.peer, done.status, &route.id);
            if failure.is_servers() {
                tracing::warn!(%peer, route, status, cause = %failure, "exchange failed");
            } else {
                tracing::debug!(%peer, route, status, cause = %failure, "exchange failed");
            }
        }
        done
    }

    /// Tells the client about a failure, by a page if there is one for it.
    async fn paged(&mut self, job: Job<'_>, failure: Failure, is_read: bool) -> Done {
        let status = failure.status();
        match page(job.route, status) {
            Some(page) => Box::pin(self.page(page, status, Some(failure), job, is_read)).await,
            None => self.failed(failure, job.request, is_read).await,
        }
    }

    /// Whether the service takes the request at all; it counts as one of its client's until what is returned is dropped.
    fn admitted(&self, job: Job<'_>) -> Result<Option<Counted>, Failure> {
        let service = &job.route.service;
        if service.breaker.as_ref().is_some_and(|breaker| !breaker.admits()) {
            return Err(Failure::BreakerOpen);
        }
        let Some(requests) = &service.requests else { return Ok(None) };
        requests.enter(job.request, self.session.peer.ip()).map(Some).map_err(Failure::TooManyConnections)
    }

    /// Tries servers until one has begun its answer, or none is left to try. `spool` holds the request's body, if it was
    /// read whole; after a failure it holds it again, unless it is lost.
    pub(super) async fn attempt(
        &mut self,
        job: Job<'_>,
        spool: &mut Option<Conn>,
        is_read: &mut bool,
    ) -> Result<Answered, Failure> {
        let Job { request, route, rewritten, trusted, settings, .. } = job;
        let service = &route.service;
        if service.servers.is_empty() {
            return Err(Failure::NoServer);
        }
        let framing = match spool.as_ref().and_then(|spool| spool.stream.spooled()) {
            Some(length) => Framing::Length(length),
            None => request.framing,
        };
        let method = request.method();
        let has_body = !matches!(framing, Framing::None | Framing::Length(0));
        // RFC 9110 section 9.2.2
        let is_idempotent = matches!(method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE" | "TRACE");
        let is_repeatable = is_idempotent && !has_body;
        let mut unreachable: Vec<usize> = Vec::new();
        let none = || if service.health.is_any_up() { Failure::NoWeight } else { Failure::NoHealthyServer };
        let wanted = service.sticky.as_ref().and_then(|sticky| service.named(sticky.wanted(request)?));
        let mut index = wanted.or_else(|| service.balance.next()).ok_or_else(none)?;
        let mut exchange: Option<Exchange> = None;
        let mut fresh = false;
        let mut again = 0;
        loop {
            let server = &service.servers[index];
            self.record.attempt(index);
            let wanted = Wanted { fresh, surely: !is_repeatable, upgrade: request.upgrade().is_some() };
            let Link { kind, reused } = match self.link(server, settings, wanted).await {
                Ok(link) => link,
                Err(failure) if failure.retry() == Retry::OtherServer => {
                    tracing::debug!(server = server.url, cause = %failure, "server cannot be reached");
                    service.balance.observe(index, failure.status());
                    unreachable.push(index);
                    index = next_try(service, &unreachable, settings.retry).ok_or(failure)?;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            let head = || {
                let identity = self.session.identity();
                let (peer, tls) = (&*self.session.peer_text, self.session.tls.is_some());
                let origin = Origin { peer, tls, trusted, identity, server_name: &settings.server_name };
                relay::request(request, framing, rewritten, route, server, &origin)
            };
            let body = match (&spool, exchange.as_ref().and_then(|running| running.spool.as_ref())) {
                (None, None) => self.down.incoming(framing),
                _ => Incoming::new(framing),
            };
            let (mut up, mut running) = match (kind, exchange.take()) {
                // Nothing of it has left, so that all of it, with what was read of the body, is still there.
                (Kind::Http1(conn), Some(running)) if running.upload.is_untouched() => (Upstream::Http1(conn), running),
                // What was read of the body is in the other codec's form.
                (kind, Some(running))
                    if has_body && matches!(kind, Kind::Http1(_)) != running.upload.is_untouched() =>
                {
                    return Err(Failure::ServerRefused);
                }
                (Kind::Http1(conn), _) => {
                    let coding = if framing == Framing::Chunked { Outgoing::Chunked } else { Outgoing::Plain };
                    (Upstream::Http1(conn), Exchange::new(Pipe::new(head(), body, coding)))
                }
                (Kind::Http2(connection), running) => {
                    let is_complete = body.is_empty();
                    let stream = connection.send(head(), is_complete)?;
                    let running = running.filter(|_| has_body);
                    let running = running.unwrap_or_else(|| Exchange::new(Pipe::after_head(body, is_complete)));
                    (Upstream::Http2(stream), running)
                }
            };
            if spool.is_some() {
                running.spool = spool.take();
            } else if has_body {
                running.pause = Pause::of(request);
            }
            let limit = settings.response_header_timeout;
            let interim = request.version != Version::Http10;
            let result = running.answer(&mut self.down, &mut up, method, limit, interim, &self.watch).await;
            *is_read = running.upload.is_read();
            if running.spool.is_none() {
                self.record.read(running.upload.body_bytes());
            }
            service.balance.observe(index, result.as_ref().map_or_else(Failure::status, |answer| answer.status));
            match result {
                Ok(answer) if answer.status == 101 && (request.upgrade().is_none() || !running.is_sent()) => {
                    return Err(Failure::ServerMalformed(Malformed::Syntax("101 that was not asked for")));
                }
                // A client of HTTP/2 would take any success for the opened tunnel.
                Ok(answer)
                    if request.version == Version::Http2
                        && request.upgrade().is_some()
                        && (200..300).contains(&answer.status) =>
                {
                    return Err(Failure::ServerMalformed(Malformed::Syntax("the protocol was not changed")));
                }
                Ok(answer) => {
                    return Ok(Answered { answer, server: index, up, exchange: running, kept: None, encoder: None });
                }
                Err(failure) => {
                    again += 1;
                    let may_try = match (&up, failure.retry()) {
                        (Upstream::Http1(_), Retry::FreshConnection) => {
                            reused && (is_repeatable || running.upload.is_untouched())
                        }
                        (Upstream::Http2(_), Retry::FreshConnection) => reused && is_repeatable && again < ATTEMPTS,
                        (Upstream::Http2(_), Retry::Unprocessed) => running.upload.rewind() && again < ATTEMPTS,
                        _ => false,
                    };
                    if !may_try {
                        *spool = running.spool.take();
                        return Err(failure);
                    }
                    tracing::debug!(server = server.url, cause = %failure, "trying a fresh connection");
                    match up {
                        Upstream::Http1(_) => fresh = true,
                        Upstream::Http2(stream) => stream.retire(),
                    }
                    running.restart();
                    exchange = Some(running);
                }
            }
        }
    }

    /// Finds a connection to a server, or makes one, unless the client leaves meanwhile.
    pub(super) async fn link(&mut self, server: &Server, settings: &Settings, wanted: Wanted) -> Result<Link, Failure> {
        let http1 = wanted.upgrade && !server.target.speaks_only_http2();
        let may_be_http2 = server.target.may_speak_http2() && !http1;
        let pools = &self.session.worker.pools;
        if may_be_http2 && let Some(connection) = pools.multiplexed.join(server) {
            return Ok(Link { kind: Kind::Http2(connection), reused: true });
        }
        if !wanted.fresh
            && let Some(conn) = pools.take(server, wanted.surely)
        {
            return Ok(Link { kind: Kind::Http1(conn), reused: true });
        }
        // In a box, since most exchanges do not need its room.
        Box::pin(self.dial(server, settings, may_be_http2)).await
    }

    /// Makes a connection to a server, or waits for one of HTTP/2 that others make.
    async fn dial(&mut self, server: &Server, settings: &Settings, may_be_http2: bool) -> Result<Link, Failure> {
        let worker = Rc::clone(&self.session.worker);
        let pools = &worker.pools;
        if !may_be_http2 {
            let conn = self.unless_gone(connect(&server.target, settings.dial_timeout, true)).await?;
            return Ok(Link { kind: Kind::Http1(conn), reused: false });
        }
        let dialling = loop {
            match pools.multiplexed.dial(server) {
                Dial::Unknown => break None,
                Dial::Connect(dialling) => break Some(dialling),
                Dial::Wait(others) => {
                    let outcome = self.unless_gone(async { Ok(others.wait().await) }).await?;
                    if let Some(connection) = pools.multiplexed.join(server) {
                        return Ok(Link { kind: Kind::Http2(connection), reused: false });
                    }
                    // One after the other would be told the same, each after the whole dial timeout.
                    if outcome == Outcome::Failed {
                        break None;
                    }
                }
            }
        };
        let connecting = async {
            let conn = connect(&server.target, settings.dial_timeout, false).await?;
            if !server.target.speaks_only_http2() && !conn.stream.speaks_http2() {
                return Ok(Kind::Http1(conn));
            }
            let connection = Multiplexed::start(conn).await?;
            pools.multiplexed.add(server, &connection);
            Ok(Kind::Http2(connection))
        };
        let result = self.unless_gone(connecting).await;
        if let (Some(dialling), Err(failure)) = (dialling, &result)
            && !matches!(failure, Failure::ClientGone)
        {
            dialling.has_failed();
        }
        Ok(Link { kind: result?, reused: false })
    }

    /// Waits for something, unless the client leaves meanwhile.
    pub(super) async fn unless_gone<T>(
        &mut self,
        what: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        let client = &mut self.down;
        let watch = &self.watch;
        watch.note_server();
        let gone = poll_fn(|cx| match client.poll_presence(cx).and_then(|()| watch.poll(cx)) {
            Ok(()) => Poll::Pending,
            Err(failure) => Poll::Ready(failure),
        });
        tokio::select! {
            biased;
            done = what => done,
            failure = gone => Err(failure),
        }
    }

    /// Relays an answer.
    pub(super) async fn deliver(
        &mut self,
        request: &Request,
        server: &Server,
        answered: Answered,
        settings: &Settings,
    ) -> Done {
        let Answered { answer, mut up, mut exchange, kept, encoder, .. } = answered;
        let goes_on = request.keep_alive && exchange.is_read() && !self.session.gate.is_closed();
        let delivery = relay::delivery(
            if encoder.is_some() { Framing::Chunked } else { answer.framing },
            request.version,
            goes_on,
        );
        let mut head = exchange.take_interim();
        head.reserve(1024);
        let interim = head.len();
        relay::answer(&answer, request, delivery, &mut head);
        self.record.answered(&answer, || Bytes::copy_from_slice(&head[interim..]));
        let body = kept.map_or_else(|| up.incoming(answer.framing), Incoming::Length);
        let begun = self.down.begin(head, answer.status, body, delivery.coding);
        let mut download = match begun {
            Ok(download) => download,
            Err(failure) => {
                let is_read = exchange.is_read();
                return self.failed(failure, request, is_read).await;
            }
        };
        download.encode(encoder);
        let result = exchange.relay(&mut self.down, &mut up, &mut download, None, &self.watch).await;
        if exchange.spool.is_none() {
            self.record.read(exchange.upload.body_bytes());
        }
        match result {
            Err(failure) if download.is_untouched() => {
                let is_read = exchange.is_read();
                self.failed(failure, request, is_read).await
            }
            Err(failure) => Done {
                status: if failure.status() == 499 { 499 } else { answer.status },
                body_bytes: download.body_bytes(),
                failure: Some(failure),
                end: End::Cut,
            },
            Ok(()) => {
                if answer.keep_alive && exchange.is_sent() {
                    self.give_back(up, server, settings);
                }
                let end = match (delivery.keep_alive, exchange.is_read()) {
                    (true, true) => End::Next,
                    (_, true) => End::Close,
                    (_, false) => End::Linger,
                };
                Done { status: answer.status, body_bytes: download.body_bytes(), failure: None, end }
            }
        }
    }

    /// Keeps a connection for the next request, if it is one that can be kept.
    pub(super) fn give_back(&self, up: Upstream, server: &Server, settings: &Settings) {
        if let Upstream::Http1(conn) = up {
            self.session.worker.pools.put(server, conn, settings.max_idle_per_server);
        }
    }

    /// Tells the client that its request failed, before anything else was said.
    pub(super) async fn failed(&mut self, failure: Failure, request: &Request, is_read: bool) -> Done {
        let done = match Reply::failure(&failure) {
            // A body that is broken, or was not read, leaves a connection on which nothing can be found any more.
            Some(reply) => self.reply_after(&reply, Some(request), is_read).await,
            None => Done { status: failure.status(), body_bytes: 0, failure: None, end: End::Cut },
        };
        Done { failure: Some(failure), ..done }
    }
}

/// What a client gets instead of an answer with this status.
fn page(route: &Route, status: u16) -> Option<&Page> {
    route.pages.iter().find(|page| page.is_for(status))
}

/// Which server is tried after some could not be reached; `retry` says how often a request is tried in all.
fn next_try(service: &Service, unreachable: &[usize], retry: Option<u32>) -> Option<usize> {
    match retry {
        None => service.other(unreachable),
        Some(attempts) => {
            let most = if attempts == 0 { service.servers.len() } else { attempts as usize };
            let may_try = unreachable.len() < most;
            may_try.then(|| service.other(unreachable).or_else(|| service.balance.next()))?
        }
    }
}

/// The answer, which tells the client to stay with the server unless that was told before.
fn stuck(answer: Answer, service: &Service, server: &Server, request: &Request) -> Answer {
    match &service.sticky {
        Some(sticky) if sticky.wanted(request) != Some(server.url.as_bytes()) => {
            let cookie = sticky.value(&server.url);
            answer.edited(|_, _| true, [(&b"Set-Cookie"[..], &cookie[..])].into_iter())
        }
        _ => answer,
    }
}
