//! The snapshot: the document as the agent sends it. Strict: every field is present, nothing unknown is accepted.

pub(crate) mod build;
pub(crate) mod document;
pub(crate) mod middleware;
pub(crate) mod table;
pub(crate) mod url;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize};

pub(crate) use document::{Object, present_text};

use crate::service::source::Source;

/// The format that this engine understands.
pub(crate) const FORMAT: u32 = 1;
/// The oldest one that it understands beside: during an upgrade of a cluster the one before is still published.
pub(crate) const OLDEST_FORMAT: u32 = 1;

/// A whole routing configuration. Objects are shared by the snapshots in which they are the same. The order of a list
/// means nothing.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) revision: u64,
    pub(crate) settings: Arc<Object<Settings>>,
    pub(crate) entry_points: Vec<Arc<Object<EntryPoint>>>,
    pub(crate) routes: Vec<Arc<Object<Route>>>,
    pub(crate) services: Vec<Arc<Object<Service>>>,
    pub(crate) certificates: Vec<Arc<Object<Certificate>>>,
}

/// What holds for everything. Times are in milliseconds; 0 means none.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    pub(crate) server_name: String,
    pub(crate) log_level: String,
    pub(crate) dial_timeout_ms: u64,
    pub(crate) response_header_timeout_ms: u64,
    pub(crate) request_header_timeout_ms: u64,
    pub(crate) read_timeout_ms: u64,
    pub(crate) write_timeout_ms: u64,
    pub(crate) stall_timeout_ms: u64,
    pub(crate) idle_timeout_ms: u64,
    pub(crate) request_accept_grace_timeout_ms: u64,
    pub(crate) grace_timeout_ms: u64,
    pub(crate) max_idle_connections_per_server: usize,
    pub(crate) insecure_skip_verify: bool,
    pub(crate) root_ca_pem: String,
    pub(crate) ticket_keys: Secret<Vec<String>>,
    #[serde(deserialize_with = "present")]
    pub(crate) retry: Option<Retry>,
    #[serde(deserialize_with = "present")]
    pub(crate) access_log: Option<AccessLog>,
    #[serde(deserialize_with = "present")]
    pub(crate) metrics: Option<Metrics>,
}

/// How often a request is tried, the first time included; 0: as often as the service has servers.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Retry {
    pub(crate) attempts: u32,
}

/// How requests are logged.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessLog {
    /// Empty: standard output.
    pub(crate) file_path: String,
    pub(crate) format: String,
    pub(crate) buffering_size: u32,
    pub(crate) filters: AccessLogFilters,
    pub(crate) fields: AccessLogFields,
}

/// Which requests are logged: those that any of these accepts.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessLogFilters {
    /// Ranges, both ends included.
    pub(crate) status_codes: Vec<(u16, u16)>,
    pub(crate) retry_attempts: bool,
    pub(crate) min_duration_ms: u64,
}

/// What of a request is logged. Modes are `keep` and `drop`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessLogFields {
    pub(crate) default_mode: String,
    pub(crate) names: BTreeMap<String, String>,
    pub(crate) headers: AccessLogHeaders,
}

/// Which headers are logged. Modes are `keep`, `drop` and `redact`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AccessLogHeaders {
    pub(crate) default_mode: String,
    pub(crate) names: BTreeMap<String, String>,
}

/// How requests are measured.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Upper bounds of the histograms' buckets, in seconds, rising; without infinity.
    pub(crate) buckets: Vec<f64>,
}

impl Settings {
    /// Whether nothing differs but the keys of session tickets, on which only entry points depend.
    pub(crate) fn same_but_for_ticket_keys(&self, other: &Self) -> bool {
        let keys = other.ticket_keys.clone();
        Self { ticket_keys: keys, ..self.clone() } == *other
    }
}

/// What must not reach a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Secret<T>(pub(crate) T);

impl<T> std::fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Where clients connect.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct EntryPoint {
    pub(crate) name: String,
    pub(crate) address: String,
    pub(crate) forwarded_headers: TrustedPeers,
    pub(crate) limits: Limits,
    #[serde(deserialize_with = "present")]
    pub(crate) proxy_protocol: Option<TrustedPeers>,
    pub(crate) ping: bool,
    pub(crate) metrics: bool,
    #[serde(deserialize_with = "present")]
    pub(crate) tls: Option<Tls>,
    /// The outermost first.
    pub(crate) middlewares: Vec<middleware::Middleware>,
}

/// How many connections an entry point lets in; 0 means any number.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) max_connections: u32,
    pub(crate) max_connections_per_client: u32,
}

/// Whose word is taken: everybody's (`insecure`), or that of these addresses and networks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TrustedPeers {
    pub(crate) insecure: bool,
    pub(crate) trusted_ips: Vec<String>,
}

/// How an entry point speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Tls {
    pub(crate) certificates: Vec<String>,
    pub(crate) default_certificate: String,
    pub(crate) min_version: String,
    pub(crate) cipher_suites: Vec<String>,
    pub(crate) sni_strict: bool,
    #[serde(deserialize_with = "present")]
    pub(crate) client_ca: Option<ClientCa>,
}

