//! The WHIP and WHEP acceptance cases, as a black box against the real binary.
//!
//! `cargo test --test conformance -- --list` prints the list. The numbers are
//! those of the project's acceptance list; RFC 9725 is WHIP, draft-ietf-wish-whep
//! is WHEP. Each test has a server of its own, so they run side by side.

#[path = "../support/client.rs"]
mod client;
#[path = "../support/media.rs"]
mod media;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/stun.rs"]
mod stun;

mod access;
mod counter_offers;
mod doctor;
mod extensions;
mod forwarding;
mod ice;
mod offers;
mod protocol;
mod resources;
mod sdp;
mod trickle;
