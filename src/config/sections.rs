//! Every configuration key with its default. `config/weir.toml` says the same
//! in the words of whoever runs the server; a test holds the two together.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ice::IceServer;
use super::types::{
    Announced, AuthMode, CounterOffers, Limit, LogFormat, Network, Secret, duration, listen_address,
};

/// The whole configuration, as a [`Loader`](super::Loader) makes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Media worker threads; 0 means one per core. Read it by [`Config::worker_count`].
    pub workers: u8,
    /// PATCH without `If-Match` is answered 428 (RFC 9725 §4.3.1 leaves it open).
    pub strict: bool,
    /// How long a stop may take after SIGTERM.
    #[serde(with = "duration")]
    pub shutdown_timeout: Duration,
    /// STUN and TURN servers that clients are told to use.
    pub ice_servers: Vec<IceServer>,
    /// The HTTP listener.
    pub http: Http,
    /// Media over UDP.
    pub udp: Udp,
    /// Media over TCP.
    pub tcp: Tcp,
    /// The addresses in our candidates.
    pub announce: Announce,
    /// Who may do what.
    pub auth: Auth,
    /// Bounds on everything a client can use up.
    pub limits: Limits,
    /// Playback.
    pub whep: Whep,
    /// The life of rooms.
    pub rooms: Rooms,
    /// Log lines.
    pub log: Log,
    /// `/metrics`.
    pub metrics: Metrics,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            workers: 0,
            strict: false,
            shutdown_timeout: Duration::from_secs(5),
            ice_servers: Vec::new(),
            http: Http::default(),
            udp: Udp::default(),
            tcp: Tcp::default(),
            announce: Announce::default(),
            auth: Auth::default(),
            limits: Limits::default(),
            whep: Whep::default(),
            rooms: Rooms::default(),
            log: Log::default(),
            metrics: Metrics::default(),
        }
    }
}

/// `[http]`: WHIP, WHEP, the API and the pages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    /// Where to listen; port 0 takes a free one.
    #[serde(with = "listen_address")]
    pub listen: SocketAddr,
    /// The URL that clients reach the server by, without a slash at the end, for what is
    /// printed at the start; empty: worked out.
    pub public_url: String,
    /// A request's header must be complete after this time.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// A request's body must be complete after this time.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// A kept connection without a request is closed after this time.
    #[serde(with = "duration")]
    pub idle_timeout: Duration,
    /// Bytes of a request's body; more is answered 413.
    pub body_limit: u32,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<Network>,
    /// Origins that may call from a browser; `*` is every origin.
    pub cors_origins: Vec<String>,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)),
            public_url: String::new(),
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_limit: 128 * 1024,
            trusted_proxies: Vec::new(),
            cors_origins: vec!["*".to_owned()],
        }
    }
}

/// `[udp]`: the media sockets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Udp {
    /// The port of worker 0; worker `n` has `port + n`. 0 takes free ports.
    pub port: u16,
    /// Addresses to bind; empty: every IPv4 and IPv6 address.
    pub listen: Vec<IpAddr>,
    /// Bytes of kernel receive buffer a socket.
    pub receive_buffer: u32,
    /// Bytes of kernel send buffer a socket.
    pub send_buffer: u32,
}

impl Default for Udp {
    fn default() -> Self {
        Self {
            port: 7882,
            listen: Vec::new(),
            receive_buffer: 4 * 1024 * 1024,
            send_buffer: 4 * 1024 * 1024,
        }
    }
}

/// `[tcp]`: ICE-TCP for clients whose UDP is blocked (RFC 6544, RFC 4571).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tcp {
    /// Listen on the UDP port numbers over TCP too.
    pub enabled: bool,
}

impl Default for Tcp {
    fn default() -> Self {
        Self { enabled: true }
    }
}

/// `[announce]`: the addresses that clients are told to send media to.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Announce {
    /// The addresses; empty: those of every interface that is up.
    pub addresses: Vec<Announced>,
    /// The external port of worker 0 for addresses without their own; 0: the internal one.
    pub port: u16,
    /// `host:port` of a STUN server that is asked for the external address; empty: none.
    pub stun: String,
}

