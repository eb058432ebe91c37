//! Which route a request takes.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr};

use bytes::Bytes;
use ipnet::IpNet;
use regex::Regex;
use serde_json::{Value, json};

use super::snapshot::{BASE, built};
use crate::http::head::Request;
use crate::http::target::lookup_name;
use crate::route::Decision;
use crate::route::matcher::Subject;
use crate::route::path::{decode, query_value};
use crate::snapshot::build::Built;
use crate::snapshot::document::whole;
use crate::snapshot::{Matcher, Route, Snapshot, TextPattern};

/// Most routes of a snapshot.
const MOST: usize = 200;

/// Who sends the requests.
const PEER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3));

/// Routes and requests, one a line: the router finds what asking one route after the other finds. So does one that was made
/// of another.
///
/// A route is `id priority matcher...`, and a matcher `name=value,value`: `host`, `host~` (expressions), `path`, `path/` (with
/// a redirect), `path~`, `prefix`, `prefix~`, `method`, `header=Name:value`, `header~`, `query=key:value`, `query~`,
/// `query?=key`, `ip`, `!` and any of these. A line `=` begins another snapshot. A request is `? method host target Name:value...`.
pub fn routes(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let lines = || text.lines().map(str::trim);
    let (asked, told): (Vec<&str>, Vec<&str>) = lines().partition(|line| line.starts_with('?'));
    let requests: Vec<Request> = asked.into_iter().take(MOST).filter_map(request).collect();
    let mut before: Option<Built> = None;
    for lines in told.split(|line| *line == "=").take(3) {
        let document = document(lines);
        let known = before.as_ref().map(|built| &built.sources.snapshot);
        let Ok(snapshot) = whole(document.as_bytes(), known) else { return };
        let Some(made) = built(snapshot, before.as_ref()) else { return };
        let linear = Linear::of(&made.sources.snapshot);
        for request in &requests {
            ask(&made, &linear, request);
        }
        before = Some(made);
    }
}

fn ask(built: &Built, linear: &Linear<'_>, request: &Request) {
    let (path, query) = request.path_and_query();
    let Some(path) = decode(path) else { return };
    let host = lookup_name(request.host());
    let query = query.unwrap_or_default();
    let method = request.method();
    let subject = Subject { host: &host, method, path: &path, query, fields: &request.fields, peer: PEER };
    let found = match built.entry_points[0].1.router.decide(&subject) {
        Decision::NotFound => None,
        Decision::RedirectSlash => Some(None),
        Decision::Route(route) => Some(Some(route.id.as_str())),
    };
    assert_eq!(found, linear.decide(&subject), "{subject:?}");
}

