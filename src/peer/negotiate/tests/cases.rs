//! The numbered acceptance cases (W is WHIP, E is WHEP) as far as offer and
//! answer decide them.

use super::*;

fn with_direction(name: &str, from: &str, to: &str) -> String {
    offer(name).replace(&format!("a={from}\r\n"), &format!("a={to}\r\n"))
}

#[test]
fn case_05_garbage_is_400() {
    for garbage in [
        "garbage",
        "{\"sdp\":\"v=0\"}",
        "v=0",
        "v=1\r\n",
        "v=0\r\nhello\r\n",
        "v=0\r\no=-\r\n",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video\r\n",
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\nm=video 99999 UDP/TLS/RTP/SAVPF 96\r\n",
        "v=0\r\n\0\r\n",
    ] {
        assert_eq!(status(publish(garbage)), 400, "{garbage:?}");
        assert_eq!(status(view(garbage)), 400, "{garbage:?}");
    }
    let line = publish("v=0\r\ns=-\r\nnonsense\r\n");
    assert!(matches!(
        line,
        Err(NegotiateError::Malformed { line: 3, .. })
    ));
}

#[test]
fn case_06_an_empty_body_is_400() {
    assert_eq!(status(publish("")), 400);
    assert_eq!(status(view("\r\n")), 400);
}

#[test]
fn case_08_w_inactive_or_recvonly_is_422() {
    for way in ["inactive", "recvonly"] {
        let sdp = with_direction("obs-32.2-h264", "sendonly", way);
        assert_eq!(status(publish(&sdp)), 422, "{way}");
    }
    // One wrong section is enough.
    let sdp = offer("obs-32.2-h264").replacen("a=sendonly", "a=inactive", 1);
    assert!(matches!(
        publish(&sdp),
        Err(NegotiateError::WrongDirection { mid, found: "inactive", .. }) if mid == "0"
    ));
}

#[test]
fn case_09_e_inactive_or_sendonly_is_422() {
    for way in ["inactive", "sendonly"] {
        let sdp = with_direction("chromium-recvonly", "recvonly", way);
        assert_eq!(status(view(&sdp)), 422, "{way}");
    }
}

#[test]
fn case_10_w_sendrecv_is_answered_recvonly() {
    let sdp = with_direction("obs-32.2-h264", "sendonly", "sendrecv");
    let answer = answer(&publish(&sdp).expect("accepted"));
    assert!(answer.sections.iter().all(|s| s.has("recvonly")));
    // No direction at all means sendrecv.
    let sdp = offer("obs-32.2-h264").replace("a=sendonly\r\n", "");
    assert_eq!(status(publish(&sdp)), 201);
    // A session-level direction holds where a section has none.
    let sdp = offer("firefox-vp8").replace("a=sendonly\r\n", "");
    assert_eq!(status(publish(&sdp)), 201);
}

#[test]
fn case_11_e_sendrecv_is_answered_sendonly() {
    let sdp = with_direction("firefox-recvonly", "recvonly", "sendrecv");
    let answer = answer(&view(&sdp).expect("accepted"));
    assert!(answer.sections.iter().all(|s| s.has("sendonly")));
}

#[test]
fn case_12_w_two_tracks_of_a_kind_are_422() {
    let sdp = made_offer(
        "BUNDLE 0 1",
        &[
            made("video", "0", "sendonly", "96", VP8),
            made("video", "1", "sendonly", "96", VP8),
        ],
    );
    assert_eq!(
        publish(&sdp),
        Err(NegotiateError::TwoTracksOfKind {
            kind: MediaKind::Video
        })
    );
    assert_eq!(status(publish(&sdp)), 422);
}

