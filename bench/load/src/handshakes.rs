//! New TLS 1.3 connections: handshake, one request, orderly end; with full or resumed handshakes.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::client::Resumption;
use tokio_rustls::rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{self, ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme, version::TLS13};

use crate::{Options, report};

/// How long one connection may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connects again and again for the given time.
pub fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let address = options.address()?;
    let name = ServerName::try_from(options.host.clone())?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let tasks = tokio::task::LocalSet::new();
    let outcome = Rc::new(Outcome::default());
    let begun = Instant::now();
    for _ in 0..options.connections {
        // Each with tickets of its own, so that nobody waits for another's.
        let connector = TlsConnector::from(Arc::new(config(options.resume)?));
        let (name, host, outcome) = (name.clone(), options.host.clone(), Rc::clone(&outcome));
        let end = begun + options.time;
        tasks.spawn_local(async move {
            while Instant::now() < end {
                let started = Instant::now();
                let one = turn(&connector, address, &name, &host);
                match timeout(PATIENCE, one).await.unwrap_or_else(|late| Err(late.into())) {
                    Ok(resumed) => {
                        outcome.resumed.set(outcome.resumed.get() + usize::from(resumed));
                        outcome.latencies.borrow_mut().push(started.elapsed().as_nanos() as u64);
                    }
                    Err(_) => {
                        outcome.errors.set(outcome.errors.get() + 1);
                        // So that a proxy that refuses everything is not asked a million times.
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                }
            }
        });
    }
    runtime.block_on(tasks);
    let more = format!(", \"resumed\": {}", outcome.resumed.get());
    report(outcome.latencies.take(), outcome.errors.get(), begun.elapsed(), &more);
    Ok(())
}

#[derive(Default)]
struct Outcome {
    latencies: RefCell<Vec<u64>>,
    resumed: Cell<usize>,
    errors: Cell<usize>,
}

/// One connection; says whether it resumed a session.
async fn turn(
    connector: &TlsConnector,
    address: SocketAddr,
    name: &ServerName<'static>,
    host: &str,
) -> io::Result<bool> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut stream = connector.connect(name.clone(), stream).await?;
    stream.write_all(format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::with_capacity(1024);
    match stream.read_to_end(&mut answer).await {
        Ok(_) => {}
        // Not everybody says goodbye in TLS.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {}
        Err(error) => return Err(error),
    }
    if !answer.starts_with(b"HTTP/1.1 200 ") {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed))
}

fn config(resume: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(&[&TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
        .with_no_client_auth();
    if !resume {
        config.resumption = Resumption::disabled();
    }
    Ok(config)
}

/// The load costs less if it trusts everybody.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
