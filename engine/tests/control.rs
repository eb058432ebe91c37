//! The control protocol, and what applying a snapshot does to traffic.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use rustix::process::Signal;
use serde_json::{Value, json};
use support::{Engine, Origin, command, empty_snapshot, entry_point, eventually, route, service, snapshot_to};

#[test]
fn the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_traefikee-engine"));
        let output = command.args(arguments).output().unwrap();
        (output.status.code(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    assert_eq!(run(&["--version"]), (Some(0), "traefikee-engine 0.1.0\n".to_owned()));
    assert!(run(&["--help"]).1.starts_with("Usage: "));
    assert_eq!(run(&["--nonsense"]).0, Some(2));
    assert_eq!(run(&[]).0, Some(2));
    let control = folder.path().join("missing/control");
    let (code, text) = run(&["--control", control.to_str().unwrap()]);
    assert_eq!((code, text.lines().count()), (Some(1), 1), "{text}");
}

#[test]
fn one_engine_on_a_socket() {
    let mut engine = Engine::start();
    assert_eq!(std::fs::metadata(&engine.control).unwrap().permissions().mode() & 0o777, 0o600);
    let second = command(&engine.control).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let text = String::from_utf8(second.stderr).unwrap();
    assert!(text.contains("another engine answers there") && text.lines().count() == 1, "{text}");
    // What a killed engine leaves is replaced.
    engine.child.kill().unwrap();
    engine.child.wait().unwrap();
    assert!(engine.control.exists());
    engine.child = command(&engine.control).spawn().unwrap();
    eventually("the new engine", || std::os::unix::net::UnixStream::connect(&engine.control).ok());
    assert_eq!(engine.get("/status")["revision"], Value::Null);
}

#[test]
fn status_and_errors() {
    let engine = Engine::start();
    let status = engine.get("/status");
    assert_eq!(status["version"], "0.1.0");
    assert_eq!(status["formats"], json!([1, 1]));
    assert_eq!(status["pid"], engine.child.id());
    assert_eq!((&status["state"], &status["listeners"]), (&json!("running"), &json!([])));
    for (method, path, body, expected) in [
        ("GET", "/nothing", "", 404),
        ("GET", "/snapshot", "", 405),
        ("PUT", "/snapshot", "{", 400),
        ("PUT", "/snapshot", "[]", 400),
        ("POST", "/check", "nonsense", 400),
    ] {
        let (status, answer) = engine.ask(method, path, body);
        assert_eq!(status, expected, "{method} {path}");
        assert!(answer["error"].is_string());
    }
}

/// `snapshot` with one value changed.
fn with(snapshot: &Value, pointer: &str, value: Value) -> Value {
    let mut changed = snapshot.clone();
    *changed.pointer_mut(pointer).unwrap() = value;
    changed
}

#[test]
fn snapshots_are_strict() {
    let engine = Engine::start();
    let good = snapshot_to("http://127.0.0.1:1");
    assert_eq!(engine.ask("POST", "/check", &good.to_string()), (200, json!({"problems": []})));
    for (pointer, field) in
        [("", "x"), ("/settings", "x"), ("/entry_points/0", "x"), ("/routes/0", "x"), ("/services/0/servers/0", "x")]
    {
        let mut unknown = good.clone();
        unknown.pointer_mut(pointer).unwrap().as_object_mut().unwrap().insert(field.to_owned(), json!(1));
        assert_eq!(engine.ask("POST", "/check", &unknown.to_string()).0, 400, "{pointer}");
    }
    for (pointer, field) in
        [("", "routes"), ("/settings", "log_level"), ("/entry_points/0", "tls"), ("/routes/0", "priority")]
    {
        let mut missing = good.clone();
        missing.pointer_mut(pointer).unwrap().as_object_mut().unwrap().remove(field);
        assert_eq!(engine.ask("POST", "/check", &missing.to_string()).0, 400, "{pointer}/{field}");
    }
    for matcher in [
        json!({"type": "nonsense"}),
        json!({"type": "host", "hosts": ["a"], "more": 1}),
        json!({"type": "host"}),
        json!({"type": "path", "paths": [{"exact": "/", "regexp": "/"}], "redirect_slash": true}),
        json!({"type": "headers", "pairs": [["a"]]}),
    ] {
        let bad = with(&good, "/routes/0/matchers", json!([matcher]));
        assert_eq!(engine.ask("POST", "/check", &bad.to_string()).0, 400, "{matcher}");
    }
    assert_eq!(engine.ask("POST", "/check", &with(&good, "/format", json!(2)).to_string()).0, 400);
}

#[test]
fn problems_are_told_all_at_once_and_the_old_snapshot_stays() {
    let origin = Origin::echo();
    let good = snapshot_to(&origin.url);
    let engine = Engine::with(&good);
    let mut client = engine.connect();
    assert_eq!(client.get("/").status(), 200);

    let mut bad = with(&good, "/revision", json!(2));
    bad["settings"]["log_level"] = json!("loud");
    bad["entry_points"] = json!([entry_point("http"), entry_point("http"), entry_point("bad"), entry_point("tls")]);
    bad["entry_points"][2]["address"] = json!("nonsense");
    bad["entry_points"][3]["tls"] = json!({
        "certificates": ["missing"], "default_certificate": "missing", "min_version": "1.2", "cipher_suites": [], "sni_strict": false,
        "client_ca": null,
    });
    bad["routes"] = json!([route("a", "missing"), route("b", "all"), route("c", "all")]);
    bad["routes"][1]["matchers"] = json!([{"type": "host_regexp", "patterns": ["("]}]);
    bad["routes"][2]["entry_points"] = json!(["missing"]);
    bad["services"] = json!([service("all", &["ftp://x".to_owned()])]);
    bad["certificates"] = json!([{"id": "c", "chain_pem": "x", "key_pem": "x", "ocsp_response": ""}]);
    let (status, answer) = engine.ask("PUT", "/snapshot", &bad.to_string());
    assert_eq!(status, 422);
    let problems = answer["problems"].as_array().unwrap();
    for (kind, id) in [
        ("settings", ""),
        ("entry_point", "http"),
        ("entry_point", "bad"),
        ("entry_point", "tls"),
        ("route", "a"),
        ("route", "b"),
        ("route", "c"),
        ("service", "all"),
        ("certificate", "c"),
    ] {
        let of = |problem: &&Value| problem["kind"] == kind && problem["id"] == id;
        assert_eq!(problems.iter().filter(of).count(), 1, "{kind} {id} in {answer:#}");
    }
    assert_eq!(problems.len(), 9);
    assert_eq!(engine.ask("POST", "/check", &bad.to_string()), (200, json!({"problems": problems})));
    assert_eq!(engine.get("/status")["revision"], 1);
    assert_eq!(client.get("/").status(), 200);
}

#[test]
fn a_regular_expression_cannot_eat_the_memory() {
    let engine = Engine::start();
    let mut snapshot = snapshot_to("http://127.0.0.1:1");
    snapshot["routes"][0]["matchers"] = json!([{"type": "host_regexp", "patterns": ["(((a{99}){99}){99}){99}"]}]);
    let (_, answer) = engine.ask("POST", "/check", &snapshot.to_string());
    assert_eq!(answer["problems"][0]["kind"], "route");
}

#[test]
fn a_used_port_refuses_the_snapshot_whole() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let origin = Origin::echo();
    let good = snapshot_to(&origin.url);
    let engine = Engine::with(&good);
    let mut bad = empty_snapshot();
    bad["revision"] = json!(2);
    bad["entry_points"] = json!([entry_point("http"), entry_point("new"), entry_point("taken")]);
    bad["entry_points"][2]["address"] = json!(address);
    let (status, answer) = engine.ask("PUT", "/snapshot", &bad.to_string());
    let error = format!("entry point taken: {address}: address already in use");
    assert_eq!((status, &answer["problems"]), (422, &json!([{"kind": "entry_point", "id": "taken", "error": error}])));
    let status = engine.get("/status");
    assert_eq!((&status["revision"], status["listeners"].as_array().unwrap().len()), (&json!(1), 1));
    assert_eq!(engine.connect().get("/").status(), 200);

    // Another engine's port is no different, although both would share it.
    let mut steal = empty_snapshot();
    steal["entry_points"][0]["address"] = json!(engine.address("http").to_string());
    let other = Engine::start();
    assert_eq!(other.ask("PUT", "/snapshot", &steal.to_string()).0, 422);
}

