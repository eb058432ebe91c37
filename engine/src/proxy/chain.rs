//! A request's way through the middlewares of its entry point and its route, before a server gets it.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf, BytesMut};
use tokio::time::timeout;

use super::decide::Plan;
use super::exchange::Exchange;
use super::forward::{Answered, Job, Kind, Link, Wanted as Connection};
use super::pipe::Pipe;
use super::relay::Rewritten;
use super::reply::Reply;
use super::sides::Upstream;
use super::{Client, Done, Session, forwarded};
use crate::error::{Failure, Retry};
use crate::http::body::{Incoming, Outgoing};
use crate::http::chunked::Decoded;
use crate::http::head::{Answer, Request};
use crate::http::{Framing, Malformed};
use crate::io::Conn;
use crate::middleware::compress::{LEAST, Wanted};
use crate::middleware::{AUTH_LIMIT, By, Edits, Finish, ForwardAuth, Middleware, Moved, Page, Passage, Step, Stop};
use crate::route::modify::Modifier;
use crate::snapshot::table::{EntryPoint, Route, Server, Settings};

/// How much of an answer that nobody wants is read for the sake of its connection.
const DRAINED: usize = 64 * 1024;

/// The way of a request that has middlewares on it.
pub(super) struct Way {
    /// Those of the entry point.
    middlewares: Arc<[Middleware]>,
    entry_point: String,
    port: u16,
    trusted: bool,
}

impl Way {
    /// `None` for most requests: there is nothing on their way.
    pub(super) fn of(entry_point: &EntryPoint, plan: &Result<Plan, Failure>, session: &Session) -> Option<Self> {
        let is_short = match plan {
            Ok(Plan::Ping(_)) => true,
            Ok(Plan::Forward { route, .. }) => entry_point.middlewares.is_empty() && route.middlewares.is_empty(),
            _ => entry_point.middlewares.is_empty(),
        };
        (!is_short).then(|| Self {
            middlewares: Arc::clone(&entry_point.middlewares),
            entry_point: entry_point.name.clone(),
            port: entry_point.port,
            trusted: forwarded::is_trusted(&entry_point.trust, session.peer.ip()),
        })
    }
}

