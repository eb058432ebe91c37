use super::*;
use crate::http::head::Request;
use crate::route::matcher::{Outcome, Pattern, QueryTest};
use crate::snapshot::table::Service;
use bytes::Bytes;
use proptest::prelude::*;
use regex::Regex;

pub(crate) fn route(id: &str, priority: i64, matchers: Vec<Matcher>) -> Arc<Route> {
    Arc::new(Route {
        id: id.to_owned(),
        priority,
        conditions: Arc::new(Conditions::new(matchers)),
        modifiers: Arc::default(),
        service: Arc::new(Service::empty()),
        shown: None,
        pass_host_header: true,
        client_roles: Vec::new(),
        forward_client_identity: false,
        middlewares: Arc::default(),
        pages: Arc::default(),
    })
}

fn router(routes: &[Arc<Route>]) -> Router {
    Router::default().changed([].iter(), routes.iter())
}

fn host_regexp(pattern: &str) -> HostRegexp {
    HostRegexp::new(Regex::new(pattern).unwrap())
}

fn boxed(texts: &[&str]) -> Vec<Box<str>> {
    texts.iter().map(|text| Box::from(*text)).collect()
}

/// What one route with `matchers` says to a request: "yes", "slash" or "no".
fn ask(matchers: Vec<Matcher>, method: &str, host: &str, target: &str, fields: &str) -> &'static str {
    let head = format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\n{fields}\r\n");
    let request = Request::parse(Bytes::from(head)).unwrap();
    let (path, query) = request.path_and_query();
    let path = path::decode(path).unwrap();
    let host = crate::http::target::lookup_name(request.host());
    let peer = "10.1.2.3".parse().unwrap();
    let query = query.unwrap_or_default();
    let subject = Subject { host: &host, method, path: &path, query, fields: &request.fields, peer };
    match router(&[route("r", 0, matchers)]).decide(&subject) {
        Decision::Route(_) => "yes",
        Decision::RedirectSlash => "slash",
        Decision::NotFound => "no",
    }
}

#[test]
fn hosts() {
    let exact = || vec![Matcher::Host(boxed(&["a.example", "b.example"]))];
    assert_eq!(ask(exact(), "GET", "A.EXAMPLE:8080", "/", ""), "yes");
    assert_eq!(ask(exact(), "GET", "b.example", "/", ""), "yes");
    assert_eq!(ask(exact(), "GET", "c.example", "/", ""), "no");
    assert_eq!(ask(exact(), "GET", "", "/", ""), "no");
    let twice = vec![Matcher::Host(boxed(&["a", "b"])), Matcher::Host(boxed(&["b", "c"]))];
    assert_eq!(ask(twice, "GET", "a", "/", ""), "no");
    let pattern = || vec![Matcher::HostRegexp(vec![host_regexp("(?i)^[^.]+\\.example$")])];
    assert_eq!(ask(pattern(), "GET", "X.example:1", "/", ""), "yes");
    assert_eq!(ask(pattern(), "GET", "x.y.example", "/", ""), "no");
    assert_eq!(ask(vec![], "GET", "", "/", ""), "yes");
}

#[test]
fn paths() {
    let path =
        |text: &str, redirect_slash| vec![Matcher::Path { paths: vec![Pattern::Exact(text.into())], redirect_slash }];
    for (rule, slash, target, expected) in [
        ("/test/foo", true, "/test/foo", "yes"),
        ("/test/foo", true, "/test/foo/", "slash"),
        ("/test/foo/", true, "/test/foo", "slash"),
        ("/test/foo", false, "/test/foo/", "no"),
        ("/test/foo", true, "/test/foo/bar", "no"),
        ("/a b", true, "/a%20b", "yes"),
        ("/", true, "/", "yes"),
        ("", true, "/", "no"),
    ] {
        assert_eq!(ask(path(rule, slash), "GET", "h", target, ""), expected, "{rule} {target}");
    }
    let mut guarded = path("/x", true);
    guarded.push(Matcher::Method(boxed(&["POST"])));
    assert_eq!(ask(guarded, "GET", "h", "/x/", ""), "no");

    let prefix = || vec![Matcher::PathPrefix(vec![Pattern::Exact("/foo".into())])];
    assert_eq!(ask(prefix(), "GET", "h", "/foobar", ""), "yes");
    assert_eq!(ask(prefix(), "GET", "h", "//foo", ""), "no");
    let pattern = || {
        vec![Matcher::Path { paths: vec![Pattern::Regexp(Regex::new("^/x/[^/]+$").unwrap())], redirect_slash: true }]
    };
    assert_eq!(ask(pattern(), "GET", "h", "/x/%ff", ""), "yes");
    assert_eq!(ask(pattern(), "GET", "h", "/x/1/", ""), "slash");
}

