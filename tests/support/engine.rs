//! The client's inside: its protocol engine, its socket and its media.

use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use str0m::media::{MediaKind, Mid, Pt, Rid};
use str0m::net::{Protocol, Receive};
use str0m::rtp::RtpWrite;
use str0m::{Event, Input, Output, Rtc};

use super::{Packet, Seen, Track, lock};
use crate::media::{self, Codec, FRAME_RATE, ParameterSets};

/// What the client's datagrams are allowed to be.
#[derive(Debug, Default)]
pub struct Filter {
    pub no_stun: AtomicBool,
    pub nothing: AtomicBool,
    /// Every so many RTP packets one is lost on the way out; 0: none.
    pub drop_rtp: Mutex<(usize, usize)>,
}

pub struct Sender {
    pub mid: Mid,
    pub rid: Option<Rid>,
    pub track: Track,
    pub size: (u16, u16),
    pub pt: Option<Pt>,
    pub sequence: u64,
    pub timestamp: u32,
    pub number: u32,
    pub next: Instant,
    pub key_wanted: bool,
    pub sets_sent: bool,
}

pub struct Engine {
    pub rtc: Rtc,
    pub socket: UdpSocket,
    pub address: SocketAddr,
    pub kinds: Vec<(Mid, MediaKind)>,
    pub senders: Vec<Sender>,
    pub publishing: bool,
    pub seen: Seen,
}

impl Engine {
    /// Looks up payload types after the negotiation.
    pub fn prepare(&mut self) {
        for sender in &mut self.senders {
            let media = self.rtc.media(sender.mid).expect("a section");
            sender.pt = media.remote_pts().first().copied();
            if let Some(rid) = sender.track.stray_rid {
                let mut direct = self.rtc.direct_api();
                let stream = direct.stream_tx_by_mid(sender.mid, None).expect("a stream");
                let (ssrc, rtx) = (stream.ssrc(), stream.rtx());
                direct.remove_stream_tx(ssrc);
                direct.declare_stream_tx(ssrc, rtx, sender.mid, Some(rid.into()));
                sender.rid = Some(rid.into());
            }
        }
    }

    /// One turn: read, write, let time pass.
    pub fn turn(&mut self, filter: &Filter) {
        let mut buffer = [0u8; 2000];
        loop {
            match self.socket.recv_from(&mut buffer) {
                Ok((length, source)) => self.receive(&buffer[..length], source, filter),
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                // A port that was closed at the other end; datagrams go on.
                Err(_) => continue,
            }
        }
        let now = Instant::now();
        if self.seen.connected && self.publishing {
            for index in 0..self.senders.len() {
                while self.senders[index].next <= now {
                    self.write(index, now);
                    self.drain(filter);
                }
            }
        }
        let _ = self.rtc.handle_input(Input::Timeout(now));
        self.drain(filter);
    }

    fn receive(&mut self, data: &[u8], source: SocketAddr, filter: &Filter) {
        match data {
            [0..=3, ..] => self.seen.stun += 1,
            // A plain-text handshake record (RFC 9147 §4): type 22, epoch 0, ClientHello.
            [22, _, _, 0, 0, _, _, _, _, _, _, _, _, 1, ..] => self.seen.client_hellos += 1,
            [21, ..] => self.seen.alerts += 1,
            [128..=191, kind @ 192..=223, high, low, ..] => {
                let words = usize::from(u16::from_be_bytes([*high, *low]));
                self.seen.rtcp.push((*kind, (words + 1) * 4, data.len()));
            }
            _ => {}
        }
        let Ok(contents) = data.try_into() else {
            return;
        };
        let input = Receive {
            proto: Protocol::Udp,
            source,
            destination: self.address,
            contents,
        };
        let _ = self.rtc.handle_input(Input::Receive(Instant::now(), input));
        self.drain(filter);
    }

