//! From a snapshot to tables: everything is checked, all problems are found at once, and what stayed the same is kept.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ipnet::IpNet;
use regex::{Regex, RegexBuilder};
use rustls_pki_types::ServerName;
use tracing::level_filters::LevelFilter;

use super::table::{EntryPoint, Route, Server, Service, Settings, Tables, Trust};
use super::url::{self, Url};
use super::{Kind, Problem, QueryPair, Snapshot, TextPattern};
use crate::balance::Balance;
use crate::pool::connect::{ClientTls, Target};
use crate::route::Router;
use crate::route::matcher::{Matcher, Pattern, QueryTest};
use crate::route::modify::{self, Modifier};
use crate::stats::{EntryPointStats, ServiceStats};
use crate::tls::server::{Identified, ServerTls, identified};
use crate::tls::upstream::{self, UpstreamTls};

/// Largest compiled regular expression, in bytes.
const MAX_REGEX: usize = 1 << 20;

/// What new tables may take over from those in force.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    /// The tables in force.
    pub(crate) tables: &'a Tables,
    /// How servers are verified now.
    pub(crate) upstream_tls: Option<&'a Arc<UpstreamTls>>,
    /// The counters of entry points, by name.
    pub(crate) entry_point_stats: &'a HashMap<String, Arc<EntryPointStats>>,
    /// The number of workers.
    pub(crate) workers: usize,
}

/// Tables, but for the listeners.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) revision: u64,
    pub(crate) settings: Settings,
    /// Each with the address that it listens on.
    pub(crate) entry_points: Vec<(SocketAddr, EntryPoint)>,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) upstream_tls: Arc<UpstreamTls>,
}

/// Checks a snapshot and builds what it says, or tells everything that is wrong with it.
pub(crate) fn build(snapshot: &Snapshot, kept: &Kept<'_>) -> Result<Built, Vec<Problem>> {
    let mut problems = Problems::default();
    let settings = problems.of(Kind::Settings, "", settings(&snapshot.settings));
    let upstream_tls = problems.of(Kind::Settings, "", upstream_tls(snapshot, kept));

    let mut certificates = HashMap::new();
    for certificate in &snapshot.certificates {
        problems.unique(Kind::Certificate, &certificate.id, certificates.contains_key(certificate.id.as_str()));
        let read = problems.of(Kind::Certificate, &certificate.id, identified(certificate));
        certificates.insert(certificate.id.as_str(), (certificate, read));
    }

    let mut services: HashMap<&str, Option<Arc<Service>>> = HashMap::new();
    let mut in_order = Vec::new();
    if let Some(tls) = &upstream_tls {
        let mut known = Known::of(kept, tls);
        for service in &snapshot.services {
            problems.unique(Kind::Service, &service.id, services.contains_key(service.id.as_str()));
            let built = problems.of(Kind::Service, &service.id, known.service(service, kept, tls));
            in_order.extend(built.clone());
            services.insert(&service.id, built);
        }
    }

    let mut entry_points: HashMap<&str, usize> = HashMap::new();
    let mut listening: Vec<Option<(SocketAddr, EntryPoint)>> = Vec::new();
    for entry_point in &snapshot.entry_points {
        let name = entry_point.name.as_str();
        problems.unique(Kind::EntryPoint, name, entry_points.contains_key(name));
        let built = problems.of(Kind::EntryPoint, name, self::entry_point(entry_point, &certificates, kept));
        let twin = built.as_ref().and_then(|(address, _)| {
            let same = |other: &&(SocketAddr, EntryPoint)| other.0 == *address && address.port() != 0;
            listening.iter().flatten().find(same).map(|other| other.1.name.clone())
        });
        if let Some(twin) = twin {
            problems.add(Kind::EntryPoint, name, format!("entry point {twin} has the same address"));
        }
        entry_points.insert(name, listening.len());
        listening.push(built);
    }

    let mut routes = HashSet::new();
    for route in &snapshot.routes {
        problems.unique(Kind::Route, &route.id, !routes.insert(route.id.as_str()));
        let service = match services.get(route.service.as_str()) {
            Some(service) => service.clone(),
            None if upstream_tls.is_none() => None,
            None => {
                problems.add(Kind::Route, &route.id, format!("there is no service {}", route.service));
                None
            }
        };
        let modifiers = problems.of(Kind::Route, &route.id, modifiers(&route.modifiers));
        let shared = service.zip(modifiers).map(|(service, modifiers)| {
            Arc::new(Route {
                id: route.id.clone(),
                modifiers,
                service,
                pass_host_header: route.pass_host_header,
                client_roles: route.client_roles.clone(),
                forward_client_identity: route.forward_client_identity,
            })
        });
        let matchers = problems.of(Kind::Route, &route.id, matchers(&route.matchers));
        let mut on = HashSet::new();
        for name in &route.entry_points {
            let Some(index) = entry_points.get(name.as_str()) else {
                problems.add(Kind::Route, &route.id, format!("there is no entry point {name}"));
                continue;
            };
            if let (Some((_, entry_point)), Some(shared), Some(matchers), true) =
                (&mut listening[*index], &shared, &matchers, on.insert(index))
            {
                entry_point.router.push(matchers.clone(), Arc::clone(shared));
            }
        }
    }

    match (settings, upstream_tls) {
        (Some(settings), Some(upstream_tls)) if problems.0.is_empty() => Ok(Built {
            revision: snapshot.revision,
            settings,
            entry_points: listening.into_iter().flatten().collect(),
            services: in_order,
            upstream_tls,
        }),
        _ => Err(problems.0),
    }
}

