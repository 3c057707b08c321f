//! One session: negotiation, ingress through ICE, DTLS and SRTP, and egress.
//!
//! [`negotiate`] reads offers and writes answers. What is agreed on becomes a [`transport`]: an
//! [`ice`] agent with DTLS behind it ([`crypto`]), whose keys [`srtp`] takes. Then a publisher's
//! packets go through [`ingress`], a viewer's through [`egress`], both with [`header`] for RTP and
//! [`rtcp`] for what the ends tell each other; [`congestion`] says what a viewer's path takes.

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
