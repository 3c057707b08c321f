//! Answers to viewers: streams, SSRCs, extensions, sections beyond the policy.

use super::*;

#[test]
fn case_19_one_stream_id_is_in_every_section() {
    for name in ["chromium-recvonly", "firefox-recvonly", "gst-whepsrc"] {
        let answer = answer(&view(offer(name)).expect("accepted"));
        let msids: Vec<&str> = answer.sections.iter().map(|s| s.one("msid")).collect();
        assert_eq!(msids, ["weir audio0", "weir video1"], "{name}");
        for section in &answer.sections {
            for line in section.all("ssrc") {
                let (_, attribute) = line.split_once(' ').expect("attribute");
                assert!(
                    attribute == "cname:weir-cname"
                        || attribute == format!("msid:{}", section.one("msid")),
                    "{line}"
                );
            }
        }
    }
}

#[test]
fn repairs_have_an_ssrc_only_where_negotiated() {
    let chromium = answer(&view(offer("chromium-recvonly")).expect("accepted"));
    assert!(!chromium.section(0).has("ssrc-group"));
    assert_eq!(chromium.section(1).one("ssrc-group"), "FID 1001 2001");
    assert_eq!(chromium.section(1).all("ssrc").len(), 4);
    // GStreamer negotiates no RTX.
    let gst = answer(&view(offer("gst-whepsrc")).expect("accepted"));
    assert!(!gst.section(1).has("ssrc-group"));
    assert_eq!(gst.section(1).all("ssrc").len(), 2);
}

#[test]
fn a_publishers_answer_has_no_stream() {
    let answer = answer(&publish(offer("chromium-default")).expect("accepted"));
    for section in &answer.sections {
        assert!(!section.has("msid") && !section.has("ssrc"));
    }
}

#[test]
fn sections_beyond_the_policy_get_port_0() {
    let sections = [
        made("video", "a", "recvonly", "96", VP8),
        made("audio", "b", "recvonly", "111", OPUS),
        made("video", "c", "recvonly", "96", VP8),
    ];
    let sdp = made_offer("BUNDLE a b c", &sections);
    let one = answer(&view(&sdp).expect("accepted"));
    assert_eq!(one.session.one("group"), "BUNDLE a b");
    assert_eq!(one.section(2).m, "video 0 UDP/TLS/RTP/SAVPF 96");
    assert!(!one.section(2).has("msid"));

    let policy = Policy {
        max_view_video: 2,
        ..Policy::default()
    };
    let accepted = read_offer(&sdp, Direction::View, &policy).expect("accepted");
    assert_eq!(accepted.negotiated.media.len(), 3);
    assert_eq!(accepted.bundle_mids(), ["a", "b", "c"]);
    let two = answer(&accepted);
    assert_eq!(two.section(2).port(), "7882");
    assert_eq!(two.section(2).one("msid"), "weir video2");
}

#[test]
fn stream_ids_are_not_agreed_with_viewers() {
    let accepted = view(offer("chromium-recvonly")).expect("accepted");
    let extensions = &accepted.negotiated.media[1].extensions;
    assert!(extensions.contains(&(4, HeaderExtension::Mid)));
    assert!(extensions.contains(&(13, HeaderExtension::VideoOrientation)));
    assert!(!extensions.iter().any(|(_, e)| matches!(
        e,
        HeaderExtension::RtpStreamId | HeaderExtension::RepairedRtpStreamId
    )));
    assert!(accepted.negotiated.media.iter().all(|m| m.ssrcs.is_empty()));
}

#[test]
fn an_extension_that_flows_the_other_way_is_not_agreed() {
    let sdp = made_offer(
        "BUNDLE 0",
        &[made(
            "video",
            "0",
            "recvonly",
            "96",
            &[
                "rtpmap:96 VP8/90000",
                "extmap:1/sendonly urn:3gpp:video-orientation",
                "extmap:2/inactive http://www.webrtc.org/experiments/rtp-hdrext/playout-delay",
                "extmap:3/recvonly urn:ietf:params:rtp-hdrext:sdes:mid",
            ],
        )],
    );
    let accepted = view(&sdp).expect("accepted");
    assert_eq!(
        accepted.negotiated.media[0].extensions,
        [(3, HeaderExtension::Mid)]
    );
    assert_eq!(answer(&accepted).section(0).extension_ids(), ["3/sendonly"]);
}

/// RFC 8285 §6: it is agreed on for all sections, or for each.
#[test]
fn forms_of_extensions_are_mixed_where_both_sides_say_so() {
    let with = |all: bool, one: bool| {
        let mut lines = VP8.to_vec();
        lines.extend(one.then_some("extmap-allow-mixed"));
        let sections = [
            made("audio", "0", "recvonly", "111", OPUS),
            made("video", "1", "recvonly", "96", &lines),
        ];
        let sdp = made_offer("BUNDLE 0 1", &sections);
        match all {
            true => sdp.replacen("t=0 0\r\n", "t=0 0\r\na=extmap-allow-mixed\r\n", 1),
            false => sdp,
        }
    };
    for (all, one) in [(false, false), (false, true), (true, false)] {
        let accepted = view(&with(all, one)).expect("accepted");
        let media = accepted.negotiated.media.iter();
        let mixed: Vec<bool> = media.map(|m| m.mixed_extensions).collect();
        assert_eq!(mixed, [all, all || one]);
        let answer = answer(&accepted);
        assert_eq!(answer.session.has("extmap-allow-mixed"), all);
        let sections = answer.sections.iter();
        let said: Vec<bool> = sections.map(|s| s.has("extmap-allow-mixed")).collect();
        assert_eq!(said, [false, one]);
    }
}
