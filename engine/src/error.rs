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
    /// What came first is no request of any version of HTTP: the client speaks another protocol.
    #[error("no HTTP")]
    Foreign,
    /// A head that was begun did not end in time.
    #[error("the request's head took too long")]
    HeadTimeout,
    /// The request's body was not complete in time.
    #[error("the request's body took too long")]
    BodyTimeout,
    /// Nothing of the request's body came for long.
    #[error("the client stopped in the middle of its request")]
    BodyStalled,
    /// The client did not take its answer in time.
    #[error("the client took too long to read its answer")]
    ClientTimeout,
    /// The client took nothing of its answer for long.
    #[error("the client stopped reading its answer")]
    ClientStalled,
    /// The certificate's role is not admitted on the route.
    #[error("the client's certificate has none of the route's roles")]
    Role,
    /// The client's address is in none of a white list's ranges.
    #[error("the client's address is not in the white list")]
    WhiteList,
    /// A user has not proven to be one.
    #[error("the user is not known, or the password is wrong")]
    Unauthorized,
    /// A client has asked too often.
    #[error("the client exceeds the rate limit")]
    RateLimit,
    /// The host is none of those that may be asked for.
    #[error("the host is not allowed")]
    BadHost,
    /// The server that is asked whether a request may go on does not say it.
    #[error("the authentication server: {0}")]
    AuthServer(#[source] Box<Failure>),
    /// It has said no.
    #[error("the authentication server refused the request with {0}")]
    AuthRefused(u16),
    /// No route matches.
    #[error("no route matches")]
    NoRoute,
    /// The service has no servers.
    #[error("the service has no server")]
    NoServer,
    /// All servers of the service have failed their health checks.
    #[error("no server of the service is healthy")]
    NoHealthyServer,
    /// The service's circuit breaker lets nobody through.
    #[error("the circuit breaker is open")]
    BreakerOpen,
    /// The client has too many requests under way; this is how many it may have.
    #[error("the client has {0} requests under way, the most that it may have")]
    TooManyConnections(u32),
    /// The request's body is longer than it may be.
    #[error("the request's body is too long")]
    BodyTooLong,
    /// The answer's body is longer than it may be.
    #[error("the answer's body is too long")]
    AnswerTooLong,
    /// A body cannot be kept.
    #[error("cannot keep a body in a temporary file: {0}")]
    Spool(#[source] io::Error),
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
    /// The server has said that it did not begin with the request.
    #[error("the server refused the request's stream")]
    ServerRefused,
    /// The server did not answer in time.
    #[error("the server's answer took too long")]
    ServerTimeout,
    /// The server's answer was not complete in time.
    #[error("the answer took longer than the write timeout")]
    AnswerTimeout,
    /// The server took nothing of the request's body for long.
    #[error("the server stopped reading the request")]
    ServerStalled,
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

// Each cause has its name in `causes` of `GET /counters`.
macro_rules! causes {
    ($($cause:ident $name:literal)*) => {
        /// What exactly happened.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum Cause {
            $($cause,)*
        }

        impl Cause {
            /// Their names, each at the place of its cause.
            pub(crate) const NAMES: &[&str] = &[$($name,)*];
        }
    };
}

causes! {
    AnswerMalformed "answer_malformed"
    AnswerCut "answer_cut"
    AnswerTimeout "answer_timeout"
    AnswerTooLong "answer_too_long"
    AuthRefused "auth_refused"
    AuthServer "auth_server"
    BadHost "bad_host"
    BodyStalled "body_stalled"
    BodyTimeout "body_timeout"
    BodyTooLong "body_too_long"
    BreakerOpen "breaker_open"
    ClientGone "client_gone"
    ClientStalled "client_stalled"
    ClientTimeout "client_timeout"
    ConnectFailed "connect_failed"
    ConnectName "connect_name"
    ConnectRefused "connect_refused"
    ConnectTimeout "connect_timeout"
    ConnectTls "connect_tls"
    ConnectUnreachable "connect_unreachable"
    Files "files"
    HeadTimeout "head_timeout"
    HeadTooLarge "head_too_large"
    NoHealthyServer "no_healthy_server"
    NoRole "no_role"
    NoRoute "no_route"
    NoServer "no_server"
    NoWeight "no_weight"
    NotImplemented "not_implemented"
    NotInWhiteList "not_in_white_list"
    Panic "panic"
    RateLimited "rate_limited"
    RequestMalformed "request_malformed"
    ServerClosed "server_closed"
    ServerRefused "server_refused"
    ServerStalled "server_stalled"
    ServerTimeout "server_timeout"
    Spool "spool"
    TargetTooLong "target_too_long"
    TooManyConnections "too_many_connections"
    Unauthorized "unauthorized"
    VersionUnknown "version_unknown"
}

/// What kept a connection to a server from being made.
fn connect_cause(error: &io::Error) -> Cause {
    use rustix::io::Errno;
    if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>) {
        return Cause::ConnectTls;
    }
    match (error.kind(), Errno::from_io_error(error)) {
        (_, Some(Errno::MFILE | Errno::NFILE)) => Cause::Files,
        (io::ErrorKind::ConnectionRefused, _) => Cause::ConnectRefused,
        (io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable, _) => Cause::ConnectUnreachable,
        // A TLS server that ends in the middle of the handshake.
        (io::ErrorKind::UnexpectedEof, None) => Cause::ConnectTls,
        // The resolver's errors are its own, not the system's.
        (_, None) => Cause::ConnectName,
        _ => Cause::ConnectFailed,
    }
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
    /// The server has not looked at the request: it can be sent again, if its body is still there.
    Unprocessed,
}

