//! What time brings: session timers, keyframe requests, measurements.

use std::time::Instant;

use super::core::{Core, Flush};
use super::mesh::MeshMessage;
use super::session::{Media, Session};
use crate::control::messages::CloseReason;
use crate::peer::transport::Phase;
use crate::room::{Source, ring};
use crate::telemetry::DropReason;
use crate::units::MediaKind;
use crate::viewer::REPORT_INTERVAL;

impl Core {
    pub(super) fn run_timers(&mut self, now: Instant, flush: &mut dyn Flush) {
        let mut due = std::mem::take(&mut self.due);
        self.timers.expire(now, |slot, _| due.push(slot));
        for slot in due.drain(..) {
            self.outputs.make_room(flush); // media may have filled it
            self.guarded(now, slot, |core| core.session_tick(now, slot));
        }
        self.due = due;
    }

    fn session_tick(&mut self, now: Instant, slot: u32) -> Result<(), CloseReason> {
        let Some(session) = self.sessions.get_mut(slot) else {
            return Ok(());
        };
        session.scheduled = None;
        let key = session.key;
        let end = if session.transport.phase() == Phase::Connected {
            (
                session.heard + self.config.consent_timeout,
                CloseReason::TimedOut,
            )
        } else {
            (
                session.opened + self.config.connect_timeout,
                CloseReason::NeverConnected,
            )
        };
        if end.0 <= now {
            return Err(end.1);
        }
        // An engine's far deadline that comes before the next report is kept with this one.
        let reports = session
            .as_viewer()
            .and_then(|viewer| viewer.next_report)
            .is_some_and(|at| at <= now);
        let until = if reports && session.transport.phase() == Phase::Connected {
            now + REPORT_INTERVAL
        } else {
            now
        };
        if session.transport.deadline().is_some_and(|at| at <= until) {
            self.with_engine(now, slot, |transport| transport.tick(now))?;
        }
        self.viewer_tick(now, slot);
        self.demand_again(now, slot);
        self.probe_viewer(now, slot);
        self.publisher_tick(now, slot);
        let Some(session) = self.sessions.get(slot) else {
            return Ok(());
        };
        let report = match &session.media {
            Media::Viewer(viewer) => {
                if viewer.next_burst.is_some_and(|at| at <= now) {
                    self.behind.push(slot);
                }
                let burst = viewer.next_burst.filter(|at| *at > now);
                let demands = viewer.slots.iter().filter_map(|s| s.demand.deadline());
                let others = viewer.next_report.into_iter().chain(burst);
                others.chain(demands).min()
            }
            // Without a path it can be asked and told nothing; its next packet brings both back.
            Media::Publisher(publisher) => session
                .transport
                .ice
                .path()
                .and_then(|_| publisher.ingress.deadline()),
        };
        let next = [session.engine_deadline(now), report, Some(end.0)]
            .into_iter()
            .flatten()
            .min();
        if let Some(at) = next {
            self.wake_at(key, at);
        }
        Ok(())
    }

    /// Tells a publisher what is due: repairs that are wanted, reports, and the like.
    fn publisher_tick(&mut self, now: Instant, slot: u32) {
        let Some(Session {
            media: Media::Publisher(publisher),
            transport,
            ..
        }) = self.sessions.get_mut(slot)
        else {
            return;
        };
        let (Some(sealed), Some(path)) = (&mut publisher.sealed, transport.ice.path()) else {
            return;
        };
        let arena = &mut self.outputs.arena;
        let wall = self.config.clock.unix(now);
        let ingress = &mut publisher.ingress;
        let asked = ingress.tick(now, wall, &mut sealed.feedback, arena, path);
        self.totals.nacks_out += asked.repairs;
        let refused = sealed.feedback.take_refused();
        self.totals.drops.add_many(DropReason::EgressFull, refused);
        for (track, encoding) in asked.lost {
            if self.is_watched(track, encoding) {
                self.want_keyframe(track, encoding);
            }
        }
    }

    /// Somebody is sent an encoding, here or by another worker.
    pub(super) fn is_watched(&self, index: u32, encoding: u8) -> bool {
        self.tracks.get(index as usize).is_some_and(|track| {
            let encoding = track.encodings.get(usize::from(encoding));
            !track.remote_subscribers.is_empty() || encoding.is_some_and(|e| e.viewers > 0)
        })
    }

