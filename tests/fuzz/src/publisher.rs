//! A publisher whose packets are authentic and otherwise anything.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use weir::codec::Codec;
use weir::net::{Path, SendArena, path::Proto};
use weir::peer::crypto::{Keying, SrtpProfile};
use weir::peer::ingress::{Ingress, Sealed};
use weir::peer::negotiate::{
    Feedback, HeaderExtension, MediaSection, NegotiatedCodec, SignalledSsrc,
};
use weir::peer::rtcp::packets;
use weir::peer::srtp::{OpenedRtp, SrtpReceiver};
use weir::units::MediaKind;

fn section(index: usize, codec: Codec, pt: u8, kind: MediaKind) -> MediaSection {
    MediaSection {
        mid: index.to_string(),
        index,
        kind,
        codecs: vec![NegotiatedCodec {
            pt,
            rtx_pt: (kind == MediaKind::Video).then_some(pt + 1),
            red_pt: (kind == MediaKind::Audio).then_some(pt + 1),
            codec,
            channels: 1,
            fmtp: "".into(),
            feedback: Feedback {
                nack: true,
                pli: true,
                fir: true,
                remb: true,
                transport_cc: kind == MediaKind::Audio,
            },
        }],
        extensions: vec![
            (1, HeaderExtension::Mid),
            (2, HeaderExtension::RtpStreamId),
            (3, HeaderExtension::RepairedRtpStreamId),
            (4, HeaderExtension::TransportWideCc),
            (5, HeaderExtension::AbsSendTime),
        ],
        rids: Vec::new(),
        layer_ssrcs: Vec::new(),
        ssrcs: vec![SignalledSsrc {
            ssrc: 0x0101_0101 * (index as u32 + 1),
            rtx: Some(0x0101_0101 * (index as u32 + 8)),
        }],
        rtcp_rsize: true,
        mixed_extensions: true,
    }
}

/// The first byte chooses whether there is simulcast. Then packets: a byte of length in units of
/// four bytes, a byte of time and whether the number is near to the last one, the packet.
pub fn publisher(data: &[u8]) {
    let Some((&choice, mut rest)) = data.split_first() else {
        return;
    };
    let mut sections = [
        section(0, Codec::Vp8, 96, MediaKind::Video),
        section(1, Codec::Opus, 111, MediaKind::Audio),
    ];
    if choice & 1 != 0 {
        sections[0].rids = vec!["a".into(), "b".into()];
    }
    let mut ingress = Ingress::new(&sections, &[7, 8]);
    let profile = SrtpProfile::AeadAes128Gcm;
    let material = vec![7; profile.material_len()];
    let keying = |client| Keying::new(profile, client, &material).expect("right length");
    let mut sealed = Sealed::new(&keying(false), 99, "name".into()).expect("good keys");
    let mut peer = SrtpReceiver::new(&keying(true)).expect("good keys");
    let address = SocketAddr::from(([127, 0, 0, 1], 9));
    let path = Path {
        proto: Proto::Udp,
        local: address,
        remote: address,
    };
    let mut arena = SendArena::new(1 << 15, 8);
    let start = Instant::now();
    let (mut now, mut index) = (start, 1u64 << 16);
    while let Some((&[units, step], after)) = rest.split_first_chunk::<2>() {
        let (packet, after) = after.split_at(after.len().min(usize::from(units) * 4));
        rest = after;
        now += Duration::from_millis(u64::from(step >> 1));
        if let Some(seq) = packet.get(2..4) {
            let seq = u16::from_be_bytes([seq[0], seq[1]]);
            let ahead = seq.wrapping_sub(index as u16) as i16;
            index = index.saturating_add_signed(i64::from(ahead)).max(1);
            index += if step & 1 == 0 { 0 } else { 1 << 16 };
        }
        let opened = OpenedRtp {
            len: packet.len(),
            header_len: 12,
            index,
        };
        let micros = now.duration_since(start).as_micros() as i64;
        if let Ok(Some(routed)) = ingress.route(now, micros, packet, opened) {
            assert!(matches!((routed.track, routed.encoding), (7, 0 | 1) | (8, 0)));
            assert!(routed.packet.payload.len() <= packet.len());
        }
        let wall = Duration::from_secs(1_800_000_000) + now.duration_since(start);
        let asked = ingress.tick(now, wall, &mut sealed.feedback, &mut arena, path);
        assert!(asked.lost.len() <= 2);
        ingress.request_keyframe(&mut sealed.feedback, &mut arena, path, 7, step & 1);
        for (_, datagram) in arena.datagrams() {
            let mut told = datagram.to_vec();
            let length = peer.unprotect_rtcp(&mut told).expect("sealed here");
            assert!(packets(&told[..length]).all(|packet| packet.is_ok()));
        }
        arena.clear();
        // A burst of losses takes several requests, but what is due has an end.
        let is_due = |ingress: &Ingress| ingress.deadline().is_some_and(|at| at <= now);
        for _ in 0..20 {
            if is_due(&ingress) {
                ingress.tick(now, wall, &mut sealed.feedback, &mut arena, path);
                arena.clear();
            }
        }
        assert!(!is_due(&ingress));
    }
}
