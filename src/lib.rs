//! Weir, a media SFU: it takes live audio, video and data in over WebRTC and
//! forwards to every viewer the layers that viewer can use.
//!
//! The modules below stand in the order a packet meets them; `config`,
//! `control` and `http` are the control plane, which never touches a packet.
//!
//! ```text
//! net/      recvmmsg + GRO, kernel time-stamps -> classify by first byte -> demux (address, else ufrag)
//! peer/     the session's ICE, DTLS, SRTP, RTCP -> an RTP packet, parsed once
//! room/     the track: statistics, keyframe cache, fan-out list
//! viewer/   per viewer: allocate (pure) -> select (state machine) -> rewrite (arithmetic)
//! peer/     egress: header written into the send arena, payload copied, sealed in place
//! net/      runs of equal size to one destination -> UDP GSO; all runs -> sendmmsg
//! worker/   drives the loop: read everything ready, route, poll dirty sessions, flush, run due timers
//! ```

// The stage of the benches serves unit tests, too, and knows this crate by its name.
#[cfg(test)]
extern crate self as weir;

pub mod cli;
pub mod codec;
pub mod config;
pub mod control;
pub mod http;
pub mod net;
pub mod peer;
pub mod room;
pub mod run;
pub mod telemetry;
pub mod units;
pub mod viewer;
pub mod worker;