#[test]
fn listeners_come_and_go() {
    let origin = Origin::echo();
    let mut snapshot = snapshot_to(&origin.url);
    let engine = Engine::with(&snapshot);
    let first = engine.address("http");
    let mut client = engine.connect();
    client.get("/");

    // The same port under another address, which overlaps.
    let port = first.port();
    snapshot["entry_points"] = json!([entry_point("http")]);
    snapshot["entry_points"][0]["address"] = json!(format!(":{port}"));
    engine.put(&snapshot);
    assert_eq!(engine.address("http").port(), port);
    assert!(client.rest().is_empty(), "connections of a listener that is gone are closed");
    assert_eq!(support::Client::connect(first).get("/").status(), 200);

    // The name changes, the address and its connections stay.
    let mut client = support::Client::connect(first);
    client.get("/");
    snapshot["entry_points"][0]["name"] = json!("renamed");
    snapshot["routes"][0]["entry_points"] = json!(["renamed"]);
    engine.put(&snapshot);
    assert_eq!(client.get("/").status(), 200);

    snapshot["entry_points"] = json!([]);
    snapshot["routes"] = json!([]);
    engine.put(&snapshot);
    assert!(client.rest().is_empty());
    eventually("a refused connection", || TcpStream::connect(first).is_err().then_some(()));
}

