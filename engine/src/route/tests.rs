use super::*;
use crate::balance::Balance;
use crate::http::head::Request;
use crate::route::matcher::{Pattern, QueryTest};
use crate::snapshot::table::Service;
use crate::stats::ServiceStats;
use bytes::Bytes;
use proptest::prelude::*;
use regex::Regex;

fn route(id: &str) -> Arc<Route> {
    Arc::new(Route {
        id: id.to_owned(),
        modifiers: Vec::new(),
        service: Arc::new(Service {
            id: String::new(),
            servers: Vec::new(),
            balance: Balance::new(&[]),
            identity: Vec::new(),
            stats: Arc::new(ServiceStats::new(1)),
        }),
        pass_host_header: true,
        client_roles: Vec::new(),
        forward_client_identity: false,
    })
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
    let subject =
        Subject { host: &host, method, path: &path, query: query.unwrap_or_default(), fields: &request.fields };
    let mut router = Router::default();
    router.push(matchers, route("r"));
    match router.decide(&subject) {
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
    let pattern = || vec![Matcher::HostRegexp(vec![Regex::new("(?i)^[^.]+\\.example$").unwrap()])];
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

#[derive(Debug, Clone)]
enum Rule {
    Hosts(Vec<usize>),
    Prefix(usize),
    Path(usize),
}

const HOSTS: [&str; 4] = ["a", "b", "c", "d"];
const PATHS: [&str; 4] = ["/", "/x", "/x/", "/x/y"];

impl Rule {
    fn build(&self) -> Matcher {
        match self {
            Self::Hosts(hosts) => Matcher::Host(hosts.iter().map(|host| HOSTS[*host].into()).collect()),
            Self::Prefix(path) => Matcher::PathPrefix(vec![Pattern::Exact(PATHS[*path].into())]),
            Self::Path(path) => {
                Matcher::Path { paths: vec![Pattern::Exact(PATHS[*path].into())], redirect_slash: false }
            }
        }
    }

    fn holds(&self, host: &str, path: &str) -> bool {
        match self {
            Self::Hosts(hosts) => hosts.iter().any(|index| HOSTS[*index] == host),
            Self::Prefix(index) => path.starts_with(PATHS[*index]),
            Self::Path(index) => PATHS[*index] == path,
        }
    }
}

fn rule() -> impl Strategy<Value = Rule> {
    prop_oneof![
        prop::collection::vec(0..HOSTS.len(), 1..3).prop_map(Rule::Hosts),
        (0..PATHS.len()).prop_map(Rule::Prefix),
        (0..PATHS.len()).prop_map(Rule::Path),
    ]
}

proptest! {
    #[test]
    fn the_first_that_matches_wins(rules in prop::collection::vec(prop::collection::vec(rule(), 0..3), 0..12)) {
        let mut router = Router::default();
        for (index, rules) in rules.iter().enumerate() {
            router.push(rules.iter().map(Rule::build).collect(), route(&index.to_string()));
        }
        let request = Request::parse(Bytes::from_static(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap();
        for host in HOSTS {
            for path in PATHS {
                let subject = Subject { host, method: "GET", path, query: "", fields: &request.fields };
                let found = match router.decide(&subject) {
                    Decision::Route(route) => Some(route.id.clone()),
                    _ => None,
                };
                let naive = rules.iter().position(|rules| rules.iter().all(|rule| rule.holds(host, path)));
                prop_assert_eq!(found, naive.map(|index| index.to_string()));
            }
        }
    }
}
