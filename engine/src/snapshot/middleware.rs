//! Middlewares in the document: what is done with requests and answers on their way.

use serde::{Deserialize, Serialize};

use super::{Secret, present};

/// What is done with requests, and with the answers to them. Serialised again, it is what its state is known by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Middleware {
    Errors(Errors),
    WhiteList(WhiteList),
    RedirectEntryPoint(RedirectEntryPoint),
    RedirectRegex(RedirectRegex),
    Headers(Headers),
    SecurityHeaders(Box<SecurityHeaders>),
    ClientCert(ClientCert),
    BasicAuth(Auth),
    DigestAuth(Auth),
    ForwardAuth(ForwardAuth),
    RateLimit(RateLimit),
    Compress(Compress),
}

/// `errors`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Errors {
    pub(crate) pages: Vec<Page>,
}

/// Which statuses, in ranges of which both ends count, get which page of which service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    pub(crate) status: Vec<(u16, u16)>,
    pub(crate) service: String,
    pub(crate) query: String,
}

/// `white_list`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WhiteList {
    pub(crate) source_ranges: Vec<String>,
    pub(crate) use_x_forwarded_for: bool,
}

/// `redirect_entry_point`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedirectEntryPoint {
    pub(crate) scheme: String,
    #[serde(deserialize_with = "present")]
    pub(crate) port: Option<u16>,
    pub(crate) permanent: bool,
}

/// `redirect_regex`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedirectRegex {
    pub(crate) regex: String,
    pub(crate) replacement: String,
    pub(crate) permanent: bool,
}

/// `headers`. An empty value removes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Headers {
    pub(crate) request: Vec<(String, String)>,
    pub(crate) response: Vec<(String, String)>,
}

/// `security_headers`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SecurityHeaders {
    pub(crate) allowed_hosts: Vec<String>,
    pub(crate) hosts_proxy_headers: Vec<String>,
    pub(crate) ssl_redirect: bool,
    pub(crate) ssl_temporary_redirect: bool,
    pub(crate) ssl_host: String,
    pub(crate) ssl_force_host: bool,
    pub(crate) ssl_proxy_headers: Vec<(String, String)>,
    pub(crate) sts_seconds: i64,
    pub(crate) sts_include_subdomains: bool,
    pub(crate) sts_preload: bool,
    pub(crate) force_sts_header: bool,
    pub(crate) frame_deny: bool,
    pub(crate) custom_frame_options_value: String,
    pub(crate) content_type_nosniff: bool,
    pub(crate) browser_xss_filter: bool,
    pub(crate) custom_browser_xss_value: String,
    pub(crate) content_security_policy: String,
    pub(crate) public_key: String,
    pub(crate) referrer_policy: String,
    pub(crate) is_development: bool,
}

/// `client_cert`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientCert {
    pub(crate) pem: bool,
    #[serde(deserialize_with = "present")]
    pub(crate) infos: Option<ClientCertInfos>,
}

/// What is told of a client's certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientCertInfos {
    pub(crate) not_after: bool,
    pub(crate) not_before: bool,
    pub(crate) sans: bool,
    #[serde(deserialize_with = "present")]
    pub(crate) subject: Option<CertNames>,
    #[serde(deserialize_with = "present")]
    pub(crate) issuer: Option<CertNames>,
}

/// Which parts of a distinguished name are told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct CertNames {
    pub(crate) country: bool,
    pub(crate) province: bool,
    pub(crate) locality: bool,
    pub(crate) organization: bool,
    pub(crate) common_name: bool,
    pub(crate) serial_number: bool,
    pub(crate) domain_component: bool,
}

/// `basic_auth` and `digest_auth`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Auth {
    pub(crate) users: Secret<Vec<String>>,
    pub(crate) remove_header: bool,
    pub(crate) header_field: String,
}

/// `forward_auth`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardAuth {
    pub(crate) address: String,
    pub(crate) trust_forward_header: bool,
    pub(crate) response_headers: Vec<String>,
    #[serde(deserialize_with = "present")]
    pub(crate) tls: Option<ForwardAuthTls>,
}

/// TLS with the server of `forward_auth`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ForwardAuthTls {
    pub(crate) ca_pem: String,
    pub(crate) cert_pem: String,
    pub(crate) key_pem: Secret<String>,
    pub(crate) insecure_skip_verify: bool,
}

/// `rate_limit`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimit {
    pub(crate) source: Source,
    pub(crate) rates: Vec<Rate>,
}

/// Who counts as one client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Source {
    ClientIp {},
    RequestHost {},
    RequestHeader { name: String },
}

/// So many requests a period on average, and so many at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    pub(crate) period_ms: u64,
    pub(crate) average: u64,
    pub(crate) burst: u64,
}

/// `compress`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Compress {}
