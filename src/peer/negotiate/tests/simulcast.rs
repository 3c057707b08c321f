//! Simulcast layers of publishers.

use super::*;

#[test]
fn case_62_simulcast_is_answered_with_every_layer_in_order() {
    let accepted = publish(offer("obs-32.2-h264-simulcast3")).expect("accepted");
    assert_eq!(accepted.negotiated.media[1].rids, ["0", "1", "2"]);
    let answer = answer(&accepted);
    let video = answer.section(1);
    assert_eq!(video.all("rid"), ["0 recv", "1 recv", "2 recv"]);
    assert_eq!(video.one("simulcast"), "recv 0;1;2");
}

#[test]
fn case_62_simulcast_forms() {
    // (offered lines, answered rid lines, answered simulcast)
    type Case<'a> = (&'a [&'a str], &'a [&'a str], &'a [&'a str]);
    let cases: &[Case<'_>] = &[
        // A paused layer stays paused.
        (
            &["rid:a send", "rid:b send", "simulcast:send a;~b"],
            &["a recv", "b recv"],
            &["recv a;~b"],
        ),
        // Of alternatives the first.
        (
            &[
                "rid:a send",
                "rid:b send",
                "rid:c send",
                "simulcast:send a,b;c",
            ],
            &["a recv", "c recv"],
            &["recv a;c"],
        ),
        // Only what is sent; restrictions stay, with payload types of the answer.
        (
            &[
                "rid:a send pt=96,99;max-width=1280",
                "rid:b send max-fps=15",
                "rid:c recv",
                "simulcast:recv c send a;b",
            ],
            &["a recv pt=96;max-width=1280", "b recv max-fps=15"],
            &["recv a;b"],
        ),
        // A layer with no payload type of the answer can't be received.
        (
            &["rid:a send pt=99", "rid:b send", "simulcast:send a;b"],
            &["b recv"],
            &["recv b"],
        ),
        // The form of the drafts.
        (
            &["rid:a send", "rid:b send", "simulcast: send rid=a;b"],
            &["a recv", "b recv"],
            &["recv a;b"],
        ),
        // Without simulcast, rids are not agreed on.
        (&["rid:a send"], &[], &[]),
        (
            &["simulcast:recv a;b", "rid:a recv", "rid:b recv"],
            &[],
            &[],
        ),
        (&["simulcast:send"], &[], &[]),
        (&["simulcast:send ;;~"], &[], &[]),
    ];
    for (offered, rids, simulcast) in cases {
        let mut attributes = VP8.to_vec();
        attributes.extend_from_slice(offered);
        let accepted = publish(&one_video(&attributes)).expect("accepted");
        let answer = answer(&accepted);
        let video = answer.section(0);
        assert_eq!(video.all("rid"), *rids, "{offered:?}");
        assert_eq!(video.all("simulcast"), *simulcast, "{offered:?}");
        assert_eq!(accepted.negotiated.media[0].rids.len(), rids.len());
    }
}

#[test]
fn case_62_layers_are_bounded() {
    let many: Vec<String> = (0..9).map(|n| n.to_string()).collect();
    let simulcast = format!("simulcast:send {}", many.join(";"));
    let sdp = one_video(&["rtpmap:96 VP8/90000", &simulcast]);
    assert_eq!(status(publish(&sdp)), 422);
    let sdp = one_video(&["rtpmap:96 VP8/90000", "simulcast:send a;b/c"]);
    assert_eq!(status(publish(&sdp)), 400);
}

#[test]
fn case_63_an_offer_without_simulcast_has_no_rids() {
    let accepted = publish(offer("obs-32.2-h264")).expect("accepted");
    assert!(accepted.negotiated.media[1].rids.is_empty());
    assert_eq!(
        accepted.negotiated.media[1].extensions,
        [(1, HeaderExtension::Mid), (2, HeaderExtension::RtpStreamId)]
    );
}

#[test]
fn layers_without_rids_are_those_of_the_ssrc_group() {
    let sdp = |lines: &[&str]| {
        let attributes = [VP8, lines].concat();
        let accepted = publish(&one_video(&attributes)).expect("accepted");
        accepted.negotiated.media[0].clone()
    };
    let ssrcs = [
        "ssrc:1 cname:x",
        "ssrc:2 cname:x",
        "ssrc:3 cname:x",
        "ssrc:4 cname:x",
        "ssrc-group:FID 1 4",
    ];
    let with = |group| sdp(&[&[group], &ssrcs[..]].concat());
    let media = with("ssrc-group:SIM 2 1 3");
    assert_eq!(media.layer_ssrcs, [2, 1, 3]);
    assert_eq!(media.layer_names(), ["0", "1", "2"]);
    // What is repeated, unknown or a repair stream is no layer; one layer is no simulcast.
    assert_eq!(with("ssrc-group:SIM 1 1 4 9 3").layer_ssrcs, [1, 3]);
    assert_eq!(with("ssrc-group:SIM 1").layer_ssrcs, [0; 0]);
    assert_eq!(with("ssrc-group:SIM x y").layer_ssrcs, [0; 0]);
    // Rids go ahead.
    assert_eq!(
        publish(offer("chromium-vp8-simulcast3"))
            .expect("accepted")
            .negotiated
            .media[1]
            .layer_ssrcs,
        [0; 0]
    );
}

#[test]
fn names_are_read_to_their_end() {
    for rids in [
        ["simulcast_0", "simulcast_1", "simulcast_2"],
        ["a", "b-c", "b_c"],
    ] {
        let lines = format!(
            "a=rid:{0} send\r\na=rid:{1} send\r\na=rid:{2} send\r\na=simulcast:send {0};{1};{2}\r\n",
            rids[0], rids[1], rids[2]
        );
        let accepted = publish(&format!("{}{lines}", offer("chromium-vp8"))).expect("they differ");
        assert_eq!(accepted.negotiated.media[1].rids, rids);
    }
    let mids = |audio: &str, video: &str| {
        let offer = offer("chromium-default")
            .replace("a=mid:0\r", &format!("a=mid:{audio}\r"))
            .replace("a=mid:1\r", &format!("a=mid:{video}\r"))
            .replace("BUNDLE 0 1", &format!("BUNDLE {audio} {video}"));
        publish(&offer)
    };
    let long = "the-section-with-the-";
    let accepted = mids(&format!("{long}sound"), &format!("{long}pictures")).expect("they differ");
    assert_eq!(accepted.negotiated.media[1].mid, format!("{long}pictures"));
    let refused = mids("same", "same").expect_err("one name for two");
    assert_eq!(refused.status(), 400);
    assert!(refused.to_string().contains("a=mid"), "{refused}");
}
