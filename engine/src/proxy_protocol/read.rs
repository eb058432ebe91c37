//! Reading the header off a socket, and not a byte more.

use std::io;
use std::net::SocketAddr;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

use super::{Parsed, parse};

/// How many bytes are looked at a time. Nearly every header is shorter.
const GLANCE: usize = 256;

/// Takes the header off a connection, if there is one. Returns where it says that the connection came from, and bytes
/// that were taken but are no part of a header, after all.
///
/// Bytes are looked at first and taken only when they are known to belong to the header, or to its beginning.
pub(crate) async fn header(stream: &mut TcpStream) -> io::Result<(Option<SocketAddr>, BytesMut)> {
    let mut taken = BytesMut::new();
    let mut glance = [0; GLANCE];
    loop {
        let seen = stream.peek(&mut glance).await?;
        if seen == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = taken.len();
        taken.extend_from_slice(&glance[..seen]);
        match parse(&taken).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))? {
            Parsed::Absent => {
                taken.truncate(before);
                return Ok((None, taken));
            }
            Parsed::Partial => {
                stream.read_exact(&mut glance[..seen]).await?;
            }
            Parsed::Header { length, source } => {
                stream.read_exact(&mut glance[..length - before]).await?;
                return Ok((source, BytesMut::new()));
            }
        }
    }
}
