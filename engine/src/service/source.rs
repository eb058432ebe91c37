//! Who counts as one client where requests are counted by client (`extractorFunc` in Traefik 1.7).

use std::borrow::Cow;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What requests of one client have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Source {
    /// The peer's address.
    ClientIp {},
    /// The host as the request has it.
    RequestHost {},
    /// The first field of this name; nothing if there is none.
    RequestHeader { name: String },
}

impl Source {
    /// Whom a request is from; `field` finds the first field of a name.
    pub(crate) fn of<'a>(
        &self,
        peer: IpAddr,
        host: &'a str,
        field: impl FnOnce(&[u8]) -> Option<&'a [u8]>,
    ) -> Cow<'a, [u8]> {
        match self {
            Self::ClientIp {} => Cow::Owned(peer.to_canonical().to_string().into_bytes()),
            Self::RequestHost {} => Cow::Borrowed(host.as_bytes()),
            Self::RequestHeader { name } => Cow::Borrowed(field(name.as_bytes()).unwrap_or_default()),
        }
    }
}