/// One RTP session has one meaning for a payload type (RFC 9143 §9.1): the packets of one of the
/// tracks would be nobody's.
#[test]
fn a_payload_type_of_two_tracks_is_400() {
    let tracks = |audio: &str, rtpmap: &str| {
        made_offer(
            "BUNDLE 0 1",
            &[
                made("audio", "0", "sendonly", audio, &[rtpmap]),
                made(
                    "video",
                    "1",
                    "sendonly",
                    "96 97",
                    &[
                        "rtpmap:96 VP8/90000",
                        "rtpmap:97 rtx/90000",
                        "fmtp:97 apt=96",
                    ],
                ),
            ],
        )
    };
    assert_eq!(
        status(publish(&tracks("111", "rtpmap:111 opus/48000/2"))),
        201
    );
    for pt in ["96", "97"] {
        let error = publish(&tracks(pt, &format!("rtpmap:{pt} opus/48000/2")));
        let error = error.expect_err("two meanings");
        assert_eq!(error.status(), 400);
        let message = error.to_string();
        assert!(message.contains(&format!("payload type {pt}")), "{message}");
    }
    // What is not forwarded at all is no matter.
    let other = tracks("111 97", "rtpmap:111 opus/48000/2");
    assert_eq!(status(publish(&other)), 201);
}

#[test]
fn case_13_w_no_common_codec_is_422_and_never_port_0() {
    let sdp = made_offer(
        "BUNDLE 0 1",
        &[
            made("audio", "0", "sendonly", "111", OPUS),
            made(
                "video",
                "1",
                "sendonly",
                "96 97",
                &["rtpmap:96 theora/90000", "rtpmap:97 ulpfec/90000"],
            ),
        ],
    );
    let error = publish(&sdp).expect_err("no codec");
    assert_eq!(error.status(), 422);
    let message = error.to_string();
    assert!(message.contains("theora, ulpfec"), "{message}");
    assert!(message.contains("H264, H265, VP8, VP9, AV1"), "{message}");
}

#[test]
fn case_14_e_no_common_codec_is_422() {
    let sdp = made_offer(
        "BUNDLE 0",
        &[made(
            "audio",
            "0",
            "recvonly",
            "96",
            &["rtpmap:96 speex/16000"],
        )],
    );
    assert_eq!(status(view(&sdp)), 422);
}

#[test]
fn case_15_a_data_channel_is_accepted_where_allowed_and_else_rejected() {
    let application = "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\n\
                       c=IN IP4 0.0.0.0\r\na=mid:2\r\na=sctp-port:5000\r\n";
    let sdp = offer("obs-32.2-h264").replace("BUNDLE 0 1", "BUNDLE 0 1 2") + application;
    let refused = answer(&publish(&sdp).expect("accepted"));
    assert_eq!(refused.session.one("group"), "BUNDLE 0 1");
    let section = refused.section(2);
    assert_eq!(section.m, "application 0 UDP/DTLS/SCTP webrtc-datachannel");
    assert!(section.has("inactive"));

    let policy = Policy {
        data_channels: true,
        ..Policy::default()
    };
    let accepted = read_offer(&sdp, Direction::Publish, &policy).expect("accepted");
    assert_eq!(
        accepted.negotiated.data,
        Some(DataSection {
            mid: "2".to_owned(),
            sctp_port: 5000
        })
    );
    let taken = answer(&accepted);
    assert_eq!(taken.session.one("group"), "BUNDLE 0 1 2");
    let section = taken.section(2);
    assert_eq!(
        section.m,
        "application 7882 UDP/DTLS/SCTP webrtc-datachannel"
    );
    assert_eq!(section.one("sctp-port"), "5000");
    assert_eq!(section.one("max-message-size"), "262144");
    assert!(!section.has("rtcp-mux"));

    // A session of data only.
    let only = made_offer("BUNDLE 2", &[application.to_owned()]);
    assert_eq!(status(publish(&only)), 422);
    let accepted = read_offer(&only, Direction::View, &policy).expect("accepted");
    assert!(answer(&accepted).section(0).has("candidate"));
}

