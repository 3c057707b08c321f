//! What publishers are told, and what they tell of their clocks.

use super::*;

#[test]
fn the_publisher_is_told_what_is_missing_what_arrived_and_how_it_went() {
    let mut sections = sections();
    sections[0].ssrcs = vec![SignalledSsrc {
        ssrc: 1,
        rtx: Some(2),
    }];
    let mut bench = Bench::new(&sections);
    for seq in [10, 11, 13u16] {
        let mut packet = media(1, VP8, u64::from(seq));
        packet.transport = Some(seq);
        bench.sent(&packet).unwrap();
    }
    // What arrived, at once the first time.
    let arrivals = of::<TransportLayerCc>(&bench.told());
    assert_eq!(arrivals.len(), 1);
    assert_eq!(arrivals[0].base_sequence_number, 10);
    assert_eq!(arrivals[0].packet_status_count, 4);
    assert_eq!(arrivals[0].recv_deltas.len(), 3);
    bench.wait(8);
    let told = bench.told();
    let missing = of::<TransportLayerNack>(&told);
    assert_eq!((told.len(), missing.len()), (1, 1));
    assert_eq!((missing[0].sender_ssrc, missing[0].media_ssrc), (99, 1));
    assert_eq!(missing[0].nacks[0].packet_list(), [12]);
    let lost = repair(2, 1, &media(1, VP8, 12));
    bench.sent(&lost).unwrap();
    bench.wait(192);
    let told = bench.told();
    let report = of::<ReceiverReport>(&told);
    assert_eq!(report.len(), 1);
    assert_eq!(report[0].ssrc, 99);
    assert_eq!(report[0].reports.len(), 1);
    let block = &report[0].reports[0];
    assert_eq!((block.ssrc, block.last_sequence_number), (1, 13));
    assert_eq!((block.total_lost, block.fraction_lost), (1, 64));
    let names = of::<SourceDescription>(&told);
    assert_eq!(names[0].chunks[0].source, 99);
    assert_eq!(&names[0].chunks[0].items[0].text[..], b"cname");
    // A silent publisher is not told again and again.
    bench.wait(1000);
    bench.told();
    bench.wait(1000);
    assert!(bench.told().is_empty());
    assert_eq!(bench.ingress.deadline(), None);
}

#[test]
fn keyframes_are_asked_for_as_was_agreed_on() {
    for (reduced, fir) in [(true, false), (false, false), (true, true)] {
        let mut sections = sections();
        sections[0].ssrcs = vec![SignalledSsrc { ssrc: 1, rtx: None }];
        sections[0].rtcp_rsize = reduced;
        let feedback = &mut sections[0].codecs[0].feedback;
        (feedback.pli, feedback.fir) = (!fir, true);
        let mut bench = Bench::new(&sections);
        for number in 1..=2 {
            let (arena, sender) = (&mut bench.arena, &mut bench.sealed.feedback);
            let asked = bench
                .ingress
                .request_keyframe(sender, arena, path(), VIDEO_TRACK, 0);
            assert!(asked);
            let told = bench.read();
            // Not reduced, a report and our name go ahead.
            assert_eq!(told.len(), if reduced { 1 } else { 3 });
            let pli = of::<PictureLossIndication>(&told);
            assert_eq!(pli.len(), usize::from(!fir));
            assert!(pli.iter().all(|p| (p.sender_ssrc, p.media_ssrc) == (99, 1)));
            let full = of::<rtcp::payload_feedbacks::full_intra_request::FullIntraRequest>(&told);
            assert_eq!(full.len(), usize::from(fir));
            let entry = |f: &rtcp::payload_feedbacks::full_intra_request::FullIntraRequest| {
                (f.fir[0].ssrc, f.fir[0].sequence_number)
            };
            assert!(full.iter().all(|f| entry(f) == (1, number)));
        }
        let (arena, sender) = (&mut bench.arena, &mut bench.sealed.feedback);
        let ingress = &mut bench.ingress;
        assert!(!ingress.request_keyframe(sender, arena, path(), AUDIO_TRACK, 0));
        assert!(sender.goodbye(&mut bench.arena, path()));
        let left = of::<rtcp::goodbye::Goodbye>(&bench.read());
        assert_eq!(left[0].sources, [99]);
    }
}

#[test]
fn what_finds_no_room_is_told_a_little_later() {
    let mut sections = sections();
    sections[0].ssrcs = vec![SignalledSsrc { ssrc: 1, rtx: None }];
    let mut bench = Bench::new(&sections);
    let full = SendArena::new(100, 16);
    let roomy = std::mem::replace(&mut bench.arena, full);
    let numbered = Sent {
        transport: Some(5),
        ..media(1, VP8, 100)
    };
    assert!(bench.sent(&numbered).is_some());
    for _ in 0..3 {
        assert!(bench.told().is_empty());
        let again = bench.ingress.deadline().expect("it is tried again");
        assert_eq!(again, bench.now + AGAIN, "not without end at once");
        bench.now = again;
    }
    bench.arena = roomy;
    let arrivals = of::<TransportLayerCc>(&bench.told());
    assert_eq!(arrivals[0].base_sequence_number, 5);
    assert!(bench.ingress.deadline().expect("a report") > bench.now + AGAIN);
}

/// A camera that begins before it knows what time it is sets its clock in mid-session.
#[test]
fn a_publisher_may_set_its_clock() {
    let mut sections = sections();
    for (section, ssrc) in sections.iter_mut().zip([1, 2]) {
        section.ssrcs = vec![SignalledSsrc { ssrc, rtx: None }];
    }
    let mut bench = Bench::new(&sections);
    let wall = Duration::from_secs(1_800_000_000);
    let mut report = |ssrc, seconds: u64, since: u64| {
        let since = Duration::from_secs(since);
        let mut buf = [0; 64];
        let mut writer = RtcpWriter::new(&mut buf);
        let info = SenderInfo {
            ntp: NtpTime::from_unix(Duration::from_secs(seconds)),
            rtp: 5,
            ..SenderInfo::default()
        };
        writer.sender_report(ssrc, &info, &[]).expect("room");
        let length = writer.len();
        let read = packets(&buf[..length]).next().expect("one").expect("read");
        let crate::peer::rtcp::Packet::SenderReport(read) = read else {
            panic!("{read:?}");
        };
        let ingress = &mut bench.ingress;
        let told = ingress.sender_report(bench.now + since, wall + since, &read);
        told.expect("a stream").2.wall
    };
    assert_eq!(report(1, 60, 0), wall);
    // Its tracks are moved by the same, however long their reports were on the way.
    assert_eq!(report(2, 59, 1), wall - Duration::from_secs(1));
    assert_eq!(report(1, 63, 5), wall + Duration::from_secs(3));
    // It learns the time: both move by it, together.
    let years = 1_799_999_000;
    assert_eq!(report(1, years, 6), wall + Duration::from_secs(6));
    assert_eq!(report(2, years + 1, 9), wall + Duration::from_secs(7));
}
