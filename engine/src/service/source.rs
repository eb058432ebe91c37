//! Who counts as one client where requests are counted by client (`extractorFunc` in Traefik 1.7).

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Deserialize;

use crate::http::head::Request;

/// What requests of one client have in common.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Source {
    /// The peer's address.
    ClientIp,
    /// The host as the request has it.
    RequestHost,
    /// The first field of this name; nothing if there is none.
    RequestHeader { name: String },
}

impl Source {
    /// Whom a request is from.
    pub(crate) fn of<'a>(&self, request: &'a Request, peer: IpAddr) -> Cow<'a, [u8]> {
        match self {
            Self::ClientIp => Cow::Owned(peer.to_canonical().to_string().into_bytes()),
            Self::RequestHost => Cow::Borrowed(request.host().as_bytes()),
            Self::RequestHeader { name } => {
                let mut fields = request.fields.iter();
                let found = fields.find(|(_, known, _)| known.eq_ignore_ascii_case(name.as_bytes()));
                Cow::Borrowed(found.map_or(&[], |(_, _, value)| value))
            }
        }
    }
}
