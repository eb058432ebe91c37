//! `client_cert`: the server is told what certificate the client has shown.

use bytes::Bytes;
use data_encoding::BASE64;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls_pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

use super::{Passage, Step};
use crate::snapshot::middleware::{CertNames, ClientCert, ClientCertInfos};

const PEM: &str = "X-Forwarded-Tls-Client-Cert";
const INFOS: &str = "X-Forwarded-Tls-Client-Cert-Infos";

/// What Go's `url.QueryEscape` leaves as it is, but for the blank.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `passTLSClientCert`. What the client itself says in these fields is removed in any case.
pub(super) fn step<'c>(document: &ClientCert, passage: &mut Passage<'_>) -> Step<'c> {
    let certificates = passage.certificates;
    let mut put = |name: &'static str, value: Option<String>| {
        let values = value.map(Bytes::from).into_iter().collect();
        passage.edits.put(Bytes::from_static(name.as_bytes()), values);
    };
    let shown = !certificates.is_empty();
    put(PEM, (document.pem && shown).then(|| pem(certificates)));
    put(INFOS, document.infos.as_ref().filter(|_| shown).map(|wanted| infos(wanted, certificates)));
    Step::Continue
}

fn query_escape(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string().replace("%20", "+")
}

fn pem(certificates: &[CertificateDer<'_>]) -> String {
    let all: Vec<_> = certificates.iter().map(|one| query_escape(&BASE64.encode(one))).collect();
    all.join(",")
}

fn infos(wanted: &ClientCertInfos, certificates: &[CertificateDer<'_>]) -> String {
    let parsed = certificates.iter().map(|one| X509Certificate::from_der(one));
    let all: Vec<_> = parsed.map(|parsed| parsed.map_or_else(|_| String::new(), |(_, it)| info(wanted, &it))).collect();
    query_escape(&all.join(";"))
}

fn info(wanted: &ClientCertInfos, certificate: &X509Certificate<'_>) -> String {
    let mut parts = Vec::new();
    parts.extend(wanted.subject.as_ref().and_then(|wanted| names("Subject", wanted, certificate.subject())));
    parts.extend(wanted.issuer.as_ref().and_then(|wanted| names("Issuer", wanted, certificate.issuer())));
    if wanted.not_before {
        parts.push(format!("NB={}", certificate.validity().not_before.timestamp()));
    }
    if wanted.not_after {
        parts.push(format!("NA={}", certificate.validity().not_after.timestamp()));
    }
    if wanted.sans {
        parts.push(format!("SAN={}", sans(certificate).join(",")));
    }
    parts.join(",")
}

fn names(prefix: &str, wanted: &CertNames, name: &X509Name<'_>) -> Option<String> {
    const DOMAIN_COMPONENT: &str = "0.9.2342.19200300.100.1.25";
    let all = |oid: &str| -> Vec<String> {
        let found = name.iter_attributes().filter(|it| it.attr_type().to_id_string() == oid);
        found.filter_map(|it| it.as_str().ok().map(str::to_owned)).collect()
    };
    let mut parts = Vec::new();
    let mut add = |is_wanted: bool, key: &str, values: Vec<String>| {
        if is_wanted {
            parts.extend(values.iter().filter(|value| !value.is_empty()).map(|value| format!("{key}={value}")));
        }
    };
    let last = |mut values: Vec<String>| values.pop().into_iter().collect();
    add(wanted.domain_component, "DC", all(DOMAIN_COMPONENT));
    add(wanted.country, "C", all("2.5.4.6"));
    add(wanted.province, "ST", all("2.5.4.8"));
    add(wanted.locality, "L", all("2.5.4.7"));
    add(wanted.organization, "O", all("2.5.4.10"));
    add(wanted.serial_number, "SN", last(all("2.5.4.5")));
    add(wanted.common_name, "CN", last(all("2.5.4.3")));
    (!parts.is_empty()).then(|| format!("{prefix}=\"{}\"", parts.join(",")))
}

/// DNS names, then e-mail addresses, then IP addresses, then URIs.
fn sans(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternative)) = certificate.subject_alternative_name() else { return Vec::new() };
    let names = &alternative.value.general_names;
    let (mut all, mut mails, mut addresses, mut uris) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for name in names {
        match name {
            GeneralName::DNSName(name) => all.push((*name).to_owned()),
            GeneralName::RFC822Name(name) => mails.push((*name).to_owned()),
            GeneralName::URI(uri) => uris.push((*uri).to_owned()),
            GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
            _ => {}
        }
    }
    all.extend(mails);
    all.extend(addresses);
    all.extend(uris);
    all
}

