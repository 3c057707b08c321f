//! Weir, a media SFU: it takes live audio and video in over WebRTC and forwards
//! to every viewer the layers that viewer can use.
//!
//! A packet meets the modules in this order:
//!
//! ```text
//! net/      recvmmsg + GRO, kernel time-stamps -> classify by first byte -> demux (address, else ufrag)
//! peer/     the session's ICE, DTLS, SRTP, RTCP -> an RTP packet, parsed once (codec/ knows payloads)
//! room/     the track: statistics, newest packets, who gets it
//! viewer/   per viewer: select (state machine) -> line (arithmetic: ssrc, pt, seq, ts) -> repair
//! peer/     egress: header written into the send arena, payload copied, sealed in place
//! net/      runs of equal size to one destination -> UDP GSO; all runs -> sendmmsg
//! worker/   drives it: one thread per core owns its sockets, sessions, tracks and timers; no locks
//! ```
//!
//! [`config`], [`control`], [`http`] and [`run`] are the control plane, which never touches a
//! packet; [`cli`] is the command line. [`telemetry`] and [`units`] serve both planes.

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
