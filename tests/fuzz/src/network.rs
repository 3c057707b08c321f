//! Datagrams before and after a session is known.

use std::net::{IpAddr, SocketAddr};

use weir::net::classify::classify;
use weir::net::stun::{self as messages, StunView};
use weir::net::ufrag;
use weir::peer::rtcp::{Packet, XrBlock, packets};
use weir::peer::srtp::{MasterKey, SrtpProfile, SrtpReceiver, SrtpSender};

const PASSWORD: &[u8] = b"a password of an ICE session";

pub fn datagram(data: &[u8]) {
    let _ = classify(data);
    let _ = ufrag::decode(data);
    stun(data);
}

pub fn stun(data: &[u8]) {
    messages::mapped_address(data, [0; 12]);
    let Ok(view) = StunView::parse(data) else {
        return;
    };
    messages::mapped_address(data, view.transaction());
    if let Some((local, _)) = view.ufrags() {
        ufrag::decode(local);
    }
    view.verify_integrity(PASSWORD);
    view.is_incomplete_check();
    let mut out = [0; 2048];
    messages::complete_request(&view, PASSWORD, &mut out);
    let from = SocketAddr::new(IpAddr::from([0x20u8; 16]), 7882);
    let len = messages::binding_success(&view, from, Some(PASSWORD), &mut out);
    let answer = &out[..len.expect("there is room")];
    assert_eq!(
        messages::mapped_address(answer, view.transaction()),
        Some(from)
    );
    messages::binding_error(&view, 401, None, &mut out).expect("there is room");
}

/// The first byte chooses the profile and whether the packet is sealed rightly first.
pub fn srtp(data: &[u8]) {
    let Some((&choice, packet)) = data.split_first() else {
        return;
    };
    let profile = match choice & 3 {
        0 => SrtpProfile::AeadAes128Gcm,
        1 => SrtpProfile::AeadAes256Gcm,
        _ => SrtpProfile::Aes128CmHmacSha1_80,
    };
    let (key, salt) = ([7; 32], [9; 14]);
    let master = MasterKey {
        profile,
        key: &key[..profile.key_len()],
        salt: &salt[..profile.salt_len()],
    };
    let mut receiver = SrtpReceiver::from_master(master).expect("right lengths");
    let mut buf = packet.to_vec();
    let _ = receiver.unprotect_rtp(&mut buf);
    let mut buf = packet.to_vec();
    let _ = receiver.unprotect_rtcp(&mut buf);
    if choice & 4 != 0 {
        let mut sender = SrtpSender::from_master(master).expect("right lengths");
        let mut buf = packet.to_vec();
        buf.resize(packet.len() + 64, 0);
        if let Ok(len) = sender.protect_rtcp(&mut buf, packet.len()) {
            let opened = receiver
                .unprotect_rtcp(&mut buf[..len])
                .expect("sealed here");
            assert_eq!(&buf[..opened], packet);
        }
    }
}

pub fn rtcp(data: &[u8]) {
    for packet in packets(data) {
        match packet {
            Ok(Packet::SenderReport(report)) => report.blocks().for_each(drop),
            Ok(Packet::ReceiverReport(report)) => report.blocks().for_each(drop),
            Ok(Packet::Bye(bye)) => bye.ssrcs().for_each(drop),
            Ok(Packet::Nack(nack)) => nack.seqs().for_each(drop),
            Ok(Packet::Fir(fir)) => fir.entries().for_each(drop),
            Ok(Packet::Remb(remb)) => remb.ssrcs().for_each(drop),
            Ok(Packet::Twcc(twcc)) => {
                twcc.reference_micros();
                assert!(twcc.statuses().count() <= usize::from(u16::MAX));
            }
            Ok(Packet::Xr(xr)) => xr.blocks().for_each(|block| {
                if let XrBlock::Dlrr(list) = block {
                    list.iter().for_each(drop);
                }
            }),
            Ok(Packet::Pli(_) | Packet::Other { .. }) | Err(_) => {}
        }
    }
}
