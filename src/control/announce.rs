//! The addresses in the server's candidates: configured, of the machine's
//! interfaces, or found with a STUN server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use tracing::warn;

use crate::config::{Announced, Config};
use crate::net::interfaces;

/// Addresses that are announced at most: every one makes each answer longer
/// (it has to stay below 8 KiB for FFmpeg) and each client check one path more.
const MAX_ADDRESSES: usize = 12;

/// How long the start waits for the STUN server.
const STUN_TIMEOUT: Duration = Duration::from_secs(5);

/// No address could be found.
#[derive(Debug, thiserror::Error)]
pub enum AnnounceError {
    /// The interfaces could not be listed.
    #[error(
        "the network interfaces can't be listed: {0}; name the addresses in announce.addresses"
    )]
    Interfaces(io::Error),
    /// The STUN server did not help.
    #[error("announce.stun = {server:?}: {why}; name the external address in announce.addresses")]
    Stun {
        /// The configured server.
        server: String,
        /// What went wrong.
        why: String,
    },
}

/// The addresses to announce, most wanted first: what the STUN server sees,
/// then the configured ones or those of the interfaces. A server for this
/// machine only announces loopback and the others too, because clients built
/// on libnice never use loopback.
pub async fn addresses(config: &Config) -> Result<Vec<Announced>, AnnounceError> {
    let announce = &config.announce;
    let mut found = Vec::new();
    if !announce.stun.is_empty() {
        let ip = ask_stun(&announce.stun)
            .await
            .map_err(|why| AnnounceError::Stun {
                server: announce.stun.clone(),
                why,
            })?;
        found.push(Announced { ip, port: None });
    }
    if announce.addresses.is_empty() {
        let ips =
            interfaces::local_addresses(config.is_local()).map_err(AnnounceError::Interfaces)?;
        found.extend(usable(ips, &config.udp.listen));
    } else {
        found.extend(&announce.addresses);
    }
    let mut unique: Vec<Announced> = Vec::with_capacity(found.len());
    for announced in found {
        if !unique.contains(&announced) {
            unique.push(announced);
        }
    }
    if unique.len() > MAX_ADDRESSES {
        warn!(
            found = unique.len(),
            announced = MAX_ADDRESSES,
            "this machine has very many addresses; choose with announce.addresses"
        );
        unique.truncate(MAX_ADDRESSES);
    }
    Ok(unique)
}

/// Those of the interfaces' addresses that are bound, IPv4 first (FFmpeg takes
/// the first candidate and no other) and loopback first in each family.
fn usable(mut ips: Vec<IpAddr>, listen: &[IpAddr]) -> impl Iterator<Item = Announced> {
    let bound = |ip: &IpAddr| {
        listen.is_empty()
            || listen
                .iter()
                .any(|l| l == ip || (l.is_unspecified() && l.is_ipv4() == ip.is_ipv4()))
    };
    ips.retain(bound);
    if ips.is_empty() {
        // A machine without a network still serves itself.
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        ips.extend(loopback.into_iter().find(bound));
    }
    // Stable, so that interfaces keep the system's order.
    ips.sort_by_key(|ip| (ip.is_ipv6(), !ip.is_loopback()));
    ips.into_iter().map(|ip| Announced { ip, port: None })
}

/// The candidates of one worker for its internal port.
pub fn candidates(
    config: &Config,
    addresses: &[Announced],
    worker: usize,
    internal: u16,
) -> Vec<SocketAddr> {
    addresses
        .iter()
        .map(|address| {
            let port = config.external_port(address.port, worker, internal);
            SocketAddr::new(address.ip, port)
        })
        .collect()
}

