//! Who a connection comes from, when a load balancer in front says it: the PROXY protocol, before TLS and HTTP.

use std::io::ErrorKind;
use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::HANDSHAKE;
use crate::limit::Admitted;
use crate::proxy_protocol::read;
use crate::snapshot::table::Slot;
use crate::worker::{Gate, Worker, refuse};

/// Takes the PROXY protocol header off a connection if the entry point has any taken. Returns whom the connection comes
/// from, and bytes that were read but belong to what follows. `None` if the connection is of no use.
///
/// As in Traefik 1.7, a connection may come without a header, and a header of somebody who is not trusted is taken off
/// but not believed.
pub(super) async fn introduced(
    worker: &Worker,
    slot: Slot,
    gate: &Gate,
    stream: &mut TcpStream,
    peer: SocketAddr,
    admitted: Option<&mut Admitted>,
) -> Option<(SocketAddr, BytesMut)> {
    let (trusted, limit) = {
        let tables = worker.shared.tables.load();
        let entry_point = tables.entry_points.get(&slot)?;
        let Some(trust) = &entry_point.proxy_protocol else { return Some((peer, BytesMut::new())) };
        let trusted = trust.everybody || trust.names(peer.ip());
        (trusted, tables.settings.request_header_timeout)
    };
    // In a box, so that connections that are served do not hold its room.
    let header = timeout(limit.unwrap_or(HANDSHAKE), Box::pin(read::header(stream)));
    let read = tokio::select! {
        read = header => read,
        () = gate.closed() => return None,
    };
    let (source, early) = match read {
        Ok(Ok(header)) => header,
        Ok(Err(error)) => {
            if error.kind() == ErrorKind::InvalidData {
                tracing::debug!(%peer, %error, "connection closed");
            }
            return None;
        }
        Err(_) => {
            tracing::debug!(%peer, "no PROXY protocol header, and nothing else, came in time");
            return None;
        }
    };
    let client = source.filter(|_| trusted).unwrap_or(peer);
    let tables = worker.shared.tables.load();
    let entry_point = tables.entry_points.get(&slot)?;
    if let Some(Err(full)) = admitted.map(|admitted| admitted.of(client.ip(), entry_point.limits)) {
        worker.stats().refused.add(1);
        if entry_point.connections.told.now() {
            tracing::warn!(entry_point = entry_point.name, %peer, %client, cause = %full, "connection refused");
        }
        refuse(stream);
        return None;
    }
    // No TLS handshake begins as a PROXY protocol header does.
    (early.is_empty() || entry_point.tls.is_none()).then_some((client, early))
}
