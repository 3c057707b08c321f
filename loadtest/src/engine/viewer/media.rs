//! What a viewer does with RTP: count by headers, look inside where it must, and
//! tell which frames a decoder could show.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use webrtc_util::marshal::Unmarshal as _;

use super::{Slot, Viewer, When};
use crate::engine::track::{Medium, Track};
use crate::engine::{Event, Shared, Streams};
use crate::measure::line::Arrival;
use crate::measure::window::Window;
use crate::media::stamp::Stamp;
use crate::media::starts_keyframe;
use crate::signal::offer::TRANSPORT_CC_EXTENSION;
use crate::wire::rtp::{self as rtp_header, Header};

/// Viewers that do not check everything look into one packet of this many. It is a prime, so
/// that it is not always the same place of a frame.
const SAMPLE: i64 = 31;

/// An RTP packet, its payload still sealed.
struct Packet<'a> {
    when: When,
    header: Header,
    data: &'a mut [u8],
    /// Our own simulated link loses it.
    lost: bool,
}

impl Viewer {
    pub(super) fn rtp(
        &mut self,
        when: When,
        data: &mut [u8],
        lost: bool,
        shared: &Shared,
        window: &mut Window,
    ) {
        let Some(header) = rtp_header::parse(data) else {
            window.malformed += 1;
            return;
        };
        if self.peer.receive.is_none() {
            return;
        }
        window.received_packets += 1;
        window.received_bytes += data.len() as u64;
        if !self.first_packet {
            self.first_packet = true;
            let passed = when.kernel_ns.saturating_sub(self.peer.posted_ns);
            window.first_packet.record_ns(passed);
        }
        if lost {
            window.simulated_losses += 1;
        } else {
            self.fed_bytes += data.len() as u64;
            if let Some(arrivals) = &mut self.arrivals
                && let Some(&[a, b]) = rtp_header::extension(data, &header, TRANSPORT_CC_EXTENSION)
            {
                arrivals.push(u16::from_be_bytes([a, b]), when.seen_ns);
            }
        }
        let packet = Packet {
            when,
            header,
            data,
            lost,
        };
        let (medium, repair) = match header.payload_type {
            pt if pt == self.formats.video && self.behaviour.video.is_some() => {
                (Medium::Video, false)
            }
            pt if pt == self.formats.audio => (Medium::Audio, false),
            pt if Some(pt) == self.formats.rtx => (Medium::Video, true),
            _ => {
                window.malformed += 1;
                return;
            }
        };
        match self.demux.section(medium, &header, packet.data) {
            Some(at) if repair => self.repair(at, packet, shared, window),
            Some(at) => self.media(at, packet, shared, window),
            None => window.malformed += 1,
        }
    }

    fn media(&mut self, at: usize, packet: Packet<'_>, shared: &Shared, window: &mut Window) {
        let (header, when) = (packet.header, packet.when);
        let (own_link, first_pli) = (self.link.is_some(), self.first_pli);
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let medium = slot.medium;
        let new = || Track::new(medium, header.ssrc, own_link, first_pli);
        let track = slot.track.get_or_insert_with(new);
        let number = track.line.extend(header.sequence);
        if number < 0 {
            return;
        }
        if packet.lost {
            if let Arrival::New { skipped } = track.line.lose(number) {
                track.passed_over(number + 1, skipped + 1, when.now);
            }
            return;
        }
        // Looked at before the line knows it, so that a repeat is not opened twice.
        let fresh = !track.line.has(number);
        track.last_ns = when.kernel_ns;
        if fresh {
            track.interarrival(when.seen_ns, header.timestamp);
        }
        let own_rtx = self.formats.rtx.is_some() && medium == Medium::Video;
        track.take(number, header.marker, false, own_rtx, when.now, window);
        let wanted = self.behaviour.full_check
            || number % SAMPLE == 0
            // Whether it is padding only must be known.
            || header.padding
            || track.loss.stream().is_none()
            || medium == Medium::Video && track.frames.needs_keyframe();
        if fresh && wanted {
            self.open(at, number, packet, window);
        }
        self.ask_at_first_picture(at, header.marker, when.now);
        self.advance(at, when, shared, window);
    }

    /// A first picture that is no keyframe can't be shown: libwebrtc asks for one at once.
    fn ask_at_first_picture(&mut self, at: usize, ends: bool, now: Instant) {
        if let Some(track) = self.slots.get_mut(at).and_then(|s| s.track.as_mut())
            && ends
            && !std::mem::replace(&mut track.pictured, true)
            && track.frames.needs_keyframe()
        {
            track.next_pli = now;
        }
    }

