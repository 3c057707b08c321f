//! Debug builds' proof that no nonce is used for two different packets.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hasher};

use super::cipher::PacketId;

/// Packets remembered per SSRC, a power of two: about what can be sent again.
const REMEMBERED: usize = 1024;

/// SSRCs remembered; a session sends with a handful.
const SSRCS: usize = 64;

/// The index sealed last in a slot, and a hash of its packet.
type Sealed = Option<(u64, u64)>;

/// Remembers what was sealed under each index.
///
/// Two different packets under one nonce give an eavesdropper their difference,
/// and with GCM the authentication key. Nothing on the wire shows it, so debug
/// builds look.
#[derive(Debug, Default)]
pub(super) struct NonceGuard {
    sealed: HashMap<u32, Box<[Sealed]>>,
}

impl NonceGuard {
    /// Notes that the packet of these parts is about to be sealed as `id`.
    ///
    /// # Panics
    /// When another packet was sealed as `id` before: a bug of the caller.
    pub(super) fn check(&mut self, id: PacketId, parts: &[&[u8]]) {
        if !self.sealed.contains_key(&id.ssrc) && self.sealed.len() >= SSRCS {
            return;
        }
        let mut hasher = DefaultHasher::new();
        for part in parts {
            hasher.write(part);
        }
        let hash = hasher.finish();
        let seen = self
            .sealed
            .entry(id.ssrc)
            .or_insert_with(|| vec![None; REMEMBERED].into());
        let slot = &mut seen[(id.index as usize) % REMEMBERED];
        if let Some((index, before)) = *slot {
            assert!(
                index != id.index || before == hash,
                "SSRC {:#x} index {:#x} sealed again for another packet",
                id.ssrc,
                id.index
            );
        }
        *slot = Some((id.index, hash));
    }
}