fn request(line: &str) -> Option<Request> {
    let mut words = line[1..].split_whitespace();
    let (method, host, target) = (words.next()?, words.next()?, words.next()?);
    let mut head = format!("{method} {target} HTTP/1.1\r\nHost: {}\r\n", if host == "-" { "" } else { host });
    for field in words {
        head.push_str(field);
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    Request::parse(Bytes::from(head)).ok()
}

/// The document with these routes, put together from texts: values take several times as long.
fn document(lines: &[&str]) -> String {
    let mut ids = HashSet::new();
    FRAME.with(|frame| {
        let routes: Vec<String> =
            lines.iter().filter_map(|line| route(line, &mut ids, &frame.route)).take(MOST).collect();
        format!("{}{}{}", frame.before, routes.join(","), frame.after)
    })
}

fn route<'a>(line: &'a str, ids: &mut HashSet<&'a str>, rest: &str) -> Option<String> {
    let mut words = line.split_whitespace();
    let id = words.next().filter(|id| ids.insert(*id))?;
    let priority: i64 = words.next().and_then(|word| word.parse().ok()).unwrap_or_default();
    let matchers: Vec<Value> = words.filter_map(matcher).collect();
    Some(format!(r#"{{"id":{},"priority":{priority},"matchers":{},{rest}"#, Value::from(id), Value::from(matchers)))
}

/// The base in pieces.
struct Frame {
    before: String,
    /// What a route has beside its id, priority and matchers.
    route: String,
    after: String,
}

thread_local! {
    static FRAME: Frame = frame();
}

fn frame() -> Frame {
    let mut document: Value = serde_json::from_str(BASE).unwrap_or_default();
    let mut route = document["routes"][0].take();
    if let Some(route) = route.as_object_mut() {
        route.retain(|name, _| !["id", "priority", "matchers"].contains(&name.as_str()));
    }
    document["routes"] = json!(["here"]);
    let (text, route) = (document.to_string(), route.to_string());
    let (before, after) = text.split_once(r#""here""#).unwrap_or_default();
    Frame { before: before.to_owned(), route: route[1..].to_owned(), after: after.to_owned() }
}

fn matcher(word: &str) -> Option<Value> {
    if let Some(inner) = word.strip_prefix('!').filter(|inner| !inner.starts_with('!')) {
        return matcher(inner).map(|inner| json!({"type": "not", "matcher": inner}));
    }
    let (name, values) = word.split_once('=')?;
    let texts: Vec<&str> = values.split(',').collect();
    let patterns = |kind: &str| texts.iter().map(|text| json!({kind: text})).collect::<Vec<_>>();
    let pairs = || texts.iter().filter_map(|text| text.split_once(':')).collect::<Vec<_>>();
    let queries =
        |kind: &str| pairs().into_iter().map(|(key, value)| json!({"key": key, kind: value})).collect::<Vec<_>>();
    Some(match name {
        "host" => json!({"type": "host", "hosts": texts}),
        "host~" => json!({"type": "host_regexp", "patterns": texts}),
        "path" => json!({"type": "path", "paths": patterns("exact"), "redirect_slash": false}),
        "path/" => json!({"type": "path", "paths": patterns("exact"), "redirect_slash": true}),
        "path~" => json!({"type": "path", "paths": patterns("regexp"), "redirect_slash": true}),
        "prefix" => json!({"type": "path_prefix", "prefixes": patterns("exact")}),
        "prefix~" => json!({"type": "path_prefix", "prefixes": patterns("regexp")}),
        "method" => json!({"type": "method", "methods": texts}),
        "ip" => json!({"type": "client_ip", "ranges": texts}),
        "header" => json!({"type": "headers", "pairs": pairs()}),
        "header~" => json!({"type": "headers_regexp", "pairs": pairs()}),
        "query" => json!({"type": "query", "pairs": queries("exact")}),
        "query~" => json!({"type": "query", "pairs": queries("regexp")}),
        "query?" => {
            let pairs: Vec<Value> = texts.iter().map(|key| json!({"key": key, "present": true})).collect();
            json!({"type": "query", "pairs": pairs})
        }
        _ => return None,
    })
}

/// Routes as the documentation of the snapshot has them: all in one list, the first that matches wins.
struct Linear<'a> {
    routes: Vec<&'a Route>,
    expressions: BTreeMap<&'a str, Regex>,
}

impl<'a> Linear<'a> {
    fn of(snapshot: &'a Snapshot) -> Self {
        let mut routes: Vec<&Route> = snapshot.routes.iter().map(|route| &***route).collect();
        routes.sort_by(|a, b| b.priority.cmp(&a.priority).then_with(|| a.id.as_bytes().cmp(b.id.as_bytes())));
        let mut expressions = BTreeMap::new();
        for text in routes.iter().flat_map(|route| &route.matchers).flat_map(texts) {
            // What is no expression was refused.
            if let Some(regex) = expression(text) {
                expressions.insert(text, regex);
            }
        }
        Self { routes, expressions }
    }

    /// Nothing, or a redirect, or a route's id.
    fn decide(&self, subject: &Subject<'_>) -> Option<Option<&str>> {
        self.routes.iter().find_map(|route| {
            if route.matchers.iter().all(|matcher| self.is_match(matcher, subject)) {
                return Some(Some(route.id.as_str()));
            }
            // With the path's slash toggled, by those matchers that redirect.
            let toggled = match subject.path.strip_suffix('/') {
                Some(without) => without.to_owned(),
                None => format!("{}/", subject.path),
            };
            let other = Subject { path: &toggled, ..*subject };
            let may = |matcher: &Matcher| {
                let redirects = matches!(matcher, Matcher::Path { redirect_slash: true, .. }) && subject.path != "/";
                self.is_match(matcher, subject) || (redirects && self.is_match(matcher, &other))
            };
            route.matchers.iter().all(may).then_some(None)
        })
    }

    fn is_match(&self, matcher: &Matcher, subject: &Subject<'_>) -> bool {
        let finds = |pattern: &str, text: &str| self.expressions.get(pattern).is_some_and(|it| it.is_match(text));
        let has = |name: &str, test: &dyn Fn(&str) -> bool| {
            let mut fields = subject.fields.iter().filter(|field| field.1.eq_ignore_ascii_case(name.as_bytes()));
            fields.any(|field| test(&String::from_utf8_lossy(field.2)))
        };
        match matcher {
            Matcher::Host { hosts } => !subject.host.is_empty() && hosts.iter().any(|host| host == subject.host),
            Matcher::HostRegexp { patterns } => {
                !subject.host.is_empty() && patterns.iter().any(|pattern| finds(pattern, subject.host))
            }
            Matcher::Path { paths, .. } => paths.iter().any(|path| match path {
                TextPattern::Exact(text) => text == subject.path,
                TextPattern::Regexp(pattern) => finds(pattern, subject.path),
            }),
            Matcher::PathPrefix { prefixes } => prefixes.iter().any(|prefix| match prefix {
                TextPattern::Exact(text) => subject.path.starts_with(text.as_str()),
                TextPattern::Regexp(pattern) => finds(pattern, subject.path),
            }),
            Matcher::Method { methods } => methods.iter().any(|method| method == subject.method),
            Matcher::Headers { pairs } => pairs.iter().all(|(name, value)| has(name, &|found| found == value)),
            Matcher::HeadersRegexp { pairs } => {
                pairs.iter().all(|(name, pattern)| has(name, &|found| finds(pattern, found)))
            }
            Matcher::Query { pairs } => pairs.iter().all(|pair| {
                let Some(found) = query_value(subject.query, &pair.key) else { return false };
                pair.exact.as_ref().is_none_or(|text| *text == *found)
                    && pair.regexp.as_ref().is_none_or(|pattern| finds(pattern, &found))
            }),
            Matcher::ClientIp { ranges } => ranges.iter().any(|range| {
                range.parse().is_ok_and(|address: IpAddr| address == subject.peer)
                    || range.parse().is_ok_and(|network: IpNet| network.contains(&subject.peer))
            }),
            Matcher::Not { matcher } => !self.is_match(matcher, subject),
        }
    }
}

/// An expression, which takes long to make and comes again.
fn expression(text: &str) -> Option<Regex> {
    thread_local! {
        static KNOWN: RefCell<HashMap<String, Regex>> = RefCell::default();
    }
    KNOWN.with_borrow_mut(|known| {
        if let Some(regex) = known.get(text) {
            return Some(regex.clone());
        }
        if known.len() > 1000 {
            known.clear();
        }
        let regex = Regex::new(text).ok()?;
        known.insert(text.to_owned(), regex.clone());
        Some(regex)
    })
}

/// The expressions of a matcher.
fn texts(matcher: &Matcher) -> Vec<&str> {
    fn expression(pattern: &TextPattern) -> Option<&str> {
        match pattern {
            TextPattern::Exact(_) => None,
            TextPattern::Regexp(text) => Some(text),
        }
    }
    match matcher {
        Matcher::HostRegexp { patterns } => patterns.iter().map(String::as_str).collect(),
        Matcher::Path { paths: list, .. } | Matcher::PathPrefix { prefixes: list } => {
            list.iter().filter_map(expression).collect()
        }
        Matcher::HeadersRegexp { pairs } => pairs.iter().map(|(_, text)| text.as_str()).collect(),
        Matcher::Query { pairs } => pairs.iter().filter_map(|pair| pair.regexp.as_deref()).collect(),
        Matcher::Not { matcher } => texts(matcher),
        Matcher::Host { .. } | Matcher::Method { .. } | Matcher::Headers { .. } | Matcher::ClientIp { .. } => {
            Vec::new()
        }
    }
}