    /// Somebody needs a keyframe of an encoding.
    pub(super) fn want_keyframe(&mut self, index: u32, encoding: u8) {
        let Some(track) = self.tracks.get_mut(index as usize) else {
            return;
        };
        let Some(encoding) = track.encodings.get_mut(usize::from(encoding)) else {
            return;
        };
        encoding.keyframes.want();
        if !std::mem::replace(&mut track.hungry, true) {
            self.hungry.push(index);
        }
        // Polled at the end of this turn.
        self.next_keyframe_poll = Some(self.config.clock.start());
    }

    pub(super) fn poll_keyframes(&mut self, now: Instant, flush: &mut dyn Flush) {
        if self.next_keyframe_poll.is_none_or(|at| at > now) {
            return;
        }
        self.next_keyframe_poll = None;
        let mut hungry = std::mem::take(&mut self.hungry);
        hungry.retain(|index| {
            self.outputs.make_room(flush);
            let next = self.poll_keyframes_of(now, *index);
            self.next_keyframe_poll = [self.next_keyframe_poll, next].into_iter().flatten().min();
            let hungry = next.is_some();
            if !hungry && let Some(track) = self.tracks.get_mut(*index as usize) {
                track.hungry = false;
            }
            hungry
        });
        hungry.append(&mut self.hungry);
        self.hungry = hungry;
    }

    fn poll_keyframes_of(&mut self, now: Instant, index: u32) -> Option<Instant> {
        let count = self.tracks.get(index as usize)?.encodings.len();
        let mut next: Option<Instant> = None;
        for at in 0..count {
            let track = self.tracks.get_mut(index as usize)?;
            let (source, key) = (track.source, track.key);
            let encoding = track.encodings.get_mut(at)?;
            if encoding.keyframes.is_due(now) {
                let number = u8::try_from(at).unwrap_or(u8::MAX);
                let sent = match source {
                    Source::None => true, // who comes next begins anew
                    Source::Local { session } => self.ask_publisher(now, session, index, number),
                    Source::Remote { worker } => {
                        let message = MeshMessage::Keyframe {
                            track: key,
                            encoding: number,
                        };
                        self.outputs.mesh.push((worker, message));
                        true
                    }
                };
                let track = self.tracks.get_mut(index as usize)?;
                let encoding = track.encodings.get_mut(at)?;
                if sent {
                    encoding.keyframes.sent(now);
                } else {
                    encoding.keyframes.not_sent(now);
                }
                if sent && matches!(source, Source::Local { .. }) {
                    encoding.health.asked(now);
                }
            }
            let encoding = self.tracks.get(index as usize)?.encodings.get(at)?;
            next = [next, encoding.keyframes.deadline(now)]
                .into_iter()
                .flatten()
                .min();
        }
        next
    }

    /// Asks a publisher for a keyframe; false when there was no way to.
    fn ask_publisher(&mut self, now: Instant, slot: u32, track: u32, encoding: u8) -> bool {
        let mut sent = false;
        self.guarded(now, slot, |core| {
            if let Some(Session {
                media: Media::Publisher(publisher),
                transport,
                ..
            }) = core.sessions.get_mut(slot)
                && let (Some(sealed), Some(path)) = (&mut publisher.sealed, transport.ice.path())
            {
                let (feedback, arena) = (&mut sealed.feedback, &mut core.outputs.arena);
                let ingress = &mut publisher.ingress;
                sent = ingress.request_keyframe(feedback, arena, path, track, encoding);
            }
            Ok(())
        });
        self.totals.keyframe_requests_out += u64::from(sent);
        sent
    }

    /// Ends a second of measuring.
    pub(super) fn roll(&mut self, now: Instant) {
        let video = self
            .tracks
            .iter()
            .filter(|(_, track)| track.key.kind == MediaKind::Video);
        let cache = ring::share(video.map(|(_, track)| track.encodings.len()).sum());
        for (index, track) in &mut self.tracks {
            let changes = track.ladder.changes();
            track.roll(now, cache);
            if track.ladder.changes() != changes && !track.unaimed {
                track.unaimed = true;
                self.reaim.push(index as u32);
            }
        }
    }
}
