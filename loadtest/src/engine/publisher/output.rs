//! One stream of a publisher: its packets, and those it can send again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::RngExt;

use crate::engine::program::Place;
use crate::measure::loss::StreamInfo;
use crate::measure::window::Window;
use crate::media::stamp::{STAMP_LEN, Stamp};
use crate::signal::offer::{
    MID_EXTENSION, REPAIRED_RID_EXTENSION, RID_EXTENSION, RTX_PT, TRANSPORT_CC_EXTENSION,
};
use crate::sys::SendBatch;
use crate::wire;
use crate::wire::srtp::Srtp;

/// Packets kept to be sent again: a second of a large stream.
const HISTORY: usize = 1024;

/// A packet as it was before it was sealed.
#[derive(Default)]
struct Kept {
    sequence: Option<u64>,
    header: usize,
    bytes: Vec<u8>,
}

/// What all streams of a session share.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The next transport-wide sequence number.
    pub(super) transport: u16,
    /// Share of the packets to leave out on purpose.
    pub(super) drop: f64,
}

pub(super) struct Output {
    pub(super) ssrc: u32,
    pub(super) payload_type: u8,
    /// Ticks of the RTP clock in a second.
    pub(super) clock: u32,
    pub(super) sequence: u64,
    pub(super) timestamp_base: u32,
    pub(super) interval: Duration,
    pub(super) mid: &'static str,
    pub(super) rid: Option<String>,
    /// `None` for audio.
    pub(super) encoding: Option<usize>,
    pub(super) stream: Arc<StreamInfo>,
    /// Frames sent, and the place in the stream.
    pub(super) frames: u64,
    pub(super) place: Place,
    pub(super) keyframe_wanted: bool,
    pub(super) packets: u32,
    pub(super) octets: u32,
    /// Write transport-wide sequence numbers.
    pub(super) transport_cc: bool,
    /// SSRC and next number of the retransmission stream (RFC 4588), if there is one.
    pub(super) rtx: Option<(u32, u64)>,
    history: Box<[Kept]>,
}

/// What says which packet it is, besides its payload.
pub(super) struct Mark {
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    /// The time and age to stamp, when there is room for a stamp.
    pub(super) stamped: Option<(u64, u32)>,
}

