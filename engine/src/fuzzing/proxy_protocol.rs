//! The PROXY protocol.

use std::net::SocketAddr;

use crate::proxy_protocol::{Parsed, parse};

/// Longest header of either version.
const LONGEST: usize = 4096;

/// The beginning of a connection: what is decided stays so whatever follows, no more is looked at than the header, and its
/// source, written down, is read again.
pub fn header(data: &[u8]) {
    let data = &data[..data.len().min(LONGEST + 16)];
    let mut decided = None;
    for seen in 0..=data.len() {
        let now = parse(&data[..seen]);
        match decided {
            None if now == Ok(Parsed::Partial) => assert!(seen < LONGEST, "no end is found"),
            None => decided = Some((seen, now)),
            Some((_, before)) => assert_eq!(now, before),
        }
    }
    let Some((seen, Ok(Parsed::Header { length, source }))) = decided else { return };
    assert_eq!(length, seen);
    if data.starts_with(b"PROXY ") {
        assert!(data[..length].ends_with(b"\r\n") && length <= 107, "another end of a line");
        assert!(source.is_none() || data[..length].split(|byte| *byte == b' ').count() == 6);
    }
    let Some(source) = source else { return };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let address = source.ip();
    let text = format!("PROXY {family} {address} {address} {} 0\r\n", source.port());
    assert_eq!(parse(text.as_bytes()), Ok(Parsed::Header { length: text.len(), source: Some(source) }));
    let [kind, size] = if source.is_ipv4() { [0x11, 12] } else { [0x21, 36] };
    let mut binary = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    binary.extend_from_slice(&[kind, 0, size]);
    for _ in ["source", "destination"] {
        match source {
            SocketAddr::V4(source) => binary.extend_from_slice(&source.ip().octets()),
            SocketAddr::V6(source) => binary.extend_from_slice(&source.ip().octets()),
        }
    }
    binary.extend_from_slice(&source.port().to_be_bytes());
    binary.extend_from_slice(&[0, 0]);
    assert_eq!(parse(&binary), Ok(Parsed::Header { length: binary.len(), source: Some(source) }));
}
