//! The loop guard: nothing is forwarded to where it came from.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::time::timeout;

use crate::{Destination, Error};

/// A name server that is away must not hold up the start.
const LOOK_UP_WAIT_MAX: Duration = Duration::from_secs(2);

/// Refuses a destination that leads to one of our own addresses. A name that cannot be looked up
/// yet passes: it is not this machine's, or the first requests will fail and be tried again.
pub(crate) async fn check(destination: &Destination, own: &[SocketAddr]) -> Result<(), Error> {
    let (host, port) = destination.host_and_port();
    let looked_up = timeout(LOOK_UP_WAIT_MAX, lookup_host((host.as_str(), port))).await;
    let Ok(Ok(found)) = looked_up else {
        return Ok(());
    };
    for address in found {
        if own.iter().any(|own| leads_to(address, *own)) {
            return Err(Error::Loop { name: destination.name.clone(), address });
        }
    }
    Ok(())
}

/// Whether a connection to `address` would arrive at `own`.
fn leads_to(address: SocketAddr, own: SocketAddr) -> bool {
    if address.port() != own.port() {
        return false;
    }
    let to = address.ip().to_canonical();
    to == own.ip().to_canonical() || (own.ip().is_unspecified() && is_local(to))
}

/// Whether an address belongs to this machine: only such a one can be bound.
fn is_local(ip: IpAddr) -> bool {
    ip.is_loopback()
        || ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED)
        || UdpSocket::bind(SocketAddr::new(ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn check_url(url: &str, own: &[&str]) -> bool {
        let own: Vec<SocketAddr> = own.iter().map(|text| text.parse().unwrap()).collect();
        check(&Destination::parse(url).unwrap(), &own).await.is_ok()
    }

    /// Scenario: destinations that are our own address by number, by name and by wildcard.
    /// Guarantees: each is refused; another port or machine is not.
    #[tokio::test]
    async fn own_addresses_are_refused() {
        let own = ["127.0.0.1:4317", "127.0.0.1:4318"];
        assert!(!check_url("grpc://127.0.0.1:4317", &own).await);
        assert!(!check_url("http://localhost:4318", &own).await);
        assert!(!check_url("grpc://[::ffff:127.0.0.1]:4317", &own).await);
        assert!(!check_url("grpc://127.0.0.1:4317", &["0.0.0.0:4317"]).await);
        assert!(check_url("grpc://127.0.0.1:4319", &own).await);
        assert!(check_url("grpc://192.0.2.7:4317", &["0.0.0.0:4317"]).await);
    }
}
