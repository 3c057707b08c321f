//! WHIP (RFC 9725) and WHEP over HTTP: our offers, the server's answers.

pub mod answer;
pub mod client;
pub mod offer;
