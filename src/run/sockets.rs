//! The media sockets of all workers, bound before any thread starts.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::Config;
use crate::net::tcp::{TcpLimits, TcpPort};
use crate::net::{BindError, SoleAddress, UdpOptions, UdpPort};
use crate::worker::Sockets;

/// With free ports, the number that UDP got may be taken in TCP or for another
/// address: so often another one is tried.
const FREE_PORT_ATTEMPTS: usize = 20;

/// The sockets of one worker.
pub(super) struct Bound {
    /// For its thread.
    pub(super) sockets: Sockets,
    /// The port that all of them share.
    pub(super) port: u16,
}

/// Binds every worker's sockets: worker `n` has `udp.port + n`, or any free port. All of them
/// follow `sole`.
pub(super) fn bind(config: &Config, sole: &SoleAddress) -> Result<Vec<Bound>, BindError> {
    let mut all = bind_all(config)?;
    let ports = all.iter_mut().flat_map(|bound| &mut bound.sockets.udp);
    ports.for_each(|port| port.follow(sole.clone()));
    Ok(all)
}

fn bind_all(config: &Config) -> Result<Vec<Bound>, BindError> {
    (0..config.worker_count())
        .map(|worker| match config.udp.port {
            0 => bind_free(config),
            first => {
                // The configuration was checked to leave room for every worker.
                let offset = u16::try_from(worker).unwrap_or(u16::MAX);
                bind_at(config, first.saturating_add(offset))
            }
        })
        .collect()
}

fn bind_free(config: &Config) -> Result<Bound, BindError> {
    let mut attempt = 1;
    loop {
        match bind_at(config, 0) {
            Err(BindError::Busy { .. }) if attempt < FREE_PORT_ATTEMPTS => attempt += 1,
            result => return result,
        }
    }
}

/// Binds all addresses on one port; with port 0 on the one that the first socket gets.
fn bind_at(config: &Config, port: u16) -> Result<Bound, BindError> {
    let mut bound = Bound {
        sockets: Sockets::default(),
        port,
    };
    if config.udp.listen.is_empty() {
        // One socket takes both families where the machine has IPv6.
        match bound.add(config, Ipv6Addr::UNSPECIFIED.into(), false) {
            Err(error) if error.is_family_missing() => {
                bound.add(config, Ipv4Addr::UNSPECIFIED.into(), false)?;
            }
            result => result?,
        }
    }
    for ip in &config.udp.listen {
        // Only the addresses that are listed: `::` means IPv6 here.
        bound.add(config, *ip, true)?;
    }
    Ok(bound)
}

impl Bound {
    fn add(&mut self, config: &Config, ip: IpAddr, only_v6: bool) -> Result<(), BindError> {
        let options = UdpOptions {
            receive_buffer: config.udp.receive_buffer as usize,
            send_buffer: config.udp.send_buffer as usize,
            only_v6,
            lanes: true,
        };
        let udp = UdpPort::bind(SocketAddr::new(ip, self.port), options)?;
        let port = udp.local().port();
        if config.tcp.enabled {
            let address = SocketAddr::new(ip, port);
            let tcp = TcpPort::bind(address, only_v6, TcpLimits::default())?;
            self.sockets.tcp.push(tcp);
        }
        self.sockets.udp.push(udp);
        self.port = port;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(workers: u8, port: u16, listen: &[&str]) -> Config {
        let mut config = Config {
            workers,
            ..Config::default()
        };
        config.udp.port = port;
        config.udp.listen = listen.iter().map(|ip| ip.parse().expect("ip")).collect();
        config
    }

    #[test]
    fn free_ports_are_the_same_for_udp_and_tcp_and_differ_by_worker() {
        let bound = bind_all(&config(2, 0, &["127.0.0.1"])).expect("bound");
        assert_eq!(bound.len(), 2);
        assert_ne!(bound[0].port, bound[1].port);
        for worker in &bound {
            assert_eq!(worker.sockets.udp[0].local().port(), worker.port);
            assert_eq!(worker.sockets.tcp[0].local().port(), worker.port);
        }
    }

    #[test]
    fn a_wildcard_takes_both_families() {
        let bound = bind_all(&config(1, 0, &[])).expect("bound");
        assert_eq!(bound[0].sockets.udp.len(), 1);
        assert!(bound[0].sockets.udp[0].local().ip().is_unspecified());
    }

    #[test]
    fn a_busy_port_is_named() {
        let first = bind_all(&config(1, 0, &["127.0.0.1"])).expect("bound");
        let port = first[0].port;
        let Err(error) = bind_all(&config(1, port, &["127.0.0.1"])) else {
            panic!("the port was bound twice");
        };
        let text = super::super::RunError::from(error).to_string();
        assert!(text.contains(&format!("127.0.0.1:{port}")), "{text}");
        assert!(text.contains("--udp-port"), "{text}");
    }
}
