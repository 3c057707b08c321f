//! The configuration: typed, checked once at start, unknown keys refused.
//!
//! `defaults < file < WEIR_* environment < flags`. Every key is documented in
//! `config/weir.toml` and has the type and default of [`Config`].

mod error;
mod ice;
mod load;
mod sections;
#[cfg(test)]
mod tests;
mod types;
mod validate;

pub use error::{ConfigError, Origin};
pub use ice::{ClientIceServer, IceServer};
pub use load::{Loader, env_name, keys};
pub use sections::{
    Announce, Auth, Config, Http, Limits, Log, Metrics, Rooms, StreamKey, Tcp, Udp, Whep,
};
pub use types::{Announced, AuthMode, CounterOffers, Limit, LogFormat, Network, Secret};
pub use validate::name_fault;
