//! Connections of HTTP/2 to servers, each shared by several exchanges.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use foldhash::fast::RandomState as Hasher;
use h2::client::{Builder, ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use tokio::sync::Notify;

use crate::error::Failure;
use crate::http2::{CONNECTION_WINDOW, MAX_FIELD_LIST, SEND_BUFFER, STREAM_WINDOW, head};
use crate::io::Conn;
use crate::snapshot::table::Server;

/// Streams that a server is believed to allow until it says so (RFC 9113 section 6.5.2 recommends no fewer).
const UNTOLD_STREAMS: usize = 100;

/// A connection.
#[derive(Debug)]
pub(crate) struct Multiplexed {
    requests: RefCell<SendRequest<Bytes>>,
    tls: bool,
    open: Cell<usize>,
    idle_since: Cell<Instant>,
    retired: Cell<bool>,
}

/// A request of which the server has, or will have, the head.
#[derive(Debug)]
pub(crate) struct ServerStream {
    /// The head of the answer.
    pub(crate) answer: ResponseFuture,
    /// The answer's body, once its head has come.
    pub(crate) body: Option<RecvStream>,
    /// Where the request's body goes.
    pub(crate) upload: SendStream<Bytes>,
    lease: Lease,
}

impl ServerStream {
    /// Has no more requests sent over the stream's connection.
    pub(crate) fn retire(&self) {
        self.lease.0.retired.set(true);
    }
}

impl Multiplexed {
    /// Begins to speak HTTP/2 on a fresh connection.
    pub(crate) async fn start(conn: Conn) -> Result<Rc<Self>, Failure> {
        let tls = conn.stream.speaks_http2();
        let handshake = Builder::new()
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .initial_max_send_streams(UNTOLD_STREAMS)
            .max_header_list_size(MAX_FIELD_LIST)
            .max_send_buffer_size(SEND_BUFFER)
            .enable_push(false)
            .handshake::<_, Bytes>(conn);
        let (requests, connection) = handshake.await.map_err(failure)?;
        let made = Rc::new(Self {
            requests: RefCell::new(requests),
            tls,
            open: Cell::new(0),
            idle_since: Cell::new(Instant::now()),
            retired: Cell::new(false),
        });
        let driven = Rc::downgrade(&made);
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "HTTP/2 connection to a server broke");
            }
            if let Some(made) = driven.upgrade() {
                made.retired.set(true);
            }
        });
        Ok(made)
    }

    /// Whether a request can be sent now.
    fn has_room(&self) -> bool {
        if self.retired.get() {
            return false;
        }
        let mut requests = self.requests.borrow_mut();
        if self.open.get() >= requests.current_max_send_streams() {
            return false;
        }
        match requests.poll_ready(&mut Context::from_waker(Waker::noop())) {
            std::task::Poll::Ready(Ok(())) => true,
            std::task::Poll::Ready(Err(_)) => {
                self.retired.set(true);
                false
            }
            std::task::Poll::Pending => false,
        }
    }

    /// Sends the head of a request, which is `text` in HTTP/1; `is_complete` says that no body follows.
    pub(crate) fn send(self: &Rc<Self>, text: BytesMut, is_complete: bool) -> Result<ServerStream, Failure> {
        let request = head::outgoing(text, self.tls).map_err(Failure::Request)?;
        let sent = self.requests.borrow_mut().send_request(request, is_complete);
        let (answer, upload) = sent.map_err(|error| {
            self.retired.set(true);
            failure(error)
        })?;
        self.open.set(self.open.get() + 1);
        Ok(ServerStream { answer, body: None, upload, lease: Lease(Rc::clone(self)) })
    }
}

/// Counts a stream until it is dropped.
#[derive(Debug)]
struct Lease(Rc<Multiplexed>);

impl Drop for Lease {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        self.0.idle_since.set(Instant::now());
    }
}

/// What became of a stream before the head of its answer has come.
pub(crate) fn failure(error: h2::Error) -> Failure {
    let refused = error.is_reset() && error.reason() == Some(h2::Reason::REFUSED_STREAM);
    // With GOAWAY a server names the last request that it has looked at. This one came later.
    if error.is_remote() && (refused || error.is_go_away()) {
        return Failure::ServerRefused;
    }
    if error.is_io() {
        return Failure::ServerClosed(error.into_io());
    }
    Failure::ServerCut(Some(std::io::Error::other(error)))
}

