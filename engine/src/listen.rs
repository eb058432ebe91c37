//! Listening addresses: understanding, probing and binding them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

/// Connections that the kernel may hold for each worker until they are accepted.
const BACKLOG: i32 = 4096;
/// After so much silence the kernel asks whether a client is still there, as in Traefik.
const KEEP_ALIVE: Duration = Duration::from_secs(180);

/// Understands Go's listen syntax: `:80`, `1.2.3.4:80`, `[::1]:80`, `name:80`. An empty host is every address, IPv6 and
/// IPv4, or IPv4 alone where there is no IPv6.
pub(crate) fn resolve(address: &str) -> Result<SocketAddr, String> {
    let wrong = || format!("\"{address}\" is not host:port");
    let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
    let port: u16 = port.parse().map_err(|_| wrong())?;
    if host.is_empty() {
        let any = if has_ipv6() { IpAddr::from(Ipv6Addr::UNSPECIFIED) } else { Ipv4Addr::UNSPECIFIED.into() };
        return Ok(SocketAddr::new(any, port));
    }
    if let Ok(literal) = address.parse() {
        return Ok(literal);
    }
    if host.contains([':', '[', ']']) {
        return Err(wrong());
    }
    let mut found = (host, port).to_socket_addrs().map_err(|error| format!("cannot resolve {host}: {error}"))?;
    found.next().ok_or_else(|| format!("{host} has no address"))
}

fn has_ipv6() -> bool {
    let bound = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::TCP)).and_then(|socket| {
        socket.set_only_v6(false)?;
        socket.bind(&SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)).into())
    });
    bound.is_ok()
}

/// Binds one listener for each worker. `shared` says that the engine itself listens on the port, under another address
/// that is about to go; otherwise the address must be free.
///
/// Several sockets may share a port under `SO_REUSEPORT`, also those of different processes. That a port is used by
/// somebody else shows only if it is first bound without.
pub(crate) fn bind(address: SocketAddr, workers: usize, shared: bool) -> io::Result<Vec<std::net::TcpListener>> {
    if !shared {
        socket(address, false)?;
    }
    let first = listening(address)?;
    let address = first.local_addr()?;
    let mut listeners = vec![first];
    for _ in 1..workers {
        listeners.push(listening(address)?);
    }
    Ok(listeners)
}

/// The sockets of a listener that another engine has bound, at least one for each worker: where it had fewer, more are
/// bound beside them, or, where that is not allowed any more, some workers share one. None may be left out, since clients
/// wait in the queue of each.
pub(crate) fn inherit(inherited: &[std::net::TcpListener], workers: usize) -> io::Result<Vec<std::net::TcpListener>> {
    let mut listeners = inherited.iter().map(std::net::TcpListener::try_clone).collect::<io::Result<Vec<_>>>()?;
    let first = inherited.first().ok_or_else(|| io::Error::other("the listener has no socket"))?;
    let address = first.local_addr()?;
    for number in inherited.len()..workers {
        let more = listening(address).or_else(|_| inherited[number % inherited.len()].try_clone())?;
        listeners.push(more);
    }
    Ok(listeners)
}

fn listening(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = socket(address, true)?;
    // Accepted sockets inherit both, which saves the calls for each of them.
    socket.set_tcp_nodelay(true)?;
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(KEEP_ALIVE / 12))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn socket(address: SocketAddr, reuse_port: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.ip() == IpAddr::from(Ipv6Addr::UNSPECIFIED) {
        socket.set_only_v6(false)?;
    }
    socket.set_reuse_address(true)?;
    if reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert_eq!(resolve("1.2.3.4:80"), Ok("1.2.3.4:80".parse().unwrap()));
        assert_eq!(resolve("[::1]:80"), Ok("[::1]:80".parse().unwrap()));
        assert!(resolve(":80").unwrap().ip().is_unspecified());
        for bad in ["", "80", "a", "1.2.3.4", "1.2.3.4:x", "1.2.3.4:99999", "::1:80", "[::1]"] {
            assert!(resolve(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_used_port_shows() {
        let taken = bind("127.0.0.1:0".parse().unwrap(), 2, false).unwrap();
        let address = taken[0].local_addr().unwrap();
        assert_eq!(taken[1].local_addr().unwrap(), address);
        assert_eq!(bind(address, 2, false).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        assert!(bind(address, 2, true).is_ok());
    }
}
