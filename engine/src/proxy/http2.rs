//! A client's connection of HTTP/2: each of its requests is served in a task of its own.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, SendResponse};
use h2::{Reason, RecvStream};
use tokio::time::{Instant, Sleep, sleep_until, timeout_at};

use super::record::Record;
use super::sides::Downstream;
use super::streams::ClientStream;
use super::{Client, End, Session};
use crate::error::Failure;
use crate::http2::{CONNECTION_WINDOW, MAX_FIELD_LIST, MAX_STREAMS, SEND_BUFFER, STREAM_WINDOW, head};
use crate::io::Conn;
use crate::worker::guard;

/// How long a client may take to acknowledge the end of a connection on which nothing runs any more.
const FAREWELL: Duration = Duration::from_secs(2);
/// Requests given up by a client before it is asked whether these are most of them.
const TOLERATED_RESETS: u64 = 100;

/// A connection, as its requests see it.
struct Connection {
    session: Session,
    /// Requests that were accepted, that run, and that the client has given up.
    accepted: Cell<u64>,
    open: Cell<usize>,
    given_up: Cell<u64>,
    /// When the last request ended.
    idle_since: Cell<Instant>,
    /// What is asked of clients here has changed: the connection is to be used no more.
    outdated: Cell<bool>,
}

/// Serves a connection until it ends.
pub(super) async fn serve(session: Session, conn: Conn) {
    let settings = session.worker.shared.tables.load().settings.clone();
    let begun = Instant::now();
    let handshake = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_header_list_size(MAX_FIELD_LIST)
        .max_send_buffer_size(SEND_BUFFER)
        .enable_connect_protocol()
        .handshake::<_, Bytes>(conn);
    let handshake = async {
        match settings.request_header_timeout {
            Some(limit) => timeout_at(begun + limit, handshake).await.ok(),
            None => Some(handshake.await),
        }
    };
    let accepted = tokio::select! {
        accepted = handshake => accepted,
        () = session.gate.closed() => return,
    };
    let mut incoming = match accepted {
        Some(Ok(incoming)) => incoming,
        Some(Err(error)) => {
            tracing::debug!(peer = %session.peer, %error, "HTTP/2 handshake with a client failed");
            return;
        }
        None => {
            tracing::debug!(peer = %session.peer, "HTTP/2 handshake with a client took too long");
            return;
        }
    };
    let connection = Rc::new(Connection {
        session,
        accepted: Cell::new(0),
        open: Cell::new(0),
        given_up: Cell::new(0),
        idle_since: Cell::new(begun),
        outdated: Cell::new(false),
    });
    let session = &connection.session;
    let stats = session.worker.stats();
    stats.http2_connections.add(1);
    let mut gate = pin!(session.gate.leaving());
    let mut ending = false;
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    loop {
        let deadline = match (ending, connection.open.get(), connection.accepted.get()) {
            (_, 1.., _) => None,
            (true, 0, _) => Some(connection.idle_since.get() + FAREWELL),
            // The first request is to come as soon as a head is to come in HTTP/1.
            (false, 0, 0) => settings.request_header_timeout.or(settings.idle_timeout).map(|limit| begun + limit),
            (false, 0, _) => settings.idle_timeout.map(|idle| connection.idle_since.get() + idle),
        };
        let next = poll_fn(|cx| {
            if let Poll::Ready(next) = incoming.poll_accept(cx) {
                return Poll::Ready(Next::Incoming(next));
            }
            if !ending && (connection.outdated.get() || gate.as_mut().poll(cx).is_ready()) {
                return Poll::Ready(Next::GateClosed);
            }
            poll_deadline(cx, &mut timer, deadline).map(|()| Next::Idle)
        });
        match next.await {
            Next::Incoming(None) => return,
            Next::Incoming(Some(Err(error))) => {
                if error.is_go_away() && error.is_library() && error.reason() == Some(Reason::ENHANCE_YOUR_CALM) {
                    stats.http2_floods.add(1);
                }
                tracing::debug!(peer = %session.peer, %error, "HTTP/2 connection of a client broke");
                return;
            }
            Next::Incoming(Some(Ok((request, respond)))) => {
                let given_up = connection.given_up.get();
                if given_up >= TOLERATED_RESETS && given_up * 2 > connection.accepted.get() {
                    stats.http2_floods.add(1);
                    tracing::debug!(peer = %session.peer, given_up, "client gives up most of its requests");
                    incoming.abrupt_shutdown(Reason::ENHANCE_YOUR_CALM);
                    continue;
                }
                accept(&connection, request, respond);
            }
            Next::GateClosed => {
                ending = true;
                incoming.graceful_shutdown();
            }
            // Requests may have come and gone while the timer ran.
            Next::Idle if connection.open.get() > 0 => {}
            Next::Idle if ending => return,
            Next::Idle => {
                let limit = if connection.accepted.get() == 0 { None } else { settings.idle_timeout };
                if limit.is_none_or(|idle| connection.idle_since.get() + idle <= Instant::now()) {
                    ending = true;
                    connection.idle_since.set(Instant::now());
                    incoming.graceful_shutdown();
                }
            }
        }
    }
}

