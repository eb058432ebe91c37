//! Services and their servers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Kept;
use crate::balance;
use crate::http::name::is_token;
use crate::http::target::is_valid_host;
use crate::metrics::series::Bounds;
use crate::pool::connect::Target;
use crate::service::breaker::Breaker;
use crate::service::buffering::Buffering;
use crate::service::check::{Asked, Checks};
use crate::service::connections::Connections;
use crate::service::health::Health;
use crate::service::sticky::Sticky;
use crate::snapshot;
use crate::snapshot::Object;
use crate::snapshot::table::{Server, Service};
use crate::snapshot::url::{self, Scheme, Url};
use crate::stats::ServiceStats;
use crate::tls::upstream::UpstreamTls;

/// Servers and services of the tables in force that may stay.
pub(super) struct Known<'a> {
    servers: HashMap<String, Arc<Server>>,
    services: HashMap<&'a str, &'a Arc<Service>>,
}

impl<'a> Known<'a> {
    pub(super) fn of(kept: &Kept<'a>, tls: &Arc<UpstreamTls>) -> Self {
        let same_tls = kept.upstream_tls.is_some_and(|kept| Arc::ptr_eq(kept, tls));
        let servers = kept.tables.services.iter().flat_map(|service| &service.servers);
        let stays = |server: &&Arc<Server>| same_tls || !matches!(server.target, Target::Tcp { tls: Some(_), .. });
        Self {
            servers: servers.filter(stays).map(|server| (server.url.clone(), Arc::clone(server))).collect(),
            services: kept.tables.services.iter().map(|service| (service.id.as_str(), service)).collect(),
        }
    }

    pub(super) fn service(
        &mut self,
        service: &Arc<Object<snapshot::Service>>,
        kept: &Kept<'_>,
        tls: &Arc<UpstreamTls>,
        bounds: Option<&Arc<Bounds>>,
    ) -> Result<Arc<Service>, String> {
        let before = self.services.get(service.id.as_str()).copied();
        let servers: Vec<_> =
            service.servers.iter().map(|server| self.server(server, tls)).collect::<Result<_, _>>()?;
        if let Some(before) = before.filter(|before| {
            let same = |(a, b): (&Arc<Server>, &Arc<Server>)| Arc::ptr_eq(a, b);
            let same_tls = before.checks.as_ref().is_none_or(|checks| Arc::ptr_eq(&checks.tls, tls));
            **before.document == ***service
                && same_tls
                && before.stats.series.fits(bounds)
                && before.servers.iter().zip(&servers).all(same)
        }) {
            return Ok(Arc::clone(before));
        }
        let checks = service.health_check.as_ref().map(|check| checks(check, &service.servers, tls)).transpose()?;
        let health = health(&servers, before.filter(|_| checks.is_some()));
        let built = Service {
            id: service.id.clone(),
            balance: balance(service, before)?,
            requests: service.max_connections.as_ref().map(|limit| {
                let before = before.and_then(|before| before.requests.as_deref());
                Box::new(Connections::new(&limit.source, limit.amount, before))
            }),
            sticky: service.sticky.as_ref().map(sticky).transpose()?,
            breaker: service.circuit_breaker.as_ref().map(|it| breaker(it, before)).transpose()?,
            buffering: service.buffering.as_ref().map(|it| Buffering::new(it).map(Arc::new)).transpose()?,
            health,
            checks: checks.map(Box::new),
            servers,
            document: Arc::clone(service),
            stats: match before {
                Some(before) if before.stats.series.fits(bounds) => Arc::clone(&before.stats),
                _ => Arc::new(ServiceStats::new(kept.workers, bounds)),
            },
        };
        built.balance.set_up(&built.health.flags());
        Ok(Arc::new(built))
    }

    fn server(&mut self, server: &snapshot::Server, tls: &UpstreamTls) -> Result<Arc<Server>, String> {
        if let Some(known) = self.servers.get(&server.url) {
            return Ok(Arc::clone(known));
        }
        let target = url::parse(&server.url).and_then(|url| Target::of(url, tls));
        let (target, host_header) = target.map_err(|error| format!("server {}: {error}", server.name))?;
        let id = Server::next_id();
        let built = Arc::new(Server { id, url: server.url.clone(), target, host_header });
        self.servers.insert(server.url.clone(), Arc::clone(&built));
        Ok(built)
    }
}