impl Failure {
    /// What the client is told, or, when it is told nothing any more, what is counted.
    pub(crate) fn status(&self) -> u16 {
        match self {
            Self::ClientGone | Self::ClientTimeout | Self::ClientStalled => 499,
            Self::Foreign | Self::Request(Malformed::Syntax(_)) => 400,
            Self::Request(Malformed::TargetTooLong) => 414,
            Self::Request(Malformed::HeadTooLarge) => 431,
            Self::Request(Malformed::NotImplemented(_)) => 501,
            Self::Request(Malformed::Version) => 505,
            Self::HeadTimeout | Self::BodyTimeout | Self::BodyStalled => 408,
            Self::Unauthorized => 401,
            Self::RateLimit => 429,
            Self::Role | Self::WhiteList => 403,
            Self::NoRoute => 404,
            Self::NoServer | Self::NoHealthyServer | Self::BreakerOpen => 503,
            Self::TooManyConnections(_) => 429,
            Self::BodyTooLong => 413,
            Self::NoWeight | Self::AnswerTooLong | Self::Spool(_) | Self::BadHost | Self::AuthServer(_) => 500,
            Self::AuthRefused(status) => *status,
            Self::ConnectTimeout | Self::ServerTimeout | Self::AnswerTimeout | Self::ServerStalled => 504,
            Self::Connect(_)
            | Self::ServerClosed(_)
            | Self::ServerRefused
            | Self::ServerMalformed(_)
            | Self::ServerCut(_) => 502,
        }
    }

