//! The values that configuration keys take, as types that refuse bad ones while reading.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A secret that never shows in `Debug`, logs or serialised configuration.
#[derive(Clone, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps a secret.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    /// The secret itself, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// No secret was given.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() {
            "[none]"
        } else {
            "[secret]"
        })
    }
}

impl PartialEq for Secret {
    /// Takes the same time wherever the two differ.
    fn eq(&self, other: &Self) -> bool {
        aws_lc_rs::constant_time::verify_slices_are_equal(self.0.as_bytes(), other.0.as_bytes())
            .is_ok()
    }
}

impl Eq for Secret {}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(if self.0.is_empty() { "" } else { "[secret]" })
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

/// An upper bound; 0 in the configuration means that there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Limit(pub u32);

impl Limit {
    /// The bound, `None` when there is none.
    pub fn get(self) -> Option<u32> {
        (self.0 != 0).then_some(self.0)
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.get() {
            Some(limit) => limit.fmt(f),
            None => f.write_str("no limit"),
        }
    }
}

/// Who may publish and watch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthMode {
    /// Open when only this machine can reach the server, else tokens.
    Auto,
    /// Everybody.
    Open,
    /// Whoever shows a token or a stream key.
    Token,
}

/// When a viewer's offer is met with an offer of our own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CounterOffers {
    /// Never.
    Off,
    /// When it has no codec that is published.
    Mismatch,
    /// Always.
    Always,
}

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// An address to announce in candidates, with its own external port when it has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Announced {
    /// The address.
    pub ip: IpAddr,
    /// The external port of worker 0; worker `n` is at `port + n`.
    pub port: Option<u16>,
}

impl FromStr for Announced {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let announced = if let Ok(ip) = text.parse::<IpAddr>() {
            Self { ip, port: None }
        } else if let Ok(address) = text.parse::<SocketAddr>() {
            Self {
                ip: address.ip(),
                port: Some(address.port()),
            }
        } else {
            return Err(
                "expected an IP address, with an optional port: \"203.0.113.5\", \
                 \"203.0.113.5:40000\", \"2001:db8::5\" or \"[2001:db8::5]:40000\""
                    .to_owned(),
            );
        };
        if announced.ip.is_unspecified() || announced.ip.is_multicast() {
            return Err(format!(
                "{} can't be reached by clients: expected an address of one machine",
                announced.ip
            ));
        }
        if announced.port == Some(0) {
            return Err("expected an external port from 1 to 65535".to_owned());
        }
        Ok(announced)
    }
}

impl fmt::Display for Announced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.ip, port).fmt(f),
            None => self.ip.fmt(f),
        }
    }
}

/// A network in CIDR form; a lone address is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(pub IpNet);

impl Network {
    /// True when `ip` belongs to the network; a v4-mapped address counts as IPv4.
    pub fn contains(&self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse::<IpNet>()
            .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
            .map(Self)
            .map_err(|_| {
                "expected a network or an address: \"10.0.0.0/8\", \"192.0.2.7\" or \"fd00::/8\""
                    .to_owned()
            })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Reads and writes a type by its `FromStr` and `Display`.
macro_rules! serde_by_text {
    ($($type:ty),*) => {$(
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    )*};
}

serde_by_text!(Announced, Network);

/// Times as text: `"30s"`, `"1m 30s"`, `"500ms"`, `"6h"`.
pub(super) mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*value))
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        let expected = "expected a time such as \"30s\", \"500ms\", \"1m 30s\" or \"6h\"";
        let text = String::deserialize(deserializer).map_err(|_| de::Error::custom(expected))?;
        humantime::parse_duration(&text).map_err(|_| de::Error::custom(expected))
    }
}

/// A socket address, refused with an example.
pub(super) mod listen_address {
    use std::net::SocketAddr;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(in crate::config) fn serialize<S: Serializer>(
        value: &SocketAddr,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(value)
    }

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SocketAddr, D::Error> {
        let expected = "expected an address and a port such as \"127.0.0.1:8080\", \
                        \"0.0.0.0:8080\" or \"[::]:8080\"";
        let text = String::deserialize(deserializer).map_err(|_| de::Error::custom(expected))?;
        text.parse().map_err(|_| de::Error::custom(expected))
    }
}
