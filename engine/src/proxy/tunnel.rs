//! What follows a change of protocol: bytes in both directions, which mean nothing here.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::BytesMut;
use tokio::io::{AsyncWrite, AsyncWriteExt, copy_bidirectional};

use super::forward::Answered;
use super::pipe::{Broken, Pipe};
use super::relay;
use super::sides::{Downstream, Sink, Source, Upstream};
use super::streams::ClientStream;
use super::{Client, Done, End};
use crate::error::Failure;
use crate::http::Malformed;
use crate::http::body::{Incoming, Outgoing};
use crate::http::head::{Answer, Request};
use crate::http2::websocket;
use crate::io::Conn;
use crate::worker::Gate;

impl Client<'_> {
    /// Relays the change to another protocol, and then bytes in both directions until both sides have ended.
    pub(super) async fn tunnel(&mut self, request: &Request, answered: Answered) -> Done {
        let Answered { answer, up, mut exchange, .. } = answered;
        // The two ends have their own idea of time.
        self.watch.note_server();
        self.watch.lift();
        let interim = exchange.take_interim();
        self.record.answered(&answer, || {
            let mut head = BytesMut::new();
            relay::switching(&answer, &mut head);
            head.freeze()
        });
        let result = match (&mut self.down, up) {
            (Downstream::Http1(client), Upstream::Http1(server)) => {
                Ok(raw(&answer, interim, client, server, &self.session.gate).await)
            }
            (Downstream::Http2(client), Upstream::Http1(server)) => in_stream(request, &answer, client, server).await,
            // HTTP/2 has no 101; the codec does not let it pass.
            (_, Upstream::Http2(_)) => Err(Failure::ServerMalformed(Malformed::Syntax("101 in HTTP/2"))),
        };
        match result {
            Ok(body_bytes) => Done { status: answer.status, body_bytes, failure: None, end: End::Close },
            Err(failure) => self.failed(failure, request, true).await,
        }
    }
}

/// Between two connections, until both have ended, or the time for ending is over. Returns how many bytes the client got,
/// if that is known.
async fn raw(answer: &Answer, interim: BytesMut, client: &mut Conn, mut server: Conn, gate: &Gate) -> u64 {
    let mut head = interim;
    relay::switching(answer, &mut head);
    head.extend_from_slice(&server.buffer);
    let early = std::mem::replace(&mut client.buffer, BytesMut::new());
    server.rest();
    let result = async {
        client.send(&head).await?;
        server.send(&early).await?;
        drop((head, early));
        tokio::select! {
            copied = copy_bidirectional(&mut client.stream, &mut server.stream) => copied,
            () = gate.over() => Ok((0, 0)),
        }
    }
    .await;
    // How a tunnel ends is the two ends' own business.
    let _ = server.stream.shutdown().await;
    result.map_or(0, |(_, down)| down)
}

/// Between a stream, which was opened by an extended CONNECT, and a connection (RFC 8441). Returns how many bytes the
/// client got.
async fn in_stream(
    request: &Request,
    answer: &Answer,
    client: &mut ClientStream,
    mut server: Conn,
) -> Result<u64, Failure> {
    if !websocket::is_accepted(&request.fields, &answer.fields) {
        return Err(Failure::ServerMalformed(Malformed::Syntax("Sec-WebSocket-Accept is not that of the key")));
    }
    let mut head = BytesMut::new();
    relay::connected(answer, &mut head);
    client.begin(head, 200, false)?;
    let mut up = Pipe::new(BytesMut::new(), Incoming::UntilClose, Outgoing::Plain);
    let mut down = Pipe::after_head(Incoming::UntilClose, false);
    let mut ending = false;
    // How a tunnel ends is the two ends' own business; one that breaks is no clean end for the client, though.
    let result = poll_fn(|cx| {
        if !ending {
            match up.poll(cx, Source::Http2(&mut client.body), Sink::Http1(&mut server)) {
                Poll::Ready(Ok(())) => ending = true,
                Poll::Ready(Err(broken)) => return Poll::Ready(Err(broken)),
                Poll::Pending => {}
            }
        }
        if ending {
            // The server is told that the client says no more; what it has to say still goes down.
            poll_end(cx, &mut server);
        }
        match client.answer() {
            Some(answer) => down.poll(cx, Source::Http1(&mut server), Sink::Http2(answer)),
            None => Poll::Ready(Ok(())),
        }
    })
    .await;
    match result {
        Ok(()) | Err(Broken::Sink(_)) => {}
        Err(Broken::Source(_) | Broken::Malformed(_)) => client.cut(h2::Reason::CANCEL),
    }
    Ok(down.body_bytes())
}

fn poll_end(cx: &mut Context<'_>, conn: &mut Conn) {
    // A connection that cannot be ended shows it when it is read from.
    let _ = Pin::new(&mut conn.stream).poll_shutdown(cx);
}