    /// Decrypts a packet and looks at what it carries.
    fn open(&mut self, at: usize, number: i64, packet: Packet<'_>, window: &mut Window) {
        let Packet {
            when, header, data, ..
        } = packet;
        let (Some(srtp), Some(slot)) = (&self.peer.receive, self.slots.get_mut(at)) else {
            return;
        };
        let (medium, Some(track)) = (slot.medium, &mut slot.track) else {
            return;
        };
        let roc = (number >> 16) as u32;
        let Some(len) = srtp.open_rtp(data, header.len, roc) else {
            window.not_authentic += 1;
            window.forwarded_packets = window.forwarded_packets.wrapping_sub(1);
            return;
        };
        window.opened += 1;
        let Some(payload) = body(&data[..len], &header) else {
            window.malformed += 1;
            window.forwarded_packets = window.forwarded_packets.wrapping_sub(1);
            return;
        };
        if payload.is_empty() {
            window.padding += 1;
            window.forwarded_packets = window.forwarded_packets.wrapping_sub(1);
            track.loss.padding();
            return;
        }
        if self.behaviour.full_check && number % SAMPLE == 0 && !agrees(&data[..len], &header) {
            window.malformed += 1;
        }
        if medium == Medium::Video
            && let Some(codec) = self.behaviour.video
            && track.frames.needs_keyframe()
            && starts_keyframe(codec, payload)
        {
            track.frames.keyframe_at(number);
        }
        if let Some(stamp) = Stamp::decode(payload) {
            self.stamped(at, number, when, header.timestamp, stamp, window);
        }
    }

    fn stamped(
        &mut self,
        at: usize,
        number: i64,
        when: When,
        timestamp: u32,
        stamp: Stamp,
        window: &mut Window,
    ) {
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let (medium, Some(track)) = (slot.medium, &mut slot.track) else {
            return;
        };
        // What was sent before this viewer was there came from the server's cache: it has
        // neither delay nor a place in the publisher's line, but shows whose it is.
        if stamp.sent_ns < self.connected_ns {
            if track.loss.stream().is_none() {
                let streams = STREAMS.with_borrow(|all| all.as_ref()?.get(stamp.stream));
                track.replayed_of = streams.map(|s| s.participant);
            }
            return;
        }
        let known = track.loss.stream().filter(|s| s.id == stamp.stream);
        // Only a stream of this run can be one that was switched to.
        let stream = known
            .cloned()
            .or_else(|| STREAMS.with_borrow(|all| all.as_ref().and_then(|s| s.get(stamp.stream))));
        if let Some(stream) = stream {
            let (line, before) = (&track.line, track.participant());
            let changed = track.loss.anchor(line, number, stamp.sequence, &stream);
            // Somebody else is in the slot now.
            track.told &= track.participant() == before;
            window.layer_switches += u64::from(changed && medium == Medium::Video);
        }
        // Each packet of the run weighs the same, whoever looked into it: else the percentiles
        // were those of the few viewers that check everything, the first to join among them.
        let weight = match self.behaviour.full_check {
            true => 1,
            false if number % SAMPLE == 0 => SAMPLE as u64,
            false => 0,
        };
        let delay = when.kernel_ns.saturating_sub(stamp.sent_ns);
        window.delay.record_many_ns(delay, weight);
        track.synchronize(timestamp, &stamp);
    }

    /// Takes a retransmission (RFC 4588).
    fn repair(&mut self, at: usize, packet: Packet<'_>, shared: &Shared, window: &mut Window) {
        let Packet {
            when,
            header,
            data,
            lost,
        } = packet;
        let Some(slot) = self.slots.get_mut(at) else {
            return;
        };
        let number = match slot.rtx_highest {
            None => i64::from(header.sequence),
            Some(h) => h + i64::from(header.sequence.wrapping_sub(h as u16) as i16),
        };
        slot.rtx_highest = Some(slot.rtx_highest.unwrap_or(number).max(number));
        if lost {
            return;
        }
        let Some(srtp) = &self.peer.receive else {
            return;
        };
        let roc = (number.max(0) >> 16) as u32;
        let Some(len) = srtp.open_rtp(data, header.len, roc) else {
            window.not_authentic += 1;
            return;
        };
        // The original sequence number goes before the payload (RFC 4588 §4). One
        // of padding only carries none: servers probe with such.
        let Some([a, b, payload @ ..]) = body(&data[..len], &header) else {
            window.padding += 1;
            return;
        };
        window.retransmissions += 1;
        let Some(track) = &mut slot.track else {
            return;
        };
        let number = track.line.extend(u16::from_be_bytes([*a, *b]));
        if number < 0 {
            return;
        }
        let arrival = track.take(number, header.marker, true, true, when.now, window);
        if matches!(arrival, Arrival::New { .. } | Arrival::Late) {
            if let Some(codec) = self.behaviour.video
                && track.frames.needs_keyframe()
                && starts_keyframe(codec, payload)
            {
                track.frames.keyframe_at(number);
            }
            // Not where our own link made it necessary.
            if self.link.is_none()
                && let Some(stamp) = Stamp::decode(payload)
            {
                self.stamped(at, number, when, header.timestamp, stamp, window);
            }
        }
        self.advance(at, when, shared, window);
    }

