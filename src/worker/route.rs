//! A datagram's way in: classify, find the session, give it to the session.

use std::net::SocketAddr;
use std::time::Instant;

use rand::Rng;
use str0m::Event as EngineEvent;

use super::core::Core;
use super::session::{Media, Session};
use crate::control::messages::{CloseReason, Event};
use crate::net::classify::{Class, classify};
use crate::net::path::{Datagram, Path, Proto};
use crate::net::prefetch::prefetch;
use crate::net::stun::{self, StunView};
use crate::net::ufrag;
use crate::peer::egress::Egress;
use crate::peer::header;
use crate::peer::ice::CheckOutcome;
use crate::peer::ingress::Unroutable;
use crate::peer::nack::NackSender;
use crate::peer::transport::{Phase, Transport, close_reason};
use crate::telemetry::DropReason;

/// STUN 487 Role Conflict (RFC 8445 §7.3.1.1).
const ROLE_CONFLICT: u16 = 487;

/// What the engine said about a datagram, beside RTP packets.
#[derive(Debug, Default)]
struct Heard {
    connected: bool,
    closed: bool,
}

impl Core {
    pub(super) fn datagram(&mut self, now: Instant, datagram: Datagram<'_>) {
        self.totals.datagrams_in += 1;
        self.totals.bytes_in += datagram.bytes.len() as u64;
        match classify(datagram.bytes) {
            Err(reason) => self.drop_for(reason),
            Ok(Class::Stun) => self.stun(now, &datagram),
            Ok(class) => {
                let Some(slot) = self.addresses.get(datagram.proto, datagram.remote) else {
                    return self.drop_for(DropReason::UnknownSource);
                };
                self.guarded(now, slot, |core| match class {
                    Class::Rtp => core.rtp(now, slot, datagram.bytes),
                    Class::Rtcp => core.rtcp(now, slot, datagram.bytes),
                    Class::Dtls | Class::Stun => core.dtls(now, slot, datagram.bytes),
                });
            }
        }
    }

    /// Begins to load what a viewer's feedback needs, which lies all over the memory: its
    /// session when the datagram is the fourth from now, and what that leads to in three more steps.
    pub(super) fn expect(&mut self, datagram: &Datagram<'_>) {
        let [fourth, third, second] = self.coming;
        let viewer = |slot: Option<u32>| self.sessions.get(slot?)?.as_viewer();
        if let Some(viewer) = viewer(second) {
            viewer.congestion.prefetch_arrivals();
        }
        if let Some(viewer) = viewer(third) {
            viewer.congestion.prefetch();
        }
        if let Some(viewer) = viewer(fourth) {
            prefetch(&*viewer.congestion);
            if let Some(egress) = &viewer.egress {
                egress.log.prefetch_reported();
            }
            if let Some(slot) = viewer.slots.first() {
                prefetch(slot);
            }
        }
        let feedback = matches!(classify(datagram.bytes), Ok(Class::Rtcp));
        let slot = feedback
            .then(|| self.addresses.get(datagram.proto, datagram.remote))
            .flatten();
        if let Some(session) = slot.and_then(|slot| self.sessions.get(slot)) {
            session.prefetch();
        }
        self.coming = [slot, fourth, third];
    }

    fn stun(&mut self, now: Instant, datagram: &Datagram<'_>) {
        let request = match StunView::parse(datagram.bytes) {
            Ok(request) => request,
            Err(reason) => return self.drop_for(reason),
        };
        if !request.is_binding_request() {
            return; // we send no checks, so a response or indication is to nothing of ours
        }
        let path = Path {
            proto: datagram.proto,
            local: datagram.local,
            remote: datagram.remote,
        };
        let Some((local_ufrag, _)) = request.ufrags() else {
            return self.plain_stun(now, path, &request);
        };
        let slot = match ufrag::decode(local_ufrag) {
            Some((worker, slot)) if worker == self.config.id => slot,
            _ => return self.drop_for(DropReason::StunUnknownUfrag),
        };
        let Some(session) = self.sessions.get_mut(slot) else {
            return self.drop_for(DropReason::StunUnknownUfrag);
        };
        match session.transport.ice.check(now, path, &request) {
            CheckOutcome::NotAuthentic => self.drop_for(DropReason::StunBadIntegrity),
            CheckOutcome::RoleConflict => self.answer(
                path,
                |session, out| {
                    let password = session.map(|s| s.transport.ice.local().pwd.as_bytes());
                    stun::binding_error(&request, ROLE_CONFLICT, password, out)
                },
                Some(slot),
            ),
            CheckOutcome::Authentic { .. } => {
                session.heard = now;
                self.addresses.insert(path.proto, path.remote, slot);
                self.answer(
                    path,
                    |session, out| {
                        let password = session.map(|s| s.transport.ice.local().pwd.as_bytes());
                        stun::binding_success(&request, path.remote, password, out)
                    },
                    Some(slot),
                );
                self.guarded(now, slot, |core| {
                    let provider = core.crypto.provider().clone();
                    core.with_engine(now, slot, |transport| transport.checked(now, &provider))
                });
            }
        }
    }

