//! The RTP header in the clear (RFC 3550 §5.1) and its extension elements
//! (RFC 8285): read once from a publisher's packet, written once a viewer.

mod read;
#[cfg(test)]
mod tests;
mod write;

use smallvec::SmallVec;

use super::negotiate::HeaderExtension;

pub use read::{ClearHeader, Elements, read};
pub use write::{MAX_HEADER, OutgoingHeader, OutgoingIds, write};

/// Extension ids that a session negotiated: what each of the ids 1 to 14 of
/// the one-byte form means.
#[derive(Debug, Clone, Copy, Default)]
pub struct ExtensionIds([Option<HeaderExtension>; 15]);

impl ExtensionIds {
    /// The table for these negotiated pairs; ids above 14 are left out, since
    /// the one-byte form can't carry them.
    pub fn new(pairs: &[(u8, HeaderExtension)]) -> Self {
        let mut ids = Self::default();
        ids.add(pairs);
        ids
    }

    /// Adds the pairs of another section; in a bundle, ids mean the same
    /// everywhere (RFC 8843 §8.2).
    pub fn add(&mut self, pairs: &[(u8, HeaderExtension)]) {
        for &(id, extension) in pairs {
            if let Some(entry) = self.0.get_mut(usize::from(id))
                && id > 0
            {
                *entry = Some(extension);
            }
        }
    }

    /// What `id` means.
    #[inline]
    pub fn meaning(&self, id: u8) -> Option<HeaderExtension> {
        self.0.get(usize::from(id)).copied().flatten()
    }

    /// The id of `extension`.
    pub fn id(&self, extension: HeaderExtension) -> Option<u8> {
        let at = self.0.iter().position(|e| *e == Some(extension))?;
        u8::try_from(at).ok()
    }
}

/// Values of a publisher's packet that travel to viewers untouched.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PassedExtensions {
    /// Voice activity and level, as on the wire (RFC 6464).
    pub audio_level: Option<u8>,
    /// Coordination of video orientation, as on the wire (3GPP TS 26.114).
    pub orientation: Option<u8>,
    /// Minimum and maximum playout delay, as on the wire.
    pub playout_delay: Option<[u8; 3]>,
    /// Content type, as on the wire.
    pub content_type: Option<u8>,
    /// Absolute capture time, 8 or 16 bytes as on the wire.
    pub capture_time: SmallVec<[u8; 16]>,
    /// Dependency descriptor, as on the wire; empty when absent.
    pub dependency: SmallVec<[u8; 48]>,
    /// Colour space, as on the wire; empty when absent.
    pub color_space: SmallVec<[u8; 28]>,
}