    /// Counts the frames that are complete now, and the gap before them.
    fn advance(&mut self, at: usize, when: When, shared: &Shared, window: &mut Window) {
        let Some(Slot {
            medium,
            track: Some(track),
            ..
        }) = self.slots.get_mut(at)
        else {
            return;
        };
        let (medium, now_ns) = (*medium, when.seen_ns);
        let complete = match medium {
            Medium::Video => track.frames.advance(&track.line, now_ns),
            // Every packet of sound is decodable, but it makes no picture.
            Medium::Audio => u32::from(self.behaviour.video.is_none()),
        };
        // Whose it is must be known in a room; else whoever it is, is meant.
        let whose = match self.behaviour.room {
            Some(_) => track.participant(),
            None => Some(0),
        };
        if !track.told
            && (medium == Medium::Audio || complete > 0)
            && let Some(participant) = whose
        {
            track.told = true;
            let passed = now_ns.saturating_sub(self.peer.posted_ns);
            let (shown, behaviour) = (&mut self.shown, &self.behaviour);
            if behaviour.room != Some(participant) && !shown.contains(&(medium, participant)) {
                shown.push((medium, participant));
                let _ = shared.events.send(Event::Track(self.peer.id, medium));
                let all = behaviour.tracks.audio + behaviour.tracks.video;
                if shown.len() == all as usize {
                    window.all_tracks.record_ns(passed);
                }
            }
        }
        if complete == 0 {
            return;
        }
        window.frames += u64::from(complete);
        if track.last_frame_ns > 0 {
            let gap = now_ns.saturating_sub(track.last_frame_ns);
            if gap > self.behaviour.freeze_ns {
                let late = track
                    .loss
                    .stream()
                    .map_or(0, |s| s.late_ns.load(Ordering::Acquire));
                if self.link.is_some() {
                    window.link_freezes += 1;
                } else if late > track.last_frame_ns || self.drops > track.drops_at_frame {
                    window.own_freezes += 1;
                } else {
                    window.freezes += 1;
                }
            }
            if self.link.is_none() {
                window.longest_gap_ns = window.longest_gap_ns.max(gap);
            }
        } else if !self.decoded {
            self.decoded = true;
            let passed = now_ns.saturating_sub(self.peer.posted_ns);
            window.join.record_ns(passed);
            let _ = shared.events.send(Event::Decoded(self.peer.id));
        }
        track.last_frame_ns = track.last_frame_ns.max(now_ns);
        track.drops_at_frame = self.drops;
    }
}

/// The payload of a plain packet without its padding (RFC 3550 §5.1); `None` when
/// there is more padding than payload.
fn body<'a>(packet: &'a [u8], header: &Header) -> Option<&'a [u8]> {
    let payload = packet.get(header.len..)?;
    if !header.padding {
        return Some(payload);
    }
    let padding = usize::from(*payload.last()?);
    payload.get(..payload.len().checked_sub(padding)?)
}

/// A second opinion on the header, by the `rtp` crate.
fn agrees(packet: &[u8], ours: &Header) -> bool {
    let Ok(theirs) = rtp::header::Header::unmarshal(&mut &*packet) else {
        return false;
    };
    theirs.sequence_number == ours.sequence
        && theirs.timestamp == ours.timestamp
        && theirs.ssrc == ours.ssrc
        && theirs.marker == ours.marker
        && theirs.payload_type == ours.payload_type
}

thread_local! {
    /// The run's streams, for the rare packet that starts a new anchor.
    static STREAMS: std::cell::RefCell<Option<Arc<Streams>>> =
        const { std::cell::RefCell::new(None) };
}

/// Gives this thread the run's streams.
pub(in crate::engine) fn use_streams(streams: Arc<Streams>) {
    STREAMS.set(Some(streams));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_is_no_payload() {
        let header = |padding| Header {
            marker: false,
            padding,
            payload_type: 96,
            sequence: 1,
            timestamp: 2,
            ssrc: 3,
            len: 12,
        };
        let mut packet = vec![0; 12];
        assert_eq!(body(&packet, &header(false)), Some(&[][..]));
        assert_eq!(body(&packet, &header(true)), None);
        packet.extend_from_slice(&[9, 8, 0, 2]);
        assert_eq!(body(&packet, &header(true)), Some(&[9, 8][..]));
        assert_eq!(body(&packet, &header(false)), Some(&[9, 8, 0, 2][..]));
        packet[15] = 4;
        assert_eq!(body(&packet, &header(true)), Some(&[][..]));
        packet[15] = 5;
        assert_eq!(body(&packet, &header(true)), None);
    }
}
