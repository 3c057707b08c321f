//! All fuzz targets in one program; `FUZZ_TARGET` names the one to run. Linking
//! the server once instead of once a target is most of a short run's time.

#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;

mod codec;
mod congestion;
mod control;
mod network;
mod publisher;

type Target = fn(&[u8]);

/// Every parser of bytes from outside.
const TARGETS: &[(&str, Target)] = &[
    ("h264", codec::h264),
    ("h265", codec::h265),
    ("sprop", codec::sprop),
    ("vp8", codec::vp8),
    ("vp9", codec::vp9),
    ("av1", codec::av1),
    ("dependency_descriptor", codec::dependency_descriptor),
    ("audio", codec::audio),
    ("datagram", network::datagram),
    ("stun", network::stun),
    ("tcp", network::tcp),
    ("rtp_header", network::rtp_header),
    ("srtp", network::srtp),
    ("publisher", publisher::publisher),
    ("rtcp", network::rtcp),
    ("congestion", congestion::congestion),
    ("offer", control::offer),
    ("fragment", control::fragment),
    ("answer", control::answer),
    ("layer", control::layer),
    ("token", control::token),
    ("configuration", control::configuration),
];

static CHOSEN: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    if name == "list" {
        TARGETS.iter().for_each(|(name, _)| println!("{name}"));
        std::process::exit(0);
    }
    let found = TARGETS.iter().find(|(known, _)| *known == name);
    match found {
        Some((_, target)) => *target,
        None => {
            eprintln!("FUZZ_TARGET names no target: {name:?}");
            std::process::exit(2);
        }
    }
});

fuzz_target!(init: { LazyLock::force(&CHOSEN); }, |data: &[u8]| { CHOSEN(data); });
