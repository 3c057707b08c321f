//! Offer in, answer out: pure functions over SDP text.
//!
//! [`read_offer`] turns an offer into [`Accepted`]: what a worker needs to open
//! the session ([`Negotiated`]), and what the answer has to mirror. When the
//! worker has chosen its half of the transport, [`Accepted::answer`] writes the
//! answer. [`fragment`] does the same for trickled candidates and ICE restarts.
//!
//! The protocol engine's own SDP layer is not used: it would choose payload
//! types, drop what it doesn't know and reject sections silently, while here
//! every refusal has its reason, and the answer keeps the offer's numbers.

mod answer;
mod candidate;
mod codecs;
mod context;
mod counter;
mod error;
mod extensions;
mod fit;
pub mod fragment;
mod offer;
mod simulcast;
mod ssrcs;
mod syntax;
mod transport;
pub mod types;

#[cfg(test)]
mod tests;

pub use answer::MAX_ANSWER;
pub use context::AnswerContext;
pub use counter::{AnswerError, CounterOffer};
pub use error::{FragmentError, NegotiateError};
pub use offer::{Accepted, read_offer};
pub use types::*;