#[test]
fn case_16_order_mids_payload_types_and_extension_ids_stay() {
    // The table of captured offers covers real ones; here numbers that no
    // stack would pick itself.
    let sdp = made_offer(
        "BUNDLE pic snd",
        &[
            made(
                "video",
                "pic",
                "sendonly",
                "35 120 96 63",
                &[
                    "rtpmap:96 VP9/90000",
                    "rtpmap:120 rtx/90000",
                    "fmtp:120 apt=96",
                    "rtpmap:35 h264/90000",
                    "fmtp:35 packetization-mode=0;profile-level-id=640028",
                    "rtpmap:63 H265/90000",
                    "extmap:14 urn:ietf:params:rtp-hdrext:sdes:mid",
                    "extmap:15 urn:3gpp:video-orientation",
                    "extmap:0 urn:3gpp:video-orientation",
                    "extmap:300 urn:3gpp:video-orientation",
                    "extmap:7 urn:unheard-of",
                ],
            ),
            made("audio", "snd", "sendonly", "8 111", OPUS),
        ],
    );
    let accepted = publish(&sdp).expect("accepted");
    let answer = answer(&accepted);
    assert_eq!(answer.session.one("group"), "BUNDLE pic snd");
    let video = answer.section(0);
    assert_eq!(
        (video.kind(), video.formats().as_str()),
        ("video", "35 120 96 63")
    );
    assert_eq!(video.extension_ids(), ["14"]);
    assert_eq!(video.of_pt("rtpmap", 35), ["h264/90000"]);
    assert_eq!(
        video.of_pt("fmtp", 35),
        ["packetization-mode=0;profile-level-id=640028"]
    );
    let audio = answer.section(1);
    assert_eq!((audio.kind(), audio.formats().as_str()), ("audio", "8 111"));
    assert_eq!(
        accepted.codecs(MediaKind::Audio),
        [Codec::Pcma, Codec::Opus]
    );
    assert_eq!(
        accepted.codecs(MediaKind::Video),
        [Codec::H264, Codec::Vp9, Codec::H265]
    );
}

#[test]
fn case_16_payload_types_that_look_like_rtcp_are_left_out() {
    let sdp = one_video(&["rtpmap:96 VP8/90000", "rtpmap:72 H264/90000"])
        .replace(" 96\r\n", " 72 96\r\n");
    let answer = answer(&publish(&sdp).expect("accepted"));
    assert_eq!(answer.section(0).formats(), "96");
}

#[test]
fn case_17_bundle_mux_and_transport_are_in_every_answer() {
    for (name, direction, sdp) in OFFERS {
        let accepted = read_offer(sdp, *direction, &Policy::default()).expect(name);
        // `answer` checks rtcp-mux, ICE, fingerprint and setup of each section.
        let answer = answer(&accepted);
        assert!(answer.session.one("group").starts_with("BUNDLE "));
        assert_eq!(answer.session.one("ice-options"), "ice2 trickle");
        assert_eq!(answer.section(0).all("candidate").len(), 3, "{name}");
        assert!(answer.section(0).has("end-of-candidates"));
    }
}

#[test]
fn case_18_first_candidate_is_as_ordered_and_the_answer_fits() {
    let answer = answer(&publish(offer("ffmpeg-9-passive")).expect("accepted"));
    let first = &answer.section(0).all("candidate")[0];
    assert_eq!(first, "1 1 udp 2130706431 192.0.2.10 7882 typ host");

    // However many codecs and addresses there are.
    let mut attributes = vec![];
    let formats: Vec<String> = (96..128).map(|pt| pt.to_string()).collect();
    for pt in &formats {
        attributes.push(format!("rtpmap:{pt} H264/90000"));
        attributes.push(format!("fmtp:{pt} x={}", "y".repeat(400)));
    }
    let attributes: Vec<&str> = attributes.iter().map(String::as_str).collect();
    let sdp = made_offer(
        "BUNDLE 0",
        &[made(
            "video",
            "0",
            "sendonly",
            &formats.join(" "),
            &attributes,
        )],
    );
    let accepted = publish(&sdp).expect("accepted");
    let codecs = &accepted.negotiated.media[0].codecs;
    assert!(codecs.len() > 5 && codecs.len() < 32, "{}", codecs.len());
    let context = context_of(&["[2001:db8::10]:7882"; 40]);
    let text = accepted.answer(&context, &local(&accepted), &names());
    check(&text);
    let answered = Answer::new(&text).section(0).formats();
    let kept: Vec<String> = codecs.iter().map(|c| c.pt.to_string()).collect();
    assert_eq!(answered, kept.join(" "));
}

#[test]
fn case_18_too_many_sections_for_an_answer_are_422() {
    let sections: Vec<String> = (0..64)
        .map(|n| made("video", &n.to_string(), "recvonly", "96", VP8))
        .collect();
    let error = view(&made_offer("BUNDLE 0", &sections)).expect_err("too long");
    assert_eq!(error, NegotiateError::AnswerTooLong { limit: MAX_ANSWER });
}

