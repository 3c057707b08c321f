//! What a worker tells about itself.

use std::time::Instant;

use super::core::Core;
use super::session::Media;
use crate::control::messages::{PublisherSnapshot, ViewerSnapshot, WorkerSnapshot};
use crate::peer::transport::Phase;
use crate::room::Source;

impl Core {
    /// Totals and sessions, by value.
    pub(super) fn snapshot(&self, now: Instant) -> WorkerSnapshot {
        let mut snapshot = WorkerSnapshot {
            totals: self.totals.clone(),
            ..Default::default()
        };
        for slot in self.sessions.slots() {
            let Some(session) = self.sessions.get(slot) else {
                continue;
            };
            let connected = session.transport.phase() == Phase::Connected;
            match &session.media {
                Media::Publisher(publisher) => {
                    let tracks = publisher
                        .ingress
                        .tracks()
                        .filter_map(|index| Some((index, self.tracks.get(index as usize)?)))
                        .filter(|(_, t)| t.source == (Source::Local { session: slot }))
                        .filter_map(|(index, track)| {
                            let mut row = track.snapshot(now)?;
                            row.repair = publisher.ingress.repair(index);
                            Some(row)
                        })
                        .collect();
                    snapshot.publishers.push(PublisherSnapshot {
                        key: session.key,
                        room: session.room,
                        participant: publisher.participant,
                        connected,
                        rtt: publisher.rtt,
                        tracks,
                    });
                }
                Media::Viewer(viewer) => snapshot.viewers.push(ViewerSnapshot {
                    key: session.key,
                    room: session.room,
                    watching: viewer.watching,
                    connected,
                    bitrate: viewer.sent.bitrate(),
                    loss: viewer.loss,
                    rtt: viewer.rtt,
                    packets: viewer.sent.packets,
                    estimate: viewer.estimate,
                    slots: viewer
                        .slots
                        .iter()
                        .map(|slot| {
                            let track = slot.track.and_then(|t| self.tracks.get(t as usize));
                            slot.snapshot(track)
                        })
                        .collect(),
                }),
            }
        }
        snapshot
    }
}