/// The address that a STUN server sees this machine at.
async fn ask_stun(server: &str) -> Result<IpAddr, String> {
    let mut servers: Vec<SocketAddr> = tokio::net::lookup_host(server)
        .await
        .map_err(|error| format!("can't be resolved: {error}"))?
        .collect();
    servers.sort_by_key(SocketAddr::is_ipv6);
    let mut why = "has no address".to_owned();
    // One address of each family at most, so that the start is not held up long.
    servers.dedup_by_key(|server| server.is_ipv6());
    for server in servers {
        let ask = move || interfaces::discover_public(server, STUN_TIMEOUT);
        match tokio::task::spawn_blocking(ask).await {
            Ok(Ok(mapped)) => return Ok(mapped.ip().to_canonical()),
            Ok(Err(error)) => why = error.to_string(),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

#[cfg(test)]
mod tests {
    use tokio::net::UdpSocket;

    use super::*;
    use crate::net::stun;

    fn announced(ips: &[&str], listen: &[&str]) -> Vec<String> {
        let parse = |ips: &[&str]| ips.iter().map(|ip| ip.parse().expect("ip")).collect();
        let (ips, listen): (Vec<IpAddr>, Vec<IpAddr>) = (parse(ips), parse(listen));
        usable(ips, &listen).map(|a| a.to_string()).collect()
    }

    const TWO: [&str; 2] = ["192.0.2.5", "2001:db8::5"];

    #[test]
    fn only_bound_families_and_addresses_are_announced() {
        assert_eq!(announced(&TWO, &[]), TWO);
        assert_eq!(announced(&TWO, &["0.0.0.0"]), ["192.0.2.5"]);
        assert_eq!(announced(&TWO, &["::"]), ["2001:db8::5"]);
        assert_eq!(announced(&TWO, &["::", "0.0.0.0"]), TWO);
        assert_eq!(announced(&TWO, &["2001:db8::5"]), ["2001:db8::5"]);
    }

    #[test]
    fn ipv4_is_first_and_loopback_leads_each_family() {
        assert_eq!(
            announced(&["192.0.2.5", "2001:db8::5", "127.0.0.1", "::1"], &[]),
            ["127.0.0.1", "192.0.2.5", "::1", "2001:db8::5"]
        );
    }

    #[test]
    fn a_machine_without_network_announces_loopback() {
        assert_eq!(announced(&[], &[]), ["127.0.0.1"]);
        assert_eq!(announced(&[], &["::"]), ["::1"]);
    }

    #[test]
    fn candidates_have_the_external_port_of_their_worker() {
        let mut config = Config::default();
        config.announce.port = 40_000;
        let addresses = ["192.0.2.5", "[2001:db8::5]:50000"].map(|a| a.parse().expect("announced"));
        assert_eq!(
            candidates(&config, &addresses, 1, 7883),
            ["192.0.2.5:40001", "[2001:db8::5]:50001"].map(|a| a.parse().expect("address"))
        );
    }

    #[tokio::test]
    async fn a_stun_server_tells_the_address_even_if_one_request_is_lost() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address = server.local_addr().expect("address").to_string();
        let serve = async {
            let mut request = [0; 100];
            for answered in [false, true] {
                let (length, from) = server.recv_from(&mut request).await.expect("request");
                let view = stun::StunView::parse(&request[..length]).expect("STUN");
                assert!(view.is_binding_request());
                if answered {
                    let outside = "203.0.113.9:1234".parse().expect("address");
                    let mut response = [0; 100];
                    let length =
                        stun::binding_success(&view, outside, None, &mut response).expect("fits");
                    server
                        .send_to(&response[..length], from)
                        .await
                        .expect("answer");
                }
            }
        };
        let (ip, ()) = tokio::join!(ask_stun(&address), serve);
        assert_eq!(ip, Ok("203.0.113.9".parse().expect("ip")));
    }

    #[tokio::test]
    async fn a_closed_stun_port_is_an_error() {
        let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
        let address = socket.local_addr().expect("address").to_string();
        drop(socket);
        let mut config = Config::default();
        config.announce.stun = address.clone();
        let error = addresses(&config).await.expect_err("nobody answers");
        let text = error.to_string();
        assert!(
            text.contains(&address) && text.contains("announce.addresses"),
            "{text}"
        );
    }
}
