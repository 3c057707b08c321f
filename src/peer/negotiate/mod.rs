//! Offer in, answer out: pure functions over SDP text.

pub mod types;

pub use types::*;