/// `[auth]`: tokens, stream keys and what goes without.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Auth {
    /// Who may publish and watch. Read it by [`Config::open_access`].
    pub mode: AuthMode,
    /// PATCH and DELETE need only the unguessable session URL.
    pub session_url_is_capability: bool,
    /// API key to secret: whoever knows a secret can mint tokens.
    pub keys: BTreeMap<String, Secret>,
    /// Fixed keys, for encoders that have one field for a key.
    pub stream_keys: Vec<StreamKey>,
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            mode: AuthMode::Auto,
            session_url_is_capability: true,
            keys: BTreeMap::new(),
            stream_keys: Vec::new(),
        }
    }
}

/// One of `auth.stream_keys`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamKey {
    /// What the client sends.
    pub key: Secret,
    /// The only room it opens.
    pub room: String,
    /// The only identity it publishes as; without it, any.
    #[serde(default)]
    pub identity: Option<String>,
    /// It may publish.
    #[serde(default = "yes")]
    pub publish: bool,
    /// It may watch.
    #[serde(default)]
    pub subscribe: bool,
}

fn yes() -> bool {
    true
}

/// `[limits]`: what clients can use up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Sessions at a time.
    pub sessions: Limit,
    /// Sessions at a time from one address (IPv6: one /64).
    pub sessions_per_address: Limit,
    /// Rooms at a time.
    pub rooms: Limit,
    /// Publishing participants of a room.
    pub participants_per_room: Limit,
    /// Viewers of a room.
    pub viewers_per_room: Limit,
    /// HTTP requests a second from one address (IPv6: one /64), on average: those that change
    /// something, and as many that read with a token.
    pub requests_per_second: Limit,
    /// HTTP requests from one address that may come at once.
    pub requests_burst: u32,
    /// Bytes of a room name or an identity.
    pub name_length: u16,
    /// A session from which nothing authentic comes for this time is closed.
    #[serde(with = "duration")]
    pub consent_timeout: Duration,
    /// A session that is not connected after this time is closed.
    #[serde(with = "duration")]
    pub connect_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            sessions: Limit(10_000),
            sessions_per_address: Limit(2_000),
            rooms: Limit(5_000),
            participants_per_room: Limit(200),
            viewers_per_room: Limit(0),
            requests_per_second: Limit(50),
            requests_burst: 200,
            name_length: 128,
            consent_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(20),
        }
    }
}

/// `[whep]`: playback.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Whep {
    /// A viewer of a room without a publisher is let in and waits; otherwise 409.
    pub wait_for_publisher: bool,
    /// Video sections that a viewer of a room gets of those it offers.
    pub video_slots: u8,
    /// Audio sections that a viewer of a room gets of those it offers.
    pub audio_slots: u8,
    /// When a viewer's offer is met with an offer of our own (406).
    pub counter_offer: CounterOffers,
}

impl Default for Whep {
    fn default() -> Self {
        Self {
            wait_for_publisher: true,
            video_slots: 9,
            audio_slots: 3,
            counter_offer: CounterOffers::Off,
        }
    }
}

/// `[rooms]`: when rooms begin and end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rooms {
    /// The first who comes creates the room; otherwise only who may create rooms.
    pub auto_create: bool,
    /// A room that nobody is in is forgotten after this time.
    #[serde(with = "duration")]
    pub empty_timeout: Duration,
}

impl Default for Rooms {
    fn default() -> Self {
        Self {
            auto_create: true,
            empty_timeout: Duration::from_secs(60),
        }
    }
}

/// `[log]`: what goes to standard error.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// The form of a line.
    pub format: LogFormat,
    /// A level, or directives such as `info,weir::http=debug`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Text,
            level: "info".to_owned(),
        }
    }
}

/// `[metrics]`: Prometheus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Metrics {
    /// Answer `GET /metrics`.
    pub enabled: bool,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { enabled: true }
    }
}
