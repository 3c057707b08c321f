//! What a person who starts the server wants to know, and the one line that
//! scripts wait for.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::config::{Announced, Config};

/// The room in the examples where no stream key names one.
const EXAMPLE_ROOM: &str = "live";

/// Where the running server is.
#[derive(Debug, Clone)]
pub(super) struct Served {
    /// The bound HTTP address with its real port.
    pub(super) http: SocketAddr,
    /// Each worker's UDP port.
    pub(super) udp: Vec<u16>,
    /// The announced addresses.
    pub(super) announced: Vec<Announced>,
}

impl Served {
    /// `weir ready http=http://127.0.0.1:8080 udp=7882-7883`: what a script on this
    /// machine can connect to.
    pub(super) fn ready_line(&self) -> String {
        format!(
            "weir ready http={} udp={}",
            url(loopback_for_wildcard(self.http)),
            self.ports()
        )
    }

    /// `7882`, `7882-7885`, or `40001,40007` where the system chose them.
    fn ports(&self) -> String {
        let consecutive = self.udp.windows(2).all(|pair| match pair {
            [a, b] => a.checked_add(1) == Some(*b),
            _ => true,
        });
        match (self.udp.as_slice(), consecutive) {
            ([first, .., last], true) => format!("{first}-{last}"),
            (ports, _) => {
                let ports: Vec<String> = ports.iter().map(ToString::to_string).collect();
                ports.join(",")
            }
        }
    }

    /// The URL to give to others.
    fn base_url(&self, config: &Config) -> String {
        if !config.http.public_url.is_empty() {
            return config.http.public_url.clone();
        }
        let reachable = self
            .announced
            .iter()
            .map(|announced| announced.ip)
            .find(|ip| !ip.is_loopback() && (ip.is_ipv4() || self.http.is_ipv6()));
        match reachable {
            Some(ip) if self.http.ip().is_unspecified() => {
                url(SocketAddr::new(ip, self.http.port()))
            }
            _ => url(loopback_for_wildcard(self.http)),
        }
    }

    /// Where to publish, where to watch, and what to paste into OBS.
    pub(super) fn banner(&self, config: &Config) -> String {
        let base = self.base_url(config);
        let stream_key = config.auth.stream_keys.iter().find(|key| key.publish);
        let room = stream_key.map_or(EXAMPLE_ROOM, |key| &key.room);
        let token = if config.open_access() {
            "leave it empty".to_owned()
        } else if stream_key.is_some() {
            format!("the stream key of room {room}")
        } else {
            format!("what `weir token --room {room} --identity obs --publish` prints")
        };
        let access = if config.is_open_to_this_machine() {
            "open to this machine"
        } else if config.open_access() {
            "open to everybody who reaches it"
        } else {
            "by token or stream key"
        };
        let protocols = if config.tcp.enabled {
            "UDP and TCP"
        } else {
            "UDP"
        };
        let announced: Vec<String> = self.announced.iter().map(ToString::to_string).collect();
        let mut text = String::new();
        // Writing to a string can't fail.
        let _ = write!(
            text,
            "Weir {version}\n\n  \
             Publish  {base}/publish/{room}  (browser)\n  \
             Watch    {base}/watch/{room}\n  \
             Rooms    {base}/\n\n  \
             OBS      Settings > Stream > Service: WHIP\n           \
             Server:       {base}/whip/{room}\n           \
             Bearer Token: {token}\n\n  \
             Access   {access}\n  \
             Media    {protocols} {ports}, announced as {announced}\n",
            version = env!("CARGO_PKG_VERSION"),
            ports = self.ports(),
            announced = announced.join(", "),
        );
        text
    }
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}")
}

fn loopback_for_wildcard(address: SocketAddr) -> SocketAddr {
    let ip = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::Loader;

    fn served(http: &str, udp: &[u16]) -> Served {
        Served {
            http: http.parse().expect("address"),
            udp: udp.to_vec(),
            announced: ["127.0.0.1", "2001:db8::5", "192.0.2.5"]
                .map(|ip| ip.parse().expect("announced"))
                .to_vec(),
        }
    }

    fn config(text: &str) -> Config {
        Loader::new()
            .toml(Path::new("test.toml"), text)
            .and_then(|loader| loader.finish())
            .expect("configuration")
    }

    #[test]
    fn the_ready_line_names_real_ports_on_this_machine() {
        for (http, udp, line) in [
            (
                "127.0.0.1:8080",
                &[7882][..],
                "weir ready http=http://127.0.0.1:8080 udp=7882",
            ),
            (
                "0.0.0.0:80",
                &[7882, 7883],
                "weir ready http=http://127.0.0.1:80 udp=7882-7883",
            ),
            (
                "[::]:80",
                &[40_007, 40_001],
                "weir ready http=http://[::1]:80 udp=40007,40001",
            ),
        ] {
            assert_eq!(served(http, udp).ready_line(), line);
        }
    }

    #[test]
    fn the_banner_says_what_to_paste_into_obs() {
        let text = served("127.0.0.1:8080", &[7882]).banner(&config(""));
        for part in [
            "http://127.0.0.1:8080/publish/live",
            "http://127.0.0.1:8080/watch/live",
            "Server:       http://127.0.0.1:8080/whip/live",
            "Bearer Token: leave it empty",
            "Access   open to this machine",
            "7882, announced as 127.0.0.1",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }

    #[test]
    fn the_banner_gives_others_an_address_that_they_reach_and_no_secret() {
        let open = config("[http]\nlisten = \"0.0.0.0:8080\"\n[auth]\nmode = \"open\"");
        let text = served("0.0.0.0:8080", &[7882]).banner(&open);
        assert!(text.contains("http://192.0.2.5:8080/watch/live"), "{text}");
        assert!(text.contains("open to everybody who reaches it"), "{text}");

        let keyed = config(
            "[http]\nlisten = \"0.0.0.0:8080\"\npublic_url = \"https://media.example.org\"\n\
             [[auth.stream_keys]]\nkey = \"hunter2hunter2\"\nroom = \"studio\"",
        );
        let text = served("0.0.0.0:8080", &[7882]).banner(&keyed);
        assert!(
            text.contains("https://media.example.org/whip/studio"),
            "{text}"
        );
        assert!(text.contains("the stream key of room studio"), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
}
