//! `POST /explain`: what becomes of a request, and why.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use serde_json::{Value, json};
use support::{Engine, empty_snapshot, entry_point, route, service};

/// `http` and `other` with some routes to one service.
fn snapshot(routes: &[(&str, i64, Value, Value)]) -> Value {
    let mut snapshot = empty_snapshot();
    snapshot["entry_points"] = json!([entry_point("http"), entry_point("other")]);
    snapshot["entry_points"][0]["ping"] = json!(true);
    snapshot["services"] =
        json!([service("p/back", &["http://127.0.0.1:1".to_owned(), "http://127.0.0.1:2".to_owned()])]);
    snapshot["routes"] = routes
        .iter()
        .map(|(id, priority, matchers, modifiers)| {
            let mut route = route(id, "p/back");
            route["priority"] = json!(priority);
            route["matchers"] = matchers.clone();
            route["modifiers"] = modifiers.clone();
            route
        })
        .collect();
    snapshot
}

fn host(name: &str) -> Value {
    json!({"type": "host", "hosts": [name]})
}

fn prefix(text: &str) -> Value {
    json!({"type": "path_prefix", "prefixes": [{"exact": text}]})
}

fn request(method: &str, host: &str, target: &str) -> Value {
    json!({
        "entry_point": "http", "method": method, "target": target, "host": host, "headers": [],
        "client_ip": "192.0.2.1", "tls": false,
    })
}

fn body(request: &Value, snapshot: &Value) -> String {
    json!({"request": request, "snapshot": snapshot}).to_string()
}

/// What the tables in force say, which a snapshot of the question's own must say too.
fn explain(engine: &Engine, snapshot: &Value, request: &Value) -> Value {
    let (status, in_force) = engine.ask("POST", "/explain", &body(request, &Value::Null));
    assert_eq!(status, 200, "{in_force}");
    let (status, own) = engine.ask("POST", "/explain", &body(request, snapshot));
    assert_eq!((status, &own), (200, &in_force));
    in_force
}

fn ids(list: &Value) -> Vec<&str> {
    list["routes"].as_array().unwrap().iter().map(|route| route["id"].as_str().unwrap()).collect()
}

#[test]
fn the_winner_the_others_and_those_that_miss() {
    let strip = json!([{"type": "strip_prefix", "prefixes": ["/api"]}]);
    let regexp = json!({"type": "host_regexp", "patterns": ["(?i)^[^.]+\\.example$"]});
    let snapshot = snapshot(&[
        ("p/all", 1, json!([]), json!([])),
        ("p/api", 9, json!([host("a.example"), prefix("/api")]), strip),
        ("p/same", 9, json!([prefix("/a"), host("a.example")]), json!([])),
        ("p/pattern", 5, json!([regexp.clone(), {"type": "method", "methods": ["PUT"]}]), json!([])),
        ("p/pattern-of-others", 5, json!([prefix("/no"), {"type": "host_regexp", "patterns": ["x$"]}]), json!([])),
        (
            "p/late",
            4,
            json!([{"type": "query", "pairs": [{"key": "k", "exact": "v"}]}, host("a.example"), prefix("/no")]),
            json!([]),
        ),
        ("p/other-host", 20, json!([host("b.example")]), json!([])),
        ("p/not-here", 20, json!([{"type": "not", "matcher": host("a.example")}]), json!([])),
        ("p/not-api", 2, json!([{"type": "not", "matcher": prefix("/api")}]), json!([])),
    ]);
    let engine = Engine::with(&snapshot);
    let explained = explain(&engine, &snapshot, &request("GET", "A.example:8000", "/api/x%20y?k=v"));
    assert_eq!(explained["outcome"], "forward");
    assert_eq!(explained["revision"], 1);
    assert_eq!(
        explained["request"],
        json!({"entry_point": "http", "scheme": "http", "method": "GET", "host": "a.example", "path": "/api/x y", "query": "k=v"})
    );
    assert_eq!((&explained["route"]["id"], &explained["route"]["service"]), (&json!("p/api"), &json!("p/back")));
    assert_eq!(
        explained["route"]["servers"],
        json!([{"url": "http://127.0.0.1:1", "weight": 1, "up": true}, {"url": "http://127.0.0.1:2", "weight": 1, "up": true}])
    );
    assert_eq!(explained["target"], "/x%20y?k=v");
    assert_eq!(explained["fields"], json!([["X-Forwarded-Prefix", "/api"]]));
    // By priority, then by id.
    assert_eq!(ids(&explained["matching"]), ["p/api", "p/same", "p/all"]);
    // In the same order, with the first matcher that says no, wherever it stands in the snapshot.
    let missing = &explained["missing"]["routes"];
    assert_eq!(ids(&explained["missing"]), ["p/pattern", "p/late", "p/not-api"]);
    assert_eq!((&missing[0]["index"], &missing[0]["matcher"]["type"]), (&json!(1), &json!("method")));
    assert_eq!((&missing[1]["index"], &missing[1]["matcher"]), (&json!(2), &prefix("/no")));
}

