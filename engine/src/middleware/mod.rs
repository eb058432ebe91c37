//! Middlewares: what is done with requests and answers on their way between client and server, as in Traefik 1.7.
//!
//! Each has a file: what the snapshot says becomes a value that is shared by all requests, and [`Middleware::step`] has
//! it look at one of them. It does no I/O: what takes time is returned, and done by the proxy.

mod basic_auth;
mod client_cert;
pub(crate) mod compress;
mod digest_auth;
mod edits;
mod errors;
mod forward_auth;
mod headers;
mod rate_limit;
mod redirect;
mod security_headers;
mod state;
mod white_list;

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use rustls_pki_types::CertificateDer;

pub(crate) use basic_auth::Verification;
pub(crate) use edits::{Change, Edits};
pub(crate) use errors::Page;
pub(crate) use forward_auth::{ForwardAuth, LIMIT as AUTH_LIMIT};
pub(crate) use state::States;

use crate::error::Failure;
use crate::http::head::{Answer, Request};
use crate::http::name::Name;
use crate::proxy::reply::Reply;
use crate::snapshot::middleware as document;
use crate::snapshot::table::Server;

/// One middleware of a chain.
#[derive(Debug)]
pub(crate) enum Middleware {
    WhiteList(white_list::WhiteList),
    Redirect(redirect::Redirect),
    Headers(headers::Headers),
    SecurityHeaders(security_headers::SecurityHeaders),
    ClientCert(document::ClientCert),
    Compress,
    BasicAuth(basic_auth::BasicAuth),
    DigestAuth(digest_auth::DigestAuth),
    ForwardAuth(ForwardAuth),
    RateLimit(rate_limit::RateLimit),
}

/// Where a middleware is, and what it is built with.
pub(crate) struct Place<'a> {
    /// What its state is known by beside its own text: the chain, and its place in it.
    pub(crate) chain: &'a str,
    pub(crate) index: usize,
    /// The entry points through which requests come to it.
    pub(crate) entry_points: &'a [String],
    /// The states of those that have any.
    pub(crate) states: &'a States,
    /// Whether it is an entry point's own.
    pub(crate) is_entry_points: bool,
}

impl Middleware {
    /// What a document says.
    pub(crate) fn build(document: &document::Middleware, place: &Place<'_>) -> Result<Self, String> {
        use document::Middleware as Document;
        Ok(match document {
            Document::WhiteList(it) => Self::WhiteList(white_list::WhiteList::build(it)?),
            Document::RedirectEntryPoint(it) => Self::Redirect(redirect::Redirect::to_entry_point(it)?),
            Document::RedirectRegex(it) => Self::Redirect(redirect::Redirect::by_regex(it)?),
            Document::Headers(it) => Self::Headers(headers::Headers::build(it)?),
            Document::SecurityHeaders(it) => Self::SecurityHeaders(security_headers::SecurityHeaders::build(it)?),
            Document::ClientCert(it) => Self::ClientCert(it.clone()),
            Document::BasicAuth(it) => {
                let verified = place.states.get(&place.key(document, ""));
                Self::BasicAuth(basic_auth::BasicAuth::build(it, verified)?)
            }
            Document::DigestAuth(it) => {
                let nonces = place.states.get(&place.key(document, ""));
                Self::DigestAuth(digest_auth::DigestAuth::build(it, nonces)?)
            }
            Document::ForwardAuth(it) => Self::ForwardAuth(ForwardAuth::build(it)?),
            Document::RateLimit(it) => {
                let limiter = |name: &String| (name.clone(), place.states.get(&place.key(document, name)));
                Self::RateLimit(rate_limit::RateLimit::build(it, place.entry_points.iter().map(limiter).collect())?)
            }
            Document::Compress(_) if place.is_entry_points => Self::Compress,
            Document::Compress(_) => return Err("compress: only entry points have it".to_owned()),
            Document::Errors(_) => return Err("errors: only routes have them".to_owned()),
        })
    }

