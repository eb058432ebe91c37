use proptest::prelude::*;

use super::*;
use crate::http::scan::{Found, Scanner};

/// The bytes of the head with which a connection begins; what follows it is not looked at.
fn head_of(received: &str) -> Result<&[u8], Malformed> {
    let bytes = received.as_bytes();
    match Scanner::default().scan(bytes)? {
        Found::Head { start, end } => Ok(&bytes[start..end]),
        Found::Partial => Err(Malformed::Syntax("incomplete")),
    }
}

fn request(received: &str) -> Result<Request, Malformed> {
    Request::parse(Bytes::copy_from_slice(head_of(received)?))
}

fn answer(head: &str, method: &str) -> Result<Answer, Malformed> {
    Answer::parse(Bytes::copy_from_slice(head.as_bytes()), method)
}

#[test]
fn good_requests() {
    let head = request("\r\n\r\nGET /a?b HTTP/1.1\r\nHost: H.example:80\r\nX-A:  v \t\r\nEmpty:\r\n\r\n").unwrap();
    assert_eq!((head.method(), head.path_and_query(), head.host()), ("GET", ("/a", Some("b")), "H.example:80"));
    assert_eq!(head.fields.iter().map(|(_, _, value)| value).collect::<Vec<_>>(), [&b"H.example:80"[..], b"v", b""]);
    assert!(head.keep_alive);
    assert_eq!(head.framing, Framing::None);

    let head = request("POST http://other/ HTTP/1.1\r\nHost: h\r\nContent-Length: 007\r\n\r\n").unwrap();
    assert_eq!((head.host(), head.framing), ("other", Framing::Length(7)));
    assert_eq!(request("GET http://o HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().path_and_query(), ("/", None));
    assert_eq!(request("GET http://o?q HTTP/1.1\r\nHost: h\r\n\r\n").unwrap().path_and_query(), ("/", Some("q")));

    let head =
        request("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: Chunked\r\nConnection: close, X-A\r\n\r\n").unwrap();
    assert_eq!(head.framing, Framing::Chunked);
    assert!(!head.keep_alive && head.names_fields && head.fields.is_named_in_connection(b"x-a"));

    let old = request("GET / HTTP/1.0\r\n\r\n").unwrap();
    assert!(!old.keep_alive && old.host().is_empty());
    assert!(request("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").unwrap().keep_alive);
    assert!(request("GET / HTTP/1.1\r\nHost:\r\n\r\n").is_ok());
    assert!(request("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").is_ok());

    let followed =
        request("GET / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nContent-Length: 5\r\n").unwrap();
    assert_eq!(followed.framing, Framing::Chunked);
}

#[test]
fn bad_requests() {
    for bad in [
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1, 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0x1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 18446744073709551616\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\n Transfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\n: x\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: h\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: h\r\n\r\n",
        "G\0T / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /  HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n",
        " GET / HTTP/1.1\r\nHost: h\r\n\r\n",
        "GET /\r\nHost: h\r\n\r\n",
        "GET / FTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        match request(bad) {
            Err(Malformed::Syntax(_) | Malformed::Version) => {}
            other => panic!("{bad:?}: {other:?}"),
        }
    }
    for bad in ["GET / HTTP/2.0\r\nHost: h\r\n\r\n", "GET / HTTP/1.2\r\nHost: h\r\n\r\n"] {
        assert_eq!(request(bad).unwrap_err(), Malformed::Version, "{bad:?}");
    }
    let options = "a,".repeat(MAX_OPTIONS + 1);
    assert!(request(&format!("GET / HTTP/1.1\r\nHost: h\r\nConnection: {options}\r\n\r\n")).is_err());
    let many = "X: 1\r\n".repeat(MAX_FIELDS);
    assert_eq!(request(&format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n")).unwrap_err(), Malformed::HeadTooLarge);
    let long = "a".repeat(crate::http::scan::MAX_TARGET);
    assert_eq!(request(&format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n")).unwrap_err(), Malformed::TargetTooLong);
}

#[test]
fn other_protocols() {
    for head in
        ["GET / HTTP/1.1\r\n", "GET / ICY/1.1\r\n", "GET /\r\n", "GET / \r\n", "GET /a b HTTP/1.1\r\n", "\r\n", ""]
    {
        assert!(names_a_version(head.as_bytes()), "{head:?}");
    }
    for head in ["INVALID CONNECTION PREFACE\r\n\r\n", "a b c"] {
        assert!(!names_a_version(head.as_bytes()), "{head:?}");
    }
}

#[test]
fn upgrades() {
    let ask = |upgrade: &str, connection: &str| {
        request(&format!("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: {upgrade}\r\nConnection: {connection}\r\n\r\n"))
            .unwrap()
    };
    assert!(ask("WebSocket", "keep-alive, Upgrade").is_websocket());
    assert!(ask("websocket", "keep-alive").upgrade().is_none());
    assert!(ask("h2c", "Upgrade, HTTP2-Settings").upgrade().is_none());
    assert!(ask("websocket, h2c", "Upgrade").upgrade().is_none());
    assert_eq!(ask("other/1", "upgrade").upgrade(), Some(&b"other/1"[..]));
}

#[test]
fn framing_of_answers() {
    let ok = |fields: &str, method: &str| answer(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n"), method).unwrap().framing;
    assert_eq!(ok("Content-Length: 3\r\n", "GET"), Framing::Length(3));
    assert_eq!(ok("Content-Length: 3\r\n", "HEAD"), Framing::None);
    assert_eq!(ok("Transfer-Encoding: chunked\r\n", "GET"), Framing::Chunked);
    assert_eq!(ok("", "GET"), Framing::UntilClose);
    for status in [100, 103, 204, 304] {
        assert_eq!(answer(&format!("HTTP/1.1 {status} \r\n\r\n"), "GET").unwrap().framing, Framing::None);
    }
    let old = answer("HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", "GET").unwrap();
    assert!(!old.keep_alive);
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        "HTTP/1.1 20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        assert!(answer(bad, "GET").is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn nothing_panics_and_what_is_accepted_is_unambiguous(
        pieces in prop::collection::vec(prop_oneof![
            Just("GET / HTTP/1.1\r\n".to_owned()), Just("Host: h\r\n".to_owned()), Just("\r\n".to_owned()),
            Just("Content-Length: 5\r\n".to_owned()), Just("Transfer-Encoding: chunked\r\n".to_owned()),
            Just("HTTP/1.1 200 OK\r\n".to_owned()), Just("Connection: close, x\r\n".to_owned()), ".{0,6}",
        ], 0..8)
    ) {
        let text = pieces.concat();
        let mut found = Scanner::default();
        let whole = Scanner::default().scan(text.as_bytes());
        let split = (0..=text.len()).find_map(|length| match found.scan(&text.as_bytes()[..length]) {
            Ok(Found::Partial) => None,
            other => Some(other),
        });
        prop_assert_eq!(split.unwrap_or(Ok(Found::Partial)), whole);
        if let Ok(request) = request(&text) {
            // A field after the head's end belongs to the body, or to the next request.
            let lower = String::from_utf8_lossy(head_of(&text).unwrap()).to_ascii_lowercase();
            prop_assert!(!(lower.contains("\ncontent-length: 5\r") && lower.contains("\ntransfer-encoding: chunked\r")));
            prop_assert!(request.fields.iter().all(|(_, name, value)| !name.is_empty() && !value.contains(&b'\n')));
        }
        let _ = answer(&text, "GET");
    }
}
