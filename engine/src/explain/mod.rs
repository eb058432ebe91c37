//! What becomes of a request, and why: the real router, asked by an operator (`POST /explain`).
//!
//! The question is written as the head of a request and takes the way of one as far as no I/O is needed.

mod way;

use std::collections::HashMap;
use std::net::IpAddr;

use bytes::{Bytes, BytesMut};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::error::Failure;
use crate::http::head::Request;
use crate::http::scan::{Found, Scanner};
use crate::http::target::lookup_name;
use crate::http::{Malformed, write};
use crate::middleware::States;
use crate::proxy::decide::{Plan, decide};
use crate::route::Opinions;
use crate::route::matcher::Subject;
use crate::route::path::decode;
use crate::snapshot::build::{Kept, build};
use crate::snapshot::table::{EntryPoint, Route, Tables};
use crate::snapshot::{Problem, Snapshot, document, present_text};

/// Most routes that are told of each list.
const MOST: usize = 50;

/// A request that nobody sends.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Question {
    entry_point: String,
    method: String,
    /// Path and query, as in a request line.
    target: String,
    /// What `Host` says.
    host: String,
    /// The other fields.
    headers: Vec<(String, String)>,
    /// Where it comes from.
    client_ip: IpAddr,
    /// Whether over TLS.
    tls: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body<'a> {
    request: Question,
    #[serde(borrow, deserialize_with = "present_text")]
    snapshot: Option<&'a RawValue>,
}

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum Unanswerable {
    /// It cannot be asked so.
    Question(String),
    /// The snapshot cannot be used.
    Snapshot(Vec<Problem>),
}

/// Reads a question, and the snapshot that it is about, if it brings one.
pub(crate) fn read(body: &[u8]) -> Result<(Question, Option<String>), String> {
    let body: Body<'_> = serde_json::from_slice(body).map_err(|error| format!("the body is no question: {error}"))?;
    Ok((body.request, body.snapshot.map(|text| text.get().to_owned())))
}

/// Answers with the tables in force.
pub(crate) fn in_force(
    question: &Question,
    tables: &Tables,
    snapshot: Option<&Snapshot>,
) -> Result<Value, Unanswerable> {
    let Some(snapshot) = snapshot else { return Err(Unanswerable::Question("no snapshot is in force".to_owned())) };
    answer(question, tables.entry_points.values(), snapshot)
}

/// Answers with what a snapshot says, which is not put in force.
pub(crate) fn with(question: &Question, document: &[u8]) -> Result<Value, Unanswerable> {
    let snapshot = document::whole(document, None).map_err(Unanswerable::Question)?;
    let tables = Tables::empty();
    let stats = HashMap::new();
    let states = States::default();
    let kept = Kept {
        tables: &tables,
        sources: None,
        upstream_tls: None,
        entry_point_stats: &stats,
        states: &states,
        workers: 1,
    };
    let built = build(snapshot, &kept).map_err(Unanswerable::Snapshot)?;
    answer(question, built.entry_points.iter().map(|(_, entry_point)| entry_point), &built.sources.snapshot)
}

