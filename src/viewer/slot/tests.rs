//! One slot with an egress of its own: repairs, switches, breaks, redundancy.

use std::time::{Duration, Instant};

use super::*;

use crate::codec::{red, vp8};
use crate::net::{Path, Proto, SendArena};
use crate::peer::crypto::{Keying, SrtpProfile};
use crate::peer::egress::{Egress, Outlet};
use crate::peer::negotiate::{Feedback, HeaderExtension};
use crate::peer::srtp::SrtpReceiver;
use crate::room::encoding::LINE_BREAK;
use crate::room::testing::{keyframe, packet};
use crate::room::{Format, Source, TrackKey};
use crate::units::{ParticipantId, RoomId};
use crate::worker::clock::WallClock;

pub(super) struct Bench {
    pub slot: Slot,
    egress: Egress,
    pub receiver: SrtpReceiver,
    pub track: Track,
    arena: SendArena,
    clock: WallClock,
    pub now: Instant,
}

pub(super) fn section(
    codec: Codec,
    rtx: bool,
    extensions: &[(u8, HeaderExtension)],
) -> MediaSection {
    MediaSection {
        mid: "1".into(),
        index: 0,
        kind: MediaKind::Video,
        codecs: vec![NegotiatedCodec {
            pt: 96,
            rtx_pt: rtx.then_some(97),
            red_pt: None,
            codec,
            channels: 1,
            fmtp: "".into(),
            feedback: Feedback {
                nack: true,
                ..Feedback::default()
            },
        }],
        extensions: extensions.to_vec(),
        rids: Vec::new(),
        layer_ssrcs: Vec::new(),
        ssrcs: Vec::new(),
        rtcp_rsize: true,
        mixed_extensions: true,
    }
}

fn bench(rtx: bool) -> Bench {
    let extensions = [
        (3, HeaderExtension::TransportWideCc),
        (2, HeaderExtension::AbsSendTime),
    ];
    bench_of(Codec::Vp8, &[], rtx, &extensions)
}

/// A slot on a track of one publisher, and the viewer's end of its SRTP.
pub(super) fn bench_of(
    codec: Codec,
    rids: &[&str],
    rtx: bool,
    extensions: &[(u8, HeaderExtension)],
) -> Bench {
    let material = [7u8; 56];
    let keying = |client| {
        Keying::new(SrtpProfile::AeadAes128Gcm, client, &material).expect("the right length")
    };
    let mut track = Track::new(TrackKey {
        room: RoomId(1),
        participant: ParticipantId(1),
        kind: MediaKind::Video,
    });
    let format = Format {
        codec,
        fmtp: "".into(),
        channels: 1,
    };
    let rids: Vec<String> = rids.iter().map(|r| (*r).to_owned()).collect();
    track.attach(Source::Local { session: 0 }, 1, vec![format], &rids);
    let ssrcs = SignalledSsrc {
        ssrc: 1111,
        rtx: rtx.then_some(2222),
    };
    let seeds = Seeds {
        sequence: 65_000,
        rtx_sequence: 9,
        timestamp: 5,
    };
    let mut slot = Slot::new(&section(codec, rtx, extensions), ssrcs, seeds);
    aim(&mut slot, &track);
    let now = Instant::now();
    Bench {
        slot,
        egress: Egress::new(&keying(false)).expect("keys"),
        receiver: SrtpReceiver::new(&keying(true)).expect("keys"),
        track,
        arena: SendArena::new(1 << 20, 64),
        clock: WallClock::new(now, Duration::from_secs(1_700_000_000)),
        now,
    }
}

pub(super) fn aim(slot: &mut Slot, track: &Track) {
    let now = Instant::now();
    let request = slot.request(track, now);
    let plan = crate::viewer::allocate::allocate(None, [&request]);
    slot.aim(track, &request, plan.choices[0], now);
}