#[test]
fn answers_of_the_engine() {
    let path = json!([host("a.example"), {"type": "path", "paths": [{"exact": "/x"}], "redirect_slash": true}]);
    let strip = json!([{"type": "strip_prefix", "prefixes": ["/pre"]}]);
    let snapshot = snapshot(&[
        ("p/path", 3, path, json!([])),
        ("p/strip", 2, json!([prefix("/strip")]), strip),
        ("p/star", 1, json!([host("star.example")]), json!([])),
    ]);
    let engine = Engine::with(&snapshot);
    for (method, host, target, outcome, status, matching) in [
        ("GET", "a.example", "/x/?q", "redirect_slash", 301, vec!["p/path"]),
        ("GET", "a.example", "/y", "no_route", 404, vec![]),
        ("GET", "a.example", "/strip/y", "no_route", 404, vec!["p/strip"]),
        ("GET", "a.example", "/ping", "ping", 200, vec![]),
        ("OPTIONS", "star.example", "*", "no_route", 404, vec![]),
        ("GET", "a.example", "/%zz", "refused", 400, vec![]),
        ("GET", "a b", "/", "refused", 400, vec![]),
        ("CONNECT", "a.example", "/", "refused", 501, vec![]),
        ("GET", "a.example", "/\r\nX-More: 1", "refused", 400, vec![]),
    ] {
        let explained = explain(&engine, &snapshot, &request(method, host, target));
        let told = (&explained["outcome"], &explained["status"]);
        assert_eq!(told, (&json!(outcome), &json!(status)), "{method} {host} {target}");
        assert_eq!(ids(&explained["matching"]), matching, "{method} {host} {target}");
        assert_eq!(explained["route"]["id"].as_str(), matching.first().copied());
    }
    let slash = explain(&engine, &snapshot, &request("GET", "a.example", "/x/?q"));
    assert_eq!((&slash["location"], &slash["matching"]["routes"][0]["redirect_slash"]), (&json!("/x?q"), &json!(true)));
    // Served requests get the same answers.
    let mut client = engine.connect();
    client.send("GET /x/?q HTTP/1.1\r\nHost: a.example\r\n\r\n");
    let moved = client.message();
    assert_eq!((moved.status(), moved.field("Location")), (301, Some("/x?q")));
    assert_eq!(client.get("/strip/y").status(), 404);
}

#[test]
fn long_lists_are_cut() {
    let routes: Vec<_> = (0..120).map(|number| (format!("p/{number:03}"), json!([prefix("/no")]))).collect();
    let routes: Vec<_> = routes.iter().map(|(id, matchers)| (id.as_str(), 1, matchers.clone(), json!([]))).collect();
    let snapshot = snapshot(&routes);
    let engine = Engine::with(&snapshot);
    let explained = explain(&engine, &snapshot, &request("GET", "a", "/"));
    assert_eq!((ids(&explained["missing"]).len(), &explained["missing"]["more"]), (50, &json!(70)));
    assert_eq!(ids(&explained["missing"])[..2], ["p/000", "p/001"]);
    assert_eq!(explained["missing"]["routes"][49]["matcher"], prefix("/no"));
}

#[test]
fn what_cannot_be_answered() {
    let engine = Engine::start();
    let good = request("GET", "a", "/");
    let (status, answer) = engine.ask("POST", "/explain", &body(&good, &Value::Null));
    assert_eq!((status, &answer["error"]), (400, &json!("no snapshot is in force")));
    let own = snapshot(&[]);
    assert_eq!(engine.ask("POST", "/explain", &body(&good, &own)).0, 200);
    // Nothing of it is in force.
    assert_eq!(engine.get("/status")["revision"], Value::Null);
    let mut elsewhere = good.clone();
    elsewhere["entry_point"] = json!("htp");
    let (status, answer) = engine.ask("POST", "/explain", &body(&elsewhere, &own));
    assert_eq!(status, 400);
    assert_eq!(answer["error"], "there is no entry point \"htp\" (there are: http, other)");
    let bad = {
        let mut bad = own.clone();
        bad["routes"] = json!([route("p/lost", "nowhere")]);
        bad
    };
    let (status, answer) = engine.ask("POST", "/explain", &body(&good, &bad));
    assert_eq!((status, &answer["problems"][0]["id"]), (422, &json!("p/lost")));
    let mut more = good.clone();
    more["more"] = json!(1);
    let no_snapshot = json!({"request": good, "snapshot": {}}).to_string();
    for wrong in ["{", "{}", "[]", &no_snapshot, &body(&more, &Value::Null)] {
        assert_eq!(engine.ask("POST", "/explain", wrong).0, 400, "{wrong}");
    }
    assert_eq!(engine.ask("GET", "/explain", "").0, 405);
}

