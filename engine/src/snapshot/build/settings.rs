//! What holds for everything.

use std::sync::Arc;
use std::time::Duration;

use tracing::level_filters::LevelFilter;

use super::Kept;
use crate::metrics::series::Bounds;
use crate::snapshot;
use crate::snapshot::Snapshot;
use crate::snapshot::table::Settings;
use crate::tls::upstream::{self, UpstreamTls};

pub(super) fn settings(settings: &snapshot::Settings) -> Result<Settings, String> {
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
        read_timeout: time(settings.read_timeout_ms),
        write_timeout: time(settings.write_timeout_ms),
        stall_timeout: time(settings.stall_timeout_ms),
        idle_timeout: time(settings.idle_timeout_ms),
        request_accept_grace_timeout: Duration::from_millis(settings.request_accept_grace_timeout_ms),
        grace_timeout: Duration::from_millis(settings.grace_timeout_ms),
        max_idle_per_server: settings.max_idle_connections_per_server,
        retry: settings.retry.as_ref().map(|retry| retry.attempts),
        // It is opened when everything else was found good.
        access_log: None,
        metrics: settings.metrics.as_ref().map(|it| Bounds::build(&it.buckets)).transpose()?.map(Arc::new),
    })
}

pub(super) fn upstream_tls(snapshot: &Snapshot, kept: &Kept<'_>) -> Result<Arc<UpstreamTls>, String> {
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