    fn answer(
        &mut self,
        path: Path,
        write: impl FnOnce(Option<&Session>, &mut [u8]) -> Option<usize>,
        slot: Option<u32>,
    ) {
        /// The longest answer: a success response with IPv6 address and integrity.
        const ROOM: usize = 128;
        let session = slot.and_then(|slot| self.sessions.get(slot));
        let Some(room) = self.outputs.arena.reserve(path, ROOM) else {
            return self.totals.drops.add(DropReason::EgressFull);
        };
        if let Some(length) = write(session, room) {
            self.outputs.arena.commit(length);
        }
    }

    /// The media port is a STUN server too, within limits.
    fn plain_stun(&mut self, now: Instant, path: Path, request: &StunView<'_>) {
        if !self.plain_stun.allow(path.remote, now) {
            return self.drop_for(DropReason::StunRateLimited);
        }
        self.answer(
            path,
            |_, out| stun::binding_success(request, path.remote, None, out),
            None,
        );
    }

    pub(super) fn tcp_closed(&mut self, remote: SocketAddr) {
        if let Some(slot) = self.addresses.remove(Proto::Tcp, remote)
            && let Some(session) = self.sessions.get_mut(slot)
        {
            session.transport.ice.lost(remote, Proto::Tcp);
        }
    }

    fn dtls(&mut self, now: Instant, slot: u32, bytes: &[u8]) -> Result<(), CloseReason> {
        self.with_engine(now, slot, |transport| transport.receive(now, bytes))
    }

    fn rtp(&mut self, now: Instant, slot: u32, bytes: &[u8]) -> Result<(), CloseReason> {
        let Some(session) = self.sessions.get_mut(slot) else {
            return Ok(());
        };
        if session.transport.phase() != Phase::Connected {
            self.drop_for(DropReason::NotConnected);
            return Ok(());
        }
        let Session {
            media, transport, ..
        } = session;
        let Media::Publisher(publisher) = media else {
            self.drop_for(DropReason::UnknownSsrc); // viewers have nothing to send
            return Ok(());
        };
        let Some((header, passed)) = header::read(bytes, publisher.ingress.extension_ids()) else {
            self.drop_for(DropReason::MalformedRtp);
            return Ok(());
        };
        let Some(rtc) = transport.engine() else {
            return Ok(());
        };
        match publisher.ingress.admit(rtc, &header) {
            Ok(()) => {}
            Err(Unroutable::PayloadType) => {
                self.drop_for(DropReason::UnknownPayloadType);
                return Ok(());
            }
            Err(Unroutable::Ssrc) => {
                self.drop_for(DropReason::UnknownSsrc);
                return Ok(());
            }
        }
        let before = self.routed.len();
        self.passed = Some(passed);
        self.with_engine(now, slot, |transport| transport.receive(now, bytes))?;
        if self.passed.take().is_some() && self.routed.len() == before {
            // Not authentic, seen before, or padding of a repair stream.
            self.drop_for(DropReason::MediaRejected);
        }
        self.deliver(now, slot);
        if let Some(session) = self.sessions.get(slot)
            && let Media::Publisher(publisher) = &session.media
            && let Some(at) = publisher.ingress.deadline()
        {
            let key = session.key;
            self.wake_at(key, at);
        }
        Ok(())
    }

