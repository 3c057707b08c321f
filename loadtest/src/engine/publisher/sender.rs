//! One publisher: a frame of each stream at its time, and answers to what the server asks.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;

use super::output::{Mark, Output, Session};
use crate::engine::peer::Peer;
use crate::engine::program::Program;
use crate::engine::rtcp_in::{self, Incoming};
use crate::engine::rtcp_out;
use crate::measure::window::Window;
use crate::media::audio;
use crate::media::stamp::STAMP_LEN;
use crate::sys::{SendBatch, realtime_ns};

/// A burst that leaves so much after its time is late.
const LATE: Duration = Duration::from_millis(5);
/// A burst so late that a viewer may see a freeze for it.
const STALL: Duration = Duration::from_millis(50);
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// See the module's description.
pub(super) struct Publisher {
    pub(super) peer: Peer,
    pub(super) outputs: Vec<Output>,
    pub(super) session: Session,
    /// When frame 0 was due; set when connected.
    pub(super) started: Option<(Instant, u64)>,
}

impl Publisher {
    /// Nothing more will come on its streams.
    pub(super) fn end_streams(&self) {
        for o in &self.outputs {
            o.stream.ended.store(true, Ordering::Release);
        }
    }

    /// Sends the next frame of an output and returns the time to the one after.
    pub(super) fn burst(
        &mut self,
        index: usize,
        program: &Program,
        late: Duration,
        batch: &mut SendBatch,
        window: &mut Window,
    ) -> Option<Duration> {
        let (_, started_ns) = self.started?;
        let o = self.outputs.get_mut(index)?;
        let srtp = self.peer.send.as_ref()?;
        let session = &mut self.session;
        let media_ns = (o.interval.as_secs_f64() * o.frames as f64 * 1e9) as u64;
        let ticks = (media_ns as f64 * f64::from(o.clock) / 1e9).round() as u64;
        let timestamp = o.timestamp_base.wrapping_add(ticks as u32);
        let sent_ns = realtime_ns();
        let age_us = (sent_ns.saturating_sub(started_ns + media_ns) / 1000) as u32;
        window.sends += 1;
        if late > LATE {
            window.late_sends += 1;
        }
        if late > STALL {
            o.stream.late_ns.store(sent_ns, Ordering::Release);
        }
        batch.clear();
        let report = sent_ns;
        match o.encoding {
            Some(encoding) => {
                let encoding = program.encodings.get(encoding)?;
                let index = o
                    .place
                    .advance(encoding, program.gop, &mut o.keyframe_wanted)?;
                let picture = encoding.pictures.get(index)?;
                let last = picture.payloads.len().saturating_sub(1);
                for (i, payload) in picture.payloads.iter().enumerate() {
                    let mark = Mark {
                        timestamp,
                        marker: i == last,
                        stamped: payload.stamped.then_some((sent_ns, age_us)),
                    };
                    o.packet(srtp, batch, session, &mark, &payload.bytes, window);
                }
            }
            None => {
                let packet = program.audio.get(o.frames as usize % program.audio.len())?;
                let mut bytes = Vec::with_capacity(packet.len() + STAMP_LEN + 2);
                let padded = audio::append_padded(&mut bytes, packet, &[0; STAMP_LEN]);
                let mark = Mark {
                    timestamp,
                    // The marker of audio starts a talk spurt (RFC 3551 §4.1).
                    marker: o.frames == 0,
                    stamped: padded.then_some((sent_ns, age_us)),
                };
                o.packet(srtp, batch, session, &mark, &bytes, window);
            }
        }
        match batch.send(self.peer.socket.as_raw_fd()) {
            Ok(n) => window.send_failures += (batch.len() - n) as u64,
            Err(_) => window.send_failures += batch.len() as u64,
        }
        // Held up between stamping and sending: that delay is ours, too.
        if late <= LATE && realtime_ns().saturating_sub(sent_ns) > LATE.as_nanos() as u64 {
            window.late_sends += 1;
        }
        o.frames += 1;
        let per_report = (REPORT_EVERY.as_secs_f64() / o.interval.as_secs_f64()) as u64;
        let interval = o.interval;
        if o.frames % per_report.max(1) == 1 {
            // The report maps the media's own time, which lateness does not move.
            let at = report.min(started_ns + media_ns);
            let sr = rtcp_out::sender_report(o.ssrc, at, timestamp, o.packets, o.octets);
            if let Some(sr) = sr {
                let _ = self.peer.send_rtcp(&sr);
            }
        }
        Some(interval)
    }

    /// Answers what a server asks of it by RTCP.
    pub(super) fn feedback(&mut self, plain: &[u8], batch: &mut SendBatch, window: &mut Window) {
        for packet in rtcp_in::read(plain) {
            match packet {
                Incoming::Pli(pli) => self.want_keyframe(pli.media_ssrc, window),
                Incoming::Fir(fir) => {
                    for entry in &fir.fir {
                        self.want_keyframe(entry.ssrc, window);
                    }
                }
                Incoming::Nack(nack) => {
                    window.publisher_nacks += 1;
                    self.send_again(&nack, batch, window);
                }
                Incoming::TransportFeedback => window.publisher_feedbacks += 1,
                Incoming::Malformed => window.malformed += 1,
                Incoming::SenderReport(_) => {}
            }
        }
    }

    fn send_again(
        &mut self,
        nack: &TransportLayerNack,
        batch: &mut SendBatch,
        window: &mut Window,
    ) {
        let output = self.outputs.iter_mut().find(|o| o.ssrc == nack.media_ssrc);
        let (Some(output), Some(srtp)) = (output, &self.peer.send) else {
            return;
        };
        batch.clear();
        for sequence in nack.nacks.iter().flat_map(|n| n.packet_list()) {
            let found = output.again(srtp, batch, &mut self.session, sequence);
            window.publisher_resends += u64::from(found);
        }
        match batch.send(self.peer.socket.as_raw_fd()) {
            Ok(n) => window.send_failures += (batch.len() - n) as u64,
            Err(_) => window.send_failures += batch.len() as u64,
        }
    }

    fn want_keyframe(&mut self, ssrc: u32, window: &mut Window) {
        for o in self.outputs.iter_mut().filter(|o| o.ssrc == ssrc) {
            window.keyframe_requests += 1;
            o.keyframe_wanted = o.encoding.is_some();
        }
    }
}

#[cfg(test)]
pub(in crate::engine) mod testing {
    use super::*;
    use crate::signal::offer::{VIDEO_MID, VIDEO_PT};

    /// A publisher of one video stream that is given RTCP.
    pub(in crate::engine) struct Alone(Publisher, SendBatch);

    pub(in crate::engine) fn publisher_of(peer: Peer) -> Alone {
        let mut output = Output::new(
            7,
            VIDEO_PT,
            90_000,
            Duration::from_millis(33),
            VIDEO_MID,
            None,
            Some(0),
            std::sync::Arc::default(),
        );
        output.rtx = Some((8, 0));
        let publisher = Publisher {
            peer,
            outputs: vec![output],
            session: Session::default(),
            started: None,
        };
        Alone(publisher, SendBatch::default())
    }

    impl Alone {
        pub(in crate::engine) fn take(&mut self, plain: &[u8], window: &mut Window) {
            self.0.feedback(plain, &mut self.1, window);
        }
    }
}
