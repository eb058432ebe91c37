//! Certificates that can be shown, read once.

use std::collections::HashMap;
use std::sync::Arc;

use aws_lc_rs::digest;
use data_encoding::BASE64;
use rustls::sign::CertifiedKey;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

use super::{peer, provider};
use crate::snapshot::Certificate;

type Digest = [u8; 32];

/// A certificate chain that can be shown, with the names it is for.
#[derive(Debug)]
pub(crate) struct Identified {
    /// In lower case.
    pub(crate) names: Vec<Box<str>>,
    /// Chain, key and OCSP response.
    pub(crate) key: Arc<CertifiedKey>,
    /// What it was read from.
    digest: Digest,
}

/// Reads a certificate chain, its key and its OCSP response, and checks that the first two belong together.
fn read(certificate: &Certificate, digest: Digest) -> Result<Identified, String> {
    let chain = super::certificates(&certificate.chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key_pem.as_bytes())
        .map_err(|error| format!("cannot read the key: {error}"))?;
    let names = chain.first().map(peer::server_names).transpose()?.unwrap_or_default();
    let mut key = CertifiedKey::from_der(chain, key, &provider())
        .map_err(|error| format!("certificate and key cannot be used together: {error}"))?;
    let ocsp =
        BASE64.decode(certificate.ocsp_response.as_bytes()).map_err(|error| format!("ocsp_response: {error}"))?;
    key.ocsp = (!ocsp.is_empty()).then_some(ocsp);
    Ok(Identified { names: names.into_iter().map(String::into_boxed_str).collect(), key: Arc::new(key), digest })
}

/// What identifies a certificate across snapshots: everything that is read from it.
fn digest(certificate: &Certificate) -> Digest {
    let mut context = digest::Context::new(&digest::SHA256);
    for text in [&certificate.chain_pem, &certificate.key_pem, &certificate.ocsp_response] {
        context.update(&text.len().to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut digest = Digest::default();
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Certificates that were read before: reading is what costs with thousands of them.
#[derive(Debug, Default)]
pub(crate) struct Known<'a>(HashMap<Digest, &'a Arc<Identified>>);

impl<'a> Known<'a> {
    /// These.
    pub(crate) fn of(certificates: impl Iterator<Item = &'a Arc<Identified>>) -> Self {
        Self(certificates.map(|certificate| (certificate.digest, certificate)).collect())
    }

    /// The certificate, the very same as before if its texts are.
    pub(crate) fn read(&self, certificate: &Certificate) -> Result<Arc<Identified>, String> {
        let digest = digest(certificate);
        match self.0.get(&digest) {
            Some(known) => Ok(Arc::clone(known)),
            None => read(certificate, digest).map(Arc::new),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_texts_are_read_once() {
        let made = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let mut document = Certificate {
            id: "1".to_owned(),
            chain_pem: made.cert.pem(),
            key_pem: made.signing_key.serialize_pem(),
            ocsp_response: String::new(),
        };
        let first = Known::default().read(&document).unwrap();
        assert!(first.key.ocsp.is_none());
        let known = Known::of([&first].into_iter());
        document.id = "2".to_owned();
        assert!(Arc::ptr_eq(&known.read(&document).unwrap(), &first));
        document.ocsp_response = "AQID".to_owned();
        let other = known.read(&document).unwrap();
        assert!(!Arc::ptr_eq(&other, &first));
        assert_eq!(other.key.ocsp.as_deref(), Some(&[1, 2, 3][..]));
        document.ocsp_response = "no base64".to_owned();
        assert!(known.read(&document).unwrap_err().contains("ocsp_response"));
    }
}
