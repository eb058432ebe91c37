//! Who a client's certificate says it is.

use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

/// The names in a verified client certificate.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// The subject's common name (CN).
    pub(crate) name: Option<String>,
    /// The subject's organisations (O).
    pub(crate) roles: Vec<String>,
    /// The serial number, as hexadecimal digits without leading zeros.
    pub(crate) serial: String,
}

impl Identity {
    /// Reads the subject of a certificate. Names that could not stand in a header field are left out.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Self {
        let Ok((_, parsed)) = X509Certificate::from_der(certificate) else { return Self::default() };
        let usable = |text: &str| {
            let clean = !text.is_empty() && text.trim() == text && !text.chars().any(char::is_control);
            clean.then(|| text.to_owned())
        };
        let subject = parsed.subject();
        Self {
            name: subject.iter_common_name().find_map(|name| usable(name.as_str().ok()?)),
            roles: subject.iter_organization().filter_map(|role| usable(role.as_str().ok()?)).collect(),
            serial: format!("{:x}", parsed.serial),
        }
    }
}

/// The names that a certificate is for, in lower case: its common name and its DNS names.
pub(crate) fn server_names(certificate: &CertificateDer<'_>) -> Result<Vec<String>, String> {
    use x509_parser::extensions::GeneralName;
    let (_, parsed) = X509Certificate::from_der(certificate).map_err(|error| format!("cannot parse: {error}"))?;
    let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
    let mut names: Vec<String> = common.map(str::to_lowercase).collect();
    if let Ok(Some(alternative)) = parsed.subject_alternative_name() {
        names.extend(alternative.value.general_names.iter().filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(name.to_lowercase()),
            _ => None,
        }));
    }
    names.sort_unstable();
    names.dedup();
    Ok(names)
}
