//! From a snapshot to tables: everything is checked, all problems are found at once, and what stayed the same is kept.

mod entry_points;
mod middlewares;
mod routes;
mod services;
mod settings;

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;

use entry_points::Secrets;
use services::Known;

use super::table::{EntryPoint, Route, Service, Settings, Tables};
use super::{Kind, Object, Problem, Snapshot};
use crate::access_log::fields::Layout;
use crate::metrics::series::Bounds;
use crate::middleware::{Middleware, Page, States};
use crate::route::Router;
use crate::stats::EntryPointStats;
use crate::tls::upstream::UpstreamTls;

/// What new tables may take over from those in force.
#[derive(Debug)]
pub(crate) struct Kept<'a> {
    /// The tables in force.
    pub(crate) tables: &'a Tables,
    /// What they were built from.
    pub(crate) sources: Option<&'a Sources>,
    /// How servers are verified now.
    pub(crate) upstream_tls: Option<&'a Arc<UpstreamTls>>,
    /// The counters of entry points, by name.
    pub(crate) entry_point_stats: &'a HashMap<String, Arc<EntryPointStats>>,
    /// What middlewares remember.
    pub(crate) states: &'a States,
    /// The number of workers.
    pub(crate) workers: usize,
}

/// What tables were built from, so that what is the same in the next snapshot is not built again.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The snapshot.
    pub(crate) snapshot: Snapshot,
    /// What became of its entry points, with their addresses; in the same order.
    entry_points: Vec<(SocketAddr, EntryPoint)>,
    /// What became of its services, in the same order.
    services: Vec<Arc<Service>>,
    /// What became of its routes, in the same order.
    routes: Vec<Arc<Route>>,
}

/// Tables, but for the listeners.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) revision: u64,
    pub(crate) settings: Settings,
    /// What is logged of requests, and the file.
    pub(crate) access_log: Option<(Layout, String)>,
    /// Each with the address that it listens on.
    pub(crate) entry_points: Vec<(SocketAddr, EntryPoint)>,
    pub(crate) services: Vec<Arc<Service>>,
    pub(crate) upstream_tls: Arc<UpstreamTls>,
    pub(crate) sources: Sources,
}

impl Built {
    /// The ids of all servers that connections are kept to: the services', and those that middlewares ask.
    pub(crate) fn servers(&self) -> HashSet<u64> {
        let of_services = self.services.iter().flat_map(|service| &service.servers).map(|server| server.id);
        let chains = self.sources.routes.iter().map(|route| &route.middlewares);
        let chains = chains.chain(self.entry_points.iter().map(|(_, entry_point)| &entry_point.middlewares));
        let asked = chains.flat_map(|chain| chain.iter()).filter_map(Middleware::server).map(|server| server.id);
        of_services.chain(asked).collect()
    }
}

/// Checks a snapshot and builds what it says, or tells everything that is wrong with it.
pub(crate) fn build(snapshot: Snapshot, kept: &Kept<'_>) -> Result<Built, Vec<Problem>> {
    let mut problems = Problems::default();
    let settings = problems.of(Kind::Settings, "", settings::settings(&snapshot.settings));
    let bounds = settings.as_ref().and_then(|settings| settings.metrics.as_ref());
    let access_log = snapshot.settings.access_log.as_ref().and_then(|it| {
        let layout = problems.of(Kind::Settings, "", Layout::build(it))?;
        Some((layout, it.file_path.clone()))
    });
    let upstream_tls = problems.of(Kind::Settings, "", settings::upstream_tls(&snapshot, kept));
    let same = Same::of(&snapshot, kept, upstream_tls.as_ref());
    let services = services(&snapshot, kept, &same, upstream_tls.as_ref(), bounds, &mut problems);
    let entry_points = entry_points(&snapshot, kept, &same, bounds, &mut problems);
    let routes = routes(&snapshot, kept, &same, &services, &mut problems);
    let (Some(settings), Some(upstream_tls), true) = (settings, upstream_tls, problems.0.is_empty()) else {
        return Err(problems.0);
    };
    let services = services.in_order;
    let mut entry_points: Vec<_> = entry_points.into_iter().flatten().collect();
    connect(&mut entry_points, &snapshot, &routes, kept);
    Ok(Built {
        revision: snapshot.revision,
        settings,
        access_log,
        entry_points: entry_points.clone(),
        services: services.clone(),
        upstream_tls,
        sources: Sources { snapshot, entry_points, services, routes },
    })
}

