use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::fields::tests::layout;
use super::line::{Asked, Origin, Target};
use super::*;
use crate::http::head::{Answer, Request};
use crate::snapshot;

fn request(target: &str, fields: &str) -> Request {
    Request::parse(Bytes::from(format!("GET {target} HTTP/1.1\r\nHost: a.example:8080\r\n{fields}\r\n"))).unwrap()
}

fn answer(fields: &str) -> Answer {
    Answer::parse(Bytes::from(format!("HTTP/1.1 200 OK\r\n{fields}\r\n")), "GET").unwrap()
}

fn asked(request: &Request) -> Asked<'_> {
    let (path, query) = request.path_and_query();
    let (method, host) = (request.method(), request.host());
    Asked { method, path, query, protocol: "HTTP/1.1", host, fields: &request.fields, bytes: 3 }
}

fn entry<'a>(request: &'a Request, answer: &'a Answer) -> Entry<'a> {
    Entry {
        started: UNIX_EPOCH + Duration::new(1_136_239_445, 120_000_000),
        duration: Duration::from_micros(2_500),
        count: 7,
        client: SocketAddr::from(([192, 0, 2, 1], 50_000)),
        user: None,
        trusted: true,
        request: asked(request),
        target: Some(Target::Server { frontend: "frontend-f1", backend: "backend1", url: "http://10.0.0.7:80" }),
        origin: Some(Origin {
            status: 200,
            bytes: 12,
            duration: Some(Duration::from_millis(2)),
            fields: Some(&answer.fields),
        }),
        status: 200,
        bytes: 12,
        fields: Some(&answer.fields),
        retries: 1,
    }
}

fn line(layout: &Layout, entry: &Entry<'_>) -> String {
    let mut out = Vec::new();
    match layout.format {
        Format::Common => common::write(&mut out, layout, &mut Clock::new(), entry),
        Format::Json => json::write(&mut out, layout, &mut Clock::new(), entry),
    }
    String::from_utf8(out).unwrap()
}

fn settings(text: &str) -> Layout {
    let mut whole = json!({
        "file_path": "", "format": "common", "buffering_size": 0,
        "filters": {"status_codes": [], "retry_attempts": false, "min_duration_ms": 0},
        "fields": {"default_mode": "keep", "names": {}, "headers": {"default_mode": "keep", "names": {}}},
    });
    let changes: Value = serde_json::from_str(text).unwrap();
    for (key, value) in changes.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let document: snapshot::AccessLog = serde_json::from_value(whole).unwrap();
    Layout::build(&document).unwrap()
}

#[test]
fn common_line() {
    let (request, answer) = (request("/x?y=1", "Referer: http://r\r\nUser-Agent: curl/8\r\n"), answer(""));
    assert_eq!(
        line(&layout(Format::Common), &entry(&request, &answer)),
        "192.0.2.1 - - [02/Jan/2006:22:04:05 +0000] \"GET /x?y=1 HTTP/1.1\" 200 12 \"http://r\" \"curl/8\" 7 \
         \"f1\" \"http://10.0.0.7:80\" 2ms\n"
    );
}

#[test]
fn common_line_of_a_request_that_nobody_answered() {
    let (request, answer) = (request("/x?y=1", "X-Forwarded-For: 1.1.1.1, 2.2.2.2\r\n"), answer(""));
    let mut it = Entry { target: None, origin: None, ..entry(&request, &answer) };
    assert_eq!(
        line(&layout(Format::Common), &it),
        "1.1.1.1, 2.2.2.2 - - [02/Jan/2006:22:04:05 +0000] \"GET /x?y=1 HTTP/1.1\" - - \"-\" \"-\" 7 - - 2ms\n"
    );
    it.target = Some(Target::Engine("backend not found"));
    it.trusted = false;
    assert_eq!(
        line(&layout(Format::Common), &it),
        "192.0.2.1 - - [02/Jan/2006:22:04:05 +0000] \"GET /x?y=1 HTTP/1.1\" - - \"-\" \"-\" 7 \
         \"backend not found\" \"/x\" 2ms\n"
    );
}

