//! What the fuzz targets of `engine/fuzz` run. Each function takes any bytes, and panics if what it checks does not hold.
//!
//! The seeds that are kept in the tree run as ordinary tests, too.

mod http1;
mod http2;
mod proxy_protocol;
mod routes;
mod snapshot;

pub use http1::{chunked as http1_chunked, head as http1_head};
pub use http2::{frames as http2_frames, head as http2_head};
pub use proxy_protocol::header as proxy_protocol;
pub use routes::routes;
pub use snapshot::documents as snapshot;

use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::http::head::Request;
use crate::http::name::{Name, resembles_framing};
use crate::http::scan::{Found, Scanner};
use crate::http::{Framing, target};
use crate::http2::head as http2_heads;
use crate::proxy::forwarded::Origin;
use crate::proxy::relay::{self, Rewritten};
use crate::snapshot::table::Route;

/// Checks what every request keeps to that is let in, and that a server reads in it what the engine has read.
fn accepted(request: &Request) {
    // RFC 9110 section 5.6.2.
    let is_sign = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    let is_token = |text: &[u8]| !text.is_empty() && text.iter().all(is_sign);
    assert!(is_token(request.method().as_bytes()), "method {:?}", request.method());
    assert_ne!(request.method(), "CONNECT");
    let (path, query) = request.path_and_query();
    assert!(path.starts_with('/') || (path == "*" && request.method() == "OPTIONS"), "path {path:?}");
    let is_clean = |text: &str| !text.bytes().any(|byte| byte.is_ascii_control() || byte == b' ');
    assert!(is_clean(path) && query.is_none_or(is_clean), "{path:?} {query:?}");
    assert!(target::is_valid_host(request.host().as_bytes()), "host {:?}", request.host());
    for (_, name, value) in request.fields.iter() {
        assert!(is_token(name), "name {name:?}");
        assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)), "value {value:?}");
        assert_eq!(value.trim_ascii().len(), value.len(), "value {value:?}");
    }
    assert!(request.fields.values(Name::Host).count() <= 1);
    let lengths = request.fields.values(Name::ContentLength).count();
    assert!(lengths + request.fields.values(Name::TransferEncoding).count() <= 1);
    assert_eq!(lengths == 1, matches!(request.framing, Framing::Length(_)));
    assert_ne!(request.framing, Framing::UntilClose);
    for trusted in [false, true] {
        forwarded(request, trusted);
    }
}

/// Checks that a request, as a server gets it, is one request, and the same.
fn forwarded(request: &Request, trusted: bool) {
    let peer = "127.0.0.1";
    let origin = Origin { peer, tls: false, trusted, identity: None, server_name: "node" };
    let rewritten = Rewritten { path: None, fields: BytesMut::new() };
    let route = route();
    let text =
        relay::request(request, request.framing, &rewritten, &route, &route.service.servers[0], &origin).freeze();
    assert_eq!(Scanner::default().scan(&text), Ok(Found::Head { start: 0, end: text.len() }), "{text:?}");
    // The engine adds fields, so that what was full is too full now.
    if request.fields.iter().count() < 100 {
        let again = read_again(&text);
        assert_eq!(again.method(), request.method());
        assert_eq!(again.path_and_query(), request.path_and_query());
        assert_eq!(again.host(), request.host());
        assert_eq!(again.framing, request.framing);
        assert_eq!(again.upgrade(), request.upgrade());
        for (id, name, _) in again.fields.iter() {
            let is_framing = matches!(id, Name::ContentLength | Name::TransferEncoding);
            assert!(is_framing || !resembles_framing(name), "{name:?}");
            let is_ours = is_framing || matches!(id, Name::Connection | Name::Upgrade | Name::Te);
            assert!(is_ours || !id.is_hop_by_hop(), "{name:?}");
        }
    }
    // What HTTP/2 cannot say is not sent.
    let Ok(sent) = http2_heads::outgoing(BytesMut::from(&text[..]), false) else { return };
    assert_eq!(sent.method().as_str(), request.method());
    let (path, query) = request.path_and_query();
    assert_eq!(sent.uri().path(), path);
    assert_eq!(sent.uri().query(), query);
    assert_eq!(sent.uri().authority().map(|host| host.as_str()).unwrap_or_default(), request.host());
    for name in ["connection", "transfer-encoding", "upgrade", "keep-alive", "proxy-connection", "host"] {
        assert!(!sent.headers().contains_key(name), "{name}");
    }
}

#[expect(clippy::panic, reason = "a panic is how a finding is told")]
fn read_again(text: &Bytes) -> Request {
    Request::parse(text.clone()).unwrap_or_else(|error| panic!("what is sent is malformed: {error}: {text:?}"))
}

/// A route with a server.
fn route() -> Arc<Route> {
    thread_local! {
        static ROUTE: Arc<Route> = snapshot::base_route();
    }
    ROUTE.with(Arc::clone)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A target's function.
    type Target = fn(&[u8]);

    #[test]
    fn nothing_is_found_in_the_seeds() {
        let targets: [(&str, Target); 7] = [
            ("http1_head", http1_head),
            ("http1_chunked", http1_chunked),
            ("http2_head", http2_head),
            ("http2_frames", http2_frames),
            ("proxy_protocol", super::proxy_protocol),
            ("routes", super::routes),
            ("snapshot", super::snapshot),
        ];
        let seeds = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds");
        for (name, target) in targets {
            target(b"");
            let folder = std::fs::read_dir(seeds.join(name)).unwrap();
            let files: Vec<_> = folder.map(|file| file.unwrap().path()).collect();
            assert!(!files.is_empty(), "{name}");
            for file in files {
                eprintln!("{}", file.display());
                target(&std::fs::read(&file).unwrap());
            }
        }
    }
}