/// What is the same as before. Objects are compared by their documents.
struct Same<'a> {
    /// Services, if what they all depend on is the same too.
    services: HashMap<*const Object<super::Service>, &'a Arc<Service>>,
    /// Routes; their services may have changed.
    routes: HashMap<*const Object<super::Route>, &'a Arc<Route>>,
    /// Entry points, if all of them are the same, their certificates too.
    entry_points: Option<&'a [(SocketAddr, EntryPoint)]>,
}

impl<'a> Same<'a> {
    fn of(snapshot: &Snapshot, kept: &Kept<'a>, upstream_tls: Option<&Arc<UpstreamTls>>) -> Self {
        let nothing = Self { services: HashMap::new(), routes: HashMap::new(), entry_points: None };
        let Some(before) = kept.sources else { return nothing };
        let same_settings = before.snapshot.settings.same_but_for_ticket_keys(&snapshot.settings);
        let same_tls = match (upstream_tls, kept.upstream_tls) {
            (Some(tls), Some(before)) => Arc::ptr_eq(tls, before),
            _ => false,
        };
        if !same_settings || !same_tls {
            return nothing;
        }
        let documents = &before.snapshot;
        let same_entry_points = documents.settings.ticket_keys == snapshot.settings.ticket_keys
            && same(&documents.entry_points, &snapshot.entry_points)
            && same(&documents.certificates, &snapshot.certificates);
        Self {
            services: documents.services.iter().map(Arc::as_ptr).zip(&before.services).collect(),
            routes: documents.routes.iter().map(Arc::as_ptr).zip(&before.routes).collect(),
            entry_points: same_entry_points.then_some(&before.entry_points),
        }
    }
}

fn same<T>(a: &[Arc<T>], b: &[Arc<T>]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| Arc::ptr_eq(a, b))
}

/// Services by id and in the snapshot's order.
#[derive(Default)]
struct Services<'a> {
    by_id: HashMap<&'a str, Option<Arc<Service>>>,
    in_order: Vec<Arc<Service>>,
}

fn services<'a>(
    snapshot: &'a Snapshot,
    kept: &Kept<'_>,
    same: &Same<'_>,
    upstream_tls: Option<&Arc<UpstreamTls>>,
    bounds: Option<&Arc<Bounds>>,
    problems: &mut Problems,
) -> Services<'a> {
    let mut services = Services::default();
    let Some(tls) = upstream_tls else { return services };
    let mut known = None;
    for service in &snapshot.services {
        problems.unique(Kind::Service, &service.id, services.by_id.contains_key(service.id.as_str()));
        let built = match same.services.get(&Arc::as_ptr(service)) {
            Some(built) => Some(Arc::clone(built)),
            None => {
                let known = known.get_or_insert_with(|| Known::of(kept, tls));
                problems.of(Kind::Service, &service.id, known.service(service, kept, tls, bounds))
            }
        };
        services.in_order.extend(built.clone());
        services.by_id.insert(&service.id, built);
    }
    services
}

/// Entry points without their routes; `None` for what has a problem.
fn entry_points(
    snapshot: &Snapshot,
    kept: &Kept<'_>,
    same: &Same<'_>,
    bounds: Option<&Arc<Bounds>>,
    problems: &mut Problems,
) -> Vec<Option<(SocketAddr, EntryPoint)>> {
    if let Some(before) = same.entry_points {
        return before.iter().cloned().map(Some).collect();
    }
    let secrets = Secrets::read(snapshot, kept, problems);
    let mut names = HashSet::new();
    let mut listening: Vec<Option<(SocketAddr, EntryPoint)>> = Vec::new();
    for entry_point in &snapshot.entry_points {
        let name = entry_point.name.as_str();
        problems.unique(Kind::EntryPoint, name, !names.insert(name));
        let middlewares = middlewares::of_entry_point(entry_point, kept);
        let middlewares = problems.all_of(Kind::EntryPoint, name, middlewares).unwrap_or_else(|| Arc::from([]));
        let built = entry_points::entry_point(entry_point, &secrets, kept, bounds, middlewares);
        let built = problems.of(Kind::EntryPoint, name, built);
        let twin = built.as_ref().and_then(|(address, _)| {
            let same = |other: &&(SocketAddr, EntryPoint)| other.0 == *address && address.port() != 0;
            listening.iter().flatten().find(same).map(|other| other.1.name.clone())
        });
        if let Some(twin) = twin {
            problems.add(Kind::EntryPoint, name, format!("entry point {twin} has the same address"));
        }
        listening.push(built);
    }
    listening
}