    fn write(&mut self, index: usize, now: Instant) {
        let sender = &mut self.senders[index];
        let Some(pt) = sender.pt else { return };
        let audio = sender.track.codec == Codec::Opus;
        let faults = sender.track.faults.clone();
        let dead = faults.dead_layer.map(Rid::from);
        if dead.is_some() && sender.rid == dead {
            sender.next = now + Duration::from_secs(1);
            return;
        }
        let wanted = std::mem::take(&mut sender.key_wanted);
        let key = !audio
            && faults
                .deaf
                .map_or(wanted, |n| sender.number.is_multiple_of(n))
            && !(faults.late && sender.number == 0);
        let with_sets = match sender.track.sets {
            ParameterSets::Always => true,
            ParameterSets::Once => !sender.sets_sent,
            ParameterSets::Never => false,
        };
        sender.sets_sent |= key;
        let packets = media::picture(
            sender.track.codec,
            sender.number,
            key,
            sender.size,
            with_sets,
        );
        sender.number += 1;
        let last = packets.len() - 1;
        let mut direct = self.rtc.direct_api();
        let Some(stream) = direct.stream_tx_by_mid(sender.mid, sender.rid) else {
            return;
        };
        for (index, payload) in packets.into_iter().enumerate() {
            let write = RtpWrite::new(pt, sender.sequence.into(), sender.timestamp, now, payload)
                .marker(index == last)
                .nackable(true);
            stream.write_rtp(write);
            sender.sequence += 1;
        }
        if audio {
            sender.timestamp = sender.timestamp.wrapping_add(960);
            sender.next += Duration::from_millis(20);
        } else {
            let step = 90_000 / FRAME_RATE;
            let step = step + step * faults.clock / 1000;
            sender.timestamp = sender.timestamp.wrapping_add(step);
            sender.next += Duration::from_secs(1) / FRAME_RATE;
        }
        // After a pause the media goes on from now, not from where it stopped.
        if sender.next + Duration::from_millis(200) < now {
            sender.next = now;
        }
    }

    fn drain(&mut self, filter: &Filter) {
        loop {
            match self.rtc.poll_output() {
                Ok(Output::Transmit(transmit)) => {
                    if filter.passes(&transmit.contents) {
                        let _ = self
                            .socket
                            .send_to(&transmit.contents, transmit.destination);
                    }
                }
                Ok(Output::Event(event)) => self.note(event),
                Ok(Output::Timeout(_)) | Err(_) => return,
            }
        }
    }

    fn note(&mut self, event: Event) {
        match event {
            Event::Connected => {
                self.seen.connected = true;
                let now = Instant::now();
                self.senders.iter_mut().for_each(|sender| sender.next = now);
            }
            Event::MediaAdded(media) => self.kinds.push((media.mid, media.kind)),
            Event::IceConnectionStateChange(state) => self.seen.ice = Some(state),
            Event::Closed => self.seen.closed = true,
            Event::ChannelOpen(..) => self.seen.channels_open += 1,
            Event::KeyframeRequest(request) => {
                self.seen.keyframe_requests += 1;
                for sender in &mut self.senders {
                    if sender.mid == request.mid
                        && (request.rid.is_none() || sender.rid == request.rid)
                    {
                        sender.key_wanted = true;
                    }
                }
            }
            Event::RtpPacket(packet) => {
                let ssrc = packet.header.ssrc;
                let mut direct = self.rtc.direct_api();
                let Some(mid) = direct.stream_rx(&ssrc).map(|stream| stream.mid()) else {
                    return;
                };
                let Some((_, kind)) = self.kinds.iter().find(|(m, _)| *m == mid) else {
                    return;
                };
                self.seen.packets.push(Packet {
                    kind: *kind,
                    ssrc: *ssrc,
                    sequence: *packet.seq_no,
                    timestamp: packet.header.timestamp,
                    payload: packet.payload.clone(),
                });
            }
            _ => {}
        }
    }
}

impl Filter {
    fn passes(&self, data: &[u8]) -> bool {
        let stun = matches!(data.first(), Some(0..=3));
        if self.nothing.load(Ordering::Relaxed) || stun && self.no_stun.load(Ordering::Relaxed) {
            return false;
        }
        if let [128..=191, kind, ..] = data
            && !(192..=223).contains(kind)
        {
            let (every, count) = &mut *lock(&self.drop_rtp);
            if *every > 0 {
                *count += 1;
                return *count % *every != 0;
            }
        }
        true
    }
}
