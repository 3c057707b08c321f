//! What an offer must have, what it may lack, and what is left out.

use super::*;

#[test]
fn what_an_offer_must_have() {
    let sdp = offer("obs-32.2-h264");
    let strip = |name: &str| {
        sdp.split_inclusive("\r\n")
            .filter(|l| !l.starts_with(name))
            .collect::<String>()
    };
    assert_eq!(
        publish(&strip("a=ice-pwd")),
        Err(NegotiateError::MissingIce)
    );
    assert_eq!(
        publish(&strip("a=fingerprint")),
        Err(NegotiateError::MissingFingerprint)
    );
    assert_eq!(status(publish(&strip("a=group"))), 422);
    assert_eq!(status(publish(&sdp.replace("BUNDLE 0 1", "BUNDLE 0"))), 422);
    assert_eq!(status(publish(&sdp.replace("sha-256", "sha-1"))), 422);
    assert_eq!(status(publish(&sdp.replace("sha-256 ", "sha-256 Z"))), 400);
    assert_eq!(status(publish(&sdp.replace("a=mid:1", "a=mid:0"))), 400);
    assert_eq!(
        status(publish(&sdp.replace("ice-ufrag:Wf78", "ice-ufrag:a:b"))),
        400
    );
    assert_eq!(
        status(publish(&sdp.replace("UDP/TLS/RTP/SAVPF", "SRT"))),
        422
    );
    assert_eq!(
        publish(&sdp.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n")),
        Err(NegotiateError::BothIceLite)
    );
    // One section needs neither group nor mid.
    let lone =
        made_offer("LS 0", &[made("video", "0", "sendonly", "96", VP8)]).replace("a=mid:0\r\n", "");
    let answer = answer(&publish(&lone).expect("accepted"));
    assert!(!answer.session.has("group") && !answer.section(0).has("mid"));
}

#[test]
fn a_disabled_section_stays_disabled() {
    let sdp = offer("obs-32.2-h264").replace("m=audio 9", "m=audio 0");
    let accepted = publish(&sdp).expect("accepted");
    assert_eq!(accepted.negotiated.media.len(), 1);
    assert_eq!(accepted.negotiated.media[0].index, 1);
    let answer = answer(&accepted);
    assert_eq!(answer.session.one("group"), "BUNDLE 1");
    assert_eq!(answer.section(0).m, "audio 0 UDP/TLS/RTP/SAVPF 111");
    assert!(answer.section(1).has("candidate"), "the tagged section");
    let all = sdp.replace("m=video 9", "m=video 0");
    assert_eq!(publish(&all), Err(NegotiateError::NothingUsable));
}

#[test]
fn an_unknown_kind_gets_port_0() {
    let text = "m=text 9 UDP/TLS/RTP/SAVPF 98\r\nc=IN IP4 0.0.0.0\r\na=mid:t\r\n\
                a=rtpmap:98 t140/1000\r\na=sendonly\r\n";
    let sdp = offer("obs-32.2-h264").replace("BUNDLE 0 1", "BUNDLE t 0 1") + text;
    let answer = answer(&publish(&sdp).expect("accepted"));
    assert_eq!(answer.section(2).m, "text 0 UDP/TLS/RTP/SAVPF 98");
    assert_eq!(answer.session.one("group"), "BUNDLE 0 1");
}

#[test]
fn transport_attributes_are_found_at_either_level() {
    // libdatachannel 0.21 writes them for the session, 0.23 for each section.
    for name in ["obs-32.2-h264", "obs-32.2-h264-simulcast3"] {
        let negotiated = publish(offer(name)).expect("accepted").negotiated;
        assert_eq!(negotiated.ice.ufrag.len(), 4);
        assert_eq!(negotiated.fingerprint.bytes.len(), 32);
        assert!(!negotiated.dtls_active);
    }
    let firefox = publish(offer("firefox-vp8")).expect("accepted").negotiated;
    assert_eq!(firefox.fingerprint.algorithm, "sha-256");
    assert_eq!(firefox.ice.pwd.len(), 32);
}

#[test]
fn what_describes_only_the_offerer_is_not_repeated() {
    let accepted = publish(offer("gst-whipsink-h264")).expect("accepted");
    let offered = &accepted.negotiated.media[0].codecs[0].fmtp;
    assert!(offered.contains("sprop-parameter-sets=Z0LAHtoCgL"));
    let gst = answer(&accepted);
    assert_eq!(
        gst.section(0).of_pt("fmtp", 96),
        ["packetization-mode=1;profile-level-id=42c01e;level-asymmetry-allowed=1"]
    );
    let firefox = answer(&publish(offer("firefox-vp8")).expect("accepted"));
    assert!(firefox.of_kind("video").of_pt("fmtp", 120).is_empty());
}

#[test]
fn repeated_and_broken_codec_lines() {
    // A line that is there twice counts once; a second one adds.
    let sdp = made_offer(
        "BUNDLE 0",
        &[made(
            "audio",
            "0",
            "sendonly",
            "111 63 112 113",
            &[
                "rtpmap:111 opus/48000/2",
                "fmtp:111 minptime=10",
                "fmtp:111 minptime=10",
                "fmtp:111 stereo=1",
                "rtpmap:63 red/48000/2",
                "fmtp:63 111/111",
                "fmtp:63 111/111",
                "rtpmap:112 opus/48000/x",
                "rtpmap:113 opus/16000/2",
            ],
        )],
    );
    let answer = answer(&publish(&sdp).expect("accepted"));
    let audio = answer.section(0);
    assert_eq!(audio.formats(), "111 63");
    assert_eq!(audio.of_pt("fmtp", 111), ["minptime=10;stereo=1"]);
    assert_eq!(audio.of_pt("fmtp", 63), ["111/111"]);
}

#[test]
fn interleaved_h264_is_left_out() {
    let sdp = one_video(&["rtpmap:96 H264/90000", "fmtp:96 packetization-mode=2"]);
    assert_eq!(status(publish(&sdp)), 422);
}

/// Who brings ECDSA is known by the `o=` line; strangers may bring anything.
#[test]
fn the_kind_of_certificate_follows_the_origin() {
    for (name, direction, sdp) in OFFERS {
        let accepted = read_offer(sdp, *direction, &Policy::default()).unwrap();
        let stranger = name.starts_with("gst-") || *name == "simple-whip-client";
        let keys = if stranger {
            PeerKeys::Unknown
        } else {
            PeerKeys::Ecdsa
        };
        assert_eq!(accepted.negotiated.peer_keys, keys, "{name}");
    }
    let chromium = offer("chromium-vp8");
    let origin = chromium.lines().find(|l| l.starts_with("o=")).unwrap();
    for (line, keys) in [
        ("o=- 1 2 IN IP4 127.0.0.1", PeerKeys::Ecdsa),
        ("o=- 1 3 IN IP4 127.0.0.1", PeerKeys::Unknown),
        ("o=- 1 2 IN IP4 0.0.0.0", PeerKeys::Unknown),
        ("o=str0m-0.25.0 1 2 IN IP4 0.0.0.0", PeerKeys::Ecdsa),
        ("o=rtcx 1 0 IN IP4 127.0.0.1", PeerKeys::Unknown),
        ("o=janus 1 2 IN IP4 127.0.0.1", PeerKeys::Unknown),
    ] {
        let accepted = publish(&chromium.replace(origin, line)).unwrap();
        assert_eq!(accepted.negotiated.peer_keys, keys, "{line}");
    }
}