impl Output {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        ssrc: u32,
        payload_type: u8,
        clock: u32,
        interval: Duration,
        mid: &'static str,
        rid: Option<String>,
        encoding: Option<usize>,
        stream: Arc<StreamInfo>,
    ) -> Self {
        let mut rng = rand::rng();
        Self {
            ssrc,
            payload_type,
            clock,
            sequence: rng.random_range(0..30_000),
            timestamp_base: rng.random(),
            interval,
            mid,
            rid,
            encoding,
            stream,
            frames: 0,
            place: Place::default(),
            keyframe_wanted: false,
            packets: 0,
            octets: 0,
            transport_cc: false,
            rtx: None,
            history: (0..HISTORY).map(|_| Kept::default()).collect(),
        }
    }

    /// Appends a packet to the batch, sealed, unless it is dropped on purpose.
    pub(super) fn packet(
        &mut self,
        srtp: &Srtp,
        batch: &mut SendBatch,
        session: &mut Session,
        mark: &Mark,
        payload: &[u8],
        window: &mut Window,
    ) {
        let start = batch.buffer().len();
        let transport = session.transport.to_be_bytes();
        let mut extensions = Extensions::default();
        extensions.push(MID_EXTENSION, self.mid.as_bytes());
        if let Some(rid) = &self.rid {
            extensions.push(RID_EXTENSION, rid.as_bytes());
        }
        if self.transport_cc {
            session.transport = session.transport.wrapping_add(1);
            extensions.push(TRANSPORT_CC_EXTENSION, &transport);
        }
        let header = wire::rtp::write(
            batch.buffer(),
            mark.marker,
            self.payload_type,
            self.sequence as u16,
            mark.timestamp,
            self.ssrc,
            extensions.all(),
        );
        batch.buffer().extend_from_slice(payload);
        let index = self.stream.sent.load(Ordering::Relaxed);
        if let Some((sent_ns, age_us)) = mark.stamped {
            let stamp = Stamp {
                stream: self.stream.id,
                sequence: index,
                sent_ns,
                age_us,
            };
            let at = batch.buffer().len() - STAMP_LEN;
            batch.buffer()[at..].copy_from_slice(&stamp.encode());
        }
        self.remember(header, &batch.buffer()[start..]);
        self.stream.sent.store(index + 1, Ordering::Release);
        window.sent_packets += 1;
        self.packets = self.packets.wrapping_add(1);
        self.octets = self.octets.wrapping_add(payload.len() as u32);
        let roc = (self.sequence >> 16) as u32;
        self.sequence += 1;
        if session.drop > 0.0 && rand::rng().random_bool(session.drop.min(1.0)) {
            window.publisher_drops += 1;
            batch.buffer().truncate(start);
            return;
        }
        if !srtp.seal_rtp(batch.buffer(), start, header, roc) {
            batch.buffer().truncate(start);
            return;
        }
        batch.commit(start, None, None);
        window.sent_bytes += (batch.buffer().len() - start) as u64;
    }

    fn remember(&mut self, header: usize, plain: &[u8]) {
        // The oldest packet's memory serves the newest.
        let kept = &mut self.history[self.sequence as usize % HISTORY];
        kept.sequence = Some(self.sequence);
        kept.header = header;
        kept.bytes.clear();
        kept.bytes.extend_from_slice(plain);
    }

    /// Appends the packet with this number once more: on the retransmission
    /// stream if there is one, else as it was. False when it is not kept any more.
    pub(super) fn again(
        &mut self,
        srtp: &Srtp,
        batch: &mut SendBatch,
        session: &mut Session,
        sequence: u16,
    ) -> bool {
        let back = u64::from((self.sequence as u16).wrapping_sub(sequence));
        let Some(number) = self.sequence.checked_sub(back) else {
            return false;
        };
        let kept = &self.history[number as usize % HISTORY];
        if kept.sequence != Some(number) {
            return false;
        }
        let start = batch.buffer().len();
        let (header, roc) = match &mut self.rtx {
            Some((ssrc, next)) => {
                let transport = session.transport.to_be_bytes();
                let mut extensions = Extensions::default();
                extensions.push(MID_EXTENSION, self.mid.as_bytes());
                if let Some(rid) = &self.rid {
                    extensions.push(REPAIRED_RID_EXTENSION, rid.as_bytes());
                }
                if self.transport_cc {
                    session.transport = session.transport.wrapping_add(1);
                    extensions.push(TRANSPORT_CC_EXTENSION, &transport);
                }
                let Some(original) = wire::rtp::parse(&kept.bytes) else {
                    return false;
                };
                let header = wire::rtp::write(
                    batch.buffer(),
                    original.marker,
                    RTX_PT,
                    *next as u16,
                    original.timestamp,
                    *ssrc,
                    extensions.all(),
                );
                // The original number goes before the payload (RFC 4588 §4).
                batch.buffer().extend_from_slice(&sequence.to_be_bytes());
                let payload = &kept.bytes[kept.header..];
                batch.buffer().extend_from_slice(payload);
                let roc = (*next >> 16) as u32;
                *next += 1;
                (header, roc)
            }
            None => {
                // The same bytes under the same index seal to the same packet.
                batch.buffer().extend_from_slice(&kept.bytes);
                (kept.header, (number >> 16) as u32)
            }
        };
        if !srtp.seal_rtp(batch.buffer(), start, header, roc) {
            batch.buffer().truncate(start);
            return false;
        }
        batch.commit(start, None, None);
        true
    }
}