impl Bench {
    pub fn out<T>(
        &mut self,
        work: impl FnOnce(&mut Slot, &mut Outlet<'_>, &mut Egress, &Track) -> T,
    ) -> (T, Vec<Vec<u8>>) {
        self.now += Duration::from_millis(33);
        let mut outlet = Outlet {
            now: self.now,
            clock: &self.clock,
            arena: &mut self.arena,
            path: Path {
                proto: Proto::Udp,
                local: ([127, 0, 0, 1], 1).into(),
                remote: ([127, 0, 0, 1], 2).into(),
            },
        };
        let result = work(&mut self.slot, &mut outlet, &mut self.egress, &self.track);
        let sent = self.arena.datagrams().map(|(_, b)| b.to_vec()).collect();
        self.arena.clear();
        (result, sent)
    }

    fn forward(&mut self, mut packet: Packet) -> Vec<u8> {
        packet.entry = packet.info.starts_keyframe;
        self.track.ingest(0, packet.clone());
        let (result, mut sent) = self.out(|s, out, e, t| s.forward(out, e, t, 0, &packet));
        self.track.settle();
        assert!(matches!(result, Forwarded::Sent(_)), "{result:?}");
        sent.pop().expect("a datagram")
    }

    /// Payload type, sequence number, SSRC and payload of a sealed packet.
    pub fn open(&mut self, mut sealed: Vec<u8>) -> (u8, u16, u32, Vec<u8>) {
        let opened = self.receiver.unprotect_rtp(&mut sealed).expect("authentic");
        let be = |at: usize| u16::from_be_bytes([sealed[at], sealed[at + 1]]);
        let ssrc = u32::from_be_bytes([sealed[8], sealed[9], sealed[10], sealed[11]]);
        let payload = sealed[opened.header_len..opened.len].to_vec();
        (sealed[1] & 0x7f, be(2), ssrc, payload)
    }
}

#[test]
fn rtx_carries_the_original_number_on_a_line_of_its_own() {
    let mut bench = bench(true);
    let first = bench.forward(keyframe(100, 3000));
    let second = bench.forward(packet(101, 6000));
    let (pt, seq, ssrc, payload) = bench.open(second);
    assert_eq!((pt, ssrc), (96, 1111));
    bench.open(first);
    let (result, sent) = bench.out(|s, out, e, t| s.repair(out, e, t, seq));
    assert!(matches!(result, Repaired::Sent(_)), "{result:?}");
    let (rtx_pt, rtx_seq, rtx_ssrc, rtx_payload) = bench.open(sent[0].clone());
    assert_eq!((rtx_pt, rtx_seq, rtx_ssrc), (97, 9, 2222));
    assert_eq!(rtx_payload[..2], seq.to_be_bytes());
    assert_eq!(rtx_payload[2..], payload);
    // RFC 4588 §4: each repair takes a new number.
    bench.now += Duration::from_secs(1);
    let (_, again) = bench.out(|s, out, e, t| s.repair(out, e, t, seq));
    assert_eq!(bench.open(again[0].clone()).1, 10);
}

#[test]
fn a_plain_resend_is_the_same_datagram_bit_for_bit() {
    // Otherwise one nonce would seal two different packets (RFC 7714 §14.1);
    // debug builds of the sender panic on that.
    let mut bench = bench(false);
    let mut sent = vec![bench.forward(keyframe(100, 3000))];
    for i in 1..700u64 {
        sent.push(bench.forward(packet(100 + i, 3000 * (i as u32 + 1))));
    }
    for back in [1usize, 10, 300] {
        let original = sent[sent.len() - back].clone();
        let seq = u16::from_be_bytes([original[2], original[3]]);
        let (result, again) = bench.out(|s, out, e, t| s.repair(out, e, t, seq));
        assert!(matches!(result, Repaired::Sent(_)), "{result:?}");
        assert_eq!(again[0], original);
    }
}

#[test]
fn picture_ids_go_on_over_a_change_of_publishers() {
    let with_id = |seq: u64, timestamp: u32, id: u16, key: bool| {
        let mut packet = if key {
            keyframe(seq, timestamp)
        } else {
            packet(seq, timestamp)
        };
        let [a, b] = (0x8000 | id).to_be_bytes();
        packet.payload = vec![0x90, 0x80, a, b, u8::from(!key), 0, 0].into();
        packet.info.ids = crate::codec::inspect(Codec::Vp8, &packet.payload, true).ids;
        packet
    };
    let mut bench = bench(true);
    let mut sealed = Vec::new();
    for i in 0..3u16 {
        let packet = with_id(100 + u64::from(i), 3000 * u32::from(i), 500 + i, i == 0);
        sealed.push(bench.forward(packet));
    }
    let formats = bench.track.formats.clone();
    bench
        .track
        .attach(Source::Local { session: 5 }, 2, formats, &[]);
    aim(&mut bench.slot, &bench.track);
    for i in 0..3u16 {
        let packet = with_id(9, 77, 9 + i, i == 0);
        let packet = Packet {
            seq: 9 + u64::from(i),
            ..packet
        };
        sealed.push(bench.forward(packet));
    }
    let mut last = None;
    for datagram in sealed {
        let (_, seq, _, payload) = bench.open(datagram);
        let id = vp8::Descriptor::parse(&payload)
            .and_then(|d| d.picture_id)
            .map(|id| id.value);
        let line = (seq, id.expect("a picture id"));
        if let Some((seq, id)) = last {
            assert_eq!(line, (seq + 1, id + 1));
        }
        last = Some(line);
    }
}

/// A source that has begun without a run of its own would be given the numbers of the one before: one
/// nonce would seal two packets, on which the sender panics here.
#[test]
fn what_there_is_no_payload_type_for_begins_nothing() {
    let mut bench = bench(true);
    let mut last = bench.forward(keyframe(100, 3000));
    for i in 1..10u64 {
        last = bench.forward(packet(100 + i, 3000 * i as u32));
    }
    let (_, before, ..) = bench.open(last);
    // Another publisher, who may change between two codecs of which the viewer has one.
    let mut formats = bench.track.formats.clone();
    formats.push(Format {
        codec: Codec::H265,
        fmtp: "".into(),
        channels: 1,
    });
    let source = Source::Local { session: 5 };
    bench.track.attach(source, 2, formats, &[]);
    aim(&mut bench.slot, &bench.track);
    let unknown = |mut packet: Packet| {
        packet.format = 1;
        packet.codec = Codec::H265;
        packet
    };
    let refused = |bench: &mut Bench, packet: Packet| {
        let (result, sent) = bench.out(|s, out, e, t| s.forward(out, e, t, 0, &packet));
        assert_eq!((result, sent.len()), (Forwarded::NoFormat, 0));
        assert_eq!(bench.slot.selection.current(), None);
    };
    refused(&mut bench, unknown(keyframe(50, 9000)));
    let next = bench.forward(keyframe(105, 12_000));
    assert_eq!(bench.open(next).1, before + 1);
    let next = bench.forward(packet(106, 15_000));
    assert_eq!(bench.open(next).1, before + 2);
    // In the middle of what flows it ends that, and it goes on with a keyframe only.
    refused(&mut bench, unknown(packet(107, 18_000)));
    let delta = packet(108, 21_000);
    let (result, _) = bench.out(|s, out, e, t| s.forward(out, e, t, 0, &delta));
    assert_eq!(result, Forwarded::NotSelected);
    let next = bench.forward(keyframe(109, 24_000));
    assert_eq!(bench.open(next).1, before + 3);
}

/// Decoders that get a whole line decode what they should not.
#[test]
fn a_line_that_broke_goes_on_with_a_keyframe_only() {
    let mut bench = bench(true);
    let first = bench.forward(keyframe(100, 3000));
    let (_, before, ..) = bench.open(first);
    let far = 101 + LINE_BREAK + 1;
    for (seq, expected) in [(far, Forwarded::Broken), (far + 1, Forwarded::NotSelected)] {
        let delta = packet(seq, 9000);
        let (result, sent) = bench.out(|s, out, e, t| s.forward(out, e, t, 0, &delta));
        assert_eq!((result, sent.len()), (expected, 0));
    }
    assert_eq!(bench.slot.wanted_encoding(), Some(0));
    assert!(bench.slot.selection.current().is_none());
    let next = bench.forward(keyframe(far + 2, 12_000));
    assert_eq!(bench.open(next).1, before + 1);
    // A keyframe right behind the break needs no other.
    let next = bench.forward(keyframe(far + 4 + LINE_BREAK, 15_000));
    assert_eq!(bench.open(next).1, before + 2);
}

/// A slot that stays behind keeps its viewer's path from being probed.
#[test]
fn a_slot_whose_publisher_has_gone_is_behind_with_nothing() {
    let mut bench = bench(true);
    bench.forward(keyframe(100, 3000));
    let next = packet(101, 6000);
    let now = bench.now;
    let Bench { slot, track, .. } = &mut bench;
    assert!(slot.fall_behind(track, 0, &next, now));
    track.detach();
    aim(slot, track);
    assert!(slot.behind.is_none());
}

#[test]
fn what_was_never_sent_or_is_long_gone_is_not_repaired() {
    let mut bench = bench(true);
    bench.forward(keyframe(100, 3000));
    for seq in [0, 31_000, 65_535] {
        let (result, sent) = bench.out(|s, out, e, t| s.repair(out, e, t, seq));
        assert_eq!(result, Repaired::Gone);
        assert!(sent.is_empty());
    }
}

/// RFC 8285 §4.1.2: 17 bytes and more take the form of two bytes, which not every receiver takes.
#[test]
fn a_long_descriptor_goes_to_those_who_take_both_forms_of_extensions() {
    for (mixed, form) in [(false, [0xbe, 0xde]), (true, [0x10, 0])] {
        let known = [
            (3, HeaderExtension::TransportWideCc),
            (9, HeaderExtension::DependencyDescriptor),
        ];
        let mut bench = bench(true);
        let mut agreed = section(Codec::Vp8, true, &known);
        agreed.mixed_extensions = mixed;
        let seeds = Seeds {
            sequence: 1,
            rtx_sequence: 9,
            timestamp: 5,
        };
        bench.slot = Slot::new(&agreed, bench.slot.ssrcs, seeds);
        aim(&mut bench.slot, &bench.track);
        let mut first = keyframe(100, 3000);
        first.passed.dependency = [0x80; 30].into_iter().collect();
        let datagram = bench.forward(first);
        assert_eq!(datagram[12..14], form, "mixed: {mixed}");
    }
}

/// A slot for Opus as number `pt` and RED as 63, on a track of such.
fn listening(pt: u8) -> Bench {
    let mut bench = bench(false);
    let mut voice = section(Codec::Opus, false, &[]);
    voice.kind = MediaKind::Audio;
    voice.codecs[0].pt = pt;
    voice.codecs[0].red_pt = Some(63);
    let ssrcs = SignalledSsrc {
        ssrc: 1111,
        rtx: None,
    };
    let seeds = Seeds {
        sequence: 100,
        rtx_sequence: 9,
        timestamp: 5,
    };
    bench.slot = Slot::new(&voice, ssrcs, seeds);
    bench.track = Track::new(TrackKey {
        kind: MediaKind::Audio,
        ..bench.track.key
    });
    let format = Format {
        codec: Codec::Opus,
        fmtp: "".into(),
        channels: 2,
    };
    bench
        .track
        .attach(Source::Local { session: 0 }, 1, vec![format], &[]);
    aim(&mut bench.slot, &bench.track);
    bench
}

/// Five packets of RED, whose blocks are of Opus as 111: payload type and length of what went out, too.
fn send_red(bench: &mut Bench) -> (Vec<Vec<u8>>, Vec<(u8, usize)>) {
    let mut sent = Vec::new();
    for seq in 10..15u64 {
        let mut red = packet(seq, seq as u32 * 960);
        red.codec = Codec::Opus;
        red.payload = vec![0x80 | 111, 0x0f, 0, 1, 111, 7, seq as u8].into();
        red.red = red::Summary::of(&red.payload);
        sent.push(bench.forward(red));
    }
    let opened = |datagram: &Vec<u8>| {
        let (pt, _, _, payload) = bench.open(datagram.clone());
        (pt, payload.len())
    };
    let seen = sent.iter().map(opened).collect();
    (sent, seen)
}

/// It would be dropped for blocks that the receiver knows no decoder for.
#[test]
fn redundancy_goes_to_those_who_have_its_number_for_the_codec() {
    let (_, seen) = send_red(&mut listening(120));
    assert_eq!(seen, [(120, 1); 5]);
}

#[test]
fn redundancy_of_the_time_before_a_switch_is_left_out() {
    let mut bench = listening(111);
    let (sent, seen) = send_red(&mut bench);
    assert_eq!(seen, [(111, 1), (111, 1), (63, 7), (63, 7), (63, 7)]);
    // And a repair is the same again.
    for (number, datagram) in (100..).zip(&sent) {
        let (_, again) = bench.out(|s, out, e, t| s.repair(out, e, t, number));
        assert_eq!(again[0], *datagram, "{number}");
    }
}

#[test]
fn time_passes_by_the_clock_of_the_codec_that_is_sent() {
    let mut voice = section(Codec::Opus, false, &[]);
    voice.kind = MediaKind::Audio;
    let mut pcmu = voice.codecs[0].clone();
    (pcmu.pt, pcmu.codec) = (0, Codec::Pcmu);
    voice.codecs.push(pcmu);
    let seeds = Seeds {
        sequence: 100,
        rtx_sequence: 9,
        timestamp: 5,
    };
    let mut bench = bench(false);
    let ssrcs = bench.slot.ssrcs;
    bench.slot = Slot::new(&voice, ssrcs, seeds);
    let mut stamps = Vec::new();
    let start = bench.now;
    for publisher in 0..2u32 {
        bench.track = Track::new(TrackKey {
            kind: MediaKind::Audio,
            ..bench.track.key
        });
        let format = Format {
            codec: Codec::Pcmu,
            fmtp: "".into(),
            channels: 1,
        };
        let source = Source::Local { session: publisher };
        bench.track.attach(source, 1, vec![format], &[]);
        bench.track.epoch = publisher + 1;
        aim(&mut bench.slot, &bench.track);
        let mut sound = packet(10, publisher * 77_777);
        sound.codec = Codec::Pcmu;
        sound.arrival = start + Duration::from_secs(u64::from(publisher));
        let datagram = bench.forward(sound);
        stamps.push(u32::from_be_bytes([
            datagram[4],
            datagram[5],
            datagram[6],
            datagram[7],
        ]));
    }
    assert_eq!(stamps, [5, 5 + 8_000], "a second of G.711");
}