#[test]
fn middlewares_on_the_way() {
    let redirect = json!({"type": "redirect_entry_point", "scheme": "https", "port": 443, "permanent": false});
    let list = json!({"type": "white_list", "source_ranges": ["10.0.0.0/8"], "use_x_forwarded_for": false});
    let auth = json!({"type": "basic_auth", "users": ["a:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g="], "remove_header": false, "header_field": ""});
    let limit = json!({
        "type": "rate_limit", "source": {"type": "client_ip"},
        "rates": [{"period_ms": 1000, "average": 1, "burst": 1}],
    });
    let mut snapshot = snapshot(&[
        ("p/guarded", 2, json!([host("a.example")]), json!([{"type": "add_prefix", "prefix": "/add"}])),
        ("p/strip", 1, json!([prefix("/x")]), json!([{"type": "strip_prefix", "prefixes": ["/y"]}])),
    ]);
    snapshot["routes"][0]["middlewares"] = json!([{"type": "errors", "pages": [{"status": [[500, 599]], "service": "p/back", "query": ""}]}, list, auth, limit]);
    snapshot["routes"][0]["entry_points"] = json!(["http", "other"]);
    snapshot["routes"][1]["entry_points"] = json!(["other"]);
    snapshot["entry_points"][1]["middlewares"] = json!([{"type": "compress"}, redirect]);
    let engine = Engine::with(&snapshot);
    let ask = |entry_point: &str, client: &str, host: &str, tls: bool| {
        let mut asked = request("GET", host, "/x?q");
        asked["entry_point"] = json!(entry_point);
        asked["client_ip"] = json!(client);
        asked["tls"] = json!(tls);
        explain(&engine, &snapshot, &asked)
    };
    let passed = ask("http", "10.1.2.3", "a.example", false);
    assert_eq!((&passed["outcome"], &passed["target"]), (&json!("forward"), &json!("/add/x?q")));
    assert_eq!(
        passed["middlewares"],
        json!([
            {"at": "route", "type": "errors", "result": "passes"},
            {"at": "route", "type": "white_list", "result": "passes"},
            {"at": "route", "type": "basic_auth", "result": "not_asked"},
            {"at": "route", "type": "rate_limit", "result": "not_asked"},
        ])
    );
    assert!(!passed.to_string().contains("W6ph5"));
    // Asking uses nothing up: a burst of one would be over.
    assert_eq!(ask("http", "10.1.2.3", "a.example", false), passed);

    let refused = ask("http", "192.0.2.1", "a.example", false);
    assert_eq!((&refused["outcome"], &refused["status"]), (&json!("middleware"), &json!(403)));
    assert_eq!(refused["route"]["id"], "p/guarded");
    assert_eq!(
        refused["middlewares"][1],
        json!({"at": "route", "type": "white_list", "result": "answers", "status": 403, "location": null})
    );
    assert_eq!(refused["middlewares"].as_array().unwrap().len(), 2);

    // An entry point's own come first, whatever the routes say.
    for (host, matching) in [("a.example", vec!["p/guarded", "p/strip"]), ("b.example", vec!["p/strip"])] {
        let sent = ask("other", "10.1.2.3", host, false);
        let location = format!("https://{host}:443/x?q");
        assert_eq!((&sent["outcome"], &sent["status"]), (&json!("middleware"), &json!(302)));
        assert_eq!((&sent["location"], ids(&sent["matching"])), (&json!(location), matching));
        assert_eq!(
            sent["middlewares"],
            json!([
                {"at": "entry_point", "type": "compress", "result": "passes"},
                {"at": "entry_point", "type": "redirect_entry_point", "result": "answers", "status": 302, "location": location},
            ])
        );
    }
    assert_eq!(passed["elsewhere"], json!([{"entry_point": "other", "id": "p/guarded"}]));
    let nowhere = ask("http", "10.1.2.3", "b.example", false);
    assert_eq!(nowhere["outcome"], "no_route");
    assert_eq!(nowhere["elsewhere"], json!([{"entry_point": "other", "id": "p/strip"}]));
    let there = ask("other", "10.1.2.3", "b.example", true);
    assert_eq!(there["elsewhere"], json!([]));
    assert_eq!((&there["outcome"], &there["request"]["scheme"]), (&json!("no_route"), &json!("https")));
    assert_eq!(there["middlewares"][1]["result"], "passes");
}