    fn rtcp(&mut self, now: Instant, slot: u32, bytes: &[u8]) -> Result<(), CloseReason> {
        let Some(session) = self.sessions.get_mut(slot) else {
            return Ok(());
        };
        match session.media {
            Media::Publisher(_) => self.with_engine(now, slot, |t| t.receive(now, bytes)),
            Media::Viewer(_) => {
                self.viewer_rtcp(now, slot, bytes);
                Ok(())
            }
        }
    }

    /// Changes the engine by `change`, drains it, and acts on what it says.
    pub(super) fn with_engine(
        &mut self,
        now: Instant,
        slot: u32,
        change: impl FnOnce(&mut Transport) -> Result<(), str0m::RtcError>,
    ) -> Result<(), CloseReason> {
        let Some(session) = self.sessions.get_mut(slot) else {
            return Ok(());
        };
        let Session {
            transport,
            media,
            heard: last_heard,
            ..
        } = session;
        let mut heard = Heard::default();
        let (routed, passed, totals) = (&mut self.routed, &mut self.passed, &mut self.totals);
        let clock = self.config.clock;
        let mut clocks = smallvec::SmallVec::<[_; 2]>::new();
        let outcome = change(transport).and_then(|()| {
            transport.poll(&mut self.outputs.arena, |rtc, event| match event {
                EngineEvent::Connected => heard.connected = true,
                EngineEvent::Closed => heard.closed = true,
                EngineEvent::RtpPacket(rtp) => {
                    *last_heard = now;
                    if let (Media::Publisher(publisher), Some(rtc)) = (&mut *media, rtc) {
                        totals.rtp_in += 1;
                        let passed = passed.take().unwrap_or_default();
                        routed.extend(publisher.ingress.route(rtc, now, rtp, passed));
                    }
                }
                EngineEvent::SenderFeedback(report) => {
                    *last_heard = now;
                    if let Media::Publisher(publisher) = media {
                        let info = report.sender_info;
                        clocks.extend(publisher.ingress.sender_clock(
                            info.ssrc,
                            info.ntp_time,
                            info.rtp_time.numer() as u32,
                            clock.unix(report.received_at),
                        ));
                    }
                }
                EngineEvent::MediaIngressStats(stats) => {
                    if let Media::Publisher(publisher) = media {
                        publisher.rtt = stats.rtt.or(publisher.rtt);
                    }
                }
                _ => {}
            })
        });
        outcome.map_err(|error| close_reason(&error))?;
        for (track, encoding, clock) in clocks {
            self.sender_clock(slot, track, encoding, clock);
        }
        if heard.connected {
            self.connected(now, slot)?;
        }
        if heard.closed {
            return Err(CloseReason::PeerClosed);
        }
        if let Some(session) = self.sessions.get(slot)
            && let Some(at) = session.engine_deadline(now)
        {
            let key = session.key;
            self.wake_at(key, at);
        }
        Ok(())
    }

    /// ICE and DTLS are up.
    fn connected(&mut self, now: Instant, slot: u32) -> Result<(), CloseReason> {
        let Some(session) = self.sessions.get_mut(slot) else {
            return Ok(());
        };
        let key = session.key;
        let keying = session
            .transport
            .take_keying()
            .ok_or(CloseReason::Internal)?;
        if let Media::Publisher(publisher) = &mut session.media {
            let sender = NackSender::new(&keying, self.rng.next_u32() | 1);
            publisher.nack = Some(sender.map_err(|_| CloseReason::Internal)?);
            let round_trip = session.transport.round_trip();
            publisher.ingress.learn_round_trip(round_trip);
        } else if let Media::Viewer(viewer) = &mut session.media {
            viewer.egress = Some(Egress::new(&keying).map_err(|_| CloseReason::Internal)?);
            viewer.bursts_from = Some(now + crate::viewer::FIRST_BURST);
            let report = self
                .config
                .clock
                .coarse(now + crate::viewer::REPORT_INTERVAL);
            viewer.next_report = Some(report);
            self.wake_at(key, report);
            self.aim_viewer(slot);
            self.tell_slots(slot);
        }
        self.event(Event::Connected { key });
        Ok(())
    }
}
