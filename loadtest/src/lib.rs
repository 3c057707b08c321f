//! Load test for WHIP and WHEP servers: publishers that send real media,
//! thousands of viewers that behave as browsers do, and figures from end to end.
//!
//! ```text
//! scenario   what to run            signal   WHIP and WHEP over HTTP
//! media      what is published      wire     ICE, DTLS, SRTP, RTP headers
//! engine     threads that publish and receive
//! measure    sequence numbers, frames, sums    server   the process under test
//! run        steps, joins, phases   verdict  limits and bottlenecks
//! report     JSON, pages, comparison           peers    the raw floor
//! ```
//!
//! It shares no code with the server, so that it is a second opinion.

pub mod cli;
pub mod engine;
pub mod measure;
pub mod media;
pub mod peers;
pub mod report;
pub mod run;
pub mod scenario;
pub mod server;
pub mod signal;
pub mod sys;
pub mod verdict;
pub mod wire;
