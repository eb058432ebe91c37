//! The way of a request: read its head, decide, send it to a server, relay the answer, count.

mod arrival;
mod buffered;
pub(crate) mod chain;
pub(crate) mod client;
pub(crate) mod decide;
mod exchange;
mod forward;
pub(crate) mod forwarded;
mod http2;
mod pipe;
mod record;
pub(crate) mod relay;
pub(crate) mod reply;
mod sides;
mod streams;
mod tunnel;
pub(crate) mod watch;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls_pki_types::CertificateDer;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::error::Failure;
use crate::http::Version;
use crate::http::head::{Request, names_a_version};
use crate::http2::PREFACE_HEAD;
use crate::io::{Conn, Stream};
use crate::limit::Admitted;
use crate::middleware::Finish;
use crate::snapshot::table::Slot;
use crate::stats::EntryPointStats;
use crate::tls::peer::Identity;
use crate::tls::server::ServerTls;
use crate::worker::{Gate, Worker};
use chain::Way;
use client::{Next, Reader};
use decide::Plan;
use forward::Job;
use record::{Counted, Record, Turn};
use reply::Reply;
use sides::Downstream;
use watch::{Waits, Watched};

/// How long a TLS handshake may take if heads may take any time.
const HANDSHAKE: Duration = Duration::from_secs(60);

/// What all requests of a client's connection have in common, whatever codec it speaks.
struct Session {
    worker: Rc<Worker>,
    slot: Slot,
    gate: Rc<Gate>,
    peer: SocketAddr,
    /// The peer's address in words, as every server is told.
    peer_text: Box<str>,
    tls: Option<Tls>,
    /// The counters of the entry point, for the requests that are not over.
    counted: RefCell<Option<Rc<Counted>>>,
}

/// A client that waits for the answer to one request.
struct Client<'a> {
    session: &'a Session,
    down: Downstream<'a>,
    watch: Watched<'a>,
    record: Record,
}

/// What a handshake has agreed.
struct Tls {
    spoken: Arc<ServerTls>,
    identity: Option<Identity>,
    /// What the client has shown, its own certificate first.
    certificates: Box<[CertificateDer<'static>]>,
}

/// How an exchange ended.
struct Done {
    status: u16,
    body_bytes: u64,
    failure: Option<Failure>,
    end: End,
}

/// What becomes of the client's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The next request may come.
    Next,
    /// It is closed; everything that was asked was read.
    Close,
    /// It is closed although the client may still be sending: what it sends is read for a while, since closing at once
    /// would reset the connection and the answer could be lost with it.
    Linger,
    /// It is cut, so that the client sees that its answer is not complete.
    Cut,
}

/// Serves a connection until it ends; `admitted` counts it until then.
pub(crate) async fn serve(
    worker: Rc<Worker>,
    slot: Slot,
    gate: Rc<Gate>,
    mut stream: TcpStream,
    peer: SocketAddr,
    mut admitted: Option<Admitted>,
) {
    let introduced = arrival::introduced(&worker, slot, &gate, &mut stream, peer, admitted.as_mut());
    let Some((peer, early)) = introduced.await else { return };
    let Some((stream, tls)) = handshake(&worker, slot, &gate, stream).await else { return };
    let mut conn = Conn::new(stream);
    conn.buffer = early;
    let is_http2 = conn.stream.speaks_http2();
    let peer_text = peer.ip().to_canonical().to_string().into();
    let session = Session { worker, slot, gate, peer, peer_text, tls, counted: RefCell::default() };
    if is_http2 {
        return Box::pin(http2::serve(session, conn)).await;
    }
    if let Some(conn) = http1(&session, conn).await {
        Box::pin(http2::serve(session, conn)).await;
    }
}

