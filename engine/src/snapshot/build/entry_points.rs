//! Entry points, but for their routes.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use ipnet::IpNet;

use super::Kept;
use crate::limit::Limits;
use crate::metrics::series::Bounds;
use crate::route::Router;
use crate::snapshot;
use crate::snapshot::table::{EntryPoint, Trust};
use crate::stats::EntryPointStats;
use crate::tls::server::{Identified, ServerTls};

/// Certificates by id, with what was read from them.
pub(super) type Certificates<'a> = HashMap<&'a str, (&'a snapshot::Certificate, Option<Identified>)>;

pub(super) fn entry_point(
    entry_point: &snapshot::EntryPoint,
    certificates: &Certificates<'_>,
    kept: &Kept<'_>,
    bounds: Option<&Arc<Bounds>>,
) -> Result<(SocketAddr, EntryPoint), String> {
    let address = crate::listen::resolve(&entry_point.address)?;
    let trust = trust("forwarded_headers", &entry_point.forwarded_headers)?;
    let proxy_protocol = entry_point.proxy_protocol.as_ref().map(|peers| self::trust("proxy_protocol", peers));
    let tls = match &entry_point.tls {
        None => None,
        Some(tls) => server_tls(&entry_point.name, tls, certificates, kept)?,
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
        router: Router::default(),
        stats,
    };
    Ok((address, built))
}

/// `Ok(None)` if a certificate could not be read, which has been told already.
fn server_tls(
    name: &str,
    tls: &snapshot::Tls,
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

fn trust(field: &str, peers: &snapshot::TrustedPeers) -> Result<Trust, String> {
    let network = |text: &String| {
        let address = text.parse::<IpAddr>().map(IpNet::from);
        let wrong = |_| format!("{field}.trusted_ips: \"{text}\" is neither an address nor a network");
        address.or_else(|_| text.parse()).map_err(wrong)
    };
    let networks = peers.trusted_ips.iter().map(network).collect::<Result<_, _>>()?;
    Ok(Trust { everybody: peers.insecure, networks })
}