impl Client<'_> {
    /// Has a request go through the middlewares on its way, and then do what is planned.
    pub(super) async fn chained(
        &mut self,
        request: &Request,
        plan: Result<Plan, Failure>,
        way: &Way,
        settings: &Settings,
    ) -> Done {
        let session = self.session;
        let mut passage = passage(request, session, way);
        let chain = &way.middlewares;
        let stop = if matches!(plan, Ok(Plan::Metrics)) {
            let mut guards: Vec<_> = chain.iter().filter(|it| it.guards_internals()).collect();
            // As in Traefik 1.7, here the white list comes first.
            guards.sort_by_key(|it| !matches!(it, Middleware::WhiteList(_)));
            self.pass(guards.into_iter(), &mut passage, &[], settings).await
        } else {
            self.pass(chain.iter(), &mut passage, &[], settings).await
        };
        if let Some(stop) = stop {
            self.record.answered_by(stop.by().text(&way.entry_point, true));
            return self.stopped(stop, request, settings, Wanted::Untouched).await;
        }
        match plan {
            Err(failure) => self.refuse(failure, Some(request)).await,
            Ok(Plan::Reply(reply) | Plan::Ping(reply)) => self.reply(&reply, Some(request)).await,
            Ok(Plan::Metrics) => {
                let text = session.worker.shared.metrics.scrape().await;
                self.reply(&Reply::metrics(text), Some(request)).await
            }
            Ok(Plan::Forward { route, rewritten, trusted }) => {
                passage.moved = moved(&route, &rewritten);
                if let Some(path) = &rewritten.path {
                    passage.path.clone_from(path);
                }
                let stop = self.pass(route.middlewares.iter(), &mut passage, &rewritten.fields, settings).await;
                if let Some(stop) = stop {
                    self.record.routed(&session.worker, &route);
                    self.record.answered_by(stop.by().text(route.name(), false));
                    let page = stop.status().and_then(|status| route.pages.iter().find(|page| page.is_for(status)));
                    let Some((page, status)) = page.zip(stop.status()) else {
                        return self.stopped(stop, request, settings, passage.finish.compress).await;
                    };
                    let is_read = self.down.skip_body(request.framing);
                    let edited = passage.edited();
                    let trusted = trusted || edited.is_some();
                    let request = edited.as_ref().unwrap_or(request);
                    let (route, rewritten, finish) = (&route, &rewritten, &passage.finish);
                    let job = Job { request, route, rewritten, trusted, settings, finish };
                    return Box::pin(self.page(page, status, stop.failure(), job, is_read)).await;
                }
                let edited = passage.edited();
                let trusted = trusted || edited.is_some();
                let request = edited.as_ref().unwrap_or(request);
                let (route, rewritten, finish) = (&route, &rewritten, &passage.finish);
                Box::pin(self.forward(Job { request, route, rewritten, trusted, settings, finish })).await
            }
        }
    }

    /// Has a request go through a chain; `Some` if it ends there.
    async fn pass<'c>(
        &mut self,
        chain: impl Iterator<Item = &'c Middleware>,
        passage: &mut Passage<'_>,
        rewritten: &[u8],
        settings: &Settings,
    ) -> Option<Halt<'c>> {
        for middleware in chain {
            let step = match middleware.step(passage) {
                Step::Verify(verification) => {
                    let verified = self.unless_gone(async { Ok(verification.compute().await) }).await;
                    match verified {
                        Ok(is_right) => verification.conclude(is_right, passage),
                        Err(failure) => return Some(Halt::Failed(failure)),
                    }
                }
                Step::Ask(auth) => match self.authorize(auth, passage, rewritten, settings).await {
                    None => Step::Continue,
                    Some(halt) => return Some(halt),
                },
                step => step,
            };
            self.record.is(passage.user.as_deref());
            if let Step::Stop(stop) = step {
                return Some(Halt::Own(stop));
            }
        }
        None
    }

    /// Asks a server whether the request may go on. `None` if it may.
    async fn authorize<'c>(
        &mut self,
        auth: &'c ForwardAuth,
        passage: &mut Passage<'_>,
        rewritten: &[u8],
        settings: &Settings,
    ) -> Option<Halt<'c>> {
        let head = auth.head(passage, rewritten);
        let asked = timeout(AUTH_LIMIT, self.ask(&auth.server, &head, settings)).await;
        match asked.unwrap_or(Err(Failure::ServerTimeout)) {
            Ok(answered) if (200..300).contains(&answered.answer.status) => {
                auth.admit(passage, &answered.answer);
                if let Ok(Some(conn)) = timeout(AUTH_LIMIT, emptied(answered)).await {
                    self.session.worker.pools.put(&auth.server, conn, settings.max_idle_per_server);
                }
                None
            }
            Ok(answered) => {
                let answer = auth.refusal(answered.answer);
                Some(Halt::Refused(auth, Box::new(Answered { answer, ..answered })))
            }
            Err(failure) if failure.status() == 499 => Some(Halt::Failed(failure)),
            Err(failure) => {
                let (peer, address) = (self.session.peer, &auth.server.url);
                tracing::warn!(%peer, address, cause = %failure, "the authentication server cannot be asked");
                let failure = Failure::AuthServer(Box::new(failure));
                Some(Halt::Own(Box::new(Stop { reply: Reply::plain(500, ""), failure: Some(failure), by: By::Auth })))
            }
        }
    }

    /// Sends a request of the engine's own, which has no body, and waits for the head of the answer.
    async fn ask(&mut self, server: &Server, head: &[u8], settings: &Settings) -> Result<Answered, Failure> {
        let mut fresh = false;
        loop {
            // HTTP/2 would not be worth its own way here.
            let wanted = Connection { fresh, surely: false, upgrade: true };
            let Link { kind, reused } = self.link(server, settings, wanted).await?;
            let Kind::Http1(conn) = kind else { return Err(Failure::ServerRefused) };
            let mut up = Upstream::Http1(conn);
            let upload = Pipe::new(BytesMut::from(head), Incoming::Length(0), Outgoing::Plain);
            let mut exchange = Exchange::new(upload);
            exchange.leaves_body = true;
            match exchange.answer(&mut self.down, &mut up, "GET", None, false, &self.watch).await {
                Ok(answer) if answer.status == 101 => {
                    return Err(Failure::ServerMalformed(Malformed::Syntax("101 that was not asked for")));
                }
                Ok(answer) => return Ok(Answered { answer, server: 0, up, exchange, kept: None, encoder: None }),
                Err(failure) if reused && failure.retry() == Retry::FreshConnection => fresh = true,
                Err(failure) => return Err(failure),
            }
        }
    }

    /// Answers with a page, and the status that it is for. `is_read` says that the request's body has left the
    /// client's connection.
    pub(super) async fn page(
        &mut self,
        page: &Page,
        status: u16,
        failure: Option<Failure>,
        job: Job<'_>,
        is_read: bool,
    ) -> Done {
        let Job { request, settings, finish, .. } = job;
        let wanted = page.request(request, status);
        let rewritten = Rewritten { path: None, fields: BytesMut::new() };
        // What was asked of others for the page is not what the access log tells of.
        let attempts = self.record.attempts();
        let job = Job { request: &wanted, route: &page.route, rewritten: &rewritten, ..job };
        let answered = self.attempt(job, &mut None, &mut true).await;
        self.record.restore(attempts);
        let done = match answered {
            Ok(mut answered) => {
                answered.exchange.leaves_body = !is_read;
                answered.answer = answered.answer.with_status(status, wanted.method());
                let server = page.route.server(answered.server);
                self.deliver(&wanted, server, answered.compressed(finish.compress, &wanted), settings).await
            }
            Err(missing) => {
                let (peer, service) = (self.session.peer, page.route.service.name());
                tracing::warn!(%peer, service, status, cause = %missing, "no error page");
                match Reply::failure(&missing) {
                    Some(reply) => self.reply_after(&reply.with_status(status), Some(&wanted), is_read).await,
                    None => self.failed(missing, request, is_read).await,
                }
            }
        };
        Done { failure: done.failure.or(failure), ..done }
    }

    /// Answers as a middleware says.
    async fn stopped(&mut self, halt: Halt<'_>, request: &Request, settings: &Settings, compress: Wanted) -> Done {
        let (reply, failure) = match halt {
            Halt::Failed(failure) => return self.failed(failure, request, false).await,
            Halt::Refused(auth, mut answered) => {
                answered.exchange.leaves_body = !self.down.skip_body(request.framing);
                if request.method() == "HEAD" {
                    answered.answer.drop_body();
                }
                let failure = Failure::AuthRefused(answered.answer.status);
                let done = self.deliver(request, &auth.server, answered.compressed(compress, request), settings).await;
                return Done { failure: done.failure.or(Some(failure)), ..done };
            }
            Halt::Own(stop) => (stop.reply, stop.failure),
        };
        let done = self.reply(&reply, Some(request)).await;
        if let Some(failure) = &failure {
            let (peer, status) = (self.session.peer, reply.status);
            tracing::debug!(%peer, status, cause = %failure, "request refused");
        }
        Done { failure: done.failure.or(failure), ..done }
    }
}