type Accepted = (http::Request<RecvStream>, SendResponse<Bytes>);

/// What a connection has to see to next.
#[expect(clippy::large_enum_variant, reason = "it is nearly always the large one")]
enum Next {
    Incoming(Option<Result<Accepted, h2::Error>>),
    GateClosed,
    Idle,
}

/// As in HTTP/1, the timer is set anew only when it rings.
fn poll_deadline(cx: &mut Context<'_>, timer: &mut Option<Pin<Box<Sleep>>>, deadline: Option<Instant>) -> Poll<()> {
    let Some(deadline) = deadline else { return Poll::Pending };
    let timer = timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
    if timer.deadline() > deadline {
        timer.as_mut().reset(deadline);
    }
    while timer.as_mut().poll(cx).is_ready() {
        if timer.deadline() >= deadline {
            return Poll::Ready(());
        }
        timer.as_mut().reset(deadline);
    }
    Poll::Pending
}

/// Serves a request in a task of its own. A panic there costs this request alone.
fn accept(connection: &Rc<Connection>, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
    connection.accepted.set(connection.accepted.get() + 1);
    connection.open.set(connection.open.get() + 1);
    let open = Open(Rc::clone(connection));
    tokio::task::spawn_local(async move {
        let connection = &*open.0;
        guard(&connection.session.worker, Box::pin(respond_to(connection, request, respond))).await;
    });
}

async fn respond_to(connection: &Connection, request: http::Request<RecvStream>, respond: SendResponse<Bytes>) {
    let (head, body) = request.into_parts();
    let is_complete = body.is_end_stream();
    let mut stream = ClientStream::new(body, respond);
    let request = if stream.has_left_now() {
        // It came and went in one piece: nobody is to be bothered with it.
        Err(Failure::ClientGone)
    } else {
        head::request(&head, is_complete).map_err(Failure::Request)
    };
    drop(head);
    let session = &connection.session;
    let watch = session.worker.watches.enter(&session.worker.shared.tables.load().settings, None);
    let mut client = Client { session, down: Downstream::Http2(&mut stream), watch, record: Record::default() };
    let end = client.serve(request).await;
    drop(client);
    if stream.has_left_now() {
        connection.given_up.set(connection.given_up.get() + 1);
    } else if end == End::Cut {
        stream.cut(Reason::INTERNAL_ERROR);
    } else if !stream.is_answered() {
        connection.outdated.set(true);
        stream.cut(Reason::REFUSED_STREAM);
    }
}

/// Counts a running request until it is dropped.
struct Open(Rc<Connection>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        if self.0.open.get() == 0 {
            self.0.idle_since.set(Instant::now());
        }
    }
}
