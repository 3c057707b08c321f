//! What viewers want of their slots' layers.

use super::core::Core;
use crate::control::messages::{Event, LayerWish, Refusal};
use crate::room::{Rung, Track};
use crate::units::SessionKey;

impl Core {
    /// The estimate of what a viewer's path carries was written: chooses its layers anew
    /// when it moved materially.
    pub(super) fn estimate_written(&mut self, session: u32) {
        let viewer = self.sessions.get_mut(session).and_then(|s| s.viewer());
        if viewer.is_some_and(|v| v.estimate_moved()) {
            self.aim_viewer(session);
        }
    }

    /// Notes a viewer's wish for the slot `mid` and aims the slot anew. A wish for
    /// an encoding or a layer that is not there is refused and changes nothing.
    pub(super) fn choose_layers(
        &mut self,
        key: SessionKey,
        mid: &str,
        wish: LayerWish,
    ) -> Result<(), Refusal> {
        let session = self.sessions.find(key).ok_or(Refusal::UnknownSession)?;
        let slot = self
            .sessions
            .get_mut(session)
            .and_then(|s| s.viewer())
            .and_then(|v| v.slot_by_mid(mid))
            .ok_or(Refusal::UnknownMedia)?;
        if wish.rid.is_some() || wish.spatial.is_some() || wish.temporal.is_some() {
            let track = slot.track.and_then(|t| self.tracks.get(t as usize));
            if !track.is_some_and(|t| offers(t, &wish)) {
                return Err(Refusal::UnknownLayer);
            }
        }
        if slot.wish == wish {
            return Ok(());
        }
        slot.wish = wish;
        self.aim_viewer(session);
        self.event(Event::LayersChanged { key });
        Ok(())
    }
}

/// The track has the encoding and the layers that a wish names.
fn offers(track: &Track, wish: &LayerWish) -> bool {
    let rid = match wish.rid.as_deref().map(|rid| track.by_rid(rid)) {
        Some(None) => return false,
        Some(Some(rid)) => Some(rid),
        None => None,
    };
    let named = |r: &&Rung| {
        rid.is_none_or(|rid| rid == r.encoding)
            && wish.spatial.is_none_or(|s| s == r.spatial)
            && wish.temporal.is_none_or(|t| t == r.temporal)
    };
    // An encoding that is silent at present can be wished for all the same.
    let only_rid = rid.is_some() && wish.spatial.is_none() && wish.temporal.is_none();
    only_rid || track.ladder.rungs().iter().any(|r| named(&r))
}
