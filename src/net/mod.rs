//! Datagrams in and out: the sockets of one worker and what is known about a
//! datagram before any session has seen it.
//!
//! In: [`udp`] and [`tcp`] read, [`classify`] looks at the first byte, [`demux`]
//! finds the session by its authenticated address, [`ufrag`] and [`stun`] by the
//! user name of a first connectivity check. Out: sessions write into the
//! [`arena`], whose runs of equal size leave by `sendmmsg` with UDP GSO.
//! `source` tells when the kernel need not be told where from.
//! [`sys`] has the system calls, and with [`prefetch`] and `tls` all unsafe code.

mod address_key;
pub mod arena;
pub mod batch;
mod bind_error;
pub mod classify;
pub mod demux;
pub mod interfaces;
mod lanes;
mod pairs;
pub mod path;
pub mod prefetch;
mod source;
pub mod stun;
pub mod stun_limit;
pub mod sys;
pub mod tcp;
#[cfg(feature = "openssl")]
pub mod tls;
pub mod udp;
pub mod ufrag;

pub use address_key::AddressKey;
pub use arena::{Run, SendArena};
pub use batch::RecvBatch;
pub use bind_error::BindError;
pub use demux::AddressTable;
pub use path::{Datagram, Path, Proto};
pub use source::SoleAddress;
pub use tcp::{TcpLimits, TcpPort};
pub use udp::{SendReport, UdpOptions, UdpPort};