impl Answered {
    /// The answer with its body compressed, if that is wanted, and worth it.
    pub(super) fn compressed(self, wanted: Wanted, request: &Request) -> Self {
        if wanted == Wanted::Untouched {
            return self;
        }
        let Self { answer, server, up, exchange, kept, .. } = self;
        let is_short = kept.map_or_else(|| is_short(&up, &answer), |length| length < LEAST);
        let (answer, encoder) = wanted.apply(answer, request.method(), is_short);
        Self { answer, server, up, exchange, kept, encoder }
    }
}

/// Whether the whole body, of which no length was told, has come with the head, and is short.
fn is_short(up: &Upstream, answer: &Answer) -> bool {
    let Upstream::Http1(conn) = up else { return false };
    if answer.framing != Framing::Chunked || conn.buffer.len() as u64 > 2 * LEAST {
        return false;
    }
    let (mut buffer, mut body, mut total) = (conn.buffer.clone(), Incoming::new(answer.framing), 0);
    loop {
        match body.decode(&mut buffer) {
            Ok(Decoded::End) => return total < LEAST,
            Ok(Decoded::Data(length)) => {
                buffer.advance(length);
                body.consumed(length);
                total += length as u64;
            }
            Ok(Decoded::More) | Err(_) => return false,
        }
    }
}

