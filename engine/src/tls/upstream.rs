//! TLS towards servers.

use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::{ClientConfig, ConfigBuilder, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};

use super::provider;

/// How servers are verified. Built once for a snapshot.
#[derive(Debug)]
pub(crate) struct UpstreamTls {
    /// The configuration of the connections, on which HTTP/2 is preferred.
    pub(crate) config: Arc<ClientConfig>,
    /// The same for HTTP/1.1 alone.
    pub(crate) http1: Arc<ClientConfig>,
    spec: Spec,
}

/// What it is built from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Spec {
    /// The authorities, or nothing for the system's.
    pub(crate) root_ca_pem: String,
    /// Whether nothing is verified at all.
    pub(crate) insecure_skip_verify: bool,
    /// Whether any server is spoken to over TLS. Without, the system's store, some megabytes, is not loaded.
    pub(crate) used: bool,
}

impl UpstreamTls {
    /// Verifies against the certificates in `root_ca_pem`, or the system's if that is empty, or not at all.
    pub(crate) fn build(spec: Spec) -> Result<Self, String> {
        let builder = verifying(&spec).map_err(|error| format!("root_ca_pem: {error}"))?;
        let mut config = builder.with_no_client_auth();
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let http1 = config.clone();
        config.alpn_protocols.insert(0, b"h2".to_vec());
        Ok(Self { config: Arc::new(config), http1: Arc::new(http1), spec })
    }

    /// Whether it serves for `spec`, so that connections can stay.
    pub(crate) fn serves(&self, spec: &Spec) -> bool {
        self.spec.root_ca_pem == spec.root_ca_pem
            && self.spec.insecure_skip_verify == spec.insecure_skip_verify
            && (self.spec.used || !spec.used)
    }
}

/// The configuration of connections to one server, for HTTP/1.1 alone: verified against `ca_pem`, or the system's
/// authorities, with a certificate and its key to be shown, if there are any.
pub(crate) fn config(
    ca_pem: &str,
    identity: (&str, &str),
    insecure_skip_verify: bool,
) -> Result<Arc<ClientConfig>, String> {
    let spec = Spec { root_ca_pem: ca_pem.to_owned(), insecure_skip_verify, used: true };
    let builder = verifying(&spec)?;
    let mut config = match identity {
        ("", "") => builder.with_no_client_auth(),
        (chain, key) => {
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|_| "cannot read the key".to_owned())?;
            let chain = super::certificates(chain)?;
            builder.with_client_auth_cert(chain, key).map_err(|error| format!("certificate and key: {error}"))?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn verifying(spec: &Spec) -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, String> {
    let Spec { root_ca_pem, insecure_skip_verify, used } = spec;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let roots = if root_ca_pem.is_empty() {
        if *used && !insecure_skip_verify { system_roots() } else { RootCertStore::empty() }
    } else {
        super::roots(root_ca_pem)?
    };
    Ok(if *insecure_skip_verify {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(NoVerification(provider())))
    } else if roots.is_empty() {
        builder.with_root_certificates(roots)
    } else {
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider());
        builder.with_webpki_verifier(verifier.build().map_err(|error| error.to_string())?)
    })
}

/// The system's trust store. Certificates in it that cannot be used are left out, and so is a store that is not there:
/// it matters only when an https server is to be verified, which then fails.
fn system_roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    store
}

/// Accepts any certificate: what `insecure_skip_verify` asks for. Signatures are still checked, so that the peer at
/// least has the key of what it shows.
#[derive(Debug)]
struct NoVerification(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerification {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