#[test]
fn addresses_and_negation() {
    let from = |ranges: &[&str]| Matcher::ClientIp(ranges.iter().map(|range| range.parse().unwrap()).collect());
    assert_eq!(ask(vec![from(&["192.0.2.0/24", "10.0.0.0/8"])], "GET", "h", "/", ""), "yes");
    assert_eq!(ask(vec![from(&["10.1.2.4/32", "::/0"])], "GET", "h", "/", ""), "no");
    let not = |matcher| vec![Matcher::Not(Box::new(matcher))];
    assert_eq!(ask(not(from(&["10.0.0.0/8"])), "GET", "h", "/", ""), "no");
    assert_eq!(ask(not(Matcher::Host(boxed(&["a", "b"]))), "GET", "b", "/", ""), "no");
    assert_eq!(ask(not(Matcher::Host(boxed(&["a", "b"]))), "GET", "c", "/", ""), "yes");
    assert_eq!(ask(not(Matcher::Host(boxed(&["a"]))), "GET", "", "/", ""), "yes");
    let path = || Matcher::Path { paths: vec![Pattern::Exact("/x".into())], redirect_slash: true };
    assert_eq!(ask(not(path()), "GET", "h", "/x", ""), "no");
    assert_eq!(ask(not(path()), "GET", "h", "/x/", ""), "yes");
    let both = vec![
        Matcher::Host(boxed(&["a"])),
        Matcher::Not(Box::new(Matcher::PathPrefix(vec![Pattern::Exact("/x".into())]))),
    ];
    assert_eq!(ask(both, "GET", "a", "/x", ""), "no");
}

#[test]
fn methods_headers_queries() {
    let method = || vec![Matcher::Method(boxed(&["POST", "PUT"]))];
    assert_eq!(ask(method(), "PUT", "h", "/", ""), "yes");
    assert_eq!(ask(method(), "GET", "h", "/", ""), "no");

    let headers = || vec![Matcher::Headers(vec![("x-a".into(), "1".into()), ("X-B".into(), "2".into())])];
    assert_eq!(ask(headers(), "GET", "h", "/", "X-A: 0\r\nX-A: 1\r\nx-b: 2\r\n"), "yes");
    assert_eq!(ask(headers(), "GET", "h", "/", "X-A: 1\r\n"), "no");
    let pattern = || vec![Matcher::HeadersRegexp(vec![("X-A".into(), Regex::new("b+").unwrap())])];
    assert_eq!(ask(pattern(), "GET", "h", "/", "X-A: abbc\r\n"), "yes");
    assert_eq!(ask(pattern(), "GET", "h", "/", "X-A: ac\r\n"), "no");

    let query = |test| vec![Matcher::Query(vec![("a".into(), test)])];
    let digits = || QueryTest::Regexp(Regex::new("^[0-9]+$").unwrap());
    assert_eq!(ask(query(QueryTest::Exact("b".into())), "GET", "h", "/?a=b&a=c", ""), "yes");
    assert_eq!(ask(query(QueryTest::Exact("c".into())), "GET", "h", "/?a=b&a=c", ""), "no");
    assert_eq!(ask(query(digits()), "GET", "h", "/?x&a=12&a=z", ""), "yes");
    assert_eq!(ask(query(digits()), "GET", "h", "/?a=z&a=12", ""), "no");
    assert_eq!(ask(query(QueryTest::Present), "GET", "h", "/?a", ""), "yes");
    assert_eq!(ask(query(QueryTest::Present), "GET", "h", "/", ""), "no");
}

