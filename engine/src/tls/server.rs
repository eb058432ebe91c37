//! TLS towards clients.

use std::sync::Arc;

use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, SupportedProtocolVersion};
use tokio_rustls::TlsAcceptor;

use super::certificate::Identified;
use super::select::Selector;
use super::ticket::{TicketKeys, Tickets};
use super::{provider, suite};
use crate::snapshot::{ClientCa, Tls};

/// How an entry point speaks TLS.
pub(crate) struct ServerTls {
    /// Does the handshakes.
    pub(crate) acceptor: TlsAcceptor,
    /// What is asked of clients. Connections that were made under another demand are not used any more.
    pub(crate) client_ca: Option<ClientCa>,
    /// What it was built from.
    tls: Tls,
    shown: Shown,
    keys: Arc<TicketKeys>,
}

/// Which certificates are shown.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// To who asks for one of their names.
    pub(crate) named: Vec<Arc<Identified>>,
    /// To everybody else, unless names are strict.
    pub(crate) default: Arc<Identified>,
}

impl Shown {
    /// All certificates.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Identified>> {
        self.named.iter().chain([&self.default])
    }

    fn is(&self, other: &Self) -> bool {
        self.named.len() == other.named.len() && self.all().zip(other.all()).all(|(a, b)| Arc::ptr_eq(a, b))
    }

    fn selector(&self, tls: &Tls) -> Arc<Selector> {
        let default = (!tls.sni_strict).then(|| Arc::clone(&self.default.key));
        Arc::new(Selector::new(self.named.iter().map(|one| (&one.names[..], &one.key)), default))
    }
}

impl std::fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ServerTls").field("tls", &self.tls).finish_non_exhaustive()
    }
}

impl ServerTls {
    /// Builds what `tls` says, with these certificates. Without `keys`, tickets are good on this engine alone.
    pub(crate) fn build(tls: &Tls, shown: Shown, keys: Arc<TicketKeys>) -> Result<Self, String> {
        let versions: &[&SupportedProtocolVersion] = match tls.min_version.as_str() {
            "1.2" => &[&rustls::version::TLS12, &rustls::version::TLS13],
            "1.3" => &[&rustls::version::TLS13],
            other => return Err(format!("min_version \"{other}\" is neither \"1.2\" nor \"1.3\"")),
        };
        let mut cryptography = (*provider()).clone();
        cryptography.cipher_suites = suite::select(&tls.cipher_suites)?;
        let builder = ServerConfig::builder_with_provider(Arc::new(cryptography))
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
        let mut config = builder.with_cert_resolver(shown.selector(tls));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Who names suites has put them in order.
        config.ignore_client_order = !tls.cipher_suites.is_empty();
        config.ticketer = if keys.is_empty() {
            rustls::crypto::aws_lc_rs::Ticketer::new().map_err(|error| error.to_string())?
        } else {
            Arc::new(Tickets::new(Arc::clone(&keys), tls.client_ca.as_ref()))
        };
        let client_ca = tls.client_ca.clone();
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), client_ca, tls: tls.clone(), shown, keys })
    }

    /// The certificates that it shows.
    pub(crate) fn certificates(&self) -> impl Iterator<Item = &Arc<Identified>> {
        self.shown.all()
    }

    /// What `tls` says with these certificates and keys, as far as possible out of this one: the same if nothing has
    /// changed, one with the same sessions if only the certificates or keys have.
    pub(crate) fn rebuilt(
        self: &Arc<Self>,
        tls: &Tls,
        shown: Shown,
        keys: &Arc<TicketKeys>,
    ) -> Result<Arc<Self>, String> {
        let same_keys = Arc::ptr_eq(&self.keys, keys);
        if self.tls == *tls && self.shown.is(&shown) && same_keys {
            return Ok(Arc::clone(self));
        }
        let only_certificates = Tls {
            certificates: self.tls.certificates.clone(),
            default_certificate: self.tls.default_certificate.clone(),
            ..tls.clone()
        };
        if self.tls != only_certificates || self.keys.is_empty() != keys.is_empty() {
            return Self::build(tls, shown, Arc::clone(keys)).map(Arc::new);
        }
        let mut config = (**self.acceptor.config()).clone();
        config.cert_resolver = shown.selector(tls);
        if !same_keys {
            config.ticketer = Arc::new(Tickets::new(Arc::clone(keys), tls.client_ca.as_ref()));
        }
        let (acceptor, client_ca) = (TlsAcceptor::from(Arc::new(config)), self.client_ca.clone());
        Ok(Arc::new(Self { acceptor, client_ca, tls: tls.clone(), shown, keys: Arc::clone(keys) }))
    }

    /// The keys of its tickets.
    pub(crate) fn keys(&self) -> &Arc<TicketKeys> {
        &self.keys
    }
}
