//! Which certificate a client is shown.

use std::collections::HashMap;
use std::sync::Arc;

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

/// Certificates by the names that they are for.
#[derive(Debug)]
pub(crate) struct Selector {
    by_name: HashMap<Box<str>, Arc<CertifiedKey>>,
    default: Option<Arc<CertifiedKey>>,
}

impl Selector {
    /// The earlier of two certificates for one name wins. Without `default` a client that asks for another name, or for
    /// none, is refused.
    pub(crate) fn new<'a>(
        certificates: impl Iterator<Item = (&'a [Box<str>], &'a Arc<CertifiedKey>)>,
        default: Option<Arc<CertifiedKey>>,
    ) -> Self {
        let mut by_name = HashMap::new();
        for (names, key) in certificates {
            for name in names {
                by_name.entry(name.clone()).or_insert_with(|| Arc::clone(key));
            }
        }
        Self { by_name, default }
    }

    /// The certificate for a name: an exact one, else one for the name with its first labels replaced by `*`, as few as
    /// possible, else the default.
    pub(crate) fn find(&self, name: Option<&str>) -> Option<&Arc<CertifiedKey>> {
        name.and_then(|name| candidates(name).find_map(|name| self.by_name.get(name.as_str())))
            .or(self.default.as_ref())
    }
}

/// `a.b.c`, `*.b.c`, `*.*.c`, `*.*.*`.
fn candidates(name: &str) -> impl Iterator<Item = String> {
    let name = name.trim().trim_end_matches('.').to_lowercase();
    let labels = name.split('.').count();
    (0..=labels).map(move |stars| {
        let rest = name.splitn(stars + 1, '.').nth(stars).filter(|_| stars < labels);
        let stars = std::iter::repeat_n("*", stars);
        stars.chain(rest).collect::<Vec<_>>().join(".")
    })
}

impl ResolvesServerCert for Selector {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(hello.server_name()).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> (Vec<Box<str>>, Arc<CertifiedKey>) {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
        let certified = CertifiedKey::from_der(vec![made.cert.der().clone()], key, &crate::tls::provider()).unwrap();
        let names = crate::tls::peer::server_names(made.cert.der()).unwrap();
        let names = names.into_iter().filter(|name| !name.starts_with("rcgen")).map(String::into_boxed_str);
        (names.collect(), Arc::new(certified))
    }

    #[test]
    fn names_are_tried_from_exact_to_wild() {
        assert_eq!(candidates("A.b.c").collect::<Vec<_>>(), ["a.b.c", "*.b.c", "*.*.c", "*.*.*"]);
        assert_eq!(candidates("a").collect::<Vec<_>>(), ["a", "*"]);
    }

    #[test]
    fn exact_beats_wildcard_and_default_is_last() {
        let keys: Vec<_> = ["*.example.com", "a.example.com", "*.*.org"].map(key).into();
        let default = key("default").1;
        let lax = Selector::new(keys.iter().map(|(names, key)| (&names[..], key)), Some(Arc::clone(&default)));
        let strict = Selector::new(keys.iter().map(|(names, key)| (&names[..], key)), None);
        for (name, expected) in [
            (Some("a.example.com"), Some(1)),
            (Some("A.Example.COM"), Some(1)),
            (Some("b.example.com"), Some(0)),
            (Some("x.y.org"), Some(2)),
            (Some("x.y.example.com"), None),
            (Some("example.com"), None),
            (None, None),
        ] {
            let expected = expected.map(|index: usize| &keys[index].1);
            assert!(Arc::ptr_eq(lax.find(name).unwrap(), expected.unwrap_or(&default)), "{name:?}");
            assert!(match (strict.find(name), expected) {
                (Some(found), Some(expected)) => Arc::ptr_eq(found, expected),
                (found, expected) => found.is_none() && expected.is_none(),
            });
        }
    }
}
