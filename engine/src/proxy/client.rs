//! Reading requests from a connection: waiting idly, reading a head, closing in order.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, Sleep, sleep_until, timeout};

use crate::error::Failure;
use crate::http::scan::{Found, Scanner};
use crate::io::Conn;
use crate::snapshot::table::Settings;
use crate::worker::Gate;

/// How long a client that may still be sending is listened to before its connection is closed.
const LINGER: Duration = Duration::from_secs(2);
/// How much of what it sends is read.
const LINGER_BYTES: usize = 1 << 20;

/// The deadline that comes first; `None` never comes.
fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// What came next on a connection.
#[derive(Debug)]
pub(crate) enum Next {
    /// A complete head, not parsed yet.
    Head(Bytes),
    /// Something that is no head, or not in time.
    Failed(Failure),
    /// Nothing any more.
    Ended,
}

/// Reads heads. It has one timer for the whole connection, which is set anew only when it rings: most deadlines pass
/// unused, and a timer for each would cost more than the reading.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    /// When the request whose head came last began: with its first byte, or, if it is the first of its connection, with
    /// that. Only known if a read timeout counts from it.
    pub(crate) began: Option<Instant>,
    is_used: bool,
    timer: Option<Pin<Box<Sleep>>>,
}

impl Reader {
    /// Waits for the next head. While nothing has come of it, the connection ends when `gate` closes or the idle time is
    /// over; once it has begun, it has its own time.
    pub(crate) async fn next(&mut self, conn: &mut Conn, gate: &Gate, settings: &Settings) -> Next {
        let mut scanner = Scanner::default();
        conn.rest();
        // A connection on which nothing was asked yet is not idle, but slow.
        let is_first = !std::mem::replace(&mut self.is_used, true);
        self.began = settings.read_timeout.map(|_| Instant::now());
        let read_by = |began: Option<Instant>| began.zip(settings.read_timeout).map(|(began, limit)| began + limit);
        if conn.buffer.is_empty() {
            let mut deadline = settings.idle_timeout.map(|idle| Instant::now() + idle);
            if is_first {
                deadline = earlier(deadline, read_by(self.began));
            }
            let arrived = tokio::select! {
                biased;
                arrived = self.fill(conn, deadline) => arrived,
                () = gate.closed() => return Next::Ended,
            };
            if !matches!(arrived, Some(Ok(1..))) {
                return Next::Ended;
            }
            if !is_first {
                self.began = self.began.map(|_| Instant::now());
            }
        }
        let mut deadline = None;
        loop {
            match scanner.scan(&conn.buffer) {
                Err(error) => return Next::Failed(Failure::Request(error)),
                Ok(Found::Head { start, end }) => {
                    let mut head = conn.buffer.split_to(end);
                    return Next::Head(head.split_off(start).freeze());
                }
                Ok(Found::Partial) => {}
            }
            if deadline.is_none() {
                deadline = settings.request_header_timeout.map(|limit| Instant::now() + limit);
                deadline = earlier(deadline, read_by(self.began));
            }
            match self.fill(conn, deadline).await {
                Some(Ok(1..)) => {}
                Some(_) => return Next::Ended,
                None if scanner.has_begun() => return Next::Failed(Failure::HeadTimeout),
                None => return Next::Ended,
            }
        }
    }

    /// Reads once; `None` if the deadline came first.
    async fn fill(&mut self, conn: &mut Conn, deadline: Option<Instant>) -> Option<std::io::Result<usize>> {
        poll_fn(|cx| match conn.poll_fill(cx) {
            Poll::Ready(result) => Poll::Ready(Some(result)),
            Poll::Pending => self.poll_deadline(cx, deadline).map(|()| None),
        })
        .await
    }

    fn poll_deadline(&mut self, cx: &mut Context<'_>, deadline: Option<Instant>) -> Poll<()> {
        let Some(deadline) = deadline else { return Poll::Pending };
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(deadline)));
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

    /// Closes a connection so that the last answer arrives.
    pub(crate) async fn close(&mut self, conn: &mut Conn, linger: bool) {
        let orderly = async {
            if conn.stream.shutdown().await.is_err() || !linger {
                return;
            }
            let mut total = 0;
            while total < LINGER_BYTES {
                conn.buffer.clear();
                match conn.fill().await {
                    Ok(length @ 1..) => total += length,
                    _ => return,
                }
            }
        };
        // What is not over by then is cut.
        let _ = timeout(LINGER, orderly).await;
    }
}
