//! Packets as publishers send them, and what they are told, read by another implementation.

mod told;

use std::net::{Ipv4Addr, SocketAddr};

use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::receiver_report::ReceiverReport;
use rtcp::source_description::SourceDescription;
use rtcp::transport_feedbacks::transport_layer_cc::TransportLayerCc;
use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use rtp::header::{EXTENSION_PROFILE_ONE_BYTE, Header};
use webrtc_util::marshal::Marshal;

use super::*;
use crate::codec::Codec;
use crate::control::testing::negotiated;
use crate::net::path::Proto;
use crate::peer::negotiate::{Direction, HeaderExtension, SignalledSsrc};
use crate::peer::rtcp::{RtcpWriter, SenderInfo, packets};
use crate::peer::srtp::{Keying, SrtpProfile, SrtpReceiver};

mod redundancy;

const MID: u8 = 1;
const RID: u8 = 2;
const REPAIRED: u8 = 3;
const TRANSPORT: u8 = 4;
const VP8: u8 = 96;
const RTX: u8 = 97;
const OPUS: u8 = 111;
const VIDEO_TRACK: u32 = 7;
const AUDIO_TRACK: u32 = 8;

/// A picture, and sound.
fn sections() -> Vec<MediaSection> {
    let mut sections = negotiated(Direction::Publish, &[&[Codec::Vp8], &[Codec::Opus]]).media;
    for section in &mut sections {
        section.extensions = vec![
            (MID, HeaderExtension::Mid),
            (RID, HeaderExtension::RtpStreamId),
            (REPAIRED, HeaderExtension::RepairedRtpStreamId),
            (TRANSPORT, HeaderExtension::TransportWideCc),
        ];
        section.rtcp_rsize = true;
    }
    let video = &mut sections[0].codecs[0];
    video.rtx_pt = Some(RTX);
    video.feedback.nack = true;
    video.feedback.pli = true;
    video.feedback.transport_cc = true;
    sections[1].codecs[0].pt = OPUS;
    sections
}

/// A packet under way.
#[derive(Clone)]
struct Sent {
    ssrc: u32,
    pt: u8,
    seq: u64,
    names: Vec<(u8, &'static str)>,
    transport: Option<u16>,
    payload: Vec<u8>,
    padding: u8,
}

fn media(ssrc: u32, pt: u8, seq: u64) -> Sent {
    Sent {
        ssrc,
        pt,
        seq,
        names: Vec::new(),
        transport: None,
        payload: vec![0x10, 0, seq as u8],
        padding: 0,
    }
}

fn repair(ssrc: u32, seq: u64, of: &Sent) -> Sent {
    let original = (of.seq as u16).to_be_bytes();
    Sent {
        payload: [&original[..], &of.payload].concat(),
        ..media(ssrc, RTX, seq)
    }
}

impl Sent {
    fn named(self, names: &[(u8, &'static str)]) -> Self {
        Self {
            names: names.to_vec(),
            ..self
        }
    }
}

struct Bench {
    ingress: Ingress,
    start: Instant,
    now: Instant,
    sealed: Sealed,
    arena: SendArena,
    peer: SrtpReceiver,
}

fn path() -> Path {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 4000));
    Path {
        proto: Proto::Udp,
        local: address,
        remote: address,
    }
}

impl Bench {
    fn new(sections: &[MediaSection]) -> Self {
        let profile = SrtpProfile::AeadAes128Gcm;
        let material: Vec<u8> = (0..profile.material_len()).map(|i| i as u8).collect();
        let keying = |client| Keying::new(profile, client, &material).unwrap();
        let start = Instant::now();
        Self {
            ingress: Ingress::new(sections, &[VIDEO_TRACK, AUDIO_TRACK]),
            start,
            now: start,
            sealed: Sealed::new(&keying(false), 99, "cname".into()).unwrap(),
            arena: SendArena::new(1 << 16, 16),
            peer: SrtpReceiver::new(&keying(true)).unwrap(),
        }
    }

