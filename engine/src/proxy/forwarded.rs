//! What a server is told about where a request came from: `X-Forwarded-*`, `X-Real-Ip`, the client's certificate.

use std::net::IpAddr;

use bytes::BytesMut;

use crate::http::head::Request;
use crate::http::name::Name;
use crate::http::{target, write};
use crate::snapshot::table::{Route, Trust};
use crate::tls::peer::Identity;

/// Where a request came from.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    /// The peer's address in words.
    pub(crate) peer: &'a str,
    /// Whether it came over TLS.
    pub(crate) tls: bool,
    /// Whether what it says about its own origin is believed.
    pub(crate) trusted: bool,
    /// Who the peer's certificate says it is.
    pub(crate) identity: Option<&'a Identity>,
    /// What `X-Forwarded-Server` says.
    pub(crate) server_name: &'a str,
}

/// Whether the forwarded headers of a request are believed: those of everybody, or of trusted peers. Only the peer's own
/// address counts. Traefik 1.7 also looked for trusted addresses in `X-Forwarded-For`, which anybody can write.
pub(crate) fn is_trusted(trust: &Trust, peer: IpAddr) -> bool {
    trust.everybody || trust.names(peer)
}

/// Whether a client's field is dropped because [`write`] says it anew, or because it is not believed.
pub(crate) fn is_rewritten(id: Name, origin: &Origin<'_>) -> bool {
    match id {
        Name::ForwardedServer | Name::ForwardedFor => true,
        Name::ForwardedProto
        | Name::ForwardedHost
        | Name::ForwardedPort
        | Name::ForwardedUri
        | Name::ForwardedMethod
        | Name::RealIp => !origin.trusted,
        _ => false,
    }
}

/// Appends what is said about the request's origin. Trusted values that are there were passed on and stay.
pub(crate) fn write(out: &mut BytesMut, request: &Request, origin: &Origin<'_>) {
    let told = |id: Name| {
        let value = request.fields.first(id).filter(|value| origin.trusted && !value.is_empty())?;
        (!request.names_fields || !request.fields.is_named_in_connection(canonical(id))).then_some(value)
    };

    out.extend_from_slice(b"X-Forwarded-For: ");
    if told(Name::ForwardedFor).is_some() {
        for value in request.fields.values(Name::ForwardedFor).filter(|value| !value.is_empty()) {
            out.extend_from_slice(value);
            out.extend_from_slice(b", ");
        }
    }
    out.extend_from_slice(origin.peer.as_bytes());
    out.extend_from_slice(b"\r\n");
    if told(Name::RealIp).is_none() {
        write::field(out, b"X-Real-Ip", origin.peer.as_bytes());
    }

    let own_proto: &[u8] = match (request.is_websocket(), origin.tls) {
        (true, true) => b"wss",
        (true, false) => b"ws",
        (false, true) => b"https",
        (false, false) => b"http",
    };
    let proto = told(Name::ForwardedProto).unwrap_or(own_proto);
    if told(Name::ForwardedProto).is_none() {
        write::field(out, b"X-Forwarded-Proto", own_proto);
    }
    if told(Name::ForwardedPort).is_none() {
        let (_, port) = target::split_port(request.host().as_bytes());
        let usual: &[u8] = if origin.tls || proto == b"https" || proto == b"wss" { b"443" } else { b"80" };
        write::field(out, b"X-Forwarded-Port", port.filter(|port| !port.is_empty()).unwrap_or(usual));
    }
    if told(Name::ForwardedHost).is_none() && !request.host().is_empty() {
        write::field(out, b"X-Forwarded-Host", request.host().as_bytes());
    }
    write::field(out, b"X-Forwarded-Server", origin.server_name.as_bytes());
}

fn canonical(id: Name) -> &'static [u8] {
    match id {
        Name::ForwardedFor => b"X-Forwarded-For",
        Name::RealIp => b"X-Real-Ip",
        Name::ForwardedProto => b"X-Forwarded-Proto",
        Name::ForwardedPort => b"X-Forwarded-Port",
        Name::ForwardedHost => b"X-Forwarded-Host",
        _ => b"",
    }
}

