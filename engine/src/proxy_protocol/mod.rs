//! The PROXY protocol, versions 1 and 2, as its receiver: where a connection that a load balancer passes on came from.
//! (<https://www.haproxy.org/download/2.8/doc/proxy-protocol.txt>)

pub(crate) mod read;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// What every header of version 1 begins with.
const TEXT: &[u8] = b"PROXY ";
/// Longest header of version 1, its line ending included.
const MAX_TEXT: usize = 107;
/// What every header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// Bytes of a header of version 2 before its addresses.
const FIXED: usize = 16;
/// Longest header of version 2 that is taken. The format allows 64 KiB; senders use a few hundred bytes.
const MAX_BINARY: usize = 4096;

/// What the first bytes of a connection are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// No header: it is another protocol that begins.
    Absent,
    /// The beginning of what may be a header.
    Partial,
    /// A whole header.
    Header {
        /// How many bytes it has.
        length: usize,
        /// Where the connection came from; `None` if the sender speaks for itself (`LOCAL`), does not know (`UNKNOWN`),
        /// or names something else than a TCP address.
        source: Option<SocketAddr>,
    },
}

/// A header that breaks the protocol: who sent it is not understood, and the connection of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed PROXY protocol header: {0}")]
pub(crate) struct Malformed(&'static str);

/// Reads a header off the first bytes of a connection. Fields of version 2 that follow the addresses (TLVs) are passed
/// over.
///
/// # Errors
///
/// If the bytes begin as a header does and go on as none can.
pub(crate) fn parse(data: &[u8]) -> Result<Parsed, Malformed> {
    let begins = |with: &[u8]| data.iter().zip(with).all(|(a, b)| a == b);
    if data.starts_with(TEXT) {
        text(data)
    } else if data.starts_with(SIGNATURE) {
        binary(data)
    } else if begins(TEXT) || begins(SIGNATURE) {
        Ok(Parsed::Partial)
    } else {
        Ok(Parsed::Absent)
    }
}

fn text(data: &[u8]) -> Result<Parsed, Malformed> {
    let seen = &data[..data.len().min(MAX_TEXT)];
    let Some(end) = memchr::memchr(b'\n', seen) else {
        let error = Err(Malformed("no line ending within 107 bytes"));
        return if seen.len() < MAX_TEXT { Ok(Parsed::Partial) } else { error };
    };
    let line = seen[TEXT.len()..end].strip_suffix(b"\r").ok_or(Malformed("the line does not end with CR LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| Malformed("the line is not ASCII"))?;
    let mut words = line.split(' ');
    let source = match words.next() {
        // What follows is not to be looked at.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(endpoints::<Ipv4Addr>(words)?),
        Some("TCP6") => Some(endpoints::<Ipv6Addr>(words)?),
        _ => return Err(Malformed("neither TCP4, TCP6 nor UNKNOWN")),
    };
    Ok(Parsed::Header { length: end + 1, source })
}

/// Source and destination address, source and destination port; returns the source.
fn endpoints<'a, A: std::str::FromStr + Into<IpAddr>>(
    mut words: impl Iterator<Item = &'a str>,
) -> Result<SocketAddr, Malformed> {
    let mut next = || words.next().ok_or(Malformed("too few fields"));
    let address = |word: &str| word.parse::<A>().map_err(|_| Malformed("no address of the family that it names"));
    let (source, destination) = (address(next()?)?, address(next()?)?);
    let (port, destination_port) = (self::port(next()?)?, self::port(next()?)?);
    let _ = (destination, destination_port);
    if words.next().is_some() {
        return Err(Malformed("too many fields"));
    }
    Ok(SocketAddr::new(source.into(), port))
}

fn port(word: &str) -> Result<u16, Malformed> {
    let digits = word.bytes().all(|byte| byte.is_ascii_digit());
    word.parse().ok().filter(|_| digits).ok_or(Malformed("no port"))
}

fn binary(data: &[u8]) -> Result<Parsed, Malformed> {
    let Some(fixed) = data.first_chunk::<FIXED>() else { return Ok(Parsed::Partial) };
    let [.., command, family, high, low] = *fixed;
    let length = FIXED + usize::from(u16::from_be_bytes([high, low]));
    let is_local = match command {
        0x20 => true,
        0x21 => false,
        _ => return Err(Malformed("neither LOCAL nor PROXY of version 2")),
    };
    if length > MAX_BINARY {
        return Err(Malformed("longer than 4096 bytes"));
    }
    let Some(rest) = data.get(FIXED..length) else { return Ok(Parsed::Partial) };
    let short = Malformed("too short for the addresses that it announces");
    let port = |at: usize| rest.get(at..at + 2).map(|port| u16::from_be_bytes([port[0], port[1]])).ok_or(short);
    let source = match family {
        _ if is_local => None,
        0x11 => {
            let address: [u8; 4] = *rest.first_chunk().filter(|_| rest.len() >= 12).ok_or(short)?;
            Some(SocketAddr::new(Ipv4Addr::from(address).into(), port(8)?))
        }
        0x21 => {
            let address: [u8; 16] = *rest.first_chunk().filter(|_| rest.len() >= 36).ok_or(short)?;
            Some(SocketAddr::new(Ipv6Addr::from(address).into(), port(32)?))
        }
        // Unspecified, datagrams, unix sockets: nothing that could stand for a client here.
        0x00 | 0x01 | 0x02 | 0x10 | 0x12 | 0x20 | 0x22 | 0x30 | 0x31 | 0x32 => None,
        _ => return Err(Malformed("unknown family or transport")),
    };
    Ok(Parsed::Header { length, source })
}
