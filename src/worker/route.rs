//! A datagram's way in: classify, find the session, give it to the session.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use smallvec::SmallVec;

use super::core::Core;
use super::session::{Media, Session};
use crate::control::messages::{CloseReason, Event};
use crate::net::classify::{Class, classify};
use crate::net::path::{Datagram, Path, Proto};
use crate::net::prefetch::prefetch;
use crate::net::stun::{self, StunView};
use crate::net::ufrag;
use crate::peer::egress::Egress;
use crate::peer::ice::CheckOutcome;
use crate::peer::ingress::{Sealed, Unroutable};
use crate::peer::rtcp::{self, NtpTime};
use crate::peer::srtp::SrtpError;
use crate::peer::transport::{Transport, close_reason};
use crate::room::SenderClock;
use crate::telemetry::DropReason;

/// STUN 487 Role Conflict (RFC 8445 §7.3.1.1).
const ROLE_CONFLICT: u16 = 487;

/// The address that a session uses is its own until this long after it was heard last: longer than peers take
/// from one check to the next (RFC 7675 §5.1: 6 s at most).
const HELD: Duration = Duration::from_secs(7);

/// Why a packet that could not be opened is dropped.
fn rejected(error: SrtpError) -> DropReason {
    match error {
        SrtpError::TooShort | SrtpError::Malformed => DropReason::MalformedRtp,
        _ => DropReason::MediaRejected,
    }
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
                    Class::Rtcp => core.rtcp(now, slot, &datagram),
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
        if self.is_held(now, path, slot) {
            return self.drop_for(DropReason::AddressTaken);
        }
        let Some(session) = self.sessions.get_mut(slot) else {
            return self.drop_for(DropReason::StunUnknownUfrag);
        };
        match session.transport.ice.check(now, path, &request) {
            CheckOutcome::NotAuthentic => self.drop_for(DropReason::StunBadIntegrity),
            CheckOutcome::RoleConflict => self.refuse(path, &request, ROLE_CONFLICT, Some(slot)),
            CheckOutcome::UnknownAttribute => {
                self.refuse(path, &request, stun::UNKNOWN_ATTRIBUTE, Some(slot));
            }
            CheckOutcome::Authentic { .. } => {
                session.heard = now;
                let used = session.transport.ice.path();
                self.addresses.insert(path.proto, path.remote, slot);
                // The way in use stays known, however many others are checked.
                if let Some(used) = used.filter(|used| *used != path)
                    && self.addresses.get(used.proto, used.remote) == Some(slot)
                {
                    self.addresses.insert(used.proto, used.remote, slot);
                }
                self.answer(
                    path,
                    |session, out| {
                        let password = session.map(|s| s.transport.ice.password(&request));
                        let password = password.map(str::as_bytes);
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

    /// Another session is reached at the address, and was heard of late. Whoever writes it on a
    /// check for a session of his own would cut that one off, and have what is his sent there.
    fn is_held(&self, now: Instant, path: Path, slot: u32) -> bool {
        let holder = self.addresses.get(path.proto, path.remote);
        let holder = holder.filter(|holder| *holder != slot);
        let Some(holder) = holder.and_then(|holder| self.sessions.get(holder)) else {
            return false;
        };
        let used = holder.transport.ice.path();
        used.is_some_and(|used| (used.proto, used.remote) == (path.proto, path.remote))
            && now.saturating_duration_since(holder.heard) < HELD
    }

    fn refuse(&mut self, path: Path, request: &StunView<'_>, code: u16, slot: Option<u32>) {
        self.answer(
            path,
            |session, out| {
                let password = session.map(|s| s.transport.ice.password(request).as_bytes());
                stun::binding_error(request, code, password, out)
            },
            slot,
        );
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
        if !request.unknown_required().is_empty() {
            return self.refuse(path, request, stun::UNKNOWN_ATTRIBUTE, None);
        }
        self.answer(
            path,
            |_, out| stun::binding_success(request, path.remote, None, out),
            None,
        );
    }

    /// A connectivity check from there, by TCP, was some session's.
    pub(super) fn knows(&self, remote: SocketAddr) -> bool {
        self.addresses.get(Proto::Tcp, remote).is_some()
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
        let Media::Publisher(publisher) = &mut session.media else {
            self.drop_for(DropReason::UnknownSsrc); // viewers have nothing to send
            return Ok(());
        };
        let Some(sealed) = &mut publisher.sealed else {
            self.drop_for(DropReason::NotConnected);
            return Ok(());
        };
        let Some(packet) = self.scratch.get_mut(..bytes.len()) else {
            self.drop_for(DropReason::Oversize);
            return Ok(());
        };
        packet.copy_from_slice(bytes);
        let opened = match sealed.receiver.unprotect_rtp(packet) {
            Ok(opened) => opened,
            Err(error) => {
                self.drop_for(rejected(error));
                return Ok(());
            }
        };
        session.heard = now;
        self.totals.rtp_in += 1;
        let micros = self.config.clock.micros(now);
        let packet = packet.get(..opened.len).unwrap_or_default();
        let routed = publisher.ingress.route(now, micros, packet, opened);
        let (key, deadline) = (session.key, publisher.ingress.deadline());
        match routed {
            Ok(routed) => self.routed.extend(routed),
            Err(Unroutable::Malformed) => self.drop_for(DropReason::MalformedRtp),
            Err(Unroutable::PayloadType) => self.drop_for(DropReason::UnknownPayloadType),
            Err(Unroutable::Ssrc) => self.drop_for(DropReason::UnknownSsrc),
        }
        self.deliver(now, slot);
        if let Some(at) = deadline {
            self.wake_at(key, at);
        }
        Ok(())
    }

    fn rtcp(
        &mut self,
        now: Instant,
        slot: u32,
        datagram: &Datagram<'_>,
    ) -> Result<(), CloseReason> {
        let bytes = datagram.bytes;
        let arrived = now.checked_sub(datagram.waited).unwrap_or(now);
        let Some(session) = self.sessions.get_mut(slot) else {
            return Ok(());
        };
        match session.media {
            Media::Publisher(_) => self.publisher_rtcp(now, slot, bytes, arrived),
            Media::Viewer(_) => self.viewer_rtcp(now, slot, bytes, arrived),
        }
        Ok(())
    }

    /// A publisher's RTCP: its clocks, and its answers to ours.
    fn publisher_rtcp(&mut self, now: Instant, slot: u32, bytes: &[u8], arrived: Instant) {
        let Some(Session {
            media: Media::Publisher(publisher),
            heard,
            ..
        }) = self.sessions.get_mut(slot)
        else {
            return;
        };
        let Some(sealed) = &mut publisher.sealed else {
            return self.totals.drops.add(DropReason::NotConnected);
        };
        let Some(packet) = self.scratch.get_mut(..bytes.len()) else {
            return self.totals.drops.add(DropReason::Oversize);
        };
        packet.copy_from_slice(bytes);
        let Ok(length) = sealed.receiver.unprotect_rtcp(packet) else {
            return self.totals.drops.add(DropReason::MediaRejected);
        };
        *heard = now;
        let wall = self.config.clock.unix(arrived);
        let mut clocks = SmallVec::<[(u32, u8, SenderClock); 2]>::new();
        for packet in rtcp::packets(packet.get(..length).unwrap_or_default()) {
            match packet {
                Ok(rtcp::Packet::SenderReport(report)) => {
                    let clock = publisher.ingress.sender_report(arrived, wall, &report);
                    // Of several reports on a stream the last one counts.
                    clocks.retain(|c| clock.is_none_or(|new| (c.0, c.1) != (new.0, new.1)));
                    clocks.extend(clock);
                }
                Ok(rtcp::Packet::Xr(xr)) => {
                    let ours = sealed.feedback.ssrc();
                    let answer = xr.blocks().find_map(|block| match block {
                        rtcp::XrBlock::Dlrr(answers) => answers.iter().find(|a| a.ssrc == ours),
                        _ => None,
                    });
                    let compact = NtpTime::from_unix(wall).compact();
                    let rtt = answer.and_then(|a| rtcp::round_trip(compact, a.lrr, a.dlrr));
                    publisher.rtt = rtt.or(publisher.rtt);
                }
                // Its goodbyes are of one SSRC; the session ends by DTLS, HTTP or silence.
                Ok(_) => {}
                Err(_) => self.totals.drops.add(DropReason::MalformedRtcp),
            }
        }
        for (track, encoding, clock) in clocks {
            self.sender_clock(slot, track, encoding, clock);
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
        let transport = &mut session.transport;
        let outcome = change(transport).and_then(|()| transport.poll(&mut self.outputs.arena));
        let said = outcome.map_err(|error| close_reason(&error))?;
        if said.connected {
            self.connected(now, slot)?;
        }
        if said.closed {
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
            let ssrc = self.rng.next_u32() | 1;
            let sealed = Sealed::new(&keying, ssrc, session.log_id.clone());
            publisher.sealed = Some(sealed.map_err(|_| CloseReason::Internal)?);
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
