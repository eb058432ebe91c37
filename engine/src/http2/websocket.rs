//! The opening handshake of a websocket, which the engine speaks with a server on behalf of a client of HTTP/2
//! (RFC 8441 section 5, RFC 6455 section 4).

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand;
use data_encoding::BASE64;

use crate::http::head::Fields;

/// The field with the key that the server must answer.
pub(crate) const KEY: &str = "sec-websocket-key";
/// The field with its answer.
pub(crate) const ACCEPT: &str = "sec-websocket-accept";
/// What is appended to the key.
const SALT: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A key for one handshake. It only has to keep caches from answering, so that a failing source of randomness is no
/// reason to refuse.
pub(crate) fn key() -> String {
    let mut key = [0_u8; 16];
    let _ = rand::fill(&mut key);
    BASE64.encode(&key)
}

/// What a server has to answer to `key`.
fn accept(key: &[u8]) -> String {
    BASE64.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &[key, SALT].concat()).as_ref())
}

/// Whether the fields of an answer accept the key in those of a request.
pub(crate) fn is_accepted(request: &Fields, answer: &Fields) -> bool {
    match (only(request, KEY), only(answer, ACCEPT)) {
        (Some(key), Some(told)) => accept(key).as_bytes() == told,
        _ => false,
    }
}

fn only<'a>(fields: &'a Fields, name: &str) -> Option<&'a [u8]> {
    let mut values = fields.iter().filter(|field| field.1.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.2);
    values.next().filter(|_| values.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        assert_eq!(BASE64.decode(key().as_bytes()).unwrap().len(), 16);
        assert_ne!(key(), key());
    }
}