/// The balancer, where the one before had got to if it has the same to do.
fn balance(service: &snapshot::Service, before: Option<&Arc<Service>>) -> Result<Arc<dyn balance::Balancer>, String> {
    let kept = before
        .filter(|before| before.document.balancer == service.balancer && before.document.servers == service.servers);
    if let Some(before) = kept {
        return Ok(Arc::clone(&before.balance));
    }
    let weights: Vec<u64> = service.servers.iter().map(|server| server.weight).collect();
    balance::new(&service.balancer, &weights).ok_or_else(|| format!("balancer \"{}\" is unknown", service.balancer))
}

/// A server that was down stays down until it is asked again; one that is new is up until then.
fn health(servers: &[Arc<Server>], before: Option<&Arc<Service>>) -> Health {
    Health::new(servers.iter().map(|server| {
        let known = before.and_then(|before| {
            let index = before.servers.iter().position(|known| known.url == server.url)?;
            Some(before.is_up(index))
        });
        known.unwrap_or(true)
    }))
}

fn sticky(sticky: &snapshot::Sticky) -> Result<Box<Sticky>, String> {
    Sticky::new(&sticky.cookie_name, sticky.secure, sticky.http_only, &sticky.same_site).map(Box::new)
}

/// The breaker, with what it has seen if its condition is the same.
fn breaker(breaker: &snapshot::CircuitBreaker, before: Option<&Arc<Service>>) -> Result<Arc<Breaker>, String> {
    let kept = before.filter(|before| before.document.circuit_breaker.as_ref() == Some(breaker));
    match kept.and_then(|before| before.breaker.as_ref()) {
        Some(kept) => Ok(Arc::clone(kept)),
        None => Breaker::new(&breaker.expression).map(Arc::new),
    }
}

fn checks(
    check: &snapshot::HealthCheck,
    servers: &[snapshot::Server],
    tls: &Arc<UpstreamTls>,
) -> Result<Checks, String> {
    let wrong = |error: &str| Err(format!("health_check: {error}"));
    if !check.path.starts_with('/') || !check.path.bytes().all(|byte| byte.is_ascii_graphic()) {
        return wrong("path is not a path");
    }
    if !check.host.is_empty() && !is_valid_host(check.host.as_bytes()) {
        return wrong("host is not a host");
    }
    if check.interval_ms == 0 || check.timeout_ms == 0 {
        return wrong("interval_ms and timeout_ms have to be above 0");
    }
    let fits = |(name, value): &(String, String)| is_token(name.as_bytes()) && !value.chars().any(char::is_control);
    if !check.headers.iter().all(fits) {
        return wrong("headers has a name or a value that cannot stand in a header field");
    }
    let scheme = match check.scheme.as_str() {
        "" => None,
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        other => return wrong(&format!("scheme \"{other}\" is neither http nor https")),
    };
    let asked = |server: &snapshot::Server| {
        let url = match url::parse(&server.url)? {
            Url::Tcp { host, port, host_header, scheme: own } => Url::Tcp {
                host_header: if check.port == 0 { host_header } else { authority(&host, check.port) },
                host,
                port: if check.port == 0 { port } else { check.port },
                scheme: scheme.unwrap_or(own),
            },
            unix @ Url::Unix(_) => unix,
        };
        let (target, host) = Target::of(url, tls)?;
        Ok::<_, String>(Asked { target, host: if check.host.is_empty() { host } else { check.host.clone() } })
    };
    Ok(Checks {
        servers: servers.iter().map(asked).collect::<Result<_, _>>()?,
        path: check.path.clone(),
        headers: check.headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("host")).cloned().collect(),
        interval: Duration::from_millis(check.interval_ms),
        timeout: Duration::from_millis(check.timeout_ms),
        tls: Arc::clone(tls),
    })
}

/// Host and port as a URL has them.
fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}