#[derive(Debug, Default)]
struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, kind: Kind, id: &str, error: String) {
        self.0.push(Problem { kind, id: id.to_owned(), error });
    }

    fn of<T>(&mut self, kind: Kind, id: &str, result: Result<T, String>) -> Option<T> {
        result.map_err(|error| self.add(kind, id, error)).ok()
    }

    fn unique(&mut self, kind: Kind, id: &str, is_there: bool) {
        if is_there {
            self.add(kind, id, "there is more than one of this name".to_owned());
        }
    }
}

fn settings(settings: &super::Settings) -> Result<Settings, String> {
    let time = |ms: u64| (ms > 0).then(|| Duration::from_millis(ms));
    let log_level = match settings.log_level.to_ascii_lowercase().as_str() {
        "debug" => LevelFilter::DEBUG,
        "info" => LevelFilter::INFO,
        "warn" | "warning" => LevelFilter::WARN,
        // The engine has nothing more severe to say than errors.
        "error" | "fatal" | "panic" => LevelFilter::ERROR,
        other => return Err(format!("log_level \"{other}\" is unknown")),
    };
    if settings.server_name.chars().any(char::is_control) {
        return Err("server_name cannot stand in a header field".to_owned());
    }
    Ok(Settings {
        server_name: settings.server_name.clone(),
        log_level,
        dial_timeout: time(settings.dial_timeout_ms),
        response_header_timeout: time(settings.response_header_timeout_ms),
        request_header_timeout: time(settings.request_header_timeout_ms),
        idle_timeout: time(settings.idle_timeout_ms),
        grace_timeout: Duration::from_millis(settings.grace_timeout_ms),
        max_idle_per_server: settings.max_idle_connections_per_server,
    })
}

fn upstream_tls(snapshot: &Snapshot, kept: &Kept<'_>) -> Result<Arc<UpstreamTls>, String> {
    let servers = snapshot.services.iter().flat_map(|service| &service.servers);
    let spec = upstream::Spec {
        root_ca_pem: snapshot.settings.root_ca_pem.clone(),
        insecure_skip_verify: snapshot.settings.insecure_skip_verify,
        used: servers.into_iter().any(|server| server.url.starts_with("https:")),
    };
    match kept.upstream_tls {
        Some(tls) if tls.serves(&spec) => Ok(Arc::clone(tls)),
        _ => UpstreamTls::build(spec).map(Arc::new),
    }
}

/// Servers and services of the tables in force that may stay.
struct Known<'a> {
    servers: HashMap<String, Arc<Server>>,
    services: HashMap<&'a str, &'a Arc<Service>>,
}

impl<'a> Known<'a> {
    fn of(kept: &Kept<'a>, tls: &Arc<UpstreamTls>) -> Self {
        let same_tls = kept.upstream_tls.is_some_and(|kept| Arc::ptr_eq(kept, tls));
        let servers = kept.tables.services.iter().flat_map(|service| &service.servers);
        let stays = |server: &&Arc<Server>| same_tls || !matches!(server.target, Target::Tcp { tls: Some(_), .. });
        Self {
            servers: servers.filter(stays).map(|server| (server.url.clone(), Arc::clone(server))).collect(),
            services: kept.tables.services.iter().map(|service| (service.id.as_str(), service)).collect(),
        }
    }

