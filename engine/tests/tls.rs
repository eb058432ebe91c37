//! TLS on both sides: certificates by name, client certificates and their roles, verified servers.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use support::{DEADLINE, Engine, Origin, Peer, empty_snapshot, route, service};

type Issuer = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Issuer {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "test authority");
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate with its key.
struct Leaf {
    pem: String,
    key_pem: String,
    der: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

fn leaf(authority: &Issuer, names: &[&str], subject: &[(DnType, &str)]) -> Leaf {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = CertificateParams::new(names).unwrap();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind.clone(), *value);
    }
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, authority).unwrap();
    Leaf {
        pem: certificate.pem(),
        key_pem: key.serialize_pem(),
        der: certificate.der().clone(),
        key: PrivateKeyDer::Pkcs8(key.serialize_der().into()),
    }
}

impl Leaf {
    fn document(&self, id: &str) -> Value {
        json!({"id": id, "chain_pem": self.pem, "key_pem": self.key_pem, "ocsp_response": ""})
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A TLS connection, or why there is none.
fn connect(
    address: SocketAddr,
    name: &str,
    authority: &Issuer,
    client: Option<&Leaf>,
) -> Result<Peer<StreamOwned<ClientConnection, TcpStream>>, std::io::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions().unwrap();
    let builder = builder.with_root_certificates(roots);
    let mut config = match client {
        Some(leaf) => builder.with_client_auth_cert(vec![leaf.der.clone()], leaf.key.clone_key()).unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let mut connection = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    while connection.is_handshaking() {
        connection.complete_io(&mut stream)?;
    }
    assert_eq!(connection.alpn_protocol(), Some(&b"http/1.1"[..]));
    Ok(Peer::new(StreamOwned::new(connection, stream)))
}

fn tls(certificates: &[&str], default: &str) -> Value {
    json!({
        "certificates": certificates, "default_certificate": default, "min_version": "1.2", "cipher_suites": [], "sni_strict": false,
        "client_ca": null,
    })
}

fn shown(stream: &StreamOwned<ClientConnection, TcpStream>) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

#[test]
fn certificates_by_name() {
    let authority = authority();
    let exact = leaf(&authority, &["a.example.com"], &[]);
    let wild = leaf(&authority, &["*.example.com"], &[]);
    // The default is good for every name that is asked for here, so that clients accept it.
    let default = leaf(&authority, &["other.test", "x.y.z"], &[]);
    let mut snapshot = empty_snapshot();
    snapshot["certificates"] = json!([exact.document("exact"), wild.document("wild"), default.document("default")]);
    snapshot["entry_points"][0]["tls"] = tls(&["exact", "wild"], "default");
    snapshot["entry_points"][0]["ping"] = json!(true);
    let engine = Engine::with(&snapshot);
    let address = engine.address("http");
    for (name, expected) in
        [("a.example.com", &exact), ("A.Example.Com", &exact), ("b.example.com", &wild), ("other.test", &default)]
    {
        let mut client = connect(address, name, &authority, None).unwrap();
        assert_eq!(shown(&client.stream), expected.der, "{name}");
        assert_eq!(client.get("/ping").text(), "OK");
    }

    // Strictly: no name, no handshake. The listener, and connections on it, stay.
    let mut before = connect(address, "a.example.com", &authority, None).unwrap();
    snapshot["entry_points"][0]["tls"]["sni_strict"] = json!(true);
    engine.put(&snapshot);
    assert!(connect(address, "other.test", &authority, None).is_err());
    assert!(connect(address, "a.example.com", &authority, None).is_ok());
    assert_eq!(before.get("/ping").text(), "OK");

    // A certificate goes: its clients get the next best.
    snapshot["entry_points"][0]["tls"] = tls(&["wild"], "default");
    engine.put(&snapshot);
    assert_eq!(shown(&connect(address, "a.example.com", &authority, None).unwrap().stream), wild.der);
}

#[test]
fn client_certificates_and_roles() {
    let authority = authority();
    let server = leaf(&authority, &["node"], &[]);
    let control = leaf(&authority, &[], &[(DnType::CommonName, "c1"), (DnType::OrganizationName, "control")]);
    let data = leaf(&authority, &[], &[(DnType::CommonName, "d1"), (DnType::OrganizationName, "data")]);
    let stranger = leaf(&self::authority(), &[], &[(DnType::OrganizationName, "control")]);
    let origin = Origin::echo();
    let mut snapshot = empty_snapshot();
    snapshot["certificates"] = json!([server.document("server")]);
    snapshot["entry_points"][0]["tls"] = tls(&["server"], "server");
    snapshot["entry_points"][0]["tls"]["client_ca"] = json!({"pem": authority.pem(), "optional": true});
    let mut guarded = route("guarded", "all");
    guarded["matchers"] = json!([{"type": "path_prefix", "prefixes": [{"exact": "/raft"}]}]);
    guarded["client_roles"] = json!(["control"]);
    let mut open = route("open", "all");
    open["forward_client_identity"] = json!(true);
    snapshot["routes"] = json!([guarded, open]);
    snapshot["services"] = json!([service("all", std::slice::from_ref(&origin.url))]);
    let engine = Engine::with(&snapshot);
    let address = engine.address("http");
    let claim = "GET /open HTTP/1.1\r\nHost: h\r\nX-Traefikee-Peer-Id: evil\r\nX_Traefikee_Peer_Role: evil\r\n\
                 X-Traefikee-Peer-Serial: evil\r\nConnection: X-Traefikee-Peer-Role\r\n\r\n";
    for (certificate, status, id, role) in [
        (Some(&control), 200, Some("c1"), Some("control")),
        (Some(&data), 403, Some("d1"), Some("data")),
        (None, 403, None, None),
    ] {
        let mut client = connect(address, "node", &authority, certificate).unwrap();
        let answer = client.get("/raft/x");
        assert_eq!(answer.status(), status);
        if status == 403 {
            assert_eq!(answer.text(), "Forbidden");
        }
        client.send(claim);
        let answer = client.message();
        let request = support::Message { head: answer.text().to_owned(), body: Vec::new() };
        assert_eq!((request.field("X-Traefikee-Peer-Id"), request.field("X-Traefikee-Peer-Role")), (id, role));
        assert_eq!(request.field("X-Traefikee-Peer-Serial").is_some(), certificate.is_some());
        assert!(!answer.text().contains("evil"));
    }
    let refused = |certificate: Option<&Leaf>| {
        // With TLS 1.3 a client learns of the refusal only when it reads.
        connect(address, "node", &authority, certificate).is_err()
            || connect(address, "node", &authority, certificate)
                .and_then(|mut client| {
                    use std::io::{Read, Write};
                    client.stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")?;
                    client.stream.read(&mut [0; 16])
                })
                .map_or(true, |read| read == 0)
    };
    assert!(refused(Some(&stranger)));

    // A new demand holds for connections that were made under the old one too.
    let mut anonymous = connect(address, "node", &authority, None).unwrap();
    assert_eq!(anonymous.get("/open").status(), 200);
    snapshot["entry_points"][0]["tls"]["client_ca"]["optional"] = json!(false);
    engine.put(&snapshot);
    anonymous.send("GET /open HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(anonymous.head().is_none());
    assert!(refused(None));
    assert!(!refused(Some(&data)));
}

#[test]
fn servers_are_verified() {
    let authority = authority();
    let good = leaf(&authority, &["localhost"], &[]);
    let config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![good.der.clone()], good.key.clone_key())
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            std::thread::spawn(move || {
                let mut conn = Peer::new(StreamOwned::new(connection, stream));
                let mut room = [0; 4096];
                while let Ok(1..) = std::io::Read::read(&mut conn.stream, &mut room) {
                    conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
                }
            });
        }
    });
    let mut snapshot = empty_snapshot();
    snapshot["routes"] = json!([route("all", "all")]);
    snapshot["services"] = json!([service("all", &[format!("https://localhost:{port}")])]);
    let engine = Engine::with(&snapshot);
    assert_eq!(engine.connect().get("/").status(), 502);
    snapshot["settings"]["root_ca_pem"] = json!(authority.pem());
    engine.put(&snapshot);
    let mut client = engine.connect();
    assert_eq!(client.get("/").text(), "ok");
    assert_eq!(client.get("/").text(), "ok");
    // The certificate is not for the address.
    let by_address = json!([service("all", &[format!("https://127.0.0.1:{port}")])]);
    snapshot["services"] = by_address;
    engine.put(&snapshot);
    assert_eq!(engine.connect().get("/").status(), 502);
    snapshot["settings"]["insecure_skip_verify"] = json!(true);
    engine.put(&snapshot);
    assert_eq!(engine.connect().get("/").text(), "ok");
}
