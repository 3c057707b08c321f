//! The addresses in the server's candidates: configured, of the machine's
//! interfaces, or found with a STUN server.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use if_addrs::IfAddr;
use tokio::net::UdpSocket;
use tracing::warn;

use crate::config::{Announced, Config};
use crate::net::stun;

/// Addresses that are announced at most: every one makes each answer longer
/// (it has to stay below 8 KiB for FFmpeg) and each client check one path more.
const MAX_ADDRESSES: usize = 12;

/// Requests to the STUN server, each with its wait (RFC 8489 §6.2.1, shortened:
/// the start waits for it).
const STUN_WAITS: [Duration; 4] = [
    Duration::from_millis(300),
    Duration::from_millis(600),
    Duration::from_millis(1200),
    Duration::from_millis(2400),
];

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
/// then the configured ones or those of the interfaces, IPv4 before IPv6. On a
/// server for this machine only, loopback comes first; the others follow,
/// because clients built on libnice never use loopback.
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
        let interfaces = if_addrs::get_if_addrs().map_err(AnnounceError::Interfaces)?;
        let interfaces = interfaces
            .into_iter()
            .filter(if_addrs::Interface::is_oper_up)
            .map(|interface| interface.addr);
        found.extend(of_interfaces(
            interfaces,
            config.is_local(),
            &config.udp.listen,
        ));
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

/// The usable addresses of interfaces, IPv4 first.
fn of_interfaces(
    interfaces: impl Iterator<Item = IfAddr>,
    local: bool,
    listen: &[IpAddr],
) -> Vec<Announced> {
    let bound = |ip: &IpAddr| {
        listen.is_empty()
            || listen.contains(ip)
            || listen
                .iter()
                .any(|l| l.is_unspecified() && (l.is_ipv6() || ip.is_ipv4()))
    };
    let mut ips: Vec<IpAddr> = interfaces
        .map(|address| address.ip())
        .filter(bound)
        .filter(|ip| local || !ip.is_loopback())
        .filter(|ip| match ip {
            IpAddr::V4(v4) => !v4.is_link_local(),
            // A link-local address means nothing without its interface.
            IpAddr::V6(v6) => !v6.is_unicast_link_local(),
        })
        .collect();
    if ips.is_empty() {
        // A machine without a network still serves itself.
        ips.extend(
            [
                IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(Ipv6Addr::LOCALHOST),
            ]
            .into_iter()
            .find(bound),
        );
    }
    // Stable, so that interfaces keep the system's order.
    ips.sort_by_key(|ip| (!ip.is_loopback(), ip.is_ipv6()));
    if let Some(first) = ips.iter().position(IpAddr::is_ipv4) {
        // An answer's first candidate is IPv4: FFmpeg takes that one and no other.
        ips[..=first].rotate_right(1);
    }
    ips.into_iter()
        .map(|ip| Announced { ip, port: None })
        .collect()
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
    for server in servers.into_iter().take(2) {
        match ask_stun_at(server).await {
            Ok(ip) => return Ok(ip),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}

async fn ask_stun_at(server: SocketAddr) -> io::Result<IpAddr> {
    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    let transaction: [u8; 12] = rand::random();
    let mut request = [0; 64];
    let length = stun::binding_request(transaction, &mut request)
        .ok_or_else(|| io::Error::other("the request does not fit"))?;
    let request = &request[..length];
    for wait in STUN_WAITS {
        socket.send(request).await?;
        let answer = async {
            let mut response = [0; 1500];
            loop {
                let length = socket.recv(&mut response).await?;
                if let Some(mapped) = stun::mapped_address(&response[..length], transaction) {
                    return Ok::<_, io::Error>(mapped.ip().to_canonical());
                }
            }
        };
        match tokio::time::timeout(wait, answer).await {
            Ok(answer) => return answer,
            Err(_elapsed) => {}
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        format!("{server} did not answer"),
    ))
}

#[cfg(test)]
mod tests {
    use if_addrs::{Ifv4Addr, Ifv6Addr};

    use super::*;

    fn interface(ip: &str) -> IfAddr {
        match ip.parse().expect("address") {
            IpAddr::V4(ip) => IfAddr::V4(Ifv4Addr {
                ip,
                netmask: Ipv4Addr::BROADCAST,
                prefixlen: 32,
                broadcast: None,
            }),
            IpAddr::V6(ip) => IfAddr::V6(Ifv6Addr {
                ip,
                netmask: Ipv6Addr::UNSPECIFIED,
                prefixlen: 0,
                broadcast: None,
            }),
        }
    }

    fn announced(interfaces: &[&str], local: bool, listen: &[&str]) -> Vec<String> {
        let listen: Vec<IpAddr> = listen.iter().map(|ip| ip.parse().expect("ip")).collect();
        of_interfaces(interfaces.iter().map(|ip| interface(ip)), local, &listen)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    const USUAL: [&str; 6] = [
        "127.0.0.1",
        "::1",
        "2001:db8::5",
        "fe80::1",
        "192.0.2.5",
        "169.254.3.4",
    ];

    #[test]
    fn a_public_server_announces_its_interfaces_v4_first() {
        assert_eq!(announced(&USUAL, false, &[]), ["192.0.2.5", "2001:db8::5"]);
        assert_eq!(announced(&USUAL, false, &["0.0.0.0"]), ["192.0.2.5"]);
        assert_eq!(announced(&USUAL, false, &["::", "0.0.0.0"]).len(), 2);
        assert_eq!(announced(&USUAL, false, &["2001:db8::5"]), ["2001:db8::5"]);
    }

    #[test]
    fn a_local_server_announces_loopback_first_and_the_others_too() {
        assert_eq!(
            announced(&USUAL, true, &[]),
            ["127.0.0.1", "::1", "192.0.2.5", "2001:db8::5"]
        );
        assert_eq!(announced(&["::1", "192.0.2.5"], true, &[])[0], "192.0.2.5");
    }

    #[test]
    fn a_machine_without_network_announces_loopback() {
        assert_eq!(announced(&["127.0.0.1", "::1"], false, &[]), ["127.0.0.1"]);
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
