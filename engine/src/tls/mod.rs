//! TLS: what is shown to clients, what is asked of them, and what servers must show.

pub(crate) mod certificate;
pub(crate) mod peer;
pub(crate) mod select;
pub(crate) mod server;
mod suite;
pub(crate) mod ticket;
pub(crate) mod upstream;

use std::sync::Arc;

use rustls::RootCertStore;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

/// The one implementation of cryptography.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// All certificates in a PEM text.
pub(crate) fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let certificates: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| format!("cannot read the certificates: {error}"))?;
    if certificates.is_empty() { Err("there is no certificate in the PEM text".to_owned()) } else { Ok(certificates) }
}

/// A trust store of all certificates in a PEM text.
pub(crate) fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem)? {
        store.add(certificate).map_err(|error| format!("cannot use a CA certificate: {error}"))?;
    }
    Ok(store)
}