    /// Has it look at a request.
    pub(crate) fn step<'c>(&'c self, passage: &mut Passage<'_>) -> Step<'c> {
        match self {
            Self::WhiteList(it) => it.step(passage),
            Self::Redirect(it) => it.step(passage),
            Self::Headers(it) => it.step(passage),
            Self::SecurityHeaders(it) => it.step(passage),
            Self::ClientCert(it) => client_cert::step(it, passage),
            Self::Compress => compress::step(passage),
            Self::BasicAuth(it) => it.step(passage),
            Self::DigestAuth(it) => it.step(passage),
            Self::ForwardAuth(it) => Step::Ask(it),
            Self::RateLimit(it) => it.step(passage),
        }
    }

    /// Whether it goes by nothing but the request and its own text: it remembers nothing, asks nobody and knows no secret.
    pub(crate) fn is_plain(&self) -> bool {
        match self {
            Self::WhiteList(_)
            | Self::Redirect(_)
            | Self::Headers(_)
            | Self::SecurityHeaders(_)
            | Self::ClientCert(_)
            | Self::Compress => true,
            Self::BasicAuth(_) | Self::DigestAuth(_) | Self::ForwardAuth(_) | Self::RateLimit(_) => false,
        }
    }

    /// The server that it asks, if it does.
    pub(crate) fn server(&self) -> Option<&Server> {
        match self {
            Self::ForwardAuth(it) => Some(&it.server),
            _ => None,
        }
    }

    /// Whether it holds for what the engine answers about itself too, like metrics: who may see it.
    pub(crate) fn guards_internals(&self) -> bool {
        matches!(self, Self::WhiteList(_) | Self::BasicAuth(_) | Self::DigestAuth(_) | Self::ForwardAuth(_))
    }
}

/// What is to be done with a request next.
#[derive(Debug)]
pub(crate) enum Step<'c> {
    /// It goes on.
    Continue,
    /// It is answered here.
    Stop(Box<Stop>),
    /// Something is to be computed that takes long.
    Verify(Verification<'c>),
    /// Another server is to be asked.
    Ask(&'c ForwardAuth),
}

/// An answer of a middleware.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) reply: Reply,
    /// Why it is no good one.
    pub(crate) failure: Option<Failure>,
    /// Who answered, as the access log says it.
    pub(crate) by: By,
}

/// Who answered instead of a server, in the words of the access log of Traefik 1.7.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Auth,
    RateLimit,
    Redirect,
    WhiteList,
    /// It has no name there.
    Other,
}

impl By {
    /// The access log's `FrontendName`: `place` is the entry point, or, if it is in the chain of one, the frontend.
    pub(crate) fn text(self, place: &str, is_entry_points: bool) -> Option<String> {
        Some(match (self, is_entry_points) {
            (Self::Auth, true) => format!("Auth for entrypoint {place}"),
            (Self::Auth, false) => format!("Auth for {place}"),
            (Self::WhiteList, true) => format!("ipwhitelister for entrypoint {place}"),
            (Self::WhiteList, false) => format!("ipwhitelister for {place}"),
            (Self::Redirect, true) => format!("entrypoint redirect for {place}"),
            (Self::Redirect, false) => format!("frontend redirect for {place}"),
            (Self::RateLimit, _) => format!("rate limit for {place}"),
            (Self::Other, _) => return None,
        })
    }
}

impl<'c> Step<'c> {
    /// A failure that the client is told in `reply`.
    fn refuse(failure: Failure, reply: Reply, by: By) -> Self {
        Self::Stop(Box::new(Stop { reply, failure: Some(failure), by }))
    }

    /// A redirect.
    fn redirect(reply: Reply, by: By) -> Self {
        Self::Stop(Box::new(Stop { reply, failure: None, by }))
    }
}

/// What a route's modifiers did to the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Moved {
    /// Nothing that shows.
    No,
    /// A part was taken away or replaced.
    Replaced,
    /// This was put before it.
    Added(String),
}

/// A request on its way through the chains.
#[derive(Debug)]
pub(crate) struct Passage<'a> {
    /// As it came.
    pub(crate) request: &'a Request,
    /// Where from.
    pub(crate) peer: SocketAddr,
    /// Whether over TLS.
    pub(crate) tls: bool,
    /// What the client has shown.
    pub(crate) certificates: &'a [CertificateDer<'static>],
    /// The entry point, and the port that it listens on.
    pub(crate) entry_point: &'a str,
    pub(crate) port: u16,
    /// Whether what it says about its own origin is believed.
    pub(crate) trusted: bool,
    /// The path as the server will get it, escaped.
    pub(crate) path: String,
    pub(crate) moved: Moved,
    /// What is changed in its head.
    pub(crate) edits: Edits,
    /// What becomes of the answer.
    pub(crate) finish: Finish,
    /// Who has proven to be who.
    pub(crate) user: Option<String>,
}