#[test]
fn common_line_with_dropped_fields() {
    let (request, answer) = (request("/x?y=1", "Referer: http://r\r\nUser-Agent: curl/8\r\n"), answer(""));
    let headers = r#""headers": {"default_mode": "drop", "names": {"user-agent": "redact"}}"#;
    let dropped = settings(&format!(r#"{{"fields": {{"default_mode": "drop", "names": {{}}, {headers}}}}}"#));
    assert_eq!(line(&dropped, &entry(&request, &answer)), "- - - [-] \"- - -\" - - \"-\" \"REDACTED\" - - - 0ms\n");
}

#[test]
fn json_line() {
    let request = request("/x?y=1", "user-agent: a\"b\r\nX-Twice: 1\r\nx-twice: 2\r\nAuthorization: secret\r\n");
    let answer = answer("Content-Type: text/plain\r\nServer: s\r\n");
    let headers = r#""headers": {"default_mode": "keep", "names": {"Authorization": "redact", "Server": "drop"}}"#;
    let kept = settings(&format!(
        r#"{{"format": "json", "fields": {{"default_mode": "keep", "names": {{"StartLocal": "drop"}}, {headers}}}}}"#
    ));
    let text = line(&kept, &entry(&request, &answer));
    assert!(text.ends_with("}\n"));
    let mut read: Value = serde_json::from_str(&text).unwrap();
    let time = read.as_object_mut().unwrap().remove("time").unwrap();
    assert!(time.as_str().unwrap().starts_with("20"));
    assert_eq!(
        read,
        json!({
            "BackendAddr": "10.0.0.7:80",
            "BackendName": "backend1",
            "BackendURL": {
                "Scheme": "http", "Opaque": "", "User": null, "Host": "10.0.0.7:80", "Path": "", "RawPath": "",
                "ForceQuery": false, "RawQuery": "", "Fragment": "",
            },
            "ClientAddr": "192.0.2.1:50000",
            "ClientHost": "192.0.2.1",
            "ClientPort": "50000",
            "ClientUsername": "-",
            "DownstreamContentSize": 12,
            "DownstreamStatus": 200,
            "DownstreamStatusLine": "200 OK",
            "Duration": 2_500_000,
            "FrontendName": "f1",
            "OriginContentSize": 12,
            "OriginDuration": 2_000_000,
            "OriginStatus": 200,
            "OriginStatusLine": "200 OK",
            "Overhead": 500_000,
            "RequestAddr": "a.example:8080",
            "RequestContentSize": 3,
            "RequestCount": 7,
            "RequestHost": "a.example",
            "RequestLine": "GET /x?y=1 HTTP/1.1",
            "RequestMethod": "GET",
            "RequestPath": "/x?y=1",
            "RequestPort": "8080",
            "RequestProtocol": "HTTP/1.1",
            "RetryAttempts": 1,
            "StartUTC": "2006-01-02T22:04:05.12Z",
            "downstream_Content-Type": "text/plain",
            "level": "info",
            "msg": "",
            "origin_Content-Type": "text/plain",
            "request_Authorization": "REDACTED",
            "request_User-Agent": "a\"b",
            "request_X-Twice": "1",
        })
    );
    let names: Vec<&str> = text.match_indices("\",\"").map(|(at, _)| &text[at + 3..at + 5]).collect();
    assert!(!names.is_empty());
}

#[test]
fn json_line_of_a_request_that_nobody_answered() {
    let (request, answer) = (request("/x", ""), answer(""));
    let it = Entry {
        target: Some(Target::Engine("backend not found")),
        origin: None,
        fields: None,
        ..entry(&request, &answer)
    };
    let read: Value = serde_json::from_str(&line(&layout(Format::Json), &it)).unwrap();
    assert_eq!(read["BackendURL"]["Path"], "/x");
    assert_eq!((&read["FrontendName"], &read["BackendName"]), (&json!("backend not found"), &json!("Traefik")));
    assert_eq!((read.get("OriginStatus"), read.get("BackendAddr")), (None, None));
    assert_eq!(read["Overhead"], read["Duration"]);
}

#[test]
fn lines_are_handed_on_when_they_are_enough() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let totals = Arc::default();
    let sink = Sink::open(path.to_str().unwrap(), &totals).unwrap();
    let log = AccessLog { layout: Layout { buffering: 3, ..layout(Format::Common) }, sink };
    let lines = Lines::default();
    let (request, answer) = (request("/", ""), answer(""));
    let written = || {
        log.sink.flush(Duration::from_secs(20));
        totals.written()
    };
    for _ in 0..2 {
        lines.push(&log, &entry(&request, &answer));
    }
    assert_eq!(written(), 0);
    lines.push(&log, &entry(&request, &answer));
    assert_eq!(written(), 3);
    lines.push(&log, &entry(&request, &answer));
    lines.flush();
    assert_eq!(written(), 4);
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 4);
}

proptest! {
    #[test]
    fn nothing_that_a_client_says_ends_a_line_or_a_field(
        value in prop::collection::vec(any::<u8>().prop_filter("a header's value", |b| *b >= 32 && *b != 127), 0..40),
        path in "/[ -~&&[^ #?]]{0,20}",
    ) {
        let mut head = format!("GET {path} HTTP/1.1\r\nHost: a\r\nUser-Agent: ").into_bytes();
        head.extend_from_slice(&value);
        head.extend_from_slice(b"\r\n\r\n");
        let Ok(request) = Request::parse(Bytes::from(head)) else { return Ok(()) };
        let answer = answer("");
        let it = entry(&request, &answer);
        let common = line(&layout(Format::Common), &it);
        prop_assert_eq!(common.matches('\n').count(), 1);
        let unescaped = common.replace("\\\\", "").replace("\\\"", "");
        prop_assert_eq!(unescaped.matches('"').count(), 10);
        let read: Value = serde_json::from_str(&line(&layout(Format::Json), &it)).unwrap();
        let kept = request.fields.iter().find(|(_, name, _)| *name == b"User-Agent").map(|(_, _, value)| value);
        prop_assert_eq!(read["request_User-Agent"].as_str().unwrap(), String::from_utf8_lossy(kept.unwrap()));
    }
}

/// `cargo test --release -- --ignored --nocapture what_a_line_costs`
#[test]
#[ignore = "a measurement"]
fn what_a_line_costs() {
    let request = request(
        "/some/path?with=query",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\nAccept: */*\r\n\
         Referer: https://a.example/page\r\nAccept-Encoding: gzip\r\nAccept-Language: en\r\nCookie: a=b; c=d\r\n",
    );
    let answer = answer("Content-Type: text/plain\r\nContent-Length: 100\r\nServer: s\r\n");
    for format in [Format::Common, Format::Json] {
        let sink = Sink::open("/dev/null", &Arc::default()).unwrap();
        let log = AccessLog { layout: layout(format), sink };
        let lines = Lines::default();
        let begun = std::time::Instant::now();
        let rounds = 1_000_000;
        for _ in 0..rounds {
            let it = Entry { started: SystemTime::now(), ..entry(&request, &answer) };
            lines.push(&log, &it);
        }
        println!("{format:?}: {:?} a line, {} dropped", begun.elapsed() / rounds, log.sink.totals.dropped());
    }
}
