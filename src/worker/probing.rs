//! Sends the padding that a viewer's congestion controller asks for.

use std::time::Instant;

use super::core::{ARENA_RESERVE, Core};
use super::session::{Media, Session};
use crate::peer::egress::Outlet;
use crate::viewer::slot::Repaired;

/// Padding packets in one turn; a train spreads over many turns.
const BURST: usize = 8;

impl Core {
    /// Sends the padding that is due, and wakes again for the rest.
    pub(super) fn probe_viewer(&mut self, now: Instant, session: u32) {
        let Some(Session {
            key,
            media: Media::Viewer(viewer),
            transport,
            ..
        }) = self.sessions.get_mut(session)
        else {
            return;
        };
        let key = *key;
        let micros = self.config.clock.micros(now);
        let (Some(path), Some(egress)) = (transport.ice.path(), &mut viewer.egress) else {
            return;
        };
        let congestion = &mut viewer.congestion;
        let mut due = congestion.padding_due(micros, &mut egress.log);
        // Padding is made of what media and repairs leave over.
        let others = viewer.repairs.is_waiting() || viewer.slots.iter().any(|s| s.behind.is_some());
        if due > 0 {
            viewer.pacer.refill(now, viewer.estimate);
        }
        for _ in 0..BURST {
            let nothing_left = others || !viewer.pacer.has_left_for_padding();
            if due == 0 || nothing_left || self.outputs.arena.room() < ARENA_RESERVE {
                break;
            }
            let mut out = Outlet {
                now,
                clock: &self.config.clock,
                arena: &mut self.outputs.arena,
                path,
            };
            let sent = viewer.slots.iter_mut().find_map(|slot| {
                let track = self.tracks.get(slot.track? as usize)?;
                match slot.pad(&mut out, egress, track) {
                    Repaired::Sent(size) => Some(size),
                    _ => None,
                }
            });
            let Some(size) = sent else {
                congestion.give_up_probe(micros, &mut egress.log);
                break;
            };
            congestion.padded(size);
            viewer.pacer.spend(size);
            viewer.sent.count(size);
            self.totals.padding_out += 1;
            due = due.saturating_sub(size);
        }
        if let Some(at) = congestion.deadline(micros) {
            let at = self.config.clock.at_micros(at);
            self.wake_at(key, at);
        }
    }
}