/// Serves the requests of an HTTP/1 connection, one after the other. Returns the connection, as it came, if the client
/// speaks HTTP/2 without having been asked; without TLS it may (RFC 9113 section 3.3).
async fn http1(session: &Session, mut conn: Conn) -> Option<Conn> {
    let mut reader = Reader::default();
    let mut may_be_http2 = session.tls.is_none();
    let end = loop {
        let settings = session.worker.settings();
        let request = match reader.next(&mut conn, &session.gate, &settings).await {
            Next::Head(head) if may_be_http2 && head == PREFACE_HEAD => {
                conn.unread(&head);
                return Some(conn);
            }
            // A client of HTTP/2 would take an answer of HTTP/1 for a frame without an end.
            Next::Head(head) if may_be_http2 && !names_a_version(&head) => Err(Failure::Foreign),
            Next::Head(head) => Request::parse(head).map_err(Failure::Request),
            Next::Failed(failure) => Err(failure),
            Next::Ended => break End::Close,
        };
        let watch = session.worker.watches.enter(&settings, reader.began.map(tokio::time::Instant::into_std));
        drop(settings);
        may_be_http2 = false;
        let mut client = Client { session, down: Downstream::Http1(&mut conn), watch, record: Record::default() };
        match client.serve(request).await {
            End::Next => {}
            end => break end,
        }
    };
    if end != End::Cut {
        reader.close(&mut conn, end == End::Linger).await;
    }
    None
}

/// Speaks TLS if the entry point does. `None` if the connection is of no use.
async fn handshake(worker: &Worker, slot: Slot, gate: &Gate, stream: TcpStream) -> Option<(Stream, Option<Tls>)> {
    let (tls, limit) = {
        let tables = worker.shared.tables.load();
        let settings = &tables.settings;
        let limits = [settings.request_header_timeout.unwrap_or(HANDSHAKE)].into_iter().chain(settings.read_timeout);
        (tables.entry_points.get(&slot)?.tls.clone(), limits.min())
    };
    let Some(tls) = tls else { return Some((Stream::Tcp(stream), None)) };
    let accept = timeout(limit.unwrap_or(HANDSHAKE), tls.acceptor.accept(stream));
    let accepted = tokio::select! {
        accepted = accept => accepted,
        () = gate.closed() => return None,
    };
    match accepted {
        Ok(Ok(stream)) => {
            let certificates = stream.get_ref().1.peer_certificates();
            let identity = certificates.and_then(<[_]>::first).map(Identity::of);
            let certificates = certificates.unwrap_or_default().into();
            Some((Stream::Tls(Box::new(stream.into())), Some(Tls { spoken: tls, identity, certificates })))
        }
        Ok(Err(error)) => {
            tracing::debug!(%error, "TLS handshake with a client failed");
            None
        }
        Err(_) => {
            tracing::debug!("TLS handshake with a client took too long");
            None
        }
    }
}