/// Why a request ends in a chain.
enum Halt<'c> {
    /// A middleware answers.
    Own(Box<Stop>),
    /// The server that was asked does.
    Refused(&'c ForwardAuth, Box<Answered>),
    /// There is nobody left to be told anything.
    Failed(Failure),
}

impl Halt<'_> {
    /// The status of the answer, if there is one.
    fn status(&self) -> Option<u16> {
        match self {
            Self::Own(stop) => Some(stop.reply.status),
            Self::Refused(_, answered) => Some(answered.answer.status),
            Self::Failed(_) => None,
        }
    }

    /// Why the answer is no good one.
    fn failure(self) -> Option<Failure> {
        match self {
            Self::Own(stop) => stop.failure,
            Self::Refused(_, answered) => Some(Failure::AuthRefused(answered.answer.status)),
            Self::Failed(failure) => Some(failure),
        }
    }

    fn by(&self) -> By {
        match self {
            Self::Own(stop) => stop.by,
            Self::Refused(..) => By::Auth,
            Self::Failed(_) => By::Other,
        }
    }
}

/// The connection, for the next request, once the whole answer has come; `None` if that takes too much.
async fn emptied(answered: Answered) -> Option<Conn> {
    let Answered { answer, up, exchange, .. } = answered;
    let Upstream::Http1(mut conn) = up else { return None };
    if !answer.keep_alive || !exchange.is_sent() {
        return None;
    }
    let (mut body, mut total) = (Incoming::new(answer.framing), 0);
    loop {
        match body.decode(&mut conn.buffer) {
            Ok(Decoded::End) => return Some(conn),
            Ok(Decoded::Data(length)) => {
                conn.buffer.advance(length);
                body.consumed(length);
                total += length;
            }
            Ok(Decoded::More) if total < DRAINED && matches!(conn.fill().await, Ok(1..)) => {}
            Ok(Decoded::More) | Err(_) => return None,
        }
    }
}

fn passage<'a>(request: &'a Request, session: &'a Session, way: &'a Way) -> Passage<'a> {
    let peer: SocketAddr = session.peer;
    Passage {
        request,
        peer,
        tls: session.tls.is_some(),
        certificates: session.tls.as_ref().map_or(&[][..], |tls| &tls.certificates),
        entry_point: &way.entry_point,
        port: way.port,
        trusted: way.trusted,
        path: request.path_and_query().0.to_owned(),
        moved: Moved::No,
        edits: Edits::default(),
        finish: Finish::default(),
        user: None,
    }
}

/// What the route's modifiers have done.
pub(crate) fn moved(route: &Route, rewritten: &Rewritten) -> Moved {
    // Whoever takes a part of the path away tells the server about it.
    if !rewritten.fields.is_empty() {
        return Moved::Replaced;
    }
    let added = route.modifiers.iter().rev().find_map(|modifier| match modifier {
        Modifier::AddPrefix(prefix) => Some(prefix.clone()),
        _ => None,
    });
    added.map_or(Moved::No, Moved::Added)
}
