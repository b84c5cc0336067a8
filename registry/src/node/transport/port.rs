//! Checks whether a TCP port is taken.
//!
//! libp2p's sockets share a port (`SO_REUSEPORT`), so that outbound connections use the listening port as their source.
//! Linux then lets a second node of the same user listen on the port of the first, and divides inbound connections
//! between the two. So before a node listens on a port, it binds a socket that shares nothing. Closing connections
//! (`TIME_WAIT`) of a node that has just ended do not prevent that.

use std::io;

use libp2p::{Multiaddr, multiaddr::Protocol};

/// Fails if a socket of any program listens at `address`, for TCP addresses with a port. All other addresses pass:
/// libp2p reports whether they can be listened on.
pub(in crate::node) fn check(address: &Multiaddr) -> io::Result<()> {
    match listen_alone(address) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// The port of a TCP address; `None` if the system chooses it.
pub(in crate::node) fn of(address: &Multiaddr) -> Option<u16> {
    address.iter().find_map(|part| match part {
        Protocol::Tcp(port) => Some(port).filter(|port| *port > 0),
        _ => None,
    })
}

#[cfg(unix)]
fn listen_alone(address: &Multiaddr) -> io::Result<()> {
    use std::net::{IpAddr, SocketAddr};

    use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt};

    let ip: Option<IpAddr> = match address.iter().next() {
        Some(Protocol::Ip4(ip)) => Some(ip.into()),
        Some(Protocol::Ip6(ip)) => Some(ip.into()),
        _ => None,
    };
    let (Some(ip), Some(port)) = (ip, of(address)) else { return Ok(()) };
    let family = if ip.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let alone = socket(family, SocketType::STREAM, None)?;
    if ip.is_ipv6() {
        sockopt::set_ipv6_v6only(&alone, true)?;
    }
    sockopt::set_socket_reuseaddr(&alone, true)?;
    bind(&alone, &SocketAddr::new(ip, port))?;
    Ok(listen(&alone, 1)?)
}

/// On other systems libp2p shares no ports.
#[cfg(not(unix))]
fn listen_alone(_: &Multiaddr) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_port_is_taken_while_something_listens_there() {
        for ip in ["127.0.0.1", "::1"] {
            let Ok(listener) = TcpListener::bind((ip, 0)) else { continue };
            let port = listener.local_addr().unwrap().port();
            let family = if ip.contains(':') { "ip6" } else { "ip4" };
            let address: Multiaddr = format!("/{family}/{ip}/tcp/{port}").parse().unwrap();
            assert_eq!(check(&address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
            drop(listener);
            check(&address).unwrap();
        }
    }

    #[test]
    fn closing_connections_of_a_former_listener_do_not_take_the_port() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let local = listener.local_addr().unwrap();
        let client = std::net::TcpStream::connect(local).unwrap();
        let (server, _) = listener.accept().unwrap();
        // The side that closes first keeps the address for a time.
        drop((server, listener));
        let mut client = client;
        assert_eq!(io::Read::read(&mut client, &mut [0]).unwrap(), 0);
        drop(client);
        check(&format!("/ip4/127.0.0.1/tcp/{}", local.port()).parse().unwrap()).unwrap();
    }

    #[test]
    fn addresses_without_a_port_of_tcp_are_not_looked_at() {
        for address in ["/ip4/127.0.0.1/tcp/0", "/ip4/127.0.0.1/udp/1/quic-v1", "/memory/1"] {
            check(&address.parse().unwrap()).unwrap();
        }
        assert_eq!(of(&"/ip4/127.0.0.1/tcp/4001".parse().unwrap()), Some(4001));
    }
}