    fn service(
        &mut self,
        service: &super::Service,
        kept: &Kept<'_>,
        tls: &UpstreamTls,
    ) -> Result<Arc<Service>, String> {
        if service.balancer != "wrr" {
            return Err(format!("balancer \"{}\" is unknown", service.balancer));
        }
        let before = self.services.get(service.id.as_str()).copied();
        let servers: Vec<_> =
            service.servers.iter().map(|server| self.server(server, tls)).collect::<Result<_, _>>()?;
        if let Some(before) = before.filter(|before| {
            let same = |(a, b): (&Arc<Server>, &Arc<Server>)| Arc::ptr_eq(a, b);
            before.identity == service.servers && before.servers.iter().zip(&servers).all(same)
        }) {
            return Ok(Arc::clone(before));
        }
        let weights: Vec<u64> = service.servers.iter().map(|server| server.weight).collect();
        Ok(Arc::new(Service {
            id: service.id.clone(),
            servers,
            balance: Balance::new(&weights),
            identity: service.servers.clone(),
            stats: match before {
                Some(before) => Arc::clone(&before.stats),
                None => Arc::new(ServiceStats::new(kept.workers)),
            },
        }))
    }

    fn server(&mut self, server: &super::Server, tls: &UpstreamTls) -> Result<Arc<Server>, String> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        if let Some(known) = self.servers.get(&server.url) {
            return Ok(Arc::clone(known));
        }
        let wrong = |error: String| format!("server {}: {error}", server.name);
        let (target, host_header) = match url::parse(&server.url).map_err(wrong)? {
            Url::Unix(path) => (Target::Unix(path), "localhost".to_owned()),
            Url::Tcp { host, port, host_header, tls: is_tls } => {
                let tls = is_tls.then(|| {
                    let name = ServerName::try_from(host.clone()).map_err(|error| wrong(format!("{host}: {error}")))?;
                    Ok::<_, String>(ClientTls { config: Arc::clone(&tls.config), name })
                });
                (Target::Tcp { host, port, tls: tls.transpose()? }, host_header)
            }
        };
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        let built = Arc::new(Server { id, url: server.url.clone(), target, host_header });
        self.servers.insert(server.url.clone(), Arc::clone(&built));
        Ok(built)
    }
}

type Certificates<'a> = HashMap<&'a str, (&'a super::Certificate, Option<Identified>)>;

fn entry_point(
    entry_point: &super::EntryPoint,
    certificates: &Certificates<'_>,
    kept: &Kept<'_>,
) -> Result<(SocketAddr, EntryPoint), String> {
    let address = crate::listen::resolve(&entry_point.address)?;
    let networks = entry_point.forwarded_headers.trusted_ips.iter().map(|text| network(text));
    let networks = networks.collect::<Result<_, _>>()?;
    let tls = match &entry_point.tls {
        None => None,
        Some(tls) => server_tls(&entry_point.name, tls, certificates, kept)?,
    };
    let stats = match kept.entry_point_stats.get(&entry_point.name) {
        Some(stats) => Arc::clone(stats),
        None => Arc::new(EntryPointStats::new(kept.workers)),
    };
    let built = EntryPoint {
        name: entry_point.name.clone(),
        trust: Trust { everybody: entry_point.forwarded_headers.insecure, networks },
        ping: entry_point.ping,
        tls,
        router: Router::default(),
        stats,
    };
    Ok((address, built))
}

/// `Ok(None)` if a certificate could not be read, which has been told already.
fn server_tls(
    name: &str,
    tls: &super::Tls,
    certificates: &Certificates<'_>,
    kept: &Kept<'_>,
) -> Result<Option<Arc<ServerTls>>, String> {
    let find = |id: &String| certificates.get(id.as_str()).ok_or_else(|| format!("there is no certificate {id}"));
    let named = tls.certificates.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let default = find(&tls.default_certificate)?;
    let documents: Vec<_> = named.iter().chain([&default]).map(|(document, _)| (*document).clone()).collect();
    let before = kept.tables.entry_points.values().find(|before| before.name == name).and_then(|it| it.tls.as_ref());
    if let Some(before) = before.filter(|before| before.is_built_from(tls, &documents)) {
        return Ok(Some(Arc::clone(before)));
    }
    let read: Option<Vec<&Identified>> = named.iter().map(|(_, identified)| identified.as_ref()).collect();
    let (Some(read), Some(default)) = (read, default.1.as_ref()) else { return Ok(None) };
    ServerTls::build(tls, &read, default, documents).map(Arc::new).map(Some)
}

fn network(text: &str) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address
        .or_else(|_| text.parse())
        .map_err(|_| format!("trusted_ips: \"{text}\" is neither an address nor a network"))
}

