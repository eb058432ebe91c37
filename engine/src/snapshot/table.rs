//! The tables that requests are served from: a checked snapshot in the form in which it is quick to use.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState as Hasher;
use ipnet::IpNet;

use super::Object;
use crate::access_log::AccessLog;
use crate::balance::Balancer;
use crate::limit::{Connections, Limits};
use crate::metrics::series::Bounds;
use crate::middleware::{Middleware, Page};
use crate::route::modify::Modifier;
use crate::route::{Conditions, Router};
use crate::service::breaker::Breaker;
use crate::service::buffering::Buffering;
use crate::service::check::Checks;
use crate::service::connections::Connections as Requests;
use crate::service::health::Health;
use crate::service::sticky::Sticky;
use crate::stats::{EntryPointStats, ServiceStats};
use crate::tls::server::ServerTls;

/// Identifies a listening address as long as it is listened on.
pub(crate) type Slot = u32;

/// Everything in force. Replaced as a whole.
#[derive(Debug)]
pub(crate) struct Tables {
    /// The snapshot's revision; `None` before the first.
    pub(crate) revision: Option<u64>,
    /// What holds for everything.
    pub(crate) settings: Arc<Settings>,
    /// Entry points by their listener.
    pub(crate) entry_points: HashMap<Slot, EntryPoint, Hasher>,
    /// The services, for the counters.
    pub(crate) services: Vec<Arc<Service>>,
    /// Ids of all servers of the services: connections to others are not kept.
    pub(crate) servers: HashSet<u64>,
}

/// What holds for everything, in units of the engine.
#[derive(Debug)]
pub(crate) struct Settings {
    /// What `X-Forwarded-Server` says.
    pub(crate) server_name: String,
    /// Which log lines are written.
    pub(crate) log_level: tracing::level_filters::LevelFilter,
    /// How long a connection to a server may take.
    pub(crate) dial_timeout: Option<Duration>,
    /// How long a server may think, from the end of the request to the head of its answer.
    pub(crate) response_header_timeout: Option<Duration>,
    /// How long a client may take for a head, and for a TLS handshake.
    pub(crate) request_header_timeout: Option<Duration>,
    /// How long a whole request may take, from its first byte, or for the first of a connection from the beginning.
    pub(crate) read_timeout: Option<Duration>,
    /// How long the rest may take, from the end of the request's head to the end of the answer.
    pub(crate) write_timeout: Option<Duration>,
    /// How long whoever has to send, or take, something for an exchange to go on may leave it.
    pub(crate) stall_timeout: Option<Duration>,
    /// How long a client's connection may lie idle.
    pub(crate) idle_timeout: Option<Duration>,
    /// How long connections are still accepted after a stop.
    pub(crate) request_accept_grace_timeout: Duration,
    /// How long requests may still run after that.
    pub(crate) grace_timeout: Duration,
    /// Idle connections kept per server and worker.
    pub(crate) max_idle_per_server: usize,
    /// How often a request is tried if servers cannot be reached, the first time included; 0: as often as there are
    /// servers. Nothing: each server once.
    pub(crate) retry: Option<u32>,
    /// How requests are logged.
    pub(crate) access_log: Option<Arc<AccessLog>>,
    /// If requests are measured: the histograms' buckets.
    pub(crate) metrics: Option<Arc<Bounds>>,
}

/// An entry point with its routes.
#[derive(Debug, Clone)]
pub(crate) struct EntryPoint {
    /// Its name.
    pub(crate) name: String,
    /// Whose forwarded headers are believed.
    pub(crate) trust: Trust,
    /// Whose PROXY protocol headers are believed, if such headers are taken.
    pub(crate) proxy_protocol: Option<Trust>,
    /// Whether the engine answers `/ping` here.
    pub(crate) ping: bool,
    /// Whether the engine answers `/metrics` here.
    pub(crate) metrics: bool,
    /// TLS, if it is spoken.
    pub(crate) tls: Option<Arc<ServerTls>>,
    /// How many connections are let in.
    pub(crate) limits: Limits,
    /// Those that are open.
    pub(crate) connections: Arc<Connections>,
    /// The port that it listens on.
    pub(crate) port: u16,
    /// What is done with requests before their routes are; the outermost first.
    pub(crate) middlewares: Arc<[Middleware]>,
    /// The routes, in order.
    pub(crate) router: Router,
    /// The counter.
    pub(crate) stats: Arc<EntryPointStats>,
}

/// Whose word about where a request came from is taken.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trust {
    /// Everybody's.
    pub(crate) everybody: bool,
    /// Those of these peers.
    pub(crate) networks: Vec<IpNet>,
}

/// What happens to a request, once its route is found.
#[derive(Debug)]
pub(crate) struct Route {
    /// The route's id.
    pub(crate) id: String,
    /// Of two routes that match the one of higher priority takes the request.
    pub(crate) priority: i64,
    /// When it matches.
    pub(crate) conditions: Arc<Conditions>,
    /// Changes of the path, in order.
    pub(crate) modifiers: Arc<[Modifier]>,
    /// Where the request goes.
    pub(crate) service: Arc<Service>,
    /// Whether the server is told the client's Host.
    pub(crate) pass_host_header: bool,
    /// Organisations that are admitted; empty admits everybody.
    pub(crate) client_roles: Vec<String>,
    /// Whether the server is told who the client's certificate names.
    pub(crate) forward_client_identity: bool,
    /// What is done with its requests; the outermost first.
    pub(crate) middlewares: Arc<[Middleware]>,
    /// What clients get instead of answers of certain statuses.
    pub(crate) pages: Arc<[Page]>,
}