#[test]
fn a_running_request_outlives_its_entry_point() {
    let (sender, go) = std::sync::mpsc::channel::<()>();
    let go = std::sync::Mutex::new(go);
    let started = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&started);
    let origin = Origin::start(move |conn| {
        conn.head();
        flag.store(true, Ordering::SeqCst);
        go.lock().unwrap().recv().unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
    });
    let snapshot = snapshot_to(&origin.url);
    let engine = Engine::with(&snapshot);
    let mut client = engine.connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("the request", || started.load(Ordering::SeqCst).then_some(()));
    let mut gone = with(&snapshot, "/entry_points", json!([]));
    gone["routes"] = json!([]);
    engine.put(&gone);
    sender.send(()).unwrap();
    let answer = client.message();
    assert_eq!((answer.text(), answer.field("Connection")), ("done", Some("close")));
    assert!(client.rest().is_empty());
}

#[test]
fn applying_under_traffic_loses_nothing() {
    let origins = [Origin::echo(), Origin::echo()];
    let snapshot = snapshot_to(&origins[0].url);
    let engine = Engine::with(&snapshot);
    let address = engine.address("http");
    let stop = AtomicBool::new(false);
    let answered = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for kept in [true, true, false, false] {
            let (stop, answered) = (&stop, &answered);
            scope.spawn(move || {
                let mut client = support::Client::connect(address);
                while !stop.load(Ordering::SeqCst) {
                    if !kept {
                        client = support::Client::connect(address);
                    }
                    assert_eq!(client.get("/").status(), 200);
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        for revision in 2..60 {
            let mut next = with(&snapshot, "/revision", json!(revision));
            next["services"] = json!([service("all", std::slice::from_ref(&origins[revision % 2].url))]);
            next["routes"][0]["id"] = json!(format!("all-{revision}"));
            let before = answered.load(Ordering::SeqCst);
            engine.put(&next);
            eventually("traffic", || (answered.load(Ordering::SeqCst) > before + 20).then_some(()));
        }
        stop.store(true, Ordering::SeqCst);
    });
    let counters = engine.get("/counters");
    assert_eq!(counters["requests"]["by_status"].as_object().unwrap().len(), 1, "{counters}");
}

#[test]
fn counters_of_everything() {
    let origin = Origin::echo();
    let engine = Engine::with(&snapshot_to(&origin.url));
    let mut client = engine.connect();
    let length = client.get("/").body.len() + client.get("/").body.len();
    eventually("the counts", || (engine.get("/counters")["requests"]["total"] == 2).then_some(()));
    let counters = engine.get("/counters");
    assert_eq!(
        counters["connections"],
        json!({"accepted": 1, "refused": 0, "accept_failed": 0, "open": 1, "panicked": 0})
    );
    assert_eq!(counters["requests"]["by_status"], json!({"200": 2}));
    assert_eq!(counters["requests"]["by_entry_point"], json!({"http": 2}));
    assert_eq!(counters["requests"]["response_bytes_total"], length);
    assert_eq!(counters["requests"]["open"], 0);
    assert!(counters["requests"]["duration_seconds_total"].as_f64().unwrap() > 0.0);
    assert_eq!(counters["failures"].as_object().unwrap().len(), 7);
    assert_eq!(counters["services"], json!({"all": {"requests": 2, "failures": 0, "down": []}}));
}

#[test]
fn stopping_finishes_the_running_request() {
    for by_signal in [true, false] {
        let (sender, go) = std::sync::mpsc::channel::<()>();
        let go = std::sync::Mutex::new(go);
        let started = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&started);
        let origin = Origin::start(move |conn| {
            conn.head();
            flag.store(true, Ordering::SeqCst);
            go.lock().unwrap().recv().unwrap();
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone");
        });
        let mut engine = Engine::with(&snapshot_to(&origin.url));
        let address = engine.address("http");
        let mut idle = engine.connect();
        let mut client = engine.connect();
        client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        eventually("the request", || started.load(Ordering::SeqCst).then_some(()));
        if by_signal {
            engine.signal(Signal::TERM);
        } else {
            assert_eq!(engine.ask("POST", "/stop", "").0, 202);
        }
        assert!(idle.rest().is_empty());
        eventually("a refused connection", || TcpStream::connect(address).is_err().then_some(()));
        assert_eq!(engine.get("/status")["state"], "draining");
        sender.send(()).unwrap();
        let answer = client.message();
        assert_eq!((answer.text(), answer.field("Connection")), ("done", Some("close")));
        assert_eq!(engine.exit_code(), Some(0));
        assert!(!engine.control.exists());
    }
}

#[test]
fn draining_refuses_newcomers_and_lets_the_rest_end() {
    let origin = Origin::echo();
    let mut snapshot = snapshot_to(&origin.url);
    snapshot["settings"]["grace_timeout_ms"] = json!(60_000);
    let engine = Engine::with(&snapshot);
    let address = engine.address("http");
    let mut client = engine.connect();
    assert_eq!(client.get("/").field("Connection"), None);
    assert_eq!(engine.ask("POST", "/drain", ""), (202, json!({})));
    eventually("a refused connection", || TcpStream::connect(address).is_err().then_some(()));
    let status = engine.get("/status");
    assert_eq!(
        (&status["state"], &status["connections"], &status["requests"]),
        (&json!("draining"), &json!(1), &json!(0))
    );
    assert_eq!(status["listeners"], json!([]));
    assert_eq!(client.get("/").field("Connection"), Some("close"));
    assert!(client.rest().is_empty());
    eventually("its end", || (engine.get("/status")["state"] == "drained").then_some(()));

    snapshot["revision"] = json!(2);
    engine.put(&snapshot);
    assert!(TcpStream::connect(address).is_err());
    assert_eq!(engine.ask("POST", "/undrain", ""), (200, json!({})));
    let status = engine.get("/status");
    assert_eq!((&status["state"], &status["revision"]), (&json!("running"), &json!(2)));
    let mut client = engine.connect();
    assert_eq!(client.get("/").field("Connection"), None);
}

#[test]
fn stopping_does_not_wait_longer_than_the_grace_time() {
    let origin = Origin::start(|conn| {
        conn.rest();
    });
    let mut snapshot = snapshot_to(&origin.url);
    snapshot["settings"]["grace_timeout_ms"] = json!(100);
    let mut engine = Engine::with(&snapshot);
    let mut client = engine.connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("the request", || (engine.get("/counters")["requests"]["open"] == 1).then_some(()));
    engine.signal(Signal::TERM);
    assert_eq!(engine.exit_code(), Some(0));

    // A second signal does not wait at all.
    snapshot["settings"]["grace_timeout_ms"] = json!(3_600_000);
    let mut engine = Engine::with(&snapshot);
    let mut client = engine.connect();
    client.send("GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("the request", || (engine.get("/counters")["requests"]["open"] == 1).then_some(()));
    engine.signal(Signal::INT);
    eventually("the stop", || (engine.get("/status")["state"] == "draining").then_some(()));
    engine.signal(Signal::INT);
    assert_eq!(engine.exit_code(), Some(1));
}

#[test]
fn it_dies_with_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let control = folder.path().join("control.sock");
    let engine = env!("CARGO_BIN_EXE_traefikee-engine");
    let script = format!("{engine} --control {} --die-with-parent 2>/dev/null & wait", control.display());
    let mut shell = std::process::Command::new("sh").args(["-c", &script]).spawn().unwrap();
    eventually("the engine", || std::os::unix::net::UnixStream::connect(&control).ok());
    shell.kill().unwrap();
    shell.wait().unwrap();
    eventually("its end", || std::os::unix::net::UnixStream::connect(&control).is_err().then_some(()));
}