fn answer<'a>(
    question: &Question,
    entry_points: impl Iterator<Item = &'a EntryPoint>,
    snapshot: &Snapshot,
) -> Result<Value, Unanswerable> {
    let entry_points: Vec<_> = entry_points.collect();
    let Some(entry_point) = entry_points.iter().find(|it| it.name == question.entry_point) else {
        let mut names: Vec<_> = entry_points.iter().map(|it| it.name.as_str()).collect();
        names.sort_unstable();
        let error = format!("there is no entry point \"{}\" (there are: {})", question.entry_point, names.join(", "));
        return Err(Unanswerable::Question(error));
    };
    let request = match request(question) {
        Ok(request) => request,
        Err(malformed) => return Ok(refused(snapshot.revision, &Failure::Request(malformed))),
    };
    let plan = decide(entry_point, &request, question.client_ip, None, false);
    let (path, query) = request.path_and_query();
    let host = lookup_name(request.host());
    let decoded = decode(path).unwrap_or_default();
    let query_text = query.unwrap_or_default();
    let subject = Subject {
        host: &host,
        method: request.method(),
        path: &decoded,
        query: query_text,
        fields: &request.fields,
        peer: question.client_ip,
    };
    let is_routed = !matches!(plan, Ok(Plan::Ping(_) | Plan::Metrics) | Err(Failure::Request(_))) && path != "*";
    let opinions = if is_routed { entry_point.router.opinions(&subject) } else { Opinions::default() };
    let mut answer = match &plan {
        Err(failure) => refused(snapshot.revision, failure),
        Ok(Plan::Ping(reply)) => json!({"outcome": "ping", "status": reply.status}),
        Ok(Plan::Metrics) => json!({"outcome": "metrics", "status": 200}),
        Ok(Plan::Reply(reply)) => {
            json!({"outcome": "redirect_slash", "status": reply.status, "location": reply.location()})
        }
        Ok(Plan::Forward { rewritten, .. }) => {
            let path = rewritten.path.as_deref().unwrap_or(path);
            let target = query.map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
            json!({"outcome": "forward", "target": target, "fields": fields(&rewritten.fields)})
        }
    };
    let way = way::walk(question, &request, entry_point, &plan, snapshot);
    if let Some(stop) = way.stop {
        answer["outcome"] = json!("middleware");
        answer["status"] = json!(stop.status);
        answer["location"] = json!(stop.location);
    }
    answer["middlewares"] = Value::Array(way.steps);
    answer["revision"] = json!(snapshot.revision);
    answer["request"] = json!({
        "entry_point": entry_point.name, "scheme": if question.tls { "https" } else { "http" },
        "method": request.method(), "host": &*host, "path": &*decoded, "query": query,
    });
    // The one that the decision was about, whatever became of it.
    answer["route"] = match (&plan, opinions.matching.first()) {
        (Ok(Plan::Forward { route, .. }), _) => winner(route),
        (_, Some((route, _))) => winner(route),
        (_, None) => Value::Null,
    };
    answer["matching"] = listed(
        &opinions.matching,
        |(route, slash)| json!({"id": route.id, "priority": route.priority, "redirect_slash": slash}),
    );
    let others = entry_points.iter().filter(|it| is_routed && it.name != entry_point.name);
    let takers = others.filter_map(|it| Some((it.name.as_str(), it.router.opinions(&subject).matching.first()?.0)));
    let mut takers: Vec<_> = takers.map(|(name, route)| json!({"entry_point": name, "id": route.id})).collect();
    takers.sort_by_key(Value::to_string);
    answer["elsewhere"] = Value::Array(takers);
    let documents = matchers(snapshot, &opinions);
    answer["missing"] = listed(&opinions.missing, |(route, index)| {
        let matcher = documents.get(route.id.as_str()).and_then(|matchers| matchers.get(*index));
        json!({"id": route.id, "priority": route.priority, "index": index, "matcher": matcher})
    });
    Ok(answer)
}

/// The request that is asked about, read as one that came over the network.
fn request(question: &Question) -> Result<Request, Malformed> {
    let mut head = BytesMut::new();
    head.extend_from_slice(format!("{} {} HTTP/1.1\r\n", question.method, question.target).as_bytes());
    write::field(&mut head, b"Host", question.host.as_bytes());
    for (name, value) in &question.headers {
        write::field(&mut head, name.as_bytes(), value.as_bytes());
    }
    head.extend_from_slice(b"\r\n");
    let head: Bytes = head.freeze();
    match Scanner::default().scan(&head)? {
        Found::Head { start: 0, end } if end == head.len() => Request::parse(head),
        _ => Err(Malformed::Syntax("line end inside a line")),
    }
}

fn refused(revision: u64, failure: &Failure) -> Value {
    let outcome = if matches!(failure, Failure::NoRoute) { "no_route" } else { "refused" };
    json!({
        "revision": revision, "outcome": outcome, "status": failure.status(), "reason": failure.to_string(),
        "middlewares": [], "elsewhere": [], "request": null, "route": null, "matching": list(Vec::new(), 0), "missing": list(Vec::new(), 0),
    })
}

fn winner(route: &Route) -> Value {
    let service = &route.service;
    let servers = service.servers.iter().zip(&service.document.servers).enumerate().map(
        |(index, (server, document))| json!({"url": server.url, "weight": document.weight, "up": service.is_up(index)}),
    );
    json!({
        "id": route.id, "priority": route.priority, "service": service.id, "servers": servers.collect::<Vec<_>>(),
        "pass_host_header": route.pass_host_header,
    })
}

/// Fields as they were written, one a line.
fn fields(text: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(text);
    let pairs = text.lines().filter_map(|line| line.split_once(": "));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The matchers of the routes that do not match, as the snapshot has them.
fn matchers<'a>(snapshot: &'a Snapshot, opinions: &Opinions<'_>) -> HashMap<&'a str, Vec<Value>> {
    let shown: Vec<_> = opinions.missing.iter().take(MOST).map(|(route, _)| route.id.as_str()).collect();
    let routes = snapshot.routes.iter().filter(|route| shown.contains(&route.id.as_str()));
    let read = routes.filter_map(|route| {
        let mut document: Value = serde_json::from_str(route.text()).ok()?;
        match document["matchers"].take() {
            Value::Array(matchers) => Some((route.id.as_str(), matchers)),
            _ => None,
        }
    });
    read.collect()
}

fn listed<T>(all: &[T], show: impl Fn(&T) -> Value) -> Value {
    list(all.iter().take(MOST).map(show).collect(), all.len().saturating_sub(MOST))
}

/// The first of a list, and how many more there are.
fn list(first: Vec<Value>, more: usize) -> Value {
    json!({"routes": first, "more": more})
}