#[test]
fn endings_of_host_patterns() {
    for (pattern, end, is_whole) in [
        (r"(?i)^(?:[a-z]+)\.example\.com$", ".example.com", false),
        (r"(?i)^www\.Kiosk\.com$", "www.kiosk.com", true),
        (r"(?i)^(?:[^.]+)-prod\.eu-1\.example\.com$", "-prod.eu-1.example.com", false),
        (r"(?i)^(?:a|b)$", "", false),
        (r"(?i)^a\.(?:com|org)$", "", false),
        (r"example\.com", "", false),
        (r"(?i)example\.com$", "example.com", false),
        (r"(?i)^(?:[a-z]+)s{2}\.de$", ".de", false),
        (r"(?im)^a$", "", false),
    ] {
        let found = host_regexp(pattern);
        assert_eq!((&*found.end, found.is_whole), (end, is_whole), "{pattern}");
    }
    let suffix = |text: &str| Place::Suffix(text.into());
    assert_eq!(place(&host_regexp(r"(?i)^(?:[a-z]+)-x\.example\.com$")), suffix("example.com"));
    assert_eq!(place(&host_regexp(r"(?i)^(?:[a-z]+)x$")), Place::Any);
    assert_eq!(place(&host_regexp(r"(?i)^a\.b$")), Place::Host("a.b".into()));
}

#[derive(Debug, Clone)]
enum Rule {
    Hosts(Vec<usize>),
    HostPatterns(Vec<usize>),
    Prefixes(Vec<usize>),
    Paths(Vec<usize>, bool),
    PathPattern(usize),
    Post,
}

const HOSTS: [&str; 7] = ["a", "b.example", "x.b.example", "xb.example", "x.y.b.example", "B", "example"];
const HOST_PATTERNS: [&str; 5] =
    [r"(?i)^(?:[a-z]+)\.B\.example$", r"(?i)^b\.example$", r"(?i)^(?:.+)b\.example$", r"(?i)^(?:[a-z])$", r"example"];
const PATHS: [&str; 9] = ["/", "/x", "/x/", "/x/y", "/xy", "/x/y/z/", "/x//", "", "/y"];
const PATH_PATTERNS: [&str; 2] = ["^/x/[^/]+$", "^/[xy]"];

impl Rule {
    fn build(&self) -> Matcher {
        let exact = |paths: &[usize]| paths.iter().map(|path| Pattern::Exact(PATHS[*path].into())).collect();
        match self {
            Self::Hosts(hosts) => Matcher::Host(hosts.iter().map(|host| HOSTS[*host].into()).collect()),
            Self::HostPatterns(patterns) => {
                Matcher::HostRegexp(patterns.iter().map(|one| host_regexp(HOST_PATTERNS[*one])).collect())
            }
            Self::Prefixes(paths) => Matcher::PathPrefix(exact(paths)),
            Self::Paths(paths, redirect_slash) => {
                Matcher::Path { paths: exact(paths), redirect_slash: *redirect_slash }
            }
            Self::PathPattern(index) => {
                Matcher::PathPrefix(vec![Pattern::Regexp(Regex::new(PATH_PATTERNS[*index]).unwrap())])
            }
            Self::Post => Matcher::Method(boxed(&["POST"])),
        }
    }
}

/// Some rules are rare, so that many routes have a path and nothing else.
fn rule() -> impl Strategy<Value = Rule> {
    let paths = || prop::collection::vec(0..PATHS.len(), 1..3);
    prop_oneof![
        2 => prop::collection::vec(0..HOSTS.len(), 1..3).prop_map(Rule::Hosts),
        2 => prop::collection::vec(0..HOST_PATTERNS.len(), 1..3).prop_map(Rule::HostPatterns),
        3 => paths().prop_map(Rule::Prefixes),
        3 => (paths(), any::<bool>()).prop_map(|(paths, redirect_slash)| Rule::Paths(paths, redirect_slash)),
        1 => (0..PATH_PATTERNS.len()).prop_map(Rule::PathPattern),
        1 => Just(Rule::Post),
    ]
}

/// Priority and rules of routes; their number is their id.
fn routes() -> impl Strategy<Value = Vec<(i64, Vec<Rule>)>> {
    let few = prop::collection::vec((0..3_i64, prop::collection::vec(rule(), 0..3)), 0..8);
    let many = prop::collection::vec((0..3_i64, prop::collection::vec(rule(), 1..2)), 30..60);
    prop_oneof![few, many]
}

