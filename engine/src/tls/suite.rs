//! Cipher suites by their names.

use rustls::{CipherSuite, SupportedCipherSuite};

use super::provider;

/// The suites that an entry point offers: those of TLS 1.2 that are named, in this order, and all of TLS 1.3. No names
/// are all suites.
pub(crate) fn select(names: &[String]) -> Result<Vec<SupportedCipherSuite>, String> {
    let mut suites = provider().cipher_suites.clone();
    if names.is_empty() {
        return Ok(suites);
    }
    let (mut selected, known): (Vec<_>, Vec<_>) = suites.drain(..).partition(|suite| suite.tls13().is_some());
    let name = |suite: &SupportedCipherSuite| shown(suite.suite());
    for wanted in names {
        let found = known.iter().find(|suite| name(suite) == *wanted).ok_or_else(|| {
            let all: Vec<_> = known.iter().map(name).collect();
            format!("cipher suite \"{wanted}\" is not one of {}", all.join(", "))
        })?;
        selected.push(*found);
    }
    Ok(selected)
}

/// Its name in the registry of IANA.
fn shown(suite: CipherSuite) -> String {
    suite.as_str().map_or_else(|| format!("{suite:?}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_name() {
        assert_eq!(select(&[]).unwrap().len(), 9);
        let wanted = ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256"];
        let selected = select(&wanted.map(str::to_owned)).unwrap();
        let tls12: Vec<_> =
            selected.iter().filter(|suite| suite.tls13().is_none()).map(|it| shown(it.suite())).collect();
        assert_eq!(tls12, wanted);
        assert_eq!(selected.len(), 5);
        let error = select(&["TLS_RSA_WITH_RC4_128_SHA".to_owned()]).unwrap_err();
        assert!(error.contains("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"), "{error}");
    }
}