/// Whose client certificates are accepted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientCa {
    pub(crate) pem: String,
    pub(crate) optional: bool,
}

/// Which requests go to which service.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Route {
    pub(crate) id: String,
    pub(crate) entry_points: Vec<String>,
    pub(crate) priority: i64,
    pub(crate) matchers: Vec<Matcher>,
    pub(crate) modifiers: Vec<Modifier>,
    pub(crate) service: String,
    pub(crate) pass_host_header: bool,
    pub(crate) client_roles: Vec<String>,
    pub(crate) forward_client_identity: bool,
    #[serde(deserialize_with = "present")]
    pub(crate) client_tls: Option<ClientTls>,
    /// The outermost first.
    pub(crate) middlewares: Vec<middleware::Middleware>,
    /// Routes with the same one share the state of their middlewares.
    pub(crate) chain: String,
}

/// What `https` servers are shown: a certificate, by its id. They are verified by these authorities, or, if there are none,
/// as all servers are.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientTls {
    pub(crate) certificate: String,
    pub(crate) root_ca_pem: String,
}

/// One condition of a route; all must hold.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Matcher {
    Host { hosts: Vec<String> },
    HostRegexp { patterns: Vec<String> },
    Path { paths: Vec<TextPattern>, redirect_slash: bool },
    PathPrefix { prefixes: Vec<TextPattern> },
    Method { methods: Vec<String> },
    Headers { pairs: Vec<(String, String)> },
    HeadersRegexp { pairs: Vec<(String, String)> },
    Query { pairs: Vec<QueryPair> },
    ClientIp { ranges: Vec<String> },
    Not { matcher: Box<Matcher> },
}

/// A text to compare with, or a regular expression to search for.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TextPattern {
    Exact(String),
    Regexp(String),
}

/// A condition on a query parameter. Exactly one of the three is there, which the build checks.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct QueryPair {
    pub(crate) key: String,
    pub(crate) exact: Option<String>,
    pub(crate) regexp: Option<String>,
    pub(crate) present: Option<bool>,
}

/// A change of the path.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Modifier {
    StripPrefixRegex {
        patterns: Vec<String>,
        #[serde(default)]
        optional: bool,
    },
    StripPrefix {
        prefixes: Vec<String>,
        #[serde(default)]
        optional: bool,
    },
    AddPrefix {
        prefix: String,
    },
    ReplacePathRegex {
        pattern: String,
        replacement: String,
    },
    ReplacePath {
        path: String,
    },
}

/// Servers that answer alike.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Service {
    pub(crate) id: String,
    pub(crate) balancer: String,
    pub(crate) servers: Vec<Server>,
    #[serde(deserialize_with = "present")]
    pub(crate) sticky: Option<Sticky>,
    #[serde(deserialize_with = "present")]
    pub(crate) health_check: Option<HealthCheck>,
    #[serde(deserialize_with = "present")]
    pub(crate) max_connections: Option<MaxConnections>,
    #[serde(deserialize_with = "present")]
    pub(crate) circuit_breaker: Option<CircuitBreaker>,
    #[serde(deserialize_with = "present")]
    pub(crate) buffering: Option<Buffering>,
}

/// A cookie that keeps clients with a server.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Sticky {
    pub(crate) cookie_name: String,
    pub(crate) secure: bool,
    pub(crate) http_only: bool,
    pub(crate) same_site: String,
}

/// What servers are asked to see whether they are healthy. An empty scheme or host, and port 0, are the server's own.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct HealthCheck {
    pub(crate) path: String,
    pub(crate) scheme: String,
    pub(crate) port: u16,
    pub(crate) host: String,
    pub(crate) interval_ms: u64,
    pub(crate) timeout_ms: u64,
    pub(crate) headers: Vec<(String, String)>,
}

/// How many requests of one client may be under way.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MaxConnections {
    pub(crate) amount: u32,
    pub(crate) source: Source,
}

/// When a service is left alone for a while.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CircuitBreaker {
    pub(crate) expression: String,
}

/// Bodies are read whole before they are passed on. 0 bytes at most: any number; 0 bytes in memory: 1 MiB.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Buffering {
    pub(crate) max_request_body_bytes: u64,
    pub(crate) mem_request_body_bytes: u64,
    pub(crate) max_response_body_bytes: u64,
    pub(crate) mem_response_body_bytes: u64,
    pub(crate) retry_expression: String,
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) weight: u64,
}

/// A certificate chain with its key.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    pub(crate) id: String,
    pub(crate) chain_pem: String,
    pub(crate) key_pem: String,
    pub(crate) ocsp_response: String,
}

impl std::fmt::Debug for Certificate {
    /// Without the key: it must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").field("id", &self.id).finish_non_exhaustive()
    }
}

/// One thing that is wrong with a snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Problem {
    /// What kind of object is wrong.
    pub(crate) kind: Kind,
    /// Which one; empty for the settings.
    pub(crate) id: String,
    /// One sentence.
    pub(crate) error: String,
}

/// The kinds of objects in a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    EntryPoint,
    Route,
    Service,
    Certificate,
    Settings,
}

/// A field that may be null but not missing.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    Option::deserialize(deserializer)
}
