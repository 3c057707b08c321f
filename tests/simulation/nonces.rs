//! No nonce seals two packets: seen from the wire, over whole calls.
//!
//! A nonce is made of key, SSRC and index (RFC 3711 §4.1.1, RFC 7714 §8.1). Each
//! client of a world has one address and one session, so one key.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;

/// One SSRC's packets to one client.
#[derive(Debug, Default)]
struct Stream {
    highest: u64,
    seen: HashMap<u64, u64>,
}

/// See the module's description.
#[derive(Debug, Default)]
pub struct Nonces {
    rtp: HashMap<(SocketAddr, u32), Stream>,
    rtcp: HashMap<(SocketAddr, u32, u32), u64>,
    /// RTP datagrams that were sent once more, by client and SSRC.
    repeats: HashMap<(SocketAddr, u32), u64>,
    /// Clients that are repaired by RTX, which has numbers of its own: none is sent once more.
    rtx: HashSet<SocketAddr>,
}

impl Nonces {
    /// The client is repaired by RTX.
    pub fn expect_rtx(&mut self, client: SocketAddr) {
        self.rtx.insert(client);
    }

    /// Takes note of a datagram to `to`.
    ///
    /// # Panics
    /// When its nonce sealed another one before, or it is sent again where RTX is agreed on.
    pub fn check(&mut self, to: SocketAddr, bytes: &[u8]) {
        if !matches!(bytes.first(), Some(128..=191)) || bytes.len() < 12 {
            return;
        }
        let word = |at: usize| u32::from_be_bytes(bytes[at..at + 4].try_into().expect("four"));
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let hash = hasher.finish();
        if (192..=223).contains(&bytes[1]) {
            // The clients agree on GCM: the index comes last (RFC 7714 §9.2).
            let (ssrc, index) = (word(4), word(bytes.len() - 4) & 0x7fff_ffff);
            let before = self.rtcp.insert((to, ssrc, index), hash);
            assert_eq!(
                before, None,
                "SRTCP index {index} of {ssrc:#x} to {to} again"
            );
            return;
        }
        let (ssrc, low) = (word(8), u64::from(bytes[2]) << 8 | u64::from(bytes[3]));
        let stream = self.rtp.entry((to, ssrc)).or_insert_with(|| Stream {
            highest: low,
            ..Stream::default()
        });
        // The cycle in which it is nearest to the highest (RFC 3711 §3.3.1).
        let cycle = stream.highest & !0xffff;
        let index = [
            cycle.checked_sub(1 << 16),
            Some(cycle),
            Some(cycle + (1 << 16)),
        ]
        .into_iter()
        .flatten()
        .map(|cycle| cycle | low)
        .min_by_key(|index| index.abs_diff(stream.highest))
        .expect("one");
        stream.highest = stream.highest.max(index);
        if let Some(before) = stream.seen.insert(index, hash) {
            assert!(
                before == hash,
                "index {index} of {ssrc:#x} to {to} sealed again for another packet"
            );
            assert!(
                !self.rtx.contains(&to),
                "index {index} of {ssrc:#x} to {to} sent twice"
            );
            *self.repeats.entry((to, ssrc)).or_default() += 1;
        }
    }

    /// RTP datagrams to `to` that were the same as one before.
    pub fn repeats(&self, to: SocketAddr) -> u64 {
        let repeats = self
            .repeats
            .iter()
            .filter(|((address, _), _)| *address == to);
        repeats.map(|(_, count)| count).sum()
    }

    /// The same, to all clients.
    pub fn all_repeats(&self) -> u64 {
        self.repeats.values().sum()
    }

    /// The highest index of any SSRC to `to`.
    pub fn highest(&self, to: SocketAddr) -> u64 {
        let streams = self.rtp.iter().filter(|((address, _), _)| *address == to);
        streams.map(|(_, s)| s.highest).max().unwrap_or(0)
    }
}