#[test]
fn case_20_missing_mux_only_options_and_extensions_are_tolerated() {
    let sdp = made_offer(
        "BUNDLE 0 1",
        &[
            made("audio", "0", "sendonly", "111", OPUS),
            made("video", "1", "sendonly", "96", VP8),
        ],
    );
    assert!(!sdp.contains("rtcp-mux") && !sdp.contains("extmap"));
    answer(&publish(&sdp).expect("accepted"));
    // Line feeds alone, and a missing last line end.
    answer(&publish(&sdp.replace("\r\n", "\n")).expect("accepted"));
    answer(&publish(sdp.trim_end()).expect("accepted"));
}

#[test]
fn case_21_comma_in_ice_options_and_group_ls_are_tolerated() {
    let sdp = offer("obs-32.2-h264");
    assert!(sdp.contains("ice2,trickle") && sdp.contains("group:LS"));
    answer(&publish(sdp).expect("accepted"));
    // The order of groups means nothing.
    let swapped = sdp
        .replace("group:BUNDLE", "group:X")
        .replace("group:LS", "group:BUNDLE");
    assert_eq!(
        answer(&publish(&swapped).expect("accepted"))
            .session
            .one("group"),
        "BUNDLE 0 1"
    );
}

#[test]
fn case_22_video_only_with_mid_1() {
    let answer = answer(&publish(offer("ffmpeg-9-video-only")).expect("accepted"));
    assert_eq!(answer.session.one("group"), "BUNDLE 1");
    assert_eq!(answer.section(0).one("mid"), "1");
}

#[test]
fn case_23_a_group_may_name_a_mid_that_is_not_there() {
    let sdp = offer("ffmpeg-9-video-only").replace("BUNDLE 1", "BUNDLE 0 1");
    let answer = answer(&publish(&sdp).expect("accepted"));
    assert_eq!(answer.session.one("group"), "BUNDLE 1");
}

#[test]
fn case_24_25_26_the_answer_chooses_the_dtls_role() {
    let role = |setup: &str| {
        let sdp = offer("obs-32.2-h264").replace("setup:actpass", &format!("setup:{setup}"));
        let accepted = publish(&sdp).expect("accepted");
        let answer = answer(&accepted).section(0).one("setup").to_owned();
        (answer, accepted.negotiated.dtls_active)
    };
    assert_eq!(role("actpass"), ("passive".to_owned(), false));
    assert_eq!(role("active"), ("passive".to_owned(), false));
    assert_eq!(role("passive"), ("active".to_owned(), true));
    let without = offer("obs-32.2-h264").replace("a=setup:actpass\r\n", "");
    assert!(!publish(&without).expect("accepted").negotiated.dtls_active);
    let held = offer("obs-32.2-h264").replace("setup:actpass", "setup:holdconn");
    assert_eq!(status(publish(&held)), 400);
}

#[test]
fn case_67_stereo_is_kept_where_offered() {
    let fmtp = |sdp: &str, direction| {
        let accepted = read_offer(sdp, direction, &Policy::default()).expect("accepted");
        let answer = answer(&accepted);
        let audio = answer.of_kind("audio");
        let pt = accepted
            .negotiated
            .media
            .iter()
            .find(|m| m.kind == MediaKind::Audio)
            .map(|m| m.codecs[0].pt)
            .expect("audio");
        audio.of_pt("fmtp", pt).join("|")
    };
    assert_eq!(
        fmtp(offer("obs-32.2-h264"), Direction::Publish),
        "minptime=10;maxaveragebitrate=96000;stereo=1;sprop-stereo=1;useinbandfec=1"
    );
    // Not asked for, not promised.
    assert_eq!(
        fmtp(offer("chromium-default"), Direction::Publish),
        "minptime=10;useinbandfec=1"
    );
    assert_eq!(
        fmtp(offer("chromium-recvonly"), Direction::View),
        "minptime=10;useinbandfec=1"
    );
    // A viewer that likes stereo is told that it may come.
    assert_eq!(
        fmtp(offer("firefox-recvonly"), Direction::View),
        "stereo=1;useinbandfec=1;sprop-stereo=1"
    );
    let munged = offer("chromium-recvonly").replace("useinbandfec=1", "useinbandfec=1;stereo=1");
    assert_eq!(
        fmtp(&munged, Direction::View),
        "minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1"
    );
}