/// Whether a client's field could be taken for what [`write_identity`] says. Some servers hold `_` and `-` for the same.
pub(crate) fn claims_identity(name: &[u8]) -> bool {
    let is = |known: &[u8]| {
        let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
        name.len() == known.len() && name.iter().zip(known).all(same)
    };
    is(b"x-traefikee-peer-id") || is(b"x-traefikee-peer-role") || is(b"x-traefikee-peer-serial")
}

/// Appends who the client's certificate names; nothing without a certificate. The role is one that the route admits, if
/// it asks for roles.
pub(crate) fn write_identity(out: &mut BytesMut, route: &Route, origin: &Origin<'_>) {
    let Some(identity) = origin.identity else { return };
    if let Some(name) = &identity.name {
        write::field(out, b"X-Traefikee-Peer-Id", name.as_bytes());
    }
    let admitted = identity.roles.iter().find(|role| route.client_roles.contains(role));
    if let Some(role) = admitted.or(identity.roles.first()) {
        write::field(out, b"X-Traefikee-Peer-Role", role.as_bytes());
    }
    if !identity.serial.is_empty() {
        write::field(out, b"X-Traefikee-Peer-Serial", identity.serial.as_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn request(fields: &str) -> Request {
        Request::parse(Bytes::from(format!("GET / HTTP/1.1\r\n{fields}\r\n"))).unwrap()
    }

    fn told(fields: &str, tls: bool, trusted: bool) -> String {
        let peer = "10.0.0.1";
        let origin = Origin { peer, tls, trusted, identity: None, server_name: "node" };
        let mut out = BytesMut::new();
        write(&mut out, &request(fields), &origin);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn without_claims() {
        assert_eq!(
            told("Host: A.example:8080\r\n", false, true),
            "X-Forwarded-For: 10.0.0.1\r\nX-Real-Ip: 10.0.0.1\r\nX-Forwarded-Proto: http\r\n\
             X-Forwarded-Port: 8080\r\nX-Forwarded-Host: A.example:8080\r\nX-Forwarded-Server: node\r\n"
        );
        let secure = told("Host: a\r\n", true, false);
        assert!(secure.contains("Proto: https\r\n") && secure.contains("Port: 443\r\n"));
        let websocket = "Host: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
        assert!(told(websocket, false, false).contains("Proto: ws\r\n"));
        assert!(told(websocket, true, false).contains("Proto: wss\r\n"));
    }

    #[test]
    fn claims_are_kept_if_trusted() {
        let claims = "Host: a\r\nX-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2, 3.3.3.3\r\nX-Real-Ip: 1.1.1.1\r\n\
                      X-Forwarded-Proto: https\r\nX-Forwarded-Host: b\r\n";
        assert_eq!(
            told(claims, false, true),
            "X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 10.0.0.1\r\nX-Forwarded-Port: 443\r\nX-Forwarded-Server: node\r\n"
        );
        assert!(told(claims, false, false).starts_with("X-Forwarded-For: 10.0.0.1\r\nX-Real-Ip: 10.0.0.1\r\n"));
    }

    #[test]
    fn trust() {
        let trust = Trust { everybody: false, networks: vec!["10.0.0.0/8".parse().unwrap()] };
        let ask = |peer: &str| is_trusted(&trust, peer.parse().unwrap());
        assert!(ask("10.1.2.3"));
        assert!(ask("::ffff:10.1.2.3"));
        assert!(!ask("11.0.0.1"));
        assert!(is_trusted(&Trust { everybody: true, networks: vec![] }, "1.1.1.1".parse().unwrap()));
    }

    #[test]
    fn identity_cannot_be_claimed() {
        assert!(claims_identity(b"X_Traefikee-Peer_ID") && claims_identity(b"x-traefikee-peer-role"));
        assert!(claims_identity(b"X-Traefikee-Peer_Serial"));
        assert!(!claims_identity(b"x-traefikee-peer-ids"));
    }
}
