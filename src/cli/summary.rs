//! A configuration in a few lines, for people.

use std::fmt::Write;

use crate::config::Config;

/// What the configuration means: where it listens, who gets in, what it announces.
pub fn summary(config: &Config) -> String {
    let mut text = String::new();
    let workers = config.worker_count();
    let access = if config.is_open_to_this_machine() {
        "open to this machine".to_owned()
    } else if config.open_access() {
        "open to everybody who reaches it".to_owned()
    } else {
        format!(
            "by token ({} API keys, {} stream keys)",
            config.auth.keys.len(),
            config.auth.stream_keys.len()
        )
    };
    let tcp = if config.tcp.enabled {
        "UDP and TCP"
    } else {
        "UDP"
    };
    let internal = if config.udp.port == 0 {
        "free ports".to_owned()
    } else {
        format!("port {}", ports(config.udp.port, workers))
    };
    let announce = &config.announce;
    let mut announced: Vec<String> = announce.addresses.iter().map(ToString::to_string).collect();
    if !announce.stun.is_empty() {
        announced.insert(0, format!("what {} sees", announce.stun));
    }
    if announce.addresses.is_empty() {
        announced.push("every interface that is up".to_owned());
    }
    let external = if announce.port == 0 {
        String::new()
    } else {
        format!(", external port {}", ports(announce.port, workers))
    };
    let limits = &config.limits;
    // Writing to a string can't fail.
    let _ = write!(
        text,
        "  HTTP      {}\n  access    {access}\n  media     {tcp}, {internal} ({workers} workers)\n  \
         announce  {}{external}\n  limits    {} sessions, {} from one address, {} rooms",
        config.http.listen,
        announced.join(", "),
        limits.sessions,
        limits.sessions_per_address,
        limits.rooms,
    );
    text
}

/// `7882`, or `7882-7885` for several workers.
pub fn ports(first: u16, count: usize) -> String {
    match count {
        0 | 1 => first.to_string(),
        _ => format!("{first}-{}", usize::from(first) + count - 1),
    }
}
