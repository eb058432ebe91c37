//! Exchanges whose bodies are read whole before they are passed on: what is too long is refused before a server, or the
//! client, sees any of it, and a request can be sent again.

use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::BytesMut;

use super::Client;
use super::forward::{Answered, Job};
use super::pipe::{Broken, Pipe};
use super::sides::{Downstream, Sink, Upstream};
use super::watch::Waits;
use crate::error::Failure;
use crate::http::body::Outgoing;
use crate::http::head::Request;
use crate::http::{Framing, Version};
use crate::io::{Conn, Stream};
use crate::service::buffering::{Attempt, Buffering, Limits, Spool, is_too_long};

/// What a client that waits to be asked for its body is told (RFC 9110 section 15.2.1).
const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl Client<'_> {
    /// Has a request answered as often as the service's retry expression wants it.
    pub(super) async fn buffered(
        &mut self,
        job: Job<'_>,
        buffering: &Arc<Buffering>,
        is_read: &mut bool,
    ) -> Result<Answered, Failure> {
        let request = job.request;
        let mut spool = match request.framing {
            Framing::None | Framing::Length(0) => None,
            _ => Some(self.keep_request(request, buffering.request, is_read).await?),
        };
        let has_body = spool.is_some();
        let mut number = 1;
        loop {
            let attempt = self.attempt(job, &mut spool, is_read).await;
            *is_read = true;
            let mut result = match attempt {
                Ok(answered) => self.keep_answer(job, answered, buffering.response).await,
                Err(failure) => Err((failure, spool.take())),
            };
            let status = result.as_ref().map_or_else(|(failure, _)| failure.status(), |it| it.answer.status);
            spool = match &mut result {
                Ok(answered) => answered.exchange.spool.take(),
                Err((_, spool)) => spool.take(),
            };
            let gone = matches!(result, Err((Failure::ClientGone, _)));
            let again = buffering.tries_again(Attempt { number, status, method: request.method() });
            if gone || !again || (has_body && spool.is_none()) {
                return result.map_err(|(failure, _)| failure);
            }
            tracing::debug!(route = job.route.id, status, attempt = number, "the retry expression holds: once more");
            spool = spool.map(rewound);
            number += 1;
        }
    }

    /// Reads the request's body.
    async fn keep_request(&mut self, request: &Request, limits: Limits, is_read: &mut bool) -> Result<Conn, Failure> {
        if let Framing::Length(length) = request.framing
            && limits.refuses(length)
        {
            return Err(Failure::BodyTooLong);
        }
        self.ask_for_body(request).await?;
        let mut spool = Conn::new(Stream::Spool(Box::new(Spool::new(limits))));
        let mut pipe = Pipe::new(BytesMut::new(), self.down.incoming(request.framing), Outgoing::Plain);
        let (down, watch) = (&mut self.down, &self.watch);
        let result = poll_fn(|cx| {
            if let Poll::Ready(result) = pipe.poll(cx, down.source(), Sink::Http1(&mut spool)) {
                return Poll::Ready(result.map_err(|broken| match broken {
                    Broken::Sink(error) if is_too_long(&error) => Failure::BodyTooLong,
                    Broken::Sink(error) => Failure::Spool(error),
                    Broken::Source(_) => Failure::ClientGone,
                    Broken::Malformed(error) => Failure::Request(error),
                }));
            }
            watch.note(Waits::Request, pipe.moved(), pipe.is_read());
            watch.poll(cx)?;
            Poll::Pending
        })
        .await;
        *is_read = pipe.is_read();
        self.record.read(pipe.body_bytes());
        result.map(|()| rewound(spool))
    }

    /// Asks for the body if the client waits for that (RFC 9110 section 10.1.1): no server is there to do it.
    async fn ask_for_body(&mut self, request: &Request) -> Result<(), Failure> {
        let mut fields = request.fields.iter();
        let waits = |(_, name, _): (_, &[u8], _)| name.eq_ignore_ascii_case(b"expect");
        if request.version == Version::Http10 || !fields.any(waits) {
            return Ok(());
        }
        match &mut self.down {
            Downstream::Http1(conn) => conn.send(CONTINUE).await.map_err(|_| Failure::ClientGone),
            Downstream::Http2(stream) => stream.interim(BytesMut::from(CONTINUE), 100),
        }
    }

    /// Reads the answer's body.
    async fn keep_answer(
        &mut self,
        job: Job<'_>,
        answered: Answered,
        limits: Limits,
    ) -> Result<Answered, (Failure, Option<Conn>)> {
        let Answered { mut answer, server, mut up, mut exchange, .. } = answered;
        if answer.framing == Framing::None {
            return Ok(Answered { answer, server, up, exchange, kept: None, encoder: None });
        }
        if answer.told_length.is_some_and(|length| limits.refuses(length)) {
            return Err((Failure::AnswerTooLong, exchange.spool));
        }
        let mut spool = Conn::new(Stream::Spool(Box::new(Spool::new(limits))));
        let mut pipe = Pipe::new(BytesMut::new(), up.incoming(answer.framing), Outgoing::Plain);
        let result = exchange.relay(&mut self.down, &mut up, &mut pipe, Some(&mut spool), &self.watch).await;
        if let Err(failure) = result {
            return Err((failure, exchange.spool));
        }
        if answer.keep_alive && exchange.is_sent() {
            self.give_back(up, &job.route.service.servers[server], job.settings);
        }
        exchange.stop();
        let kept = Some(pipe.body_bytes());
        // What follows is no connection any more.
        answer.keep_alive = false;
        Ok(Answered { answer, server, up: Upstream::Http1(rewound(spool)), exchange, kept, encoder: None })
    }
}

/// A body that was kept, from its beginning.
fn rewound(mut conn: Conn) -> Conn {
    conn.buffer.clear();
    if let Stream::Spool(spool) = &mut conn.stream {
        spool.rewind();
    }
    conn
}