impl Client<'_> {
    /// Has a request answered, and counts it.
    async fn serve(&mut self, request: Result<Request, Failure>) -> End {
        let (request, refused) = match request {
            Ok(request) => (Some(request), None),
            Err(failure) => (None, Some(failure)),
        };
        let turn = Turn::begin(self, request);
        let done = match (&turn.request, refused) {
            (Some(request), _) => turn.client.exchange(request).await,
            (None, Some(failure)) => Some(turn.client.refuse(failure, None).await),
            (None, None) => None,
        };
        let Some(done) = done else {
            turn.void();
            return End::Close;
        };
        let end = done.end;
        turn.done(done);
        end
    }

    /// `None` if the entry point is gone, or asks something else of its clients than when this connection was made.
    async fn exchange(&mut self, request: &Request) -> Option<Done> {
        let session = self.session;
        let (plan, way, settings) = {
            let tables = session.worker.shared.tables.load();
            let entry_point = tables.entry_points.get(&session.slot)?;
            let same = match (&session.tls, &entry_point.tls) {
                (None, None) => true,
                (Some(tls), Some(now)) => Arc::ptr_eq(&tls.spoken, now) || tls.spoken.client_ca == now.client_ca,
                _ => false,
            };
            if !same {
                return None;
            }
            let unavailable = session.worker.shared.unavailable.load(Ordering::Relaxed);
            let plan = decide::decide(entry_point, request, session.peer.ip(), session.identity(), unavailable);
            let internal = matches!(plan, Ok(Plan::Ping(_) | Plan::Metrics));
            self.record.accepted(session, entry_point, &tables.settings, request, internal);
            let way = Way::of(entry_point, &plan, session);
            (plan, way, session.worker.settings())
        };
        if let Some(way) = way {
            return Some(Box::pin(self.chained(request, plan, &way, &settings)).await);
        }
        Some(match plan {
            Err(failure) => self.refuse(failure, Some(request)).await,
            Ok(Plan::Reply(reply) | Plan::Ping(reply)) => self.reply(&reply, Some(request)).await,
            Ok(Plan::Metrics) => {
                let text = session.worker.shared.metrics.scrape().await;
                self.reply(&Reply::metrics(text), Some(request)).await
            }
            // In a box, so that idle connections do not hold its room.
            Ok(Plan::Forward { route, rewritten, trusted }) => {
                let (rewritten, finish, settings) = (&rewritten, &Finish::default(), &settings);
                let job = Job { request, route: &route, rewritten, trusted, settings, finish };
                Box::pin(self.forward(job)).await
            }
        })
    }

    /// Tells the client about a failure.
    async fn refuse(&mut self, failure: Failure, request: Option<&Request>) -> Done {
        tracing::debug!(peer = %self.session.peer, status = failure.status(), cause = %failure, "request refused");
        let done = match Reply::failure(&failure) {
            Some(reply) => self.reply(&reply, request).await,
            None => Done { status: failure.status(), body_bytes: 0, failure: None, end: End::Cut },
        };
        Done { failure: Some(failure), ..done }
    }

    /// Answers a request whose body nobody has begun to read. Without a request the connection is not understood, and
    /// closed.
    async fn reply(&mut self, reply: &Reply, request: Option<&Request>) -> Done {
        let is_read = request.is_some_and(|request| self.down.skip_body(request.framing));
        self.reply_after(reply, request, is_read).await
    }

    /// Answers a request; `is_read` says that its body has left the connection.
    async fn reply_after(&mut self, reply: &Reply, request: Option<&Request>, is_read: bool) -> Done {
        let keep_alive = is_read && request.is_some_and(|request| request.keep_alive) && !self.session.gate.is_closed();
        let is_head = request.is_some_and(|request| request.method() == "HEAD");
        let version = request.map_or(Version::Http11, |request| request.version);
        self.record.sent(|| reply.write(version, keep_alive, true).freeze());
        self.watch.note(Waits::ClientTakes, u64::MAX, true);
        let sent = tokio::select! {
            biased;
            sent = self.down.reply(reply, version, keep_alive, is_head) => sent.map_err(|_| Failure::ClientGone),
            late = self.watch.late() => Err(late),
        };
        let (failure, end) = match sent {
            Err(failure) => (Some(failure), End::Cut),
            Ok(()) if keep_alive => (None, End::Next),
            Ok(()) if is_read => (None, End::Close),
            Ok(()) => (None, End::Linger),
        };
        Done { status: reply.status, body_bytes: reply.body_bytes(is_head), failure, end }
    }
}

impl Session {
    /// A reference to `stats`.
    fn counted(&self, stats: &Arc<EntryPointStats>) -> Rc<Counted> {
        let mut counted = self.counted.borrow_mut();
        match &*counted {
            Some(known) if Arc::ptr_eq(&known.0, stats) => Rc::clone(known),
            _ => Rc::clone(counted.insert(Rc::new(Counted(Arc::clone(stats))))),
        }
    }

    /// Who the client's certificate says it is.
    fn identity(&self) -> Option<&Identity> {
        self.tls.as_ref().and_then(|tls| tls.identity.as_ref())
    }
}
