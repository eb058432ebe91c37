//! Services and their servers.

use std::collections::HashMap;
use std::sync::Arc;

use rustls_pki_types::ServerName;

use super::Kept;
use crate::balance::Balance;
use crate::metrics::series::Bounds;
use crate::pool::connect::{ClientTls, Target};
use crate::snapshot;
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
        service: &snapshot::Service,
        kept: &Kept<'_>,
        tls: &UpstreamTls,
        bounds: Option<&Arc<Bounds>>,
    ) -> Result<Arc<Service>, String> {
        if service.balancer != "wrr" {
            return Err(format!("balancer \"{}\" is unknown", service.balancer));
        }
        let before = self.services.get(service.id.as_str()).copied();
        let servers: Vec<_> =
            service.servers.iter().map(|server| self.server(server, tls)).collect::<Result<_, _>>()?;
        if let Some(before) = before.filter(|before| {
            let same = |(a, b): (&Arc<Server>, &Arc<Server>)| Arc::ptr_eq(a, b);
            before.identity == service.servers
                && before.stats.series.fits(bounds)
                && before.servers.iter().zip(&servers).all(same)
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
                Some(before) if before.stats.series.fits(bounds) => Arc::clone(&before.stats),
                _ => Arc::new(ServiceStats::new(kept.workers, bounds)),
            },
        }))
    }

    fn server(&mut self, server: &snapshot::Server, tls: &UpstreamTls) -> Result<Arc<Server>, String> {
        if let Some(known) = self.servers.get(&server.url) {
            return Ok(Arc::clone(known));
        }
        let wrong = |error: String| format!("server {}: {error}", server.name);
        let (target, host_header) = match url::parse(&server.url).map_err(wrong)? {
            Url::Unix(path) => (Target::Unix(path), "localhost".to_owned()),
            Url::Tcp { host, port, host_header, scheme } => {
                let tls = (scheme == Scheme::Https).then(|| {
                    let name = ServerName::try_from(host.clone()).map_err(|error| wrong(format!("{host}: {error}")))?;
                    Ok::<_, String>(ClientTls { config: Arc::clone(&tls.config), http1: Arc::clone(&tls.http1), name })
                });
                (Target::Tcp { host, port, tls: tls.transpose()?, h2c: scheme == Scheme::H2c }, host_header)
            }
        };
        let id = Server::next_id();
        let built = Arc::new(Server { id, url: server.url.clone(), target, host_header });
        self.servers.insert(server.url.clone(), Arc::clone(&built));
        Ok(built)
    }
}
