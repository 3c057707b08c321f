//! The control plane's commands: sessions begin, change and end here.

use std::sync::Arc;
use std::time::Instant;

use rand::Rng;
use rand::RngExt;

use super::core::Core;
use super::session::{Media, Publisher, Session};
use crate::control::messages::{
    CloseReason, Command, Event, OpenSession, Refusal, Reply, SessionRole, ViewTarget,
};
use crate::net::ufrag;
use crate::peer::ingress::Ingress;
use crate::peer::negotiate::{
    IceCredentials, LocalTransport, MediaSection, Negotiated, SignalledSsrc,
};
use crate::peer::transport::Transport;
use crate::room::membership::{Publication, PublishedTrack};
use crate::room::{Format, Source, TrackKey};
use crate::units::{ParticipantId, RequestId, RoomId, SessionKey};
use crate::viewer::Viewer;
use crate::viewer::slot::{Seeds, Slot};

impl Core {
    pub(super) fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::Open(open) => self.open(now, *open),
            Command::RestartIce { request, key, ice } => self.restart_ice(request, key, ice),
            Command::Close { key, reason } => {
                if let Some(slot) = self.sessions.find(key) {
                    self.close(now, slot, reason, true);
                }
            }
            Command::Answer {
                request,
                key,
                negotiated,
            } => {
                let reply = match self.answer_offer(now, key, &negotiated) {
                    Ok(()) => Reply::Answered,
                    Err(refusal) => Reply::Refused(refusal),
                };
                self.reply(request, reply);
            }
            Command::ChooseLayers {
                request,
                key,
                mid,
                wish,
            } => {
                let reply = match self.choose_layers(key, &mid, wish) {
                    Ok(()) => Reply::LayersChosen,
                    Err(refusal) => Reply::Refused(refusal),
                };
                self.reply(request, reply);
            }
            Command::Snapshot { request } => {
                let snapshot = Box::new(self.snapshot(now));
                self.reply(request, Reply::Snapshot(snapshot));
            }
        }
    }

    fn reply(&mut self, request: RequestId, reply: Reply) {
        self.event(Event::Reply { request, reply });
    }

    /// Fresh credentials for a slot: RFC 8445 §5.3 asks for 24 and 128 random bits.
    fn credentials(&mut self, slot: u32) -> IceCredentials {
        const ICE_CHARS: &[u8; 64] =
            b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let pwd = (0..24)
            .map(|_| char::from(ICE_CHARS[usize::from(self.rng.random::<u8>() & 63)]))
            .collect();
        IceCredentials {
            ufrag: ufrag::encode(self.config.id, slot, self.rng.next_u32()),
            pwd,
        }
    }

    fn ssrc(&mut self, taken: &[SignalledSsrc]) -> u32 {
        loop {
            let ssrc = self.rng.next_u32();
            // 0 is the probe stream of browsers.
            let used = taken.iter().any(|t| t.ssrc == ssrc || t.rtx == Some(ssrc));
            if ssrc != 0 && !used {
                return ssrc;
            }
        }
    }

    fn open(&mut self, now: Instant, open: OpenSession) {
        let request = open.request;
        match self.try_open(now, open) {
            Ok((key, local)) => self.reply(request, Reply::Opened { key, local }),
            Err(refusal) => self.reply(request, Reply::Refused(refusal)),
        }
    }

    fn try_open(
        &mut self,
        now: Instant,
        open: OpenSession,
    ) -> Result<(SessionKey, LocalTransport), Refusal> {
        let key = self.sessions.next_key().ok_or(Refusal::Full)?;
        let ice = self.credentials(key.slot);
        let transport = Transport::new(&self.crypto, ice.clone(), &open.negotiated, now)
            .map_err(|_| Refusal::Setup)?;
        let mut local = LocalTransport {
            ice,
            ssrcs: Vec::new(),
        };
        let room = open.room;
        let media = match open.role {
            SessionRole::Publisher(participant) => {
                Media::Publisher(self.publisher(room, participant, &open.negotiated))
            }
            SessionRole::Viewer(target) => {
                let slots = open
                    .negotiated
                    .media
                    .iter()
                    .map(|section| self.viewer_slot(section, &mut local.ssrcs))
                    .collect();
                Media::Viewer(Viewer::new(target, open.identity.clone(), slots))
            }
        };
        let session = Session {
            key,
            room,
            log_id: open.log_id,
            transport,
            media,
            opened: now,
            heard: now,
            scheduled: None,
        };
        self.sessions
            .insert(Box::new(session))
            .ok_or(Refusal::Full)?;
        self.rooms.entry(room).or_default().sessions += 1;
        match open.role {
            SessionRole::Publisher(participant) => {
                let identity = open.identity.unwrap_or_default();
                self.announce(now, key.slot, room, participant, identity, &open.negotiated);
            }
            SessionRole::Viewer(target) => self.join_viewer(now, key.slot, room, target),
        }
        self.wake_at(key, now + self.config.connect_timeout);
        self.guarded(now, key.slot, |core| {
            core.with_engine(now, key.slot, |transport| transport.tick(now))
        });
        Ok((key, local))
    }

    /// A viewer answered the offer it was made: its transport and its slots begin
    /// anew, with the credentials and SSRCs of the offer.
    fn answer_offer(
        &mut self,
        now: Instant,
        key: SessionKey,
        negotiated: &Negotiated,
    ) -> Result<(), Refusal> {
        let index = self.sessions.find(key).ok_or(Refusal::UnknownSession)?;
        let session = self
            .sessions
            .get_mut(index)
            .ok_or(Refusal::UnknownSession)?;
        let local = session.transport.ice.local().clone();
        let transport =
            Transport::new(&self.crypto, local, negotiated, now).map_err(|_| Refusal::Setup)?;
        session.transport = transport;
        session.opened = now;
        self.unbind_slots(index);
        let mut kept = Vec::with_capacity(negotiated.media.len());
        for section in &negotiated.media {
            let seeds = self.seeds();
            let viewer = self.sessions.get_mut(index).and_then(Session::viewer);
            let old = viewer.and_then(|v| v.slot_by_mid(&section.mid));
            let old = old.ok_or(Refusal::UnknownMedia)?;
            let mut ssrcs = old.ssrcs;
            ssrcs.rtx = ssrcs.rtx.filter(|_| section.has_rtx());
            let mut slot = Slot::new(section, ssrcs, seeds);
            slot.wish = old.wish.clone();
            kept.push(slot);
        }
        if let Some(viewer) = self.sessions.get_mut(index).and_then(Session::viewer) {
            viewer.slots = kept;
            viewer.watching = None;
            // An answer that is repeated may find keys of a handshake: with new numbers under
            // the same SSRCs they would seal a packet's index twice.
            viewer.egress = None;
            viewer.next_report = None;
        }
        self.bind_viewer(index);
        self.wake_at(key, now + self.config.connect_timeout);
        self.guarded(now, index, |core| {
            core.with_engine(now, index, |transport| transport.tick(now))
        });
        Ok(())
    }

    fn seeds(&mut self) -> Seeds {
        Seeds {
            sequence: self.rng.random(),
            rtx_sequence: self.rng.random(),
            timestamp: self.rng.random(),
        }
    }

    fn viewer_slot(&mut self, section: &MediaSection, ssrcs: &mut Vec<SignalledSsrc>) -> Slot {
        let ssrc = self.ssrc(ssrcs);
        let has_rtx = section.has_rtx();
        let mut mine = SignalledSsrc { ssrc, rtx: None };
        ssrcs.push(mine);
        if has_rtx {
            mine.rtx = Some(self.ssrc(ssrcs));
            if let Some(last) = ssrcs.last_mut() {
                *last = mine;
            }
        }
        let seeds = self.seeds();
        Slot::new(section, mine, seeds)
    }

    fn publisher(
        &mut self,
        room: RoomId,
        participant: ParticipantId,
        negotiated: &Negotiated,
    ) -> Publisher {
        let tracks: Vec<u32> = negotiated
            .media
            .iter()
            .map(|section| {
                self.track(TrackKey {
                    room,
                    participant,
                    kind: section.kind,
                })
            })
            .collect();
        self.generation = self.generation.wrapping_add(1);
        Publisher {
            participant,
            generation: self.generation,
            ingress: Ingress::new(&negotiated.media, &tracks),
            sealed: None,
            rtt: None,
        }
    }

    /// Attaches a publisher's tracks and makes them known.
    fn announce(
        &mut self,
        now: Instant,
        slot: u32,
        room: RoomId,
        participant: ParticipantId,
        identity: Arc<str>,
        negotiated: &Negotiated,
    ) {
        let tracks = negotiated
            .media
            .iter()
            .map(|section| PublishedTrack {
                kind: section.kind,
                formats: section
                    .codecs
                    .iter()
                    .map(|codec| Format {
                        codec: codec.codec,
                        fmtp: codec.fmtp.as_ref().to_owned(),
                        channels: codec.channels,
                    })
                    .collect(),
                rids: section.layer_names(),
            })
            .collect();
        let publication = Publication {
            participant,
            identity,
            worker: self.config.id,
            generation: self.generation,
            since: now,
            tracks,
        };
        self.publish(now, room, publication, Source::Local { session: slot });
    }

    fn join_viewer(&mut self, now: Instant, slot: u32, room: RoomId, target: ViewTarget) {
        let slots = self.sessions.get(slot).map_or(0, |s| s.most_slots());
        let entry = self.rooms.entry(room).or_default();
        entry.viewers += 1;
        let first = entry.viewers == 1;
        if target == ViewTarget::Room {
            entry.followers.push(slot);
            entry.most_slots = entry.most_slots.max(slots);
        }
        if first {
            self.tell_interest(now, room, true);
        }
        self.bind_viewer(slot);
    }

    fn restart_ice(&mut self, request: RequestId, key: SessionKey, remote: IceCredentials) {
        let Some(slot) = self.sessions.find(key) else {
            return self.reply(request, Reply::Refused(Refusal::UnknownSession));
        };
        let local = self.credentials(slot);
        if let Some(session) = self.sessions.get_mut(slot) {
            session.transport.ice.restart(local.clone(), remote);
        }
        self.reply(request, Reply::Restarted { ice: local });
    }

    /// Ends a session: its peer is told when `notify`, and nothing is left of it.
    pub(super) fn close(&mut self, now: Instant, slot: u32, reason: CloseReason, notify: bool) {
        if notify {
            // What the engine says now is of no consequence, a panic of it neither.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let Some(session) = self.sessions.get_mut(slot) else {
                    return;
                };
                let arena = &mut self.outputs.arena;
                if let Media::Publisher(publisher) = &mut session.media
                    && let (Some(sealed), Some(path)) =
                        (&mut publisher.sealed, session.transport.ice.path())
                {
                    sealed.feedback.goodbye(arena, path);
                }
                if session.transport.close().is_ok() {
                    let _ = session.transport.tick(now);
                    let _ = session.transport.poll(arena);
                }
            }));
        }
        self.unbind_slots(slot);
        let Some(session) = self.sessions.remove(slot) else {
            return;
        };
        self.addresses.remove_slot(slot);
        self.timers.cancel(slot);
        let room = session.room;
        match session.media {
            Media::Publisher(publisher) => self.unpublish(now, room, slot, &publisher),
            Media::Viewer(viewer) => self.leave_viewer(now, room, slot, viewer.target),
        }
        if let Some(entry) = self.rooms.get_mut(&room) {
            entry.sessions -= 1;
        }
        self.forget_room_if_unused(room);
        self.totals.closed.add(reason);
        tracing::debug!(
            session = %session.log_id,
            reason = reason.as_str(),
            "session closed"
        );
        self.event(Event::Closed {
            key: session.key,
            reason,
        });
    }

    fn leave_viewer(&mut self, now: Instant, room: RoomId, slot: u32, target: ViewTarget) {
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        entry.viewers -= 1;
        let last = entry.viewers == 0;
        if target == ViewTarget::Room {
            entry.followers.retain(|follower| *follower != slot);
        }
        if last {
            self.tell_interest(now, room, false);
        }
    }
}
