//! Connecting to servers.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::error::Failure;
use crate::io::{Conn, Stream};
use crate::snapshot::url::{Scheme, Url};
use crate::tls::upstream::UpstreamTls;

/// How long a server's TLS handshake may take, as in Traefik.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// After so much silence the kernel asks whether a server is still there, as in Traefik.
const KEEP_ALIVE: Duration = Duration::from_secs(30);

/// Where a server is.
#[derive(Debug)]
pub(crate) enum Target {
    /// A host, by name or address, and a port.
    Tcp {
        host: String,
        port: u16,
        tls: Option<ClientTls>,
        /// Whether it speaks HTTP/2 without having been asked.
        h2c: bool,
    },
    /// A unix socket.
    Unix(PathBuf),
}

/// TLS with a server.
#[derive(Debug)]
pub(crate) struct ClientTls {
    /// The configuration on which HTTP/2 is preferred.
    pub(crate) config: Arc<ClientConfig>,
    /// The configuration for HTTP/1.1 alone.
    pub(crate) http1: Arc<ClientConfig>,
    /// The name that is asked for and verified.
    pub(crate) name: ServerName<'static>,
}

impl Target {
    /// Where a URL leads, and what `Host` says there.
    pub(crate) fn of(url: Url, tls: &UpstreamTls) -> Result<(Self, String), String> {
        let (host, port, host_header, scheme) = match url {
            Url::Unix(path) => return Ok((Self::Unix(path), "localhost".to_owned())),
            Url::Tcp { host, port, host_header, scheme } => (host, port, host_header, scheme),
        };
        let tls = (scheme == Scheme::Https).then(|| {
            let name = ServerName::try_from(host.clone()).map_err(|error| format!("{host}: {error}"))?;
            Ok::<_, String>(ClientTls { config: Arc::clone(&tls.config), http1: Arc::clone(&tls.http1), name })
        });
        Ok((Self::Tcp { host, port, tls: tls.transpose()?, h2c: scheme == Scheme::H2c }, host_header))
    }

    /// Whether connections may speak HTTP/2.
    pub(crate) fn may_speak_http2(&self) -> bool {
        matches!(self, Self::Tcp { tls: Some(_), .. } | Self::Tcp { h2c: true, .. })
    }

    /// Whether connections speak HTTP/2 and nothing else.
    pub(crate) fn speaks_only_http2(&self) -> bool {
        matches!(self, Self::Tcp { h2c: true, .. })
    }
}

/// Connects to `target`, within `dial_timeout` if there is one. `http1` has TLS agree on nothing but HTTP/1.1.
pub(crate) async fn connect(target: &Target, dial_timeout: Option<Duration>, http1: bool) -> Result<Conn, Failure> {
    match target {
        Target::Unix(path) => {
            let stream = within(dial_timeout, UnixStream::connect(path)).await?;
            Ok(Conn::new(Stream::Unix(stream)))
        }
        Target::Tcp { host, port, tls, .. } => {
            let stream = within(dial_timeout, TcpStream::connect((host.as_str(), *port))).await?;
            // Without these small packets are late, and a server that vanished is noticed late.
            let _ = stream.set_nodelay(true);
            let _ = SockRef::from(&stream).set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE));
            let Some(tls) = tls else { return Ok(Conn::new(Stream::Tcp(stream))) };
            let connector = TlsConnector::from(Arc::clone(if http1 { &tls.http1 } else { &tls.config }));
            let stream = within(Some(HANDSHAKE), connector.connect(tls.name.clone(), stream)).await?;
            Ok(Conn::new(Stream::Tls(Box::new(stream.into()))))
        }
    }
}

async fn within<T>(limit: Option<Duration>, attempt: impl Future<Output = io::Result<T>>) -> Result<T, Failure> {
    let result = match limit {
        Some(limit) => timeout(limit, attempt).await.map_err(|_| Failure::ConnectTimeout)?,
        None => attempt.await,
    };
    result.map_err(|error| match error.kind() {
        io::ErrorKind::TimedOut => Failure::ConnectTimeout,
        _ => Failure::Connect(error),
    })
}
