//! Datagrams before and after a session is known.

use std::cell::RefCell;
use std::io::Write;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use weir::net::classify::classify;
use weir::net::stun::{self as messages, StunView};
use weir::net::{Datagram, TcpLimits, TcpPort, ufrag};
use weir::peer::header::{self, ExtensionIds};
use weir::peer::negotiate::HeaderExtension;
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
    let mut out = [0; 2048];
    let from = SocketAddr::new(IpAddr::from([0x20u8; 16]), 7882);
    let len = messages::binding_success(&view, from, Some(PASSWORD), &mut out);
    let answer = &out[..len.expect("there is room")];
    assert_eq!(
        messages::mapped_address(answer, view.transaction()),
        Some(from)
    );
    for code in [401, messages::UNKNOWN_ATTRIBUTE] {
        let len = messages::binding_error(&view, code, Some(PASSWORD), &mut out);
        let answer = &out[..len.expect("there is room")];
        assert!(messages::StunView::parse(answer).is_ok_and(|a| !a.is_binding_request()));
    }
}

thread_local! {
    static PORT: RefCell<(Poll, TcpPort)> = RefCell::new({
        let poll = Poll::new().expect("a poll");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut port = TcpPort::bind(any, false, TcpLimits::default()).expect("a free port");
        port.register(poll.registry(), Token(0), 1).expect("registered");
        (poll, port)
    });
}

/// RFC 4571 framing through a real connection: the frames that come are those
/// that were sent, from the first on.
pub fn tcp(data: &[u8]) {
    let mut sent = Vec::new();
    let mut rest = data;
    while let Some((length, after)) = rest.split_first_chunk::<2>() {
        let length = usize::from(u16::from_be_bytes(*length));
        let Some((frame, after)) = after.split_at_checked(length) else {
            break;
        };
        sent.extend((!frame.is_empty()).then_some(frame));
        rest = after;
    }
    let mut sent = sent.into_iter();
    let mut keep = |datagram: Datagram<'_>| assert_eq!(sent.next(), Some(datagram.bytes));
    PORT.with_borrow_mut(|(poll, port)| {
        let mut client = TcpStream::connect(port.local()).expect("connected");
        // The port may close the connection before all is written.
        let _ = client.write_all(data);
        let _ = client.shutdown(Shutdown::Write);
        let mut events = Events::with_capacity(8);
        let begin = Instant::now();
        let mut closed = false;
        while !closed {
            assert!(begin.elapsed() < Duration::from_secs(4), "never closed");
            let wait = if port.has_more() { 0 } else { 10 };
            let _ = poll.poll(&mut events, Some(Duration::from_millis(wait)));
            let now = Instant::now();
            for event in &events {
                match event.token() {
                    Token(0) => port.accept(now),
                    _ => port.ready(event, now, &mut keep),
                }
            }
            port.resume(now, &mut keep);
            while port.pop_closed().is_some() {
                closed = true;
            }
        }
        assert_eq!(port.connections(), 0);
    });
}

pub fn rtp_header(data: &[u8]) {
    let known = [
        HeaderExtension::Mid,
        HeaderExtension::RtpStreamId,
        HeaderExtension::RepairedRtpStreamId,
        HeaderExtension::AbsSendTime,
        HeaderExtension::TransportWideCc,
        HeaderExtension::AudioLevel,
        HeaderExtension::VideoOrientation,
        HeaderExtension::PlayoutDelay,
        HeaderExtension::VideoContentType,
        HeaderExtension::AbsCaptureTime,
        HeaderExtension::DependencyDescriptor,
        HeaderExtension::ColorSpace,
    ];
    let pairs: Vec<_> = (1..).zip(known).collect();
    if let Some((head, _)) = header::read(data, &ExtensionIds::new(&pairs)) {
        assert!((12..=data.len()).contains(&head.length));
        if let Some(payload) = head.payload(data) {
            assert!(head.length + payload.len() <= data.len());
        }
    }
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