    /// Which counter it raises.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::ClientGone
            | Self::Foreign
            | Self::Request(_)
            | Self::HeadTimeout
            | Self::BodyTimeout
            | Self::BodyStalled
            | Self::ClientTimeout
            | Self::ClientStalled
            | Self::TooManyConnections(_)
            | Self::BodyTooLong
            | Self::Role
            | Self::WhiteList
            | Self::Unauthorized
            | Self::BadHost
            | Self::RateLimit
            | Self::AuthRefused(_) => Kind::Client,
            Self::AuthServer(failure) => failure.kind(),
            Self::NoRoute => Kind::NoRoute,
            Self::NoServer | Self::NoHealthyServer | Self::BreakerOpen | Self::NoWeight => Kind::NoServer,
            Self::Spool(_) => Kind::Internal,
            Self::Connect(error) if connect_cause(error) == Cause::Files => Kind::Internal,
            Self::Connect(_) => Kind::ServerConnect,
            Self::ConnectTimeout | Self::ServerTimeout | Self::AnswerTimeout | Self::ServerStalled => {
                Kind::ServerTimeout
            }
            Self::ServerClosed(_)
            | Self::ServerRefused
            | Self::ServerMalformed(_)
            | Self::ServerCut(_)
            | Self::AnswerTooLong => Kind::ServerProtocol,
        }
    }

    /// What exactly happened.
    pub(crate) fn cause(&self) -> Cause {
        match self {
            Self::ClientGone => Cause::ClientGone,
            Self::Foreign | Self::Request(Malformed::Syntax(_)) => Cause::RequestMalformed,
            Self::Request(Malformed::TargetTooLong) => Cause::TargetTooLong,
            Self::Request(Malformed::HeadTooLarge) => Cause::HeadTooLarge,
            Self::Request(Malformed::NotImplemented(_)) => Cause::NotImplemented,
            Self::Request(Malformed::Version) => Cause::VersionUnknown,
            Self::HeadTimeout => Cause::HeadTimeout,
            Self::BodyTimeout => Cause::BodyTimeout,
            Self::BodyStalled => Cause::BodyStalled,
            Self::ClientTimeout => Cause::ClientTimeout,
            Self::ClientStalled => Cause::ClientStalled,
            Self::Role => Cause::NoRole,
            Self::WhiteList => Cause::NotInWhiteList,
            Self::Unauthorized => Cause::Unauthorized,
            Self::BadHost => Cause::BadHost,
            Self::AuthServer(_) => Cause::AuthServer,
            Self::AuthRefused(_) => Cause::AuthRefused,
            Self::RateLimit => Cause::RateLimited,
            Self::NoRoute => Cause::NoRoute,
            Self::NoServer => Cause::NoServer,
            Self::NoHealthyServer => Cause::NoHealthyServer,
            Self::BreakerOpen => Cause::BreakerOpen,
            Self::TooManyConnections(_) => Cause::TooManyConnections,
            Self::BodyTooLong => Cause::BodyTooLong,
            Self::AnswerTooLong => Cause::AnswerTooLong,
            Self::Spool(_) => Cause::Spool,
            Self::NoWeight => Cause::NoWeight,
            Self::Connect(error) => connect_cause(error),
            Self::ConnectTimeout => Cause::ConnectTimeout,
            Self::ServerClosed(_) => Cause::ServerClosed,
            Self::ServerRefused => Cause::ServerRefused,
            Self::ServerTimeout => Cause::ServerTimeout,
            Self::AnswerTimeout => Cause::AnswerTimeout,
            Self::ServerStalled => Cause::ServerStalled,
            Self::ServerMalformed(_) => Cause::AnswerMalformed,
            Self::ServerCut(_) => Cause::AnswerCut,
        }
    }

    /// Whether another attempt may be made.
    pub(crate) fn retry(&self) -> Retry {
        match self {
            Self::Connect(error) if connect_cause(error) == Cause::Files => Retry::Never,
            Self::Connect(_) | Self::ConnectTimeout => Retry::OtherServer,
            Self::ServerClosed(_) => Retry::FreshConnection,
            Self::ServerRefused => Retry::Unprocessed,
            _ => Retry::Never,
        }
    }

    /// Whether the server is to blame, which its service's counter shows.
    pub(crate) fn is_servers(&self) -> bool {
        !matches!(self, Self::AuthServer(_))
            && matches!(self.kind(), Kind::ServerConnect | Kind::ServerTimeout | Kind::ServerProtocol)
    }
}
