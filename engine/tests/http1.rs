//! HTTP/1.1 through the engine, byte by byte.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use std::io::Write;
use std::net::Shutdown;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};

use serde_json::json;
use support::{DEADLINE, Engine, Origin, OriginConn, empty_snapshot, eventually, route, service, snapshot_to};

/// An engine before an origin with this handler.
fn before(handler: impl Fn(&mut OriginConn) + Send + Sync + 'static) -> (Engine, Origin) {
    let origin = Origin::start(handler);
    (Engine::with(&snapshot_to(&origin.url)), origin)
}

/// An origin that answers every head with the same bytes.
fn always(answer: &'static str) -> impl Fn(&mut OriginConn) + Send + Sync {
    move |conn| while conn.head().is_some() && conn.stream.write_all(answer.as_bytes()).is_ok() {}
}

#[test]
fn keep_alive_on_both_sides() {
    let (engine, origin) = before(support::echo);
    let mut client = engine.connect();
    for number in 0..20 {
        let answer = client.get(&format!("//x//y/%2Fz?n={number};2&c=%20"));
        assert_eq!(answer.status(), 200);
        assert!(answer.text().starts_with(&format!("GET //x//y/%2Fz?n={number};2&c=%20 HTTP/1.1\r\nHost: h\r\n")));
        assert!(answer.text().contains("X-Forwarded-For: 127.0.0.1\r\n"));
        assert!(answer.field("Connection").is_none());
    }
    assert_eq!(origin.connections(), 1);

    let mut old = engine.connect();
    old.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
    assert_eq!(old.message().field("Connection"), Some("keep-alive"));
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.message().field("Connection"), Some("close"));
    assert!(old.rest().is_empty());
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let (engine, _origin) = before(support::echo);
    let mut client = engine.connect();
    let mut requests = Vec::new();
    for number in 0..10 {
        write!(requests, "\r\nPOST /{number} HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody").unwrap();
        write!(requests, "GET /g{number} HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    }
    client.send(requests);
    for number in 0..10 {
        assert!(client.message().text().starts_with(&format!("POST /{number} ")));
        assert!(client.message().text().starts_with(&format!("GET /g{number} ")));
    }
}

#[test]
fn heads_that_come_byte_by_byte() {
    let (engine, _origin) = before(support::echo);
    let mut client = engine.connect();
    for byte in b"POST /slow HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n" {
        client.send([*byte]);
    }
    assert!(client.message().text().ends_with("\r\n\r\nabc"));
}

#[test]
fn answers_without_bodies() {
    let (engine, _origin) = before(|conn| {
        while let Some(request) = conn.head() {
            let answer = match request.head.split(' ').nth(1).unwrap() {
                "/204" => "HTTP/1.1 204 No Content\r\n\r\n",
                "/304" => "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\nETag: x\r\n\r\n",
                "/chunked" => "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
                _ => "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
            };
            conn.send(answer);
        }
    });
    let mut client = engine.connect();
    for (request, field, value) in [
        ("HEAD /length", "Content-Length", Some("5")),
        ("HEAD /chunked", "Transfer-Encoding", Some("chunked")),
        ("GET /204", "Content-Length", None),
        ("GET /304", "Content-Length", Some("5")),
    ] {
        client.send(format!("{request} HTTP/1.1\r\nHost: h\r\n\r\n"));
        assert_eq!(client.head().unwrap().field(field), value, "{request}");
    }
    assert!(client.buffer.is_empty());
}

#[test]
fn chunks_both_ways_with_trailers() {
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let (engine, _origin) = before(move |conn| {
        while let Some(head) = conn.head() {
            let body = conn.until("X-Up: 1\r\n\r\n").unwrap();
            sender.lock().unwrap().send((head.head, String::from_utf8(body).unwrap())).unwrap();
            conn.send(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Down\r\n\r\n\
                 2\r\nok\r\n0\r\nX-Down: 2\r\nContent-Length: 9\r\n\r\n",
            );
        }
    });
    let mut client = engine.connect();
    for _ in 0..2 {
        client.send(
            "POST / HTTP/1.1\r\nHost: h\r\nTE: trailers, deflate\r\nTransfer-Encoding: chunked\r\nTrailer: X-Up\r\n\r\n\
             5;ext=1\r\nhello\r\n0\r\nX-Up: 1\r\nHost: evil\r\n\r\n",
        );
        let (head, body) = seen.recv_timeout(DEADLINE).unwrap();
        assert!(head.contains("Trailer: X-Up\r\n") && head.contains("TE: trailers\r\n"), "{head}");
        assert_eq!(body, "5\r\nhello\r\n0\r\nX-Up: 1\r\n\r\n");
        let answer = String::from_utf8(client.until("X-Down: 2\r\n\r\n").unwrap()).unwrap();
        assert!(answer.contains("Trailer: X-Down\r\n") && answer.ends_with("2\r\nok\r\n0\r\nX-Down: 2\r\n\r\n"));
    }
}

#[test]
fn an_answer_until_close_becomes_chunks() {
    let (engine, _origin) = before(|conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\n\r\nto the end");
    });
    let mut client = engine.connect();
    assert_eq!(client.get("/").text(), "to the end");
    assert_eq!(client.get("/").text(), "to the end");
    client.send("GET / HTTP/1.0\r\n\r\n");
    let answer = String::from_utf8(client.rest()).unwrap();
    assert!(answer.contains("Connection: close\r\n") && answer.ends_with("\r\n\r\nto the end"));
}

