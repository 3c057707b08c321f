//! One session: negotiation, ingress through ICE, DTLS and SRTP, and egress.

pub mod crypto;
pub mod negotiate;
pub mod rtcp;
pub mod srtp;