fn regex(pattern: &str) -> Result<Regex, String> {
    let built = RegexBuilder::new(pattern).size_limit(MAX_REGEX).dfa_size_limit(MAX_REGEX).build();
    built.map_err(|error| {
        // The last line says what is wrong; those before it draw where.
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        format!("regular expression \"{pattern}\": {last}")
    })
}

fn matchers(matchers: &[super::Matcher]) -> Result<Vec<Matcher>, String> {
    matchers.iter().map(matcher).collect()
}

fn matcher(matcher: &super::Matcher) -> Result<Matcher, String> {
    use super::Matcher as Document;
    Ok(match matcher {
        Document::Host { hosts } => Matcher::Host(boxed(hosts)),
        Document::HostRegexp { patterns } => {
            Matcher::HostRegexp(patterns.iter().map(|pattern| regex(pattern)).collect::<Result<_, _>>()?)
        }
        Document::Path { paths, redirect_slash } => {
            Matcher::Path { paths: patterns(paths)?, redirect_slash: *redirect_slash }
        }
        Document::PathPrefix { prefixes } => Matcher::PathPrefix(patterns(prefixes)?),
        Document::Method { methods } => Matcher::Method(boxed(methods)),
        Document::Headers { pairs } => {
            Matcher::Headers(pairs.iter().map(|(name, value)| (name.as_str().into(), value.as_str().into())).collect())
        }
        Document::HeadersRegexp { pairs } => {
            let pair = |(name, pattern): &(String, String)| Ok((name.as_str().into(), regex(pattern)?));
            Matcher::HeadersRegexp(pairs.iter().map(pair).collect::<Result<_, String>>()?)
        }
        Document::Query { pairs } => Matcher::Query(pairs.iter().map(query).collect::<Result<_, _>>()?),
    })
}

fn query(pair: &QueryPair) -> Result<(Box<str>, QueryTest), String> {
    let test = match (&pair.exact, &pair.regexp, pair.present) {
        (Some(text), None, None) => QueryTest::Exact(text.as_str().into()),
        (None, Some(pattern), None) => QueryTest::Regexp(regex(pattern)?),
        (None, None, Some(true)) => QueryTest::Present,
        _ => return Err(format!("query {}: exactly one of exact, regexp and \"present\": true is needed", pair.key)),
    };
    Ok((pair.key.as_str().into(), test))
}

fn patterns(patterns: &[TextPattern]) -> Result<Vec<Pattern>, String> {
    let pattern = |pattern: &TextPattern| match pattern {
        TextPattern::Exact(text) => Ok(Pattern::Exact(text.as_str().into())),
        TextPattern::Regexp(pattern) => regex(pattern).map(Pattern::Regexp),
    };
    patterns.iter().map(pattern).collect()
}

fn modifiers(modifiers: &[super::Modifier]) -> Result<Vec<Modifier>, String> {
    use super::Modifier as Document;
    let modifier = |modifier: &Document| {
        Ok(match modifier {
            Document::StripPrefixRegex { patterns } => {
                Modifier::StripPrefixRegex(patterns.iter().map(|pattern| regex(pattern)).collect::<Result<_, _>>()?)
            }
            Document::StripPrefix { prefixes } => {
                Modifier::StripPrefix(prefixes.iter().map(|prefix| prefix.trim_end_matches('/').into()).collect())
            }
            Document::AddPrefix { prefix } => Modifier::AddPrefix(modify::configured(prefix)),
            Document::ReplacePathRegex { pattern, replacement } => {
                Modifier::ReplacePathRegex { pattern: regex(pattern)?, replacement: replacement.clone() }
            }
            Document::ReplacePath { path } => Modifier::ReplacePath(modify::configured_path(path)),
        })
    };
    modifiers.iter().map(modifier).collect()
}

fn boxed(texts: &[String]) -> Vec<Box<str>> {
    texts.iter().map(|text| text.as_str().into()).collect()
}