/// The connections of a worker, by server.
#[derive(Debug, Default)]
pub(crate) struct Set(RefCell<HashMap<u64, Connections, Hasher>>);

/// An attempt to connect, for which others wait.
#[derive(Debug, Default)]
pub(crate) struct Attempt {
    done: Notify,
    failed: Cell<bool>,
}

/// How an attempt has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Well, or nobody knows.
    Open,
    /// There is no connection to be had.
    Failed,
}

impl Attempt {
    /// Waits for its end.
    pub(crate) async fn wait(&self) -> Outcome {
        self.done.notified().await;
        if self.failed.get() { Outcome::Failed } else { Outcome::Open }
    }
}

#[derive(Debug, Default)]
struct Connections {
    list: Vec<Rc<Multiplexed>>,
    dialling: Option<Rc<Attempt>>,
}

impl Set {
    /// A connection to `server` with room for another request.
    pub(crate) fn join(&self, server: &Server) -> Option<Rc<Multiplexed>> {
        let mut by_server = self.0.borrow_mut();
        let connections = by_server.get_mut(&server.id)?;
        connections.list.retain(|connection| !connection.retired.get());
        connections.list.iter().find(|connection| connection.has_room()).cloned()
    }

    /// Has another request use a connection, too.
    pub(crate) fn add(&self, server: &Server, connection: &Rc<Multiplexed>) {
        self.0.borrow_mut().entry(server.id).or_default().list.push(Rc::clone(connection));
    }

    /// Who is to connect to a server that is known to speak HTTP/2: one for all that come meanwhile.
    pub(crate) fn dial(&self, server: &Server) -> Dial<'_> {
        let mut by_server = self.0.borrow_mut();
        match by_server.get_mut(&server.id) {
            Some(Connections { dialling: Some(dialling), .. }) => Dial::Wait(Rc::clone(dialling)),
            Some(connections) => {
                connections.dialling = Some(Rc::default());
                Dial::Connect(Dialling { set: self, server: server.id })
            }
            None if server.target.speaks_only_http2() => {
                let dialling = Some(Rc::default());
                by_server.insert(server.id, Connections { list: Vec::new(), dialling });
                Dial::Connect(Dialling { set: self, server: server.id })
            }
            None => Dial::Unknown,
        }
    }

    /// Gives up what has been idle for long, what the server has closed, and what belongs to servers not in `alive`.
    /// Requests that run are not touched.
    pub(crate) fn sweep(&self, alive: &HashSet<u64>, idle: Duration) {
        self.0.borrow_mut().retain(|server, connections| {
            connections.list.retain(|connection| {
                let is_used = connection.open.get() > 0 || connection.idle_since.get().elapsed() < idle;
                is_used && !connection.retired.get()
            });
            alive.contains(server) && (!connections.list.is_empty() || connections.dialling.is_some())
        });
    }
}

/// What is to be done when no connection has room.
#[derive(Debug)]
pub(crate) enum Dial<'a> {
    /// To connect, and to say so when it is done or has failed, by dropping this.
    Connect(Dialling<'a>),
    /// To wait until somebody else has connected, or has failed.
    Wait(Rc<Attempt>),
    /// To connect; it is not known what the server speaks.
    Unknown,
}

/// Tells the others when it is dropped.
#[derive(Debug)]
pub(crate) struct Dialling<'a> {
    set: &'a Set,
    server: u64,
}

impl Dialling<'_> {
    /// Has the others know that it was in vain.
    pub(crate) fn has_failed(self) {
        if let Some(Connections { dialling: Some(dialling), .. }) = self.set.0.borrow().get(&self.server) {
            dialling.failed.set(true);
        }
    }
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        if let Some(connections) = self.set.0.borrow_mut().get_mut(&self.server)
            && let Some(dialling) = connections.dialling.take()
        {
            dialling.done.notify_waiters();
        }
    }
}
