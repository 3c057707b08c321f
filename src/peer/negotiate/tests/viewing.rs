//! Answers to viewers: streams, sections beyond the policy, and which payload
//! type carries a publisher's codec.

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

fn codecs(sdp: &str, direction: Direction, kind: MediaKind) -> MediaSection {
    read_offer(sdp, direction, &Policy::default())
        .expect("accepted")
        .negotiated
        .media
        .into_iter()
        .find(|m| m.kind == kind)
        .expect("a section")
}

#[test]
fn the_carrier_has_the_publishers_profile_and_mode() {
    let published = codecs(
        offer("chromium-default"),
        Direction::Publish,
        MediaKind::Video,
    );
    let viewer = codecs(
        offer("chromium-recvonly"),
        Direction::View,
        MediaKind::Video,
    );
    for codec in &published.codecs {
        let carrier = viewer.carrier(codec).expect("a carrier");
        assert_eq!((carrier.codec, &carrier.fmtp), (codec.codec, &codec.fmtp));
    }
    // Firefox states 42e01f and 42001f; the nearest is taken for others.
    let firefox = codecs(offer("firefox-recvonly"), Direction::View, MediaKind::Video);
    let with = |fmtp: &str| {
        let codec = NegotiatedCodec {
            codec: Codec::H264,
            fmtp: fmtp.to_owned(),
            ..published.codecs[0].clone()
        };
        firefox.carrier(&codec).map(|c| c.pt)
    };
    assert_eq!(
        with("packetization-mode=1;profile-level-id=42e034"),
        Some(126)
    );
    assert_eq!(
        with("packetization-mode=1;profile-level-id=4d8028"),
        Some(126)
    );
    assert_eq!(
        with("packetization-mode=0;profile-level-id=42e01f"),
        Some(97)
    );
    assert_eq!(
        with("packetization-mode=1;profile-level-id=42000c"),
        Some(105)
    );
    assert_eq!(
        with("packetization-mode=1;profile-level-id=640028"),
        Some(126)
    );
    assert_eq!(with(""), Some(103));
}

#[test]
fn what_a_viewer_cannot_decode_has_no_carrier() {
    let gst = codecs(offer("gst-whepsrc"), Direction::View, MediaKind::Video);
    let chromium = codecs(
        offer("chromium-default"),
        Direction::Publish,
        MediaKind::Video,
    );
    let carried: Vec<Codec> = chromium
        .codecs
        .iter()
        .filter(|c| gst.carrier(c).is_some())
        .map(|c| c.codec)
        .collect();
    assert_eq!(carried, [Codec::Vp8]);

    // Mode 1 is not sent to a receiver of mode 0; profile 2 not to one of profile 0.
    let viewer = |attributes: &[&str]| {
        let sdp = made_offer(
            "BUNDLE 0",
            &[made("video", "0", "recvonly", "96", attributes)],
        );
        codecs(&sdp, Direction::View, MediaKind::Video)
    };
    let mode_0 = viewer(&["rtpmap:96 H264/90000"]);
    let profile_0 = viewer(&["rtpmap:96 VP9/90000"]);
    for codec in &chromium.codecs {
        let has = |p: &str| codec.fmtp.contains(p);
        assert_eq!(
            mode_0.carrier(codec).is_some(),
            codec.codec == Codec::H264 && has("packetization-mode=0")
        );
        assert_eq!(
            profile_0.carrier(codec).is_some(),
            codec.codec == Codec::Vp9 && has("profile-id=0")
        );
    }
}