/// What is done with the answer of a server.
#[derive(Debug, Default)]
pub(crate) struct Finish {
    /// The fields of `security_headers`, and after them those of `headers`.
    pub(crate) security: Vec<Change>,
    pub(crate) custom: Vec<Change>,
    /// A `Location` with this host becomes `https`.
    pub(crate) secure_host: Option<Arc<str>>,
    /// Whether its body is compressed.
    pub(crate) compress: compress::Wanted,
}

impl Finish {
    /// The answer as it goes on.
    pub(crate) fn apply(&self, answer: Answer) -> Answer {
        if self.security.is_empty() && self.custom.is_empty() && self.secure_host.is_none() {
            return answer;
        }
        let mut edits = Edits::default();
        if let Some(location) = self.secure_host.as_deref().and_then(|host| secured(&answer, host)) {
            edits.put(Bytes::from_static(b"Location"), vec![location]);
        }
        for change in self.security.iter().chain(&self.custom) {
            edits.make(change);
        }
        answer.edited(|_, name| edits.get(name).is_none(), edits.iter())
    }
}

impl<'a> Passage<'a> {
    /// The first value of a field as it is by now. What the client says about its origin is not there if it is not
    /// believed.
    pub(crate) fn get(&self, name: &[u8]) -> Option<&[u8]> {
        if let Some(values) = self.edits.get(name) {
            return values.first().map(|value| &value[..]);
        }
        self.sent(name)
    }

    /// As [`Passage::get`], as the client sent it.
    fn sent(&self, name: &[u8]) -> Option<&[u8]> {
        let hidden = !self.trusted && tells_origin(Name::of(name));
        let mut fields = self.request.fields.iter().filter(|_| !hidden);
        fields.find(|(_, known, _)| known.eq_ignore_ascii_case(name)).map(|(_, _, value)| value)
    }

    /// All values of a field, as they are by now.
    pub(crate) fn values(&self, name: &'static str) -> Vec<&[u8]> {
        if let Some(values) = self.edits.get(name.as_bytes()) {
            return values.iter().map(|value| &value[..]).collect();
        }
        let hidden = !self.trusted && tells_origin(Name::of(name.as_bytes()));
        let fields = self.request.fields.iter().filter(|_| !hidden);
        fields.filter(|field| field.1.eq_ignore_ascii_case(name.as_bytes())).map(|field| field.2).collect()
    }

    /// The query of the request, with its `?`, or nothing.
    pub(crate) fn query(&self) -> String {
        self.request.path_and_query().1.map(|query| format!("?{query}")).unwrap_or_default()
    }

    /// The request as a server is to get it, if anything is changed. What was not to be believed is not in it.
    pub(crate) fn edited(&self) -> Option<Request> {
        (!self.edits.is_empty()).then(|| {
            let keeps = |id, name: &[u8]| (self.trusted || !tells_origin(id)) && self.edits.get(name).is_none();
            self.request.edited(keeps, self.edits.iter())
        })
    }
}

/// The `Location` of an answer with `https` instead of `http`, if it is on this host.
fn secured(answer: &Answer, host: &str) -> Option<Bytes> {
    let mut fields = answer.fields.iter();
    let location = fields.find(|(_, name, _)| name.eq_ignore_ascii_case(b"Location"))?.2;
    let rest = location.strip_prefix(b"http://")?;
    let path = rest.strip_prefix(host.as_bytes())?;
    (path.is_empty() || path.starts_with(b"/")).then(|| [b"https://", rest].concat().into())
}

/// Whether a field tells where a request came from, and is not believed from everybody.
fn tells_origin(id: Name) -> bool {
    matches!(
        id,
        Name::ForwardedFor
            | Name::ForwardedProto
            | Name::ForwardedHost
            | Name::ForwardedPort
            | Name::ForwardedServer
            | Name::ForwardedUri
            | Name::ForwardedMethod
            | Name::RealIp
    )
}

#[cfg(test)]
mod tests;
