//! The two sides of an exchange, each in the codec that it speaks.

use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use h2::{RecvStream, SendStream};

use super::pipe::Pipe;
use super::reply::Reply;
use super::streams::ClientStream;
use crate::error::Failure;
use crate::http::body::{Incoming, Outgoing};
use crate::http::chunked::Decoded;
use crate::http::scan::MAX_HEAD;
use crate::http::{Framing, Version};
use crate::io::Conn;
use crate::pool::multiplex::ServerStream;

/// Where a body is read from.
pub(crate) enum Source<'a> {
    /// A connection, on which nothing else comes meanwhile.
    Http1(&'a mut Conn),
    /// A stream.
    Http2(&'a mut RecvStream),
    /// A stream on which no head has come yet: nothing can.
    Unopened,
}

/// Where a body is written to.
pub(crate) enum Sink<'a> {
    /// A connection, on which nothing else is sent meanwhile.
    Http1(&'a mut Conn),
    /// A stream, on which the head was sent.
    Http2(&'a mut SendStream<Bytes>),
    /// A stream on which no head was sent yet: nothing can be.
    Unopened,
}

/// The client's side of an exchange.
pub(crate) enum Downstream<'a> {
    /// The connection on which the request came.
    Http1(&'a mut Conn),
    /// The stream that the request is.
    Http2(&'a mut ClientStream),
}

/// The server's side of an exchange.
#[derive(Debug)]
pub(crate) enum Upstream {
    /// A connection for this exchange alone, until it goes back to the pool.
    Http1(Conn),
    /// A stream of a connection that others use, too.
    Http2(ServerStream),
}

impl Downstream<'_> {
    /// Where the request's body comes from.
    pub(crate) fn source(&mut self) -> Source<'_> {
        match self {
            Self::Http1(conn) => Source::Http1(conn),
            Self::Http2(stream) => Source::Http2(&mut stream.body),
        }
    }

    /// The request's body at its start.
    pub(crate) fn incoming(&self, framing: Framing) -> Incoming {
        match self {
            Self::Http1(_) => Incoming::new(framing),
            Self::Http2(_) => Incoming::in_frames(framing),
        }
    }

    /// Where the answer's body goes.
    pub(crate) fn sink(&mut self) -> Sink<'_> {
        match self {
            Self::Http1(conn) => Sink::Http1(conn),
            Self::Http2(stream) => stream.answer().map_or(Sink::Unopened, Sink::Http2),
        }
    }

    /// Begins the answer with `head`, which leaves together with what there is of the body.
    pub(crate) fn begin(
        &mut self,
        head: BytesMut,
        status: u16,
        body: Incoming,
        coding: Outgoing,
    ) -> Result<Pipe, Failure> {
        match self {
            Self::Http1(_) => Ok(Pipe::new(head, body, coding)),
            Self::Http2(stream) => {
                let is_complete = body.is_empty();
                stream.begin(head, status, is_complete)?;
                Ok(Pipe::after_head(body, is_complete))
            }
        }
    }

    /// What was read from the client and not used yet.
    pub(crate) fn buffered(&self) -> usize {
        match self {
            Self::Http1(conn) => conn.buffer.len(),
            // What comes in frames is taken at once.
            Self::Http2(_) => 0,
        }
    }

    /// Fails once the client has left. Reads ahead what it sends, within bounds, to notice its end: a client that closes
    /// its side, even only for writing, is taken to have left, as nginx and Go take it.
    pub(crate) fn poll_presence(&mut self, cx: &mut Context<'_>) -> Result<(), Failure> {
        match self {
            Self::Http1(conn) => {
                while conn.buffer.len() < MAX_HEAD {
                    match conn.poll_fill(cx) {
                        Poll::Pending => break,
                        Poll::Ready(Ok(1..)) => {}
                        Poll::Ready(_) => return Err(Failure::ClientGone),
                    }
                }
                if conn.buffer.len() >= MAX_HEAD && conn.stream.is_read_closed() {
                    return Err(Failure::ClientGone);
                }
                Ok(())
            }
            Self::Http2(stream) => {
                if stream.has_left(cx) {
                    Err(Failure::ClientGone)
                } else {
                    Ok(())
                }
            }
        }
    }

    /// Takes a request's body that is already there as a whole out of the way. False if it is not, and nothing can be
    /// found on the connection any more.
    pub(crate) fn skip_body(&mut self, framing: Framing) -> bool {
        match self {
            Self::Http1(conn) => skip_body(framing, conn),
            // What is left of the stream ends with it.
            Self::Http2(_) => true,
        }
    }

    /// Sends an answer of the engine itself.
    pub(crate) async fn reply(
        &mut self,
        reply: &Reply,
        version: Version,
        keep_alive: bool,
        is_head: bool,
    ) -> Result<(), Failure> {
        match self {
            Self::Http1(conn) => {
                let sent = conn.send(&reply.write(version, keep_alive, is_head)).await;
                sent.map_err(|_| Failure::ClientGone)
            }
            Self::Http2(stream) => stream.reply(reply, is_head),
        }
    }
}

impl Upstream {
    /// The answer's body at its start.
    pub(crate) fn incoming(&self, framing: Framing) -> Incoming {
        match self {
            Self::Http1(_) => Incoming::new(framing),
            Self::Http2(_) => Incoming::in_frames(framing),
        }
    }

    /// What was read from the server and not used yet.
    pub(crate) fn buffered(&self) -> usize {
        match self {
            Self::Http1(conn) => conn.buffer.len(),
            Self::Http2(_) => 0,
        }
    }

    /// Where the answer's body comes from.
    pub(crate) fn source(&mut self) -> Source<'_> {
        match self {
            Self::Http1(conn) => Source::Http1(conn),
            Self::Http2(stream) => stream.body.as_mut().map_or(Source::Unopened, Source::Http2),
        }
    }

    /// Where the request goes.
    pub(crate) fn sink(&mut self) -> Sink<'_> {
        match self {
            Self::Http1(conn) => Sink::Http1(conn),
            Self::Http2(stream) => Sink::Http2(&mut stream.upload),
        }
    }
}

fn skip_body(framing: Framing, conn: &mut Conn) -> bool {
    let mut body = Incoming::new(framing);
    loop {
        match body.decode(&mut conn.buffer) {
            Ok(Decoded::End) => return true,
            Ok(Decoded::Data(length)) => {
                conn.buffer.advance(length);
                body.consumed(length);
            }
            Ok(Decoded::More) | Err(_) => return false,
        }
    }
}