/// Routes, as many of them as have no problem.
fn routes(
    snapshot: &Snapshot,
    kept: &Kept<'_>,
    same: &Same<'_>,
    services: &Services<'_>,
    problems: &mut Problems,
) -> Vec<Arc<Route>> {
    let entry_points: HashSet<&str> = snapshot.entry_points.iter().map(|it| it.name.as_str()).collect();
    let mut ids = HashSet::with_capacity(snapshot.routes.len());
    let mut routes = Vec::with_capacity(snapshot.routes.len());
    for route in &snapshot.routes {
        problems.unique(Kind::Route, &route.id, !ids.insert(route.id.as_str()));
        for name in &route.entry_points {
            if !entry_points.contains(name.as_str()) {
                problems.add(Kind::Route, &route.id, format!("there is no entry point {name}"));
            }
        }
        let before = same.routes.get(&Arc::as_ptr(route)).copied();
        let compiled = before.map_or_else(|| routes::compile(route, kept), |before| Ok(routes::Compiled::of(before)));
        let compiled = problems.all_of(Kind::Route, &route.id, compiled);
        let service = match services.by_id.get(route.service.as_str()) {
            Some(service) => service.as_ref(),
            // Without a way to speak TLS to servers no service was built, which has been told.
            None if services.by_id.is_empty() && !snapshot.services.is_empty() => None,
            None => {
                problems.add(Kind::Route, &route.id, format!("there is no service {}", route.service));
                None
            }
        };
        let pages = problems.all_of(Kind::Route, &route.id, middlewares::pages(route, services)).flatten();
        let (Some(compiled), Some(service), Some(pages)) = (compiled, service, pages) else { continue };
        let stays = |before: &&Arc<Route>| {
            let same = |(a, b): (&Page, &Page)| Arc::ptr_eq(&a.route.service, &b.route.service);
            Arc::ptr_eq(&before.service, service)
                && before.pages.len() == pages.len()
                && before.pages.iter().zip(&*pages).all(same)
        };
        routes.push(match before.filter(stays) {
            Some(before) => Arc::clone(before),
            None => Arc::new(routes::route(route, compiled, Arc::clone(service), pages)),
        });
    }
    routes
}

/// A route, with its document.
type Documented<'a> = (&'a super::Route, &'a Arc<Route>);

fn documented<'a>(snapshot: &'a Snapshot, routes: &'a [Arc<Route>]) -> Vec<Documented<'a>> {
    snapshot.routes.iter().zip(routes).map(|(document, route)| (&***document, route)).collect()
}

/// Gives entry points their routes: to those that were there before, what has changed.
fn connect(entry_points: &mut [(SocketAddr, EntryPoint)], snapshot: &Snapshot, routes: &[Arc<Route>], kept: &Kept<'_>) {
    let now = documented(snapshot, routes);
    let before = kept.sources.map(|sources| documented(&sources.snapshot, &sources.routes)).unwrap_or_default();
    let is_in = |routes: &[Documented<'_>]| -> HashSet<*const Route> {
        routes.iter().map(|(_, route)| Arc::as_ptr(route)).collect()
    };
    let (in_now, in_before) = (is_in(&now), is_in(&before));
    let removed: Vec<_> = before.iter().filter(|(_, route)| !in_now.contains(&Arc::as_ptr(route))).copied().collect();
    let added: Vec<_> = now.iter().filter(|(_, route)| !in_before.contains(&Arc::as_ptr(route))).copied().collect();
    for (_, entry_point) in entry_points {
        let name = &entry_point.name;
        let known = kept.sources.and_then(|sources| sources.entry_points.iter().find(|(_, it)| it.name == *name));
        entry_point.router = match known {
            Some((_, known)) => known.router.changed(on(name, &removed), on(name, &added)),
            None => Router::default().changed(std::iter::empty(), on(name, &now)),
        };
    }
}

/// Those of the routes that are on this entry point.
fn on<'a>(name: &str, routes: &[Documented<'a>]) -> impl Iterator<Item = &'a Arc<Route>> {
    let on = routes.iter().filter(move |(document, _)| document.entry_points.iter().any(|one| one == name));
    on.map(|(_, route)| *route)
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

    fn all_of<T>(&mut self, kind: Kind, id: &str, result: Result<T, Vec<String>>) -> Option<T> {
        result.map_err(|errors| errors.into_iter().for_each(|error| self.add(kind, id, error))).ok()
    }

    fn unique(&mut self, kind: Kind, id: &str, is_there: bool) {
        if is_there {
            self.add(kind, id, "there is more than one of this name".to_owned());
        }
    }
}
