//! Routes: what they match, and what they do with it.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;

use super::Kept;
use super::middlewares::of_route;
use crate::middleware::{Middleware, Page};
use crate::pool::connect::{ClientTls, Target};
use crate::regexp::compile as regex;
use crate::route::Conditions;
use crate::route::matcher::{HostRegexp, Matcher, Pattern, QueryTest};
use crate::route::modify::{self, Modifier};
use crate::snapshot;
use crate::snapshot::table::{Route, Server, Service};
use crate::snapshot::{QueryPair, Snapshot, TextPattern};
use crate::tls::upstream::{Spec, UpstreamTls};
use ipnet::IpNet;

/// What of a route takes time to build, and depends on nothing but its own text.
#[derive(Debug, Clone)]
pub(super) struct Compiled {
    conditions: Arc<Conditions>,
    modifiers: Arc<[Modifier]>,
    middlewares: Arc<[Middleware]>,
}

impl Compiled {
    /// What `route` has been built from.
    pub(super) fn of(route: &Route) -> Self {
        Self {
            conditions: Arc::clone(&route.conditions),
            modifiers: Arc::clone(&route.modifiers),
            middlewares: Arc::clone(&route.middlewares),
        }
    }
}

/// Matchers, modifiers and middlewares; all that is wrong with them.
pub(super) fn compile(route: &snapshot::Route, kept: &Kept<'_>) -> Result<Compiled, Vec<String>> {
    match (modifiers(&route.modifiers), matchers(&route.matchers), of_route(route, kept)) {
        (Ok(modifiers), Ok(matchers), Ok(middlewares)) => {
            Ok(Compiled { conditions: Arc::new(Conditions::new(matchers)), modifiers, middlewares })
        }
        (modifiers, matchers, middlewares) => {
            let both = modifiers.err().into_iter().chain(matchers.err());
            Err(both.chain(middlewares.err().into_iter().flatten()).collect())
        }
    }
}

/// What servers are shown, by certificate and authorities: several routes may show the same.
pub(super) type Identities<'a> = HashMap<(&'a str, &'a str), UpstreamTls>;

/// The servers of a service, which are shown the certificate that the route names.
pub(super) fn shown<'a>(
    route: &'a snapshot::Route,
    service: &Service,
    snapshot: &'a Snapshot,
    identities: &mut Identities<'a>,
) -> Result<Option<Box<[Arc<Server>]>>, String> {
    let Some(tls) = &route.client_tls else { return Ok(None) };
    let roots = if tls.root_ca_pem.is_empty() { &snapshot.settings.root_ca_pem } else { &tls.root_ca_pem };
    let shown = match identities.entry((tls.certificate.as_str(), roots.as_str())) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(place) => {
            let built = identity(&tls.certificate, roots, snapshot);
            place.insert(built.map_err(|error| format!("client_tls: {error}"))?)
        }
    };
    let server = |server: &Arc<Server>| match &server.target {
        Target::Tcp { host, port, tls: Some(tls), h2c } => {
            let (config, http1) = (Arc::clone(&shown.config), Arc::clone(&shown.http1));
            let tls = Some(ClientTls { config, http1, name: tls.name.clone() });
            Arc::new(Server {
                id: Server::next_id(),
                url: server.url.clone(),
                target: Target::Tcp { host: host.clone(), port: *port, tls, h2c: *h2c },
                host_header: server.host_header.clone(),
            })
        }
        _ => Arc::clone(server),
    };
    Ok(Some(service.servers.iter().map(server).collect()))
}

fn identity(certificate: &str, roots: &str, snapshot: &Snapshot) -> Result<UpstreamTls, String> {
    let found = snapshot.certificates.iter().find(|it| it.id == certificate);
    let found = found.ok_or_else(|| format!("there is no certificate {certificate}"))?;
    let insecure_skip_verify = snapshot.settings.insecure_skip_verify;
    let spec = Spec { root_ca_pem: roots.to_owned(), insecure_skip_verify, used: true };
    UpstreamTls::showing(spec, (&found.chain_pem, &found.key_pem))
}

pub(super) fn route(
    route: &snapshot::Route,
    compiled: Compiled,
    service: Arc<Service>,
    shown: Option<Box<[Arc<Server>]>>,
    pages: Arc<[Page]>,
) -> Route {
    Route {
        id: route.id.clone(),
        priority: route.priority,
        conditions: compiled.conditions,
        modifiers: compiled.modifiers,
        service,
        shown,
        pass_host_header: route.pass_host_header,
        client_roles: route.client_roles.clone(),
        forward_client_identity: route.forward_client_identity,
        middlewares: compiled.middlewares,
        pages,
    }
}

fn matchers(matchers: &[snapshot::Matcher]) -> Result<Vec<Matcher>, String> {
    matchers.iter().map(matcher).collect()
}

fn matcher(document: &snapshot::Matcher) -> Result<Matcher, String> {
    use snapshot::Matcher as Document;
    Ok(match document {
        Document::Host { hosts } => Matcher::Host(boxed(hosts)),
        Document::HostRegexp { patterns } => {
            let pattern = |pattern: &String| regex(pattern).map(HostRegexp::new);
            Matcher::HostRegexp(patterns.iter().map(pattern).collect::<Result<_, _>>()?)
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
        Document::ClientIp { ranges } => Matcher::ClientIp(ranges.iter().map(range).collect::<Result<_, _>>()?),
        Document::Not { matcher: inner } => Matcher::Not(Box::new(matcher(inner)?)),
    })
}

fn range(text: &String) -> Result<IpNet, String> {
    let address = text.parse::<IpAddr>().map(IpNet::from);
    address.or_else(|_| text.parse()).map_err(|_| format!("client_ip: \"{text}\" is neither an address nor a network"))
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

fn modifiers(modifiers: &[snapshot::Modifier]) -> Result<Arc<[Modifier]>, String> {
    use snapshot::Modifier as Document;
    let modifier = |modifier: &Document| {
        Ok(match modifier {
            Document::StripPrefixRegex { patterns, optional } => {
                let patterns = patterns.iter().map(|pattern| regex(pattern)).collect::<Result<_, _>>()?;
                Modifier::StripPrefixRegex { patterns, optional: *optional }
            }
            Document::StripPrefix { prefixes, optional } => {
                let prefixes = prefixes.iter().map(|prefix| prefix.trim_end_matches('/').into()).collect();
                Modifier::StripPrefix { prefixes, optional: *optional }
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
