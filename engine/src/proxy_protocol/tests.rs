use proptest::prelude::*;

use super::*;

fn source(length: usize, source: Option<&str>) -> Result<Parsed, Malformed> {
    Ok(Parsed::Header { length, source: source.map(|source| source.parse().unwrap()) })
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
    [SIGNATURE, &[command, family], &length, rest].concat()
}

#[test]
fn text_headers() {
    let cases: [(&str, usize, Option<&str>); 6] = [
        ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\n", 41, Some("192.0.2.1:56324")),
        ("PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\r\nGET / HTTP/1.1\r\n", 41, Some("192.0.2.1:56324")),
        ("PROXY TCP6 2001:db8::1 ::1 1 65535\r\n", 36, Some("[2001:db8::1]:1")),
        ("PROXY UNKNOWN\r\n", 15, None),
        ("PROXY UNKNOWN any thing at all\r\nGET", 32, None),
        (
            "PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
            104,
            Some("[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"),
        ),
    ];
    for (text, length, expected) in cases {
        assert_eq!(parse(text.as_bytes()), source(length, expected), "{text:?}");
    }
}

#[test]
fn malformed_text() {
    for text in [
        "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 56324\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 56324 443 1\r\n",
        "PROXY TCP4  192.0.2.1 10.0.0.1 56324 443\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1 \r\n",
        "PROXY TCP4 ::1 ::1 1 1\r\n",
        "PROXY TCP6 192.0.2.1 10.0.0.1 1 1\r\n",
        "PROXY TCP4 a.example 10.0.0.1 1 1\r\n",
        "PROXY UDP4 192.0.2.1 10.0.0.1 1 1\r\n",
        "PROXY tcp4 192.0.2.1 10.0.0.1 1 1\r\n",
        "PROXY \r\n",
        "PROXY TCP4 192.0.2.1 10.0.0.1 1 \u{661}\r\n",
        &format!("PROXY UNKNOWN {}\r\n", "x".repeat(92)),
        &format!("PROXY {}", "x".repeat(101)),
    ] {
        assert!(parse(text.as_bytes()).is_err(), "{text:?}");
    }
}

#[test]
fn binary_headers() {
    let four = [192, 0, 2, 1, 10, 0, 0, 1, 0xdc, 0x04, 1, 187];
    let six = [&Ipv6Addr::LOCALHOST.octets()[..], &[0; 16], &[0, 80, 1, 187]].concat();
    let tlv = [&four[..], &[0x02, 0, 3, b'a', b'b', b'c']].concat();
    for (command, family, rest, expected) in [
        (0x21, 0x11, &four[..], Some("192.0.2.1:56324")),
        (0x21, 0x11, &tlv, Some("192.0.2.1:56324")),
        (0x21, 0x21, &six, Some("[::1]:80")),
        (0x20, 0x11, &four, None),
        (0x20, 0x00, &[], None),
        (0x20, 0xff, &[1, 2, 3], None),
        (0x21, 0x00, &[], None),
        (0x21, 0x12, &four, None),
        (0x21, 0x31, &[0; 216], None),
        (0x21, 0x11, &[&four[..], &[0; 4068]].concat(), Some("192.0.2.1:56324")),
    ] {
        let mut bytes = v2(command, family, rest);
        let length = bytes.len();
        assert_eq!(parse(&bytes), source(length, expected), "{command:x} {family:x}");
        bytes.extend_from_slice(b"GET / HTTP/1.1\r\n");
        assert_eq!(parse(&bytes), source(length, expected), "{command:x} {family:x}");
    }
}

#[test]
fn malformed_binary() {
    for bytes in [
        v2(0x22, 0x11, &[0; 12]),
        v2(0x11, 0x11, &[0; 12]),
        v2(0x21, 0x11, &[0; 11]),
        v2(0x21, 0x21, &[0; 35]),
        v2(0x21, 0x41, &[0; 12]),
        v2(0x21, 0x13, &[0; 12]),
        v2(0x21, 0x11, &[0; 4081]),
    ] {
        assert!(parse(&bytes).is_err(), "{bytes:x?}");
    }
}

#[test]
fn other_protocols() {
    for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PRI * HTTP/2.0", b"PROXYY", b"\r\nGET", b"proxy "] {
        assert_eq!(parse(bytes), Ok(Parsed::Absent), "{bytes:?}");
    }
    assert_eq!(parse(b""), Ok(Parsed::Partial));
}

proptest! {
    /// No bytes make it panic, and a header is the same however it arrives: every shorter beginning is partial, and what
    /// follows does not matter.
    #[test]
    fn any_bytes(start in 0_usize..3, tail in proptest::collection::vec(any::<u8>(), 0..64)) {
        let data = [[&b""[..], TEXT, SIGNATURE][start], &tail].concat();
        match parse(&data) {
            Ok(Parsed::Header { length, source }) => {
                prop_assert!(length <= data.len());
                for end in 0..length {
                    prop_assert_eq!(parse(&data[..end]), Ok(Parsed::Partial));
                }
                prop_assert_eq!(parse(&data[..length]), Ok(Parsed::Header { length, source }));
            }
            Ok(Parsed::Partial) => for end in 0..data.len() {
                prop_assert_eq!(parse(&data[..end]), Ok(Parsed::Partial));
            },
            Ok(Parsed::Absent) | Err(_) => {}
        }
    }

    #[test]
    fn what_is_written_is_read(address: std::net::IpAddr, port: u16, tlvs in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (family, name, octets) = match address {
            IpAddr::V4(address) => (0x11, "TCP4", address.octets().to_vec()),
            IpAddr::V6(address) => (0x21, "TCP6", address.octets().to_vec()),
        };
        let expected = Some(SocketAddr::new(address, port));
        let bytes = v2(0x21, family, &[&octets[..], &octets, &port.to_be_bytes(), &[0, 1], &tlvs].concat());
        prop_assert_eq!(parse(&bytes), Ok(Parsed::Header { length: bytes.len(), source: expected }));
        let text = format!("PROXY {name} {address} {address} {port} 1\r\n");
        prop_assert_eq!(parse(text.as_bytes()), Ok(Parsed::Header { length: text.len(), source: expected }));
    }
}
