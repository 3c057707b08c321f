//! One session: negotiation, ingress through ICE, DTLS and SRTP, and egress.

pub mod congestion;
pub mod crypto;
pub mod egress;
pub mod header;
pub mod ice;
pub mod ingress;
pub mod negotiate;
pub mod rtcp;
mod secure;
pub mod setup;
pub mod srtp;
pub mod transport;