fn address(bytes: &[u8]) -> Option<String> {
    let four = <[u8; 4]>::try_from(bytes).map(|it| std::net::IpAddr::from(it).to_string());
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(|it| std::net::IpAddr::from(it).to_string())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::middleware::tests::Asked;
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};

    fn certificate() -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec!["b.example".to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, "Name, the \"first\"");
        params.distinguished_name.push(DnType::OrganizationName, "Cheese");
        params.distinguished_name.push(DnType::CountryName, "FR");
        params.distinguished_name.push(DnType::CustomDnType(vec![0, 9, 2342, 19_200_300, 100, 1, 25]), "org");
        params.subject_alt_names.push(SanType::URI("foo:x".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress("10.0.0.1".parse().unwrap()));
        params.subject_alt_names.push(SanType::Rfc822Name("a@b".try_into().unwrap()));
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2040, 1, 1);
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn told(document: &ClientCert, asked: &Asked) -> [Vec<String>; 2] {
        let mut passage = asked.passage();
        step(document, &mut passage);
        let values = |name: &str| {
            let values = passage.edits.get(name.as_bytes()).unwrap();
            values.iter().map(|value| String::from_utf8(value.to_vec()).unwrap()).collect()
        };
        [values(PEM), values(INFOS)]
    }

    fn all() -> ClientCert {
        let names = serde_json::json!({"country": true, "province": true, "locality": true, "organization": true,
            "common_name": true, "serial_number": true, "domain_component": true});
        serde_json::from_value(serde_json::json!({"pem": true, "infos": {
            "not_after": true, "not_before": true, "sans": true, "subject": names, "issuer": null}}))
        .unwrap()
    }

    #[test]
    fn certificates_in_fields() {
        let one = certificate();
        let pem = BASE64.encode(&one).replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let plain = "Subject=\"DC=org,C=FR,O=Cheese,CN=Name, the \"first\"\",NB=1577836800,NA=2208988800,\
                     SAN=b.example,a@b,10.0.0.1,foo:x";
        let escaped: String = plain
            .replace(' ', "+")
            .chars()
            .map(|it| match it {
                '"' | '=' | ',' | '@' | ':' => format!("%{:02X}", it as u8),
                it => it.to_string(),
            })
            .collect();
        let asked = Asked { certificates: vec![one.clone()], ..Asked::get("https://a/") };
        assert_eq!(told(&all(), &asked), [vec![pem.clone()], vec![escaped.clone()]]);
        let asked = Asked { certificates: vec![one.clone(), one], ..asked };
        assert_eq!(told(&all(), &asked), [vec![format!("{pem},{pem}")], vec![format!("{escaped}%3B{escaped}")]]);
    }

    #[test]
    fn nobody_can_claim_one() {
        let fields = format!("{PEM}: mine\r\n{INFOS}: mine\r\n");
        let asked = Asked::new("GET / HTTP/1.1\r\nHost: a\r\n", &fields);
        assert_eq!(told(&all(), &asked), [Vec::<String>::new(), vec![]]);
        let certain = Asked { certificates: vec![certificate()], ..asked };
        assert!(told(&ClientCert { pem: false, ..all() }, &certain)[0].is_empty());
    }
}
