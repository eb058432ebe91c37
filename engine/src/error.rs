//! Why an exchange failed: whose fault it was, whether to try again, and what the client is told.

use std::io;

use crate::http::Malformed;

/// A failed exchange.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The client closed its connection before it had the whole answer.
    #[error("the client left")]
    ClientGone,
    /// The request is not HTTP as we accept it.
    #[error("refused request: {0}")]
    Request(#[source] Malformed),
    /// A head that was begun did not end in time.
    #[error("the request's head took too long")]
    HeadTimeout,
    /// The certificate's role is not admitted on the route.
    #[error("the client's certificate has none of the route's roles")]
    Role,
    /// No route matches.
    #[error("no route matches")]
    NoRoute,
    /// The service has no servers.
    #[error("the service has no server")]
    NoServer,
    /// All servers have the weight 0.
    #[error("no server of the service has a weight")]
    NoWeight,
    /// No connection to the server.
    #[error("cannot connect: {0}")]
    Connect(#[source] io::Error),
    /// No connection to the server in time.
    #[error("connecting took too long")]
    ConnectTimeout,
    /// The server closed the connection before a byte of its answer.
    #[error("the server closed the connection before it answered{}", cause(.0.as_ref()))]
    ServerClosed(Option<io::Error>),
    /// The server did not answer in time.
    #[error("the server's answer took too long")]
    ServerTimeout,
    /// The server's answer is not HTTP as we accept it.
    #[error("malformed answer: {0}")]
    ServerMalformed(#[source] Malformed),
    /// The server closed the connection in the middle of its answer.
    #[error("the server broke off its answer{}", cause(.0.as_ref()))]
    ServerCut(Option<io::Error>),
}

fn cause(error: Option<&io::Error>) -> String {
    error.map(|error| format!(": {error}")).unwrap_or_default()
}

/// The counters of failures, by their place in `failures` of `GET /counters`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Client,
    ServerConnect,
    ServerTimeout,
    ServerProtocol,
    NoRoute,
    NoServer,
    Internal,
}

/// Whether another attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Retry {
    /// The failure is the answer.
    Never,
    /// Nothing was sent: another server of the service may do.
    OtherServer,
    /// If the connection was used before, it may have been closed for being idle: a fresh one may do, if the request
    /// can be repeated.
    FreshConnection,
}

impl Failure {
    /// What the client is told, or, when it is told nothing any more, what is counted.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::ClientGone => 499,
            Self::Request(Malformed::Syntax(_)) => 400,
            Self::Request(Malformed::TargetTooLong) => 414,
            Self::Request(Malformed::HeadTooLarge) => 431,
            Self::Request(Malformed::NotImplemented(_)) => 501,
            Self::Request(Malformed::Version) => 505,
            Self::HeadTimeout => 408,
            Self::Role => 403,
            Self::NoRoute => 404,
            Self::NoServer => 503,
            Self::NoWeight => 500,
            Self::ConnectTimeout | Self::ServerTimeout => 504,
            Self::Connect(_) | Self::ServerClosed(_) | Self::ServerMalformed(_) | Self::ServerCut(_) => 502,
        }
    }

    /// Which counter it raises.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::ClientGone | Self::Request(_) | Self::HeadTimeout | Self::Role => Kind::Client,
            Self::NoRoute => Kind::NoRoute,
            Self::NoServer | Self::NoWeight => Kind::NoServer,
            Self::Connect(_) => Kind::ServerConnect,
            Self::ConnectTimeout | Self::ServerTimeout => Kind::ServerTimeout,
            Self::ServerClosed(_) | Self::ServerMalformed(_) | Self::ServerCut(_) => Kind::ServerProtocol,
        }
    }

    /// Whether another attempt may be made.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Connect(_) | Self::ConnectTimeout => Retry::OtherServer,
            Self::ServerClosed(_) => Retry::FreshConnection,
            _ => Retry::Never,
        }
    }

    /// Whether the server is to blame, which its service's counter shows.
    pub(crate) fn is_servers(&self) -> bool {
        matches!(self.kind(), Kind::ServerConnect | Kind::ServerTimeout | Kind::ServerProtocol)
    }
}