#[test]
fn bodies_are_not_held_back() {
    let (engine, _origin) = before(|conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        // Each piece waits for the client's sign that the one before has come.
        for piece in ["1\r\na\r\n", "1\r\nb\r\n", "1\r\nc\r\n"] {
            let sign = conn.until("\r\n").unwrap();
            assert_eq!(sign, b"4\r\n");
            conn.exactly(6);
            conn.send(piece);
        }
        conn.send("0\r\n\r\n");
    });
    let mut client = engine.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.head().unwrap();
    for piece in ["1\r\na\r\n", "1\r\nb\r\n", "1\r\nc\r\n"] {
        client.send("4\r\nnext\r\n");
        assert_eq!(client.exactly(6), piece.as_bytes());
    }
    assert_eq!(client.exactly(5), b"0\r\n\r\n");
}

#[test]
fn great_bodies_both_ways() {
    let (engine, _origin) = before(|conn| {
        while let Some(request) = support::try_message(conn) {
            conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()));
            conn.send(&request.body);
        }
    });
    let body: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    let mut client = engine.connect();
    for _ in 0..2 {
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()));
        client.send(&body);
        assert!(client.message().body == body);
    }
}

#[test]
fn interim_answers_are_relayed() {
    let (engine, _origin) = before(|conn| {
        while let Some(request) = conn.head() {
            assert_eq!(request.field("Expect"), Some("100-continue"));
            conn.send("HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
            assert_eq!(conn.exactly(4), b"body");
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let mut client = engine.connect();
    for _ in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
        let hints = client.head().unwrap();
        assert_eq!((hints.status(), hints.field("Link")), (103, Some("</x>")));
        assert_eq!(client.head().unwrap().status(), 100);
        client.send("body");
        assert_eq!(client.message().status(), 200);
    }
}

#[test]
fn a_final_answer_instead_of_100() {
    let (engine, _origin) = before(always("HTTP/1.1 417 No\r\nContent-Length: 0\r\n\r\n"));
    let mut client = engine.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    let answer = client.message();
    assert_eq!((answer.status(), answer.field("Connection")), (417, Some("close")));
    assert!(client.rest().is_empty());
}

#[test]
fn an_early_answer_arrives_while_the_body_is_sent() {
    let (engine, _origin) = before(|conn| {
        conn.head();
        conn.send("HTTP/1.1 413 Too Large\r\nContent-Length: 3\r\n\r\nbig");
        conn.rest();
    });
    let mut client = engine.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n");
    client.send(vec![b'x'; 100_000]);
    let answer = client.message();
    assert_eq!((answer.status(), answer.text(), answer.field("Connection")), (413, "big", Some("close")));
}

#[test]
fn upgrades_become_tunnels() {
    let (engine, _origin) = before(|conn| {
        let request = conn.head().unwrap();
        assert_eq!((request.field("Upgrade"), request.field("Connection")), (Some("websocket"), Some("Upgrade")));
        assert_eq!(request.field("X-Forwarded-Proto"), Some("ws"));
        if request.head.starts_with("GET /no ") {
            conn.send("HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\nno");
            return;
        }
        conn.send("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX: 1\r\n\r\nearly");
        while conn.fill() {
            let bytes = std::mem::take(&mut conn.buffer);
            conn.send(bytes);
        }
        conn.send("bye");
    });
    let mut client = engine.connect();
    client.send("GET /no HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n\r\n");
    assert_eq!(client.message().status(), 401);
    client.send("GET / HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\nhello");
    let head = client.head().unwrap();
    assert_eq!((head.status(), head.field("Upgrade"), head.field("X")), (101, Some("websocket"), Some("1")));
    assert_eq!(client.exactly(10), b"earlyhello");
    client.send("more");
    assert_eq!(client.exactly(4), b"more");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.rest(), b"bye");
}

#[test]
fn ambiguous_requests_reach_no_server() {
    let (engine, origin) = before(support::echo);
    for (bad, status) in [
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: h\n\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: \0\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /%zz HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n", 501),
        ("GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    ] {
        let mut client = engine.connect();
        client.send(bad);
        // What follows must not be taken for a request.
        client.send("GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n");
        let answer = client.message();
        assert_eq!(answer.status(), status, "{bad:?}");
        if bad.starts_with("GET /%zz") {
            // Its end is certain, so that the next one is a request like any other.
            assert!(client.message().text().starts_with("GET /smuggled "));
        } else {
            assert_eq!(answer.field("Connection"), Some("close"), "{bad:?}");
            assert!(client.rest().is_empty(), "{bad:?}");
        }
    }
    let long = "a".repeat(20_000);
    let many = "X: y\r\n".repeat(200);
    let great = format!("X: {}\r\n", "y".repeat(70_000));
    for (bad, status) in [
        (format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n"), 414),
        (format!("GET / HTTP/1.1\r\nHost: h\r\n{many}\r\n"), 431),
        (format!("GET / HTTP/1.1\r\nHost: h\r\n{great}\r\n"), 431),
    ] {
        let mut client = engine.connect();
        client.send(bad);
        assert_eq!(client.message().status(), status);
    }
    assert_eq!(origin.connections(), 1);
    eventually("the counts", || (engine.get("/counters")["failures"]["client"].as_u64() >= Some(20)).then_some(()));
}

#[test]
fn a_malformed_chunk_is_400_and_the_server_never_sees_an_end() {
    let (sender, seen) = channel();
    let sender = Mutex::new(sender);
    let (engine, _origin) = before(move |conn| {
        let bytes = conn.rest();
        sender.lock().unwrap().send(bytes).unwrap();
    });
    let mut client = engine.connect();
    client.send("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    eventually("the request at the origin", || (engine.get("/counters")["requests"]["open"] == 1).then_some(()));
    client.send("zz\r\n");
    let answer = client.message();
    assert_eq!((answer.status(), answer.field("Connection")), (400, Some("close")));
    assert!(client.rest().is_empty());
    let bytes = String::from_utf8(seen.recv_timeout(DEADLINE).unwrap()).unwrap();
    assert!(!bytes.contains("0\r\n\r\n"), "{bytes}");
}

#[test]
fn malformed_answers() {
    for bad in [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "nonsense\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ] {
        let (engine, _origin) = before(move |conn| {
            conn.head();
            conn.send(bad);
        });
        let answer = engine.connect().get("/");
        assert_eq!((answer.status(), answer.text()), (502, "Bad Gateway"), "{bad:?}");
        eventually("the count", || (engine.get("/counters")["failures"]["server_protocol"] == 1).then_some(()));
    }
    // Once a part of the answer was relayed, the client must see that it is not whole.
    let (engine, _origin) = before(|conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    });
    let mut client = engine.connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(String::from_utf8(client.rest()).unwrap().ends_with("\r\n\r\nhalf"));
}

#[test]
fn a_stale_connection_is_replaced_by_a_fresh_one() {
    // Every connection answers once and closes when the next request has come.
    let origin = Origin::start(|conn| {
        conn.head();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        conn.head();
    });
    let engine = Engine::with(&snapshot_to(&origin.url));
    let mut client = engine.connect();
    for _ in 0..3 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(origin.connections(), 3);
    // What may have been acted upon is not sent again.
    client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab");
    assert_eq!(client.message().status(), 502);
    assert_eq!(origin.connections(), 3);
}

#[test]
fn unreachable_servers() {
    let dead = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let origin = Origin::echo();
    let mut snapshot = snapshot_to(&dead);
    let engine = Engine::with(&snapshot);
    let mut client = engine.connect();
    let answer = client.get("/");
    assert_eq!((answer.status(), answer.text()), (502, "Bad Gateway"));
    let count = json!({"requests": 1, "failures": 1, "down": []});
    eventually("the count", || (engine.get("/counters")["services"]["all"] == count).then_some(()));
    // Another server of the service takes over.
    snapshot["services"] = json!([service("all", &[dead, origin.url.clone()])]);
    engine.put(&snapshot);
    for _ in 0..4 {
        client.send("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab");
        assert_eq!(client.message().status(), 200);
    }
}

#[test]
fn answers_of_the_engine() {
    let origin = Origin::start(|conn| {
        conn.rest();
    });
    let mut snapshot = empty_snapshot();
    snapshot["entry_points"][0]["ping"] = json!(true);
    snapshot["settings"]["response_header_timeout_ms"] = json!(50);
    let host = |id: &str, service: &str| {
        let mut route = route(id, service);
        route["matchers"] = json!([{"type": "host", "hosts": [id]}]);
        route
    };
    let mut slash = host("slash", "slow");
    slash["matchers"] = json!([
        {"type": "host", "hosts": ["slash"]},
        {"type": "path", "paths": [{"exact": "/a b/"}], "redirect_slash": true},
    ]);
    snapshot["routes"] = json!([host("none", "none"), host("zero", "zero"), host("slow", "slow"), slash]);
    let mut zero = service("zero", std::slice::from_ref(&origin.url));
    zero["servers"][0]["weight"] = json!(0);
    snapshot["services"] = json!([service("none", &[]), zero, service("slow", std::slice::from_ref(&origin.url))]);
    let engine = Engine::with(&snapshot);
    let mut client = engine.connect();
    for (host, path, status, body) in [
        ("other", "/", 404, "404 page not found\n"),
        ("none", "/", 503, "Service Unavailable"),
        ("zero", "/", 500, "Internal Server Error"),
        ("slow", "/", 504, "Gateway Timeout"),
        ("other", "/ping", 200, "OK"),
        ("slash", "/a%20b?q", 301, ""),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n"));
        let answer = client.message();
        assert_eq!((answer.status(), answer.text()), (status, body));
        if status == 404 {
            assert_eq!(answer.field("Content-Type"), Some("text/plain; charset=utf-8"));
            assert_eq!(answer.field("X-Content-Type-Options"), Some("nosniff"));
        }
        if status == 301 {
            assert_eq!(answer.field("Location"), Some("/a%20b/?q"));
        }
    }
    client.send("HEAD /ping HTTP/1.1\r\nHost: h\r\n\r\nHEAD /x HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head().unwrap().field("Content-Length"), Some("2"));
    assert_eq!(client.head().unwrap().status(), 404);
    eventually("the counts", || {
        let failures = &engine.get("/counters")["failures"];
        (failures["no_server"] == 2 && failures["server_timeout"] == 1 && failures["no_route"] == 2).then_some(())
    });
}

#[test]
fn slow_heads_and_idle_connections() {
    let origin = Origin::echo();
    let mut snapshot = snapshot_to(&origin.url);
    snapshot["settings"]["request_header_timeout_ms"] = json!(100);
    snapshot["settings"]["idle_timeout_ms"] = json!(300);
    let engine = Engine::with(&snapshot);
    let mut slow = engine.connect();
    slow.send("GET / HTT");
    let answer = slow.message();
    assert_eq!((answer.status(), answer.field("Connection")), (408, Some("close")));
    let mut idle = engine.connect();
    assert_eq!(idle.get("/").status(), 200);
    assert!(idle.rest().is_empty());
}

#[test]
fn a_client_that_leaves_takes_its_request_along() {
    let (sender, left) = channel();
    let sender = Mutex::new(sender);
    let started = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&started);
    let (engine, _origin) = before(move |conn| {
        conn.head();
        counter.fetch_add(1, Ordering::SeqCst);
        conn.rest();
        sender.lock().unwrap().send(()).unwrap();
    });
    let mut client = engine.connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("the request", || (started.load(Ordering::SeqCst) == 1).then_some(()));
    drop(client);
    left.recv_timeout(DEADLINE).unwrap();
    eventually("the count", || (engine.get("/counters")["requests"]["by_status"]["499"] == 1).then_some(()));
}

#[test]
fn fields_of_one_hop_end_here() {
    let (engine, _origin) = before(|conn| {
        while let Some(request) = conn.head() {
            let text = request.head.to_ascii_lowercase();
            for gone in ["x-drop", "keep-alive", "proxy-", "te:", "upgrade", "http2-settings", "transfer-encoding"] {
                assert!(!text.contains(gone), "{gone} in {text}");
            }
            assert!(text.contains("x-keep: 1"));
            conn.send(
                "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive, X-Drop\r\nX-Drop: 1\r\n\
                 Keep-Alive: timeout=5\r\nX-Keep: 1\r\n\r\n",
            );
        }
    });
    let mut client = engine.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: h\r\nConnection: X-Drop, Upgrade, HTTP2-Settings\r\nX-Drop: 1\r\nKeep-Alive: 5\r\n\
         Proxy-Authorization: x\r\nProxy-Connection: x\r\nTE: deflate\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\nX-Keep: 1\r\n\r\n",
    );
    let answer = client.message();
    assert_eq!((answer.field("X-Drop"), answer.field("Keep-Alive"), answer.field("Connection")), (None, None, None));
    assert_eq!(answer.field("X-Keep"), Some("1"));
}

#[test]
fn modifiers_and_host() {
    let origin = Origin::echo();
    let mut snapshot = snapshot_to(&origin.url);
    snapshot["routes"][0]["pass_host_header"] = json!(false);
    snapshot["routes"][0]["modifiers"] =
        json!([{"type": "strip_prefix", "prefixes": ["/pre"]}, {"type": "add_prefix", "prefix": "/add"}]);
    let engine = Engine::with(&snapshot);
    let mut client = engine.connect();
    let answer = client.get("/pre/a%2Fb?q=%20");
    let host = origin.url.strip_prefix("http://").unwrap();
    assert!(answer.text().starts_with(&format!("GET /add/a%2Fb?q=%20 HTTP/1.1\r\nHost: {host}\r\n")));
    assert!(answer.text().contains("X-Forwarded-Prefix: /pre\r\n"));
    assert!(answer.text().contains("X-Forwarded-Host: h\r\n"));
    assert_eq!(client.get("//pre/x").status(), 404);
}

#[test]
fn unix_upstreams() {
    let folder = tempfile::tempdir().unwrap();
    let origin = Origin::unix(&folder.path().join("origin.sock"), support::echo);
    let engine = Engine::with(&snapshot_to(&origin.url));
    let mut client = engine.connect();
    for _ in 0..3 {
        assert!(client.get("/x").text().starts_with("GET /x HTTP/1.1\r\nHost: h\r\n"));
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn servers_take_turns_by_weight() {
    let named = |name: &'static str| {
        Origin::start(move |conn| {
            while conn.head().is_some() {
                conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{name}"));
            }
        })
    };
    let (one, two) = (named("1"), named("2"));
    let mut snapshot = snapshot_to(&one.url);
    snapshot["services"] = json!([service("all", &[one.url.clone(), two.url.clone()])]);
    snapshot["services"][0]["servers"][1]["weight"] = json!(3);
    let engine = Engine::with(&snapshot);
    let mut client = engine.connect();
    let mut order = String::new();
    for number in 0..8 {
        if number == 3 {
            // The turn survives what does not concern the service.
            snapshot["settings"]["server_name"] = json!("renamed");
            engine.put(&snapshot);
        }
        order.push_str(client.get("/").text());
    }
    assert_eq!(order, "21222122");
}
