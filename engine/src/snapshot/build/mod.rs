//! From a snapshot to tables: everything is checked, all problems are found at once, and what stayed the same is kept.

mod entry_points;
mod routes;
mod services;
mod settings;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use services::Known;

use super::table::{EntryPoint, Route, Service, Settings, Tables};
use super::{Kind, Problem, Snapshot};
use crate::stats::EntryPointStats;
use crate::tls::server::identified;
use crate::tls::upstream::UpstreamTls;

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
    let settings = problems.of(Kind::Settings, "", settings::settings(&snapshot.settings));
    let upstream_tls = problems.of(Kind::Settings, "", settings::upstream_tls(snapshot, kept));

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
        let built = problems.of(Kind::EntryPoint, name, entry_points::entry_point(entry_point, &certificates, kept));
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
        let modifiers = problems.of(Kind::Route, &route.id, routes::modifiers(&route.modifiers));
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
        let matchers = problems.of(Kind::Route, &route.id, routes::matchers(&route.matchers));
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