    fn wait(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    fn send(&mut self, sent: &Sent) -> Result<Option<Routed>, Unroutable> {
        let mut header = Header {
            version: 2,
            payload_type: sent.pt,
            sequence_number: sent.seq as u16,
            timestamp: sent.seq as u32 * 3000,
            ssrc: sent.ssrc,
            extension: true,
            extension_profile: EXTENSION_PROFILE_ONE_BYTE,
            ..Header::default()
        };
        for (id, name) in &sent.names {
            let value = bytes::Bytes::from_static(name.as_bytes());
            header.set_extension(*id, value).unwrap();
        }
        if let Some(seq) = sent.transport {
            let value = bytes::Bytes::copy_from_slice(&seq.to_be_bytes());
            header.set_extension(TRANSPORT, value).unwrap();
        }
        let mut bytes = header.marshal().unwrap().to_vec();
        let header_len = bytes.len();
        bytes.extend(&sent.payload);
        if sent.padding > 0 {
            bytes[0] |= 0x20;
            bytes.resize(bytes.len() + usize::from(sent.padding) - 1, 0);
            bytes.push(sent.padding);
        }
        let opened = OpenedRtp {
            len: bytes.len(),
            header_len,
            index: sent.seq,
        };
        let micros = self.now.duration_since(self.start).as_micros() as i64;
        self.ingress.route(self.now, micros, &bytes, opened)
    }

    /// Where a packet goes: track, encoding, number and payload.
    fn sent(&mut self, sent: &Sent) -> Option<(u32, u8, u64, Vec<u8>)> {
        let routed = self.send(sent).unwrap()?;
        let packet = routed.packet;
        Some((
            routed.track,
            routed.encoding,
            packet.seq,
            packet.payload.to_vec(),
        ))
    }

    /// Runs what is due, and gives what the publisher is told now.
    fn told(&mut self) -> Vec<Told> {
        let wall = Duration::from_secs(1_800_000_000) + self.now.duration_since(self.start);
        let feedback = &mut self.sealed.feedback;
        self.ingress
            .tick(self.now, wall, feedback, &mut self.arena, path());
        self.read()
    }

    fn read(&mut self) -> Vec<Told> {
        let datagrams: Vec<_> = self.arena.datagrams().map(|(_, d)| d.to_vec()).collect();
        self.arena.clear();
        let mut all = Vec::new();
        for mut datagram in datagrams {
            let length = self.peer.unprotect_rtcp(&mut datagram).unwrap();
            all.extend(rtcp::packet::unmarshal(&mut &datagram[..length]).unwrap());
        }
        all
    }
}

type Told = Box<dyn rtcp::packet::Packet + Send + Sync>;

/// Those of one kind.
fn of<P: 'static + Clone>(told: &[Told]) -> Vec<P> {
    let all = told.iter().map(|packet| packet.as_any());
    all.filter_map(|packet| packet.downcast_ref().cloned())
        .collect()
}

#[test]
fn each_ssrc_of_a_simulcast_group_is_an_encoding() {
    let mut sections = sections();
    sections[0].layer_ssrcs = vec![30, 10, 20];
    sections[0].ssrcs = [10, 20, 30]
        .map(|ssrc| SignalledSsrc {
            ssrc,
            rtx: Some(ssrc + 1),
        })
        .to_vec();
    assert_eq!(sections[0].layer_names(), ["0", "1", "2"]);
    let mut bench = Bench::new(&sections);
    for (ssrc, encoding) in [(10, 1), (20, 2), (30, 0)] {
        let first = media(ssrc, VP8, 500);
        let (track, at, seq, _) = bench.sent(&first).unwrap();
        assert_eq!((track, at, seq), (VIDEO_TRACK, encoding, 500));
        let lost = media(ssrc, VP8, 501);
        let (_, at, seq, payload) = bench.sent(&repair(ssrc + 1, 9, &lost)).unwrap();
        assert_eq!((at, seq, payload), (encoding, 501, lost.payload));
    }
    // Which layer another one would be, nothing tells.
    let other = media(40, VP8, 1).named(&[(MID, "0")]);
    assert_eq!(bench.send(&other).unwrap_err(), Unroutable::Ssrc);
}

#[test]
fn rids_tell_encodings_and_whose_repairs_are() {
    let mut sections = sections();
    sections[0].rids = vec!["lo".into(), "hi".into()];
    let mut bench = Bench::new(&sections);
    let high = media(5, VP8, 100).named(&[(MID, "0"), (RID, "hi")]);
    let early = repair(6, 1, &high).named(&[(MID, "0"), (REPAIRED, "hi")]);
    assert!(bench.send(&early).unwrap().is_none(), "nothing came yet");
    assert_eq!(bench.sent(&high).unwrap().1, 1);
    let lost = media(5, VP8, 101);
    let late = repair(6, 2, &lost).named(&[(MID, "0"), (REPAIRED, "hi")]);
    assert_eq!(bench.sent(&late).unwrap().2, 101);
    // Known by now, the SSRC is enough.
    assert_eq!(
        bench.sent(&repair(6, 3, &media(5, VP8, 102))).unwrap().2,
        102
    );
    assert_eq!(bench.sent(&media(5, VP8, 103)).unwrap().1, 1);
    for (wrong, why) in [
        (vec![(MID, "0"), (RID, "mid")], Unroutable::Ssrc),
        (vec![(MID, "0")], Unroutable::Ssrc),
        (vec![(MID, "9"), (RID, "lo")], Unroutable::Ssrc),
        (vec![(MID, "1"), (RID, "lo")], Unroutable::Ssrc),
    ] {
        let stranger = media(50, VP8, 1).named(&wrong);
        assert_eq!(bench.send(&stranger).unwrap_err(), why, "{wrong:?}");
    }
    let unknown = media(5, 120, 104);
    assert_eq!(bench.send(&unknown).unwrap_err(), Unroutable::PayloadType);
}

#[test]
fn a_repair_counts_once_and_padding_not_at_all() {
    let mut sections = sections();
    sections[0].ssrcs = vec![SignalledSsrc {
        ssrc: 1,
        rtx: Some(2),
    }];
    let mut bench = Bench::new(&sections);
    bench.sent(&media(1, VP8, 65_535)).unwrap();
    bench.sent(&media(1, VP8, 65_537)).unwrap();
    let lost = media(1, VP8, 65_536);
    assert_eq!(bench.sent(&repair(2, 1, &lost)).unwrap().2, 65_536);
    assert_eq!(bench.sent(&repair(2, 2, &lost)), None);
    assert_eq!(bench.sent(&lost), None, "it was only late, and is known");
    let padding = Sent {
        payload: Vec::new(),
        padding: 200,
        ..media(2, RTX, 3)
    };
    assert_eq!(bench.sent(&padding), None);
    // Browsers probe under SSRC 0 before there is media, and with any payload type.
    assert_eq!(
        bench.sent(&Sent {
            ssrc: 0,
            ..padding.clone()
        }),
        None
    );
    assert_eq!(
        bench.sent(&Sent {
            pt: VP8,
            ..padding.clone()
        }),
        None
    );
    let nonsense = Sent {
        padding: 0,
        ..media(2, VP8, 4)
    };
    assert_eq!(bench.send(&nonsense).unwrap_err(), Unroutable::PayloadType);
    // Padding behind media is cut off.
    let padded = Sent {
        padding: 5,
        ..media(1, VP8, 65_538)
    };
    assert_eq!(bench.sent(&padded).unwrap().3, padded.payload);
    let mut too_much = padded;
    too_much.payload.clear();
    too_much.padding = 1;
    too_much.seq += 1;
    assert!(bench.sent(&too_much).unwrap().3.is_empty());
}

#[test]
fn a_repair_that_was_meant_for_a_former_ssrc_leaves_the_new_one_alone() {
    let mut sections = sections();
    sections[0].ssrcs = vec![SignalledSsrc {
        ssrc: 1,
        rtx: Some(2),
    }];
    let mut bench = Bench::new(&sections);
    bench.sent(&media(1, VP8, 20_099)).unwrap();
    let changed = |seq| media(3, VP8, seq).named(&[(MID, "0")]);
    bench.sent(&changed(100)).unwrap();
    assert_eq!(bench.sent(&repair(2, 7, &media(1, VP8, 20_098))), None);
    assert!(bench.sent(&changed(101)).is_some());
}

#[test]
fn an_ssrc_that_returns_without_names_is_known() {
    let mut sections = sections();
    sections[0].rids = vec!["lo".into(), "hi".into()];
    let mut bench = Bench::new(&sections);
    let names = [(MID, "0"), (RID, "hi")];
    bench.sent(&media(1, VP8, 100).named(&names)).unwrap();
    bench.sent(&media(2, VP8, 500).named(&names)).unwrap();
    assert_eq!(bench.sent(&media(1, VP8, 101)), None, "a stray");
    bench.wait(1100);
    let (_, encoding, ..) = bench.sent(&media(1, VP8, 102)).unwrap();
    assert_eq!(encoding, 1);
    let routed = bench.send(&media(3, VP8, 1));
    assert_eq!(routed.unwrap_err(), Unroutable::Ssrc);
}

#[test]
fn of_several_announced_ssrcs_the_one_in_use_is_asked() {
    let mut sections = sections();
    sections[0].ssrcs = [1, 2]
        .map(|ssrc| SignalledSsrc { ssrc, rtx: None })
        .to_vec();
    let mut bench = Bench::new(&sections);
    bench.sent(&media(2, VP8, 10)).unwrap();
    let (arena, sender) = (&mut bench.arena, &mut bench.sealed.feedback);
    let ingress = &mut bench.ingress;
    assert!(ingress.request_keyframe(sender, arena, path(), VIDEO_TRACK, 0));
    let asked = of::<PictureLossIndication>(&bench.read());
    assert_eq!(asked[0].media_ssrc, 2);
    // Its repairs, too, whose SSRC nobody announced.
    let lost = media(2, VP8, 11);
    let late = repair(7, 1, &lost).named(&[(MID, "0")]);
    assert_eq!(bench.sent(&late).unwrap().2, 11);
}

#[test]
fn what_is_of_no_use_still_tells_congestion_control_that_it_came() {
    let mut bench = Bench::new(&sections());
    let mut probe = Sent {
        payload: Vec::new(),
        padding: 100,
        transport: Some(5),
        ..media(0, 100, 1)
    };
    assert_eq!(bench.sent(&probe), None, "whatever its payload type");
    (probe.ssrc, probe.transport) = (9, Some(6));
    assert_eq!(bench.send(&probe).unwrap_err(), Unroutable::PayloadType);
    (probe.pt, probe.transport) = (VP8, Some(7));
    probe.names = vec![(MID, "0")];
    assert_eq!(bench.sent(&probe), None);
    assert!(
        bench.ingress.streams.all.is_empty(),
        "padding binds nothing"
    );
    let arrivals = of::<TransportLayerCc>(&bench.told());
    assert_eq!(arrivals[0].base_sequence_number, 5);
    assert_eq!(arrivals[0].recv_deltas.len(), 3);
}

#[test]
fn an_ssrc_that_changes_takes_its_place_if_it_is_named_or_the_former_is_silent() {
    let mut sections = sections();
    sections[0].ssrcs = vec![SignalledSsrc { ssrc: 1, rtx: None }];
    let mut bench = Bench::new(&sections);
    assert_eq!(bench.sent(&media(1, VP8, 100)).unwrap().2, 100);
    let other = media(2, VP8, 5);
    assert_eq!(bench.send(&other).unwrap_err(), Unroutable::Ssrc);
    let named = other.clone().named(&[(MID, "0")]);
    let routed = bench.send(&named).unwrap().unwrap();
    assert!(routed.hopeless, "a keyframe is needed");
    assert_eq!(routed.ssrc, 2);
    assert!(routed.packet.seq > 100);
    // Strays of the former one are nobody's.
    let stray = media(1, VP8, 101).named(&[(MID, "0")]);
    assert_eq!(bench.sent(&stray), None);
    // Sound that was never announced: its payload type tells.
    assert_eq!(bench.sent(&media(70, OPUS, 1)).unwrap().0, AUDIO_TRACK);
    bench.wait(500);
    let next = media(71, OPUS, 1);
    assert_eq!(bench.send(&next).unwrap_err(), Unroutable::Ssrc);
    bench.wait(600);
    let next = media(71, OPUS, 2);
    assert_eq!(bench.sent(&next).unwrap().0, AUDIO_TRACK);
}
