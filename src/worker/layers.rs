//! What viewers want of their slots' layers.

use super::core::Core;
use crate::control::messages::{Event, LayerWish, Refusal};
use crate::units::SessionKey;

impl Core {
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
        if let Some(rid) = &wish.rid {
            let track = slot.track.and_then(|t| self.tracks.get(t as usize));
            if track.and_then(|t| t.by_rid(rid)).is_none() {
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
