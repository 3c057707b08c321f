//! Load test for WHIP and WHEP servers: publishers that send real media,
//! thousands of viewers that behave as browsers do, and figures from end to end.
//!
//! ```text
//! cli        the command line                  scenario   what to run
//! run        steps, joins, phases              server     the process under test
//! signal     WHIP and WHEP over HTTP           wire       ICE, DTLS, SRTP, RTP headers
//! media      what is published                 engine     threads that publish and receive
//! measure    sequence numbers, frames, sums    verdict    limits and bottlenecks
//! report     JSON, pages, comparison           peers      servers that take turns, and the raw floor
//! sys        system calls
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
