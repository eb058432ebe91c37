//! The two ends of an exchange that are streams of HTTP/2.

use std::task::Context;

use bytes::{Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};

use super::reply::Reply;
use crate::error::Failure;
use crate::http::Version;
use crate::http2::head;

/// A request of a client, and where its answer goes.
pub(crate) struct ClientStream {
    respond: SendResponse<Bytes>,
    /// The request's body.
    pub(crate) body: RecvStream,
    answer: Option<SendStream<Bytes>>,
}

impl ClientStream {
    /// What was accepted.
    pub(crate) fn new(body: RecvStream, respond: SendResponse<Bytes>) -> Self {
        Self { respond, body, answer: None }
    }

    /// Whether the client has given the request up, or is gone; the task is woken when it does.
    pub(crate) fn has_left(&mut self, cx: &mut Context<'_>) -> bool {
        let reset = match &mut self.answer {
            Some(answer) => answer.poll_reset(cx),
            None => self.respond.poll_reset(cx),
        };
        reset.is_ready()
    }

    /// Whether an answer was begun.
    pub(crate) fn is_answered(&self) -> bool {
        self.answer.is_some()
    }

    /// Sends an interim answer, whose head is `text`.
    pub(crate) fn interim(&mut self, text: BytesMut, status: u16) -> Result<(), Failure> {
        let response = head::response(text, status).map_err(Failure::ServerMalformed)?;
        self.respond.send_informational(response).map_err(|_| Failure::ClientGone)
    }

    /// Begins the answer, whose head is `text`; `is_complete` says that no body follows.
    pub(crate) fn begin(&mut self, text: BytesMut, status: u16, is_complete: bool) -> Result<(), Failure> {
        let response = head::response(text, status).map_err(Failure::ServerMalformed)?;
        let answer = self.respond.send_response(response, is_complete).map_err(|_| Failure::ClientGone)?;
        self.answer = Some(answer);
        Ok(())
    }

    /// Where the answer's body goes, once it was begun.
    pub(crate) fn answer(&mut self) -> Option<&mut SendStream<Bytes>> {
        self.answer.as_mut()
    }

    /// Sends a whole answer of the engine itself. What the client's window has no room for yet of its body waits in the
    /// connection.
    pub(crate) fn reply(&mut self, reply: &Reply, is_head: bool) -> Result<(), Failure> {
        let body = if is_head { Bytes::new() } else { reply.body() };
        self.begin(reply.head(Version::Http2, true), reply.status, body.is_empty())?;
        match &mut self.answer {
            Some(answer) if !body.is_empty() => answer.send_data(body, true).map_err(|_| Failure::ClientGone),
            _ => Ok(()),
        }
    }

    /// Ends the stream so that the client sees why, and that its answer, if one was begun, is not complete.
    pub(crate) fn cut(&mut self, reason: Reason) {
        match &mut self.answer {
            Some(answer) => answer.send_reset(reason),
            None => self.respond.send_reset(reason),
        }
    }

    /// As [`ClientStream::has_left`], for once.
    pub(crate) fn has_left_now(&mut self) -> bool {
        self.has_left(&mut Context::from_waker(std::task::Waker::noop()))
    }
}
