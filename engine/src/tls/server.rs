//! TLS towards clients.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::sign::CertifiedKey;
use rustls::{ServerConfig, SupportedProtocolVersion};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;
use tokio_rustls::TlsAcceptor;

use super::select::Selector;
use super::{peer, provider};
use crate::snapshot::{Certificate, ClientCa, Tls};

/// A certificate chain that can be shown, with the names it is for.
#[derive(Debug)]
pub(crate) struct Identified {
    names: Vec<String>,
    key: Arc<CertifiedKey>,
}

/// How an entry point speaks TLS.
pub(crate) struct ServerTls {
    /// Does the handshakes.
    pub(crate) acceptor: TlsAcceptor,
    /// What is asked of clients. Connections that were made under another demand are not used any more.
    pub(crate) client_ca: Option<ClientCa>,
    spec: (Tls, Vec<Certificate>),
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("spec", &self.spec.0).finish_non_exhaustive()
    }
}

/// Reads a certificate chain and its key, and checks that they belong together.
pub(crate) fn identified(certificate: &Certificate) -> Result<Identified, String> {
    let chain = super::certificates(&certificate.chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())
        .map_err(|error| format!("cannot read the key: {error}"))?;
    let names = chain.first().map(peer::server_names).transpose()?.unwrap_or_default();
    let key = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| format!("certificate and key cannot be used together: {error}"))?;
    Ok(Identified { names, key: Arc::new(key) })
}

impl ServerTls {
    /// Builds what `tls` says. `certificates` are those that it names, `default` is the default one, already read;
    /// `documents` is what they were read from.
    pub(crate) fn build(
        tls: &Tls,
        certificates: &[&Identified],
        default: &Identified,
        documents: Vec<Certificate>,
    ) -> Result<Self, String> {
        let versions: &[&SupportedProtocolVersion] = match tls.min_version.as_str() {
            "1.2" => &[&rustls::version::TLS12, &rustls::version::TLS13],
            "1.3" => &[&rustls::version::TLS13],
            other => return Err(format!("min_version \"{other}\" is neither \"1.2\" nor \"1.3\"")),
        };
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let builder = match &tls.client_ca {
            None => builder.with_no_client_auth(),
            Some(client_ca) => {
                let roots = super::roots(&client_ca.pem).map_err(|error| format!("client_ca: {error}"))?;
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
                let verifier = if client_ca.optional { verifier.allow_unauthenticated() } else { verifier };
                builder.with_client_cert_verifier(verifier.build().map_err(|error| format!("client_ca: {error}"))?)
            }
        };
        let default = (!tls.sni_strict).then(|| Arc::clone(&default.key));
        let known = certificates.iter().map(|identified| (identified.names.clone(), Arc::clone(&identified.key)));
        let mut config = builder.with_cert_resolver(Arc::new(Selector::new(known, default)));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?;
        Ok(Self {
            acceptor: TlsAcceptor::from(Arc::new(config)),
            client_ca: tls.client_ca.clone(),
            spec: (tls.clone(), documents),
        })
    }

    /// Whether it was built from the same, so that it, and its sessions, can stay.
    pub(crate) fn is_built_from(&self, tls: &Tls, documents: &[Certificate]) -> bool {
        self.spec.0 == *tls && self.spec.1 == documents
    }
}