/// A few header extensions without an allocation.
#[derive(Default)]
struct Extensions<'a> {
    all: [(u8, &'a [u8]); 3],
    len: usize,
}

impl<'a> Extensions<'a> {
    fn push(&mut self, id: u8, value: &'a [u8]) {
        if let Some(place) = self.all.get_mut(self.len) {
            *place = (id, value);
            self.len += 1;
        }
    }

    fn all(&self) -> &[(u8, &'a [u8])] {
        &self.all[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::srtp::Profile;
    use std::os::fd::AsRawFd;

    fn output(rtx: bool) -> Output {
        let mut o = Output::new(
            7,
            96,
            90_000,
            Duration::from_millis(33),
            "1",
            Some("h".to_owned()),
            Some(0),
            Arc::default(),
        );
        o.transport_cc = true;
        o.rtx = rtx.then_some((8, 65_535));
        o
    }

    /// What a batch sends, opened.
    fn sent(batch: &mut SendBatch, srtp: &Srtp, roc: u32) -> Vec<Vec<u8>> {
        let rx = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let tx = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        tx.connect(rx.local_addr().unwrap()).unwrap();
        let n = batch.send(tx.as_raw_fd()).unwrap();
        let mut out = Vec::new();
        for _ in 0..n {
            let mut packet = vec![0; 2000];
            let len = rx.recv(&mut packet).unwrap();
            packet.truncate(len);
            let header = wire::rtp::parse(&packet).unwrap();
            let plain = srtp.open_rtp(&mut packet, header.len, roc).unwrap();
            packet.truncate(plain);
            out.push(packet);
        }
        out
    }

    #[test]
    fn packets_are_sent_again_in_either_way() {
        for rtx in [false, true] {
            let srtp = Srtp::new(Profile::Gcm128, &[1; 16], &[2; 12]).unwrap();
            let mut o = output(rtx);
            let (mut session, mut window) = (Session::default(), Window::default());
            let mut batch = SendBatch::default();
            let first = o.sequence as u16;
            for i in 0..3u8 {
                let mark = Mark {
                    timestamp: 100 + u32::from(i),
                    marker: i == 2,
                    stamped: Some((5, 6)),
                };
                let payload = [i; 40];
                o.packet(
                    &srtp,
                    &mut batch,
                    &mut session,
                    &mark,
                    &payload,
                    &mut window,
                );
            }
            let originals = sent(&mut batch, &srtp, 0);
            assert_eq!(originals.len(), 3);
            batch.clear();
            assert!(o.again(&srtp, &mut batch, &mut session, first + 2));
            assert!(!o.again(&srtp, &mut batch, &mut session, first + 3));
            assert!(!o.again(&srtp, &mut batch, &mut session, first.wrapping_sub(1)));
            let again = sent(&mut batch, &srtp, 0);
            if rtx {
                let header = wire::rtp::parse(&again[0]).unwrap();
                assert_eq!((header.payload_type, header.ssrc), (RTX_PT, 8));
                assert_eq!((header.sequence, header.timestamp), (65_535, 102));
                assert!(header.marker);
                let extension = |id| wire::rtp::extension(&again[0], &header, id);
                assert_eq!(extension(REPAIRED_RID_EXTENSION), Some(&b"h"[..]));
                assert_eq!(extension(RID_EXTENSION), None);
                assert_eq!(extension(TRANSPORT_CC_EXTENSION), Some(&[0, 3][..]));
                let original = wire::rtp::parse(&originals[2]).unwrap();
                assert_eq!(again[0][header.len..][..2], original.sequence.to_be_bytes());
                assert_eq!(again[0][header.len + 2..], originals[2][original.len..]);
                assert_eq!(o.rtx, Some((8, 65_536)));
            } else {
                assert_eq!(again[0], originals[2]);
            }
        }
    }

    #[test]
    fn what_is_dropped_on_purpose_is_kept_to_be_sent_again() {
        let srtp = Srtp::new(Profile::Gcm128, &[1; 16], &[2; 12]).unwrap();
        let mut o = output(true);
        let mut session = Session {
            drop: 1.0,
            ..Session::default()
        };
        let (mut window, mut batch) = (Window::default(), SendBatch::default());
        let number = o.sequence as u16;
        let mark = Mark {
            timestamp: 1,
            marker: true,
            stamped: None,
        };
        o.packet(&srtp, &mut batch, &mut session, &mark, &[3; 9], &mut window);
        assert!(batch.is_empty());
        assert_eq!((window.sent_packets, window.publisher_drops), (1, 1));
        assert!(o.again(&srtp, &mut batch, &mut session, number));
        assert_eq!(batch.len(), 1);
    }
}
