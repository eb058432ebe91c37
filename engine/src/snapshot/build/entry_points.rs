//! Entry points, but for their routes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::{Kept, Problems};
use crate::limit::Limits;
use crate::metrics::series::Bounds;
use crate::middleware::Middleware;
use crate::route::Router;
use crate::snapshot::table::{EntryPoint, Trust};
use crate::snapshot::{self, Kind, Snapshot};
use crate::stats::EntryPointStats;
use crate::tls::certificate::{Identified, Known};
use crate::tls::server::{ServerTls, Shown};
use crate::tls::ticket::TicketKeys;

/// What entry points speak TLS with. What could not be read, and was told, is `None`.
pub(super) struct Secrets<'a> {
    /// By id.
    certificates: HashMap<&'a str, Option<Arc<Identified>>>,
    ticket_keys: Option<Arc<TicketKeys>>,
}

impl<'a> Secrets<'a> {
    /// Reads what has changed.
    pub(super) fn read(snapshot: &'a Snapshot, kept: &Kept<'_>, problems: &mut Problems) -> Self {
        let before = || kept.tables.entry_points.values().filter_map(|before| before.tls.as_ref());
        let known = Known::of(before().flat_map(|tls| tls.certificates()));
        let mut certificates = HashMap::with_capacity(snapshot.certificates.len());
        for certificate in &snapshot.certificates {
            problems.unique(Kind::Certificate, &certificate.id, certificates.contains_key(certificate.id.as_str()));
            let read = problems.of(Kind::Certificate, &certificate.id, known.read(certificate));
            certificates.insert(certificate.id.as_str(), read);
        }
        let documents = &snapshot.settings.ticket_keys.0;
        let ticket_keys = match before().map(|tls| tls.keys()).find(|keys| keys.are(documents)) {
            Some(keys) => Some(Arc::clone(keys)),
            None => problems.of(Kind::Settings, "", TicketKeys::read(documents).map(Arc::new)),
        };
        Self { certificates, ticket_keys }
    }
}

pub(super) fn entry_point(
    entry_point: &snapshot::EntryPoint,
    secrets: &Secrets<'_>,
    kept: &Kept<'_>,
    bounds: Option<&Arc<Bounds>>,
    middlewares: Arc<[Middleware]>,
) -> Result<(SocketAddr, EntryPoint), String> {
    let address = crate::listen::resolve(&entry_point.address)?;
    let trust = trust("forwarded_headers", &entry_point.forwarded_headers)?;
    let proxy_protocol = entry_point.proxy_protocol.as_ref().map(|peers| self::trust("proxy_protocol", peers));
    let tls = match &entry_point.tls {
        None => None,
        Some(tls) => server_tls(&entry_point.name, tls, secrets, kept)?,
    };
    let stats = match kept.entry_point_stats.get(&entry_point.name) {
        Some(stats) if stats.series.fits(bounds) => Arc::clone(stats),
        _ => Arc::new(EntryPointStats::new(kept.workers, bounds)),
    };
    let before = kept.tables.entry_points.values().find(|before| before.name == entry_point.name);
    let limit = |number: u32| (number > 0).then_some(number);
    let built = EntryPoint {
        name: entry_point.name.clone(),
        trust,
        proxy_protocol: proxy_protocol.transpose()?,
        ping: entry_point.ping,
        metrics: entry_point.metrics,
        tls,
        limits: Limits {
            total: limit(entry_point.limits.max_connections),
            per_client: limit(entry_point.limits.max_connections_per_client),
        },
        connections: before.map(|before| Arc::clone(&before.connections)).unwrap_or_default(),
        port: address.port(),
        middlewares,
        router: Router::default(),
        stats,
    };
    Ok((address, built))
}

/// `Ok(None)` if a certificate or key could not be read, which has been told already.
fn server_tls(
    name: &str,
    tls: &snapshot::Tls,
    secrets: &Secrets<'_>,
    kept: &Kept<'_>,
) -> Result<Option<Arc<ServerTls>>, String> {
    let find = |id: &String| {
        let found = secrets.certificates.get(id.as_str());
        found.map(Option::as_ref).ok_or_else(|| format!("there is no certificate {id}"))
    };
    let named = tls.certificates.iter().map(find).collect::<Result<Vec<_>, _>>()?;
    let default = find(&tls.default_certificate)?;
    let named: Option<Vec<_>> = named.into_iter().map(|identified| identified.cloned()).collect();
    let (Some(named), Some(default), Some(keys)) = (named, default, &secrets.ticket_keys) else { return Ok(None) };
    let shown = Shown { named, default: Arc::clone(default) };
    let before = kept.tables.entry_points.values().find(|before| before.name == name).and_then(|it| it.tls.as_ref());
    let built = match before {
        Some(before) => before.rebuilt(tls, shown, keys),
        None => ServerTls::build(tls, shown, Arc::clone(keys)).map(Arc::new),
    };
    built.map(Some)
}

fn trust(field: &str, peers: &snapshot::TrustedPeers) -> Result<Trust, String> {
    let network = |text: &String| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let wrong = |_| format!("{field}.trusted_ips: \"{text}\" is neither an address nor a network");
        address.or_else(|_| text.parse()).map_err(wrong)
    };
    let networks = peers.trusted_ips.iter().map(network).collect::<Result<_, _>>()?;
    Ok(Trust { everybody: peers.insecure, networks })
}
