//! The header fields that a proxy treats specially.

/// A field name that means something to the engine; everything else is [`Name::Other`] and passes untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    Accept,
    Host,
    Connection,
    ContentLength,
    TransferEncoding,
    KeepAlive,
    ProxyConnection,
    ProxyAuthenticate,
    ProxyAuthorization,
    Te,
    Trailer,
    Upgrade,
    Http2Settings,
    Date,
    ForwardedFor,
    ForwardedProto,
    ForwardedHost,
    ForwardedPort,
    ForwardedServer,
    ForwardedUri,
    ForwardedMethod,
    RealIp,
    PeerId,
    PeerRole,
    Other,
}

/// The names by length, so that most fields are told apart by one comparison of lengths.
fn candidates(length: usize) -> &'static [(&'static [u8], Name)] {
    match length {
        2 => &[(b"te", Name::Te)],
        4 => &[(b"host", Name::Host), (b"date", Name::Date)],
        6 => &[(b"accept", Name::Accept)],
        7 => &[(b"trailer", Name::Trailer), (b"upgrade", Name::Upgrade)],
        9 => &[(b"x-real-ip", Name::RealIp)],
        10 => &[(b"connection", Name::Connection), (b"keep-alive", Name::KeepAlive)],
        14 => &[(b"content-length", Name::ContentLength), (b"http2-settings", Name::Http2Settings)],
        15 => &[(b"x-forwarded-for", Name::ForwardedFor), (b"x-forwarded-uri", Name::ForwardedUri)],
        16 => &[
            (b"x-forwarded-host", Name::ForwardedHost),
            (b"x-forwarded-port", Name::ForwardedPort),
            (b"proxy-connection", Name::ProxyConnection),
        ],
        17 => &[(b"transfer-encoding", Name::TransferEncoding), (b"x-forwarded-proto", Name::ForwardedProto)],
        18 => &[
            (b"x-forwarded-server", Name::ForwardedServer),
            (b"x-forwarded-method", Name::ForwardedMethod),
            (b"proxy-authenticate", Name::ProxyAuthenticate),
        ],
        19 => &[(b"proxy-authorization", Name::ProxyAuthorization), (b"x-traefikee-peer-id", Name::PeerId)],
        21 => &[(b"x-traefikee-peer-role", Name::PeerRole)],
        _ => &[],
    }
}

impl Name {
    /// Recognises a field name, whatever its case.
    pub(crate) fn of(name: &[u8]) -> Self {
        candidates(name.len())
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
            .map_or(Self::Other, |(_, id)| *id)
    }

    /// Fields that belong to one connection and are never passed on as they are (RFC 9110 section 7.6.1).
    /// `Upgrade` and `TE` are written anew where they are still wanted.
    pub(crate) fn is_hop_by_hop(self) -> bool {
        matches!(
            self,
            Self::Connection
                | Self::KeepAlive
                | Self::ProxyConnection
                | Self::ProxyAuthenticate
                | Self::ProxyAuthorization
                | Self::Te
                | Self::TransferEncoding
                | Self::Upgrade
                | Self::Http2Settings
        )
    }
}

/// Whether a text is a token (RFC 9110 section 5.6.2): what names of fields, and of cookies, are made of.
pub(crate) fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

/// Whether a server could take `name` for one by which bodies are framed: to gateway interfaces that make variables of
/// fields (CGI, WSGI), `_` and `-` are the same.
pub(crate) fn resembles_framing(name: &[u8]) -> bool {
    let is = |known: &[u8]| {
        let same = |(a, b): (&u8, &u8)| a.eq_ignore_ascii_case(b) || (*a == b'_' && *b == b'-');
        name.len() == known.len() && name.iter().zip(known).all(same)
    };
    is(b"content-length") || is(b"transfer-encoding")
}

/// Whether `name` may not be sent in a trailer section: framing, routing, authentication, content format
/// (RFC 9110 section 6.5.1), and the fields by which a server trusts this proxy.
pub(crate) fn is_forbidden_in_trailers(name: &[u8]) -> bool {
    const FORBIDDEN: [&[u8]; 14] = [
        b"authorization",
        b"cache-control",
        b"content-encoding",
        b"content-range",
        b"content-type",
        b"cookie",
        b"expect",
        b"forwarded",
        b"max-forwards",
        b"range",
        b"set-cookie",
        b"www-authenticate",
        b"x-forwarded-prefix",
        b"x-replaced-path",
    ];
    match Name::of(name) {
        Name::Other | Name::Accept => {
            resembles_framing(name) || FORBIDDEN.iter().any(|forbidden| forbidden.eq_ignore_ascii_case(name))
        }
        Name::Date => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_candidate_is_found_under_its_length() {
        for length in 0..64 {
            for (text, id) in candidates(length).iter().filter(|(text, _)| text.len() == length) {
                assert_eq!(Name::of(&text.to_ascii_uppercase()), *id);
            }
        }
        assert_eq!(Name::of(b"X-Traefikee-Peer-Id"), Name::PeerId);
        assert_eq!(Name::of(b"X-Traefikee-Peer-Role"), Name::PeerRole);
        assert_eq!(Name::of(b"X-Other"), Name::Other);
    }

    #[test]
    fn trailers_may_not_carry_framing_or_trust() {
        for name in
            ["Content-Length", "Content_Length", "Host", "Authorization", "X-Forwarded-For", "X-Traefikee-Peer-Role"]
        {
            assert!(is_forbidden_in_trailers(name.as_bytes()), "{name}");
        }
        for name in ["Grpc-Status", "X-Checksum", "Date"] {
            assert!(!is_forbidden_in_trailers(name.as_bytes()), "{name}");
        }
    }
}