/// Servers and the order in which they are chosen.
#[derive(Debug)]
pub(crate) struct Service {
    /// The service's id.
    pub(crate) id: String,
    /// The servers.
    pub(crate) servers: Vec<Arc<Server>>,
    /// Who is next.
    pub(crate) balance: Arc<dyn Balancer>,
    /// Who may be chosen.
    pub(crate) health: Health,
    /// What it was built from.
    pub(crate) document: Arc<Object<super::Service>>,
    /// How servers are asked whether they are healthy.
    pub(crate) checks: Option<Box<Checks>>,
    /// How clients are kept to their servers.
    pub(crate) sticky: Option<Box<Sticky>>,
    /// How many requests of a client are under way.
    pub(crate) requests: Option<Box<Requests>>,
    /// Refuses everybody for a while.
    pub(crate) breaker: Option<Arc<Breaker>>,
    /// Whether bodies are read whole first.
    pub(crate) buffering: Option<Arc<Buffering>>,
    /// The counters.
    pub(crate) stats: Arc<ServiceStats>,
}

/// One server. The same one, with the same id, as long as its URL and the TLS settings stay.
#[derive(Debug)]
pub(crate) struct Server {
    /// Names its connections in the pools.
    pub(crate) id: u64,
    /// The URL as configured, for logs.
    pub(crate) url: String,
    /// Where to connect.
    pub(crate) target: crate::pool::connect::Target,
    /// What Host says if the client's is not passed on.
    pub(crate) host_header: String,
}

impl Trust {
    /// Whether an address is one of those that are named. IPv4 in IPv6's clothes counts as IPv4.
    pub(crate) fn names(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(&address))
    }
}

impl Server {
    /// An id that no other server has.
    pub(crate) fn next_id() -> u64 {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        NEXT.fetch_add(1, Ordering::Relaxed)
    }
}

impl Route {
    /// The frontend's name: what follows the provider in the id.
    pub(crate) fn name(&self) -> &str {
        bare(&self.id)
    }
}

impl Service {
    /// The backend's name: what follows the provider in the id.
    pub(crate) fn name(&self) -> &str {
        bare(&self.id)
    }

    /// Whether a server gets requests.
    pub(crate) fn is_up(&self, index: usize) -> bool {
        self.health.is_up(index)
    }

    /// Says how a server is; returns whether that is news.
    pub(crate) fn set_health(&self, index: usize, is_up: bool) -> bool {
        let is_news = self.health.set(index, is_up);
        if is_news {
            self.balance.set_up(&self.health.flags());
        }
        is_news
    }

    /// The server with this URL, if it is up.
    pub(crate) fn named(&self, url: &[u8]) -> Option<usize> {
        let index = self.servers.iter().position(|server| server.url.as_bytes() == url)?;
        self.is_up(index).then_some(index)
    }

    /// Another server than those that could not be reached.
    pub(crate) fn other(&self, unreachable: &[usize]) -> Option<usize> {
        let next = self.balance.next().filter(|index| !unreachable.contains(index));
        next.or_else(|| {
            let weighted = |index: &usize| self.document.servers.get(*index).is_some_and(|server| server.weight > 0);
            let others = (0..self.servers.len()).filter(|index| weighted(index) && self.is_up(*index));
            others.into_iter().find(|index| !unreachable.contains(index))
        })
    }

    /// One without servers.
    #[cfg(test)]
    pub(crate) fn empty() -> Self {
        let text = r#"{"id": "", "balancer": "wrr", "servers": [], "sticky": null, "health_check": null,
            "max_connections": null, "circuit_breaker": null, "buffering": null}"#;
        Self {
            id: String::new(),
            servers: Vec::new(),
            balance: crate::balance::new("wrr", &[]).unwrap(),
            health: Health::new(std::iter::empty()),
            document: Arc::new(Object::read(text).unwrap()),
            checks: None,
            sticky: None,
            requests: None,
            breaker: None,
            buffering: None,
            stats: Arc::new(ServiceStats::new(1, None)),
        }
    }
}

fn bare(id: &str) -> &str {
    id.split_once('/').map_or(id, |(_, name)| name)
}

impl Tables {
    /// Tables of an engine that was not told anything yet.
    pub(crate) fn empty() -> Self {
        Self {
            revision: None,
            settings: Arc::new(Settings {
                server_name: String::new(),
                log_level: tracing::level_filters::LevelFilter::INFO,
                dial_timeout: None,
                response_header_timeout: None,
                request_header_timeout: Some(Duration::from_secs(60)),
                read_timeout: None,
                write_timeout: None,
                stall_timeout: None,
                idle_timeout: None,
                request_accept_grace_timeout: Duration::ZERO,
                grace_timeout: Duration::from_secs(10),
                max_idle_per_server: 0,
                retry: None,
                access_log: None,
                metrics: None,
            }),
            entry_points: HashMap::default(),
            services: Vec::new(),
            servers: HashSet::new(),
        }
    }
}