/// What each of the requests is answered: a route's id, "slash" or "none".
fn answers(decide: impl Fn(&Subject<'_>) -> String) -> Vec<String> {
    let request = Request::parse(Bytes::from_static(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
    let subjects = HOSTS.iter().chain([&""]).flat_map(|host| PATHS.iter().map(move |path| (*host, *path)));
    subjects
        .map(|(host, path)| {
            let host = host.to_lowercase();
            let peer = "10.1.2.3".parse().unwrap();
            decide(&Subject { host: &host, method: "GET", path, query: "", fields: &request.fields, peer })
        })
        .collect()
}

fn said(router: &Router) -> Vec<String> {
    answers(|subject| match router.decide(subject) {
        Decision::Route(route) => route.id.clone(),
        Decision::RedirectSlash => "slash".to_owned(),
        Decision::NotFound => "none".to_owned(),
    })
}

/// Asks one route after the other, all of its matchers.
fn naive(rules: &[(i64, Vec<Rule>)], first: usize) -> Vec<String> {
    let mut sorted: Vec<_> = rules
        .iter()
        .enumerate()
        .map(|(index, (priority, rules))| {
            (-priority, (first + index).to_string(), rules.iter().map(Rule::build).collect::<Vec<_>>())
        })
        .collect();
    sorted.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
    answers(|subject| {
        let mut outcomes = sorted.iter().map(|(_, id, matchers)| (id, matcher::all(matchers, subject)));
        outcomes.find(|(_, outcome)| *outcome != Outcome::No).map_or("none".to_owned(), |(id, outcome)| match outcome {
            Outcome::RedirectSlash => "slash".to_owned(),
            _ => id.clone(),
        })
    })
}

/// The opinions of routes as text, by asking one after the other.
fn naive_opinions(all: &[(Arc<Route>, Vec<Matcher>)]) -> Vec<String> {
    let mut sorted: Vec<_> = all.iter().collect();
    sorted.sort_by(|a, b| order(&a.0, &b.0));
    answers(|subject| {
        let verdicts =
            sorted.iter().map(|(route, matchers)| (&route.id, matchers, matcher::verdict(matchers, subject)));
        let (mut matching, mut missing) = (Vec::new(), Vec::new());
        for (id, matchers, verdict) in verdicts {
            match verdict {
                Ok(outcome) => matching.push(format!("{id} {outcome:?}")),
                Err(index) if matcher::admits_host(matchers, subject) => missing.push(format!("{id} {index}")),
                Err(_) => {}
            }
        }
        format!("{matching:?} {missing:?}")
    })
}

proptest! {
    #[test]
    fn opinions_are_those_of_all_routes(rules in routes()) {
        let all: Vec<_> = (0..).zip(&rules).map(|(index, (priority, rules)): (usize, _)| {
            let matchers: Vec<_> = rules.iter().map(Rule::build).collect();
            (route(&index.to_string(), *priority, matchers.clone()), matchers)
        }).collect();
        let router = router(&all.iter().map(|(route, _)| Arc::clone(route)).collect::<Vec<_>>());
        let opined = answers(|subject| {
            let opinions = router.opinions(subject);
            let outcome = |is_redirect| if is_redirect { Outcome::RedirectSlash } else { Outcome::Yes };
            let matching: Vec<_> =
                opinions.matching.iter().map(|(route, is)| format!("{} {:?}", route.id, outcome(*is))).collect();
            let missing: Vec<_> = opinions.missing.iter().map(|(route, index)| format!("{} {index}", route.id)).collect();
            format!("{matching:?} {missing:?}")
        });
        prop_assert_eq!(opined, naive_opinions(&all));
        let first = answers(|subject| match router.opinions(subject).matching.first() {
            None => "none".to_owned(),
            Some((_, true)) => "slash".to_owned(),
            Some((route, false)) => route.id.clone(),
        });
        prop_assert_eq!(first, said(&router));
    }

    #[test]
    fn the_first_that_matches_wins(rules in routes()) {
        let all: Vec<_> = (0..).zip(&rules).map(|(index, (priority, rules)): (usize, _)| {
            route(&index.to_string(), *priority, rules.iter().map(Rule::build).collect())
        }).collect();
        prop_assert_eq!(said(&router(&all)), naive(&rules, 0));
    }

    #[test]
    fn a_changed_router_is_as_a_new_one(before in routes(), after in routes(), kept in 0..60_usize) {
        let build = |rules: &[(i64, Vec<Rule>)], first: usize| -> Vec<Arc<Route>> {
            (first..).zip(rules).map(|(index, (priority, rules))| {
                route(&index.to_string(), *priority, rules.iter().map(Rule::build).collect())
            }).collect()
        };
        let kept = kept.min(before.len());
        let (old, new) = (build(&before, 0), build(&after, kept));
        let first = router(&old);
        let second = first.changed(old[kept..].iter(), new.iter());
        let rules: Vec<_> = before[..kept].iter().chain(&after).cloned().collect();
        prop_assert_eq!(said(&second), naive(&rules, 0));
        prop_assert_eq!(said(&first), naive(&before, 0));
    }
}
