//! Counter-offers as a full WebRTC stack reads and answers them.

use std::time::Instant;

use str0m::RtcConfig;
use str0m::change::SdpOffer;

use super::*;
use crate::peer::negotiate::types::SignalledSsrc;

fn written(offer: &CounterOffer) -> String {
    let fingerprint = Fingerprint {
        algorithm: "sha-256".into(),
        bytes: (0..32).collect(),
    };
    let address = ["192.0.2.1:7882".parse().unwrap()];
    let context = AnswerContext::new(&fingerprint, &address, &address);
    let local = LocalTransport {
        ice: IceCredentials {
            ufrag: "ourufrag".into(),
            pwd: "ourpasswordourpassword".into(),
        },
        ssrcs: vec![
            SignalledSsrc {
                ssrc: 1000,
                rtx: None,
            },
            SignalledSsrc {
                ssrc: 2000,
                rtx: Some(2001),
            },
        ],
    };
    let names = AnswerNames {
        session_id: 7,
        stream_id: "stream",
        cname: "cname",
    };
    offer.write(&context, &local, &names)
}

fn answered(offer: &CounterOffer) -> String {
    let mut rtc = RtcConfig::new().build(Instant::now());
    let offer = SdpOffer::from_sdp_string(&written(offer)).unwrap();
    let answer = rtc.sdp_api().accept_offer(offer).unwrap();
    answer.to_sdp_string()
}

#[test]
fn the_offer_is_one_that_other_parsers_read() {
    let text = written(&CounterOffer::new(&[]));
    assert!(text.starts_with("v=0\r\n") && text.len() < super::super::MAX_ANSWER);
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    let parsed = webrtc_sdp::parse_sdp(&text, true).unwrap();
    assert_eq!(parsed.media.len(), 2);
    for section in text.split("m=").skip(1) {
        let types = section.lines().next().unwrap().split(' ').skip(3);
        let types: Vec<u8> = types.map(|t| t.parse().unwrap()).collect();
        let mut once = types.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), types.len(), "each payload type once");
        assert!(types.iter().all(|pt| *pt < 64 || (96..128).contains(pt)));
        assert!(section.contains("a=sendonly\r\n") && section.contains("a=setup:actpass\r\n"));
        assert!(section.contains("a=msid:stream "));
    }
    assert!(text.contains("a=ssrc-group:FID 2000 2001\r\n"));
}

#[test]
fn what_the_publisher_sends_stands_first() {
    let text = written(&CounterOffer::new(&[Codec::Av1, Codec::Pcmu]));
    let first = |kind: &str| {
        let line = text.lines().find(|l| l.starts_with(kind)).unwrap();
        let pt = line.split(' ').nth(3).unwrap().to_owned();
        let map = format!("a=rtpmap:{pt} ");
        text.lines()
            .find_map(|l| l.strip_prefix(&map))
            .unwrap()
            .to_owned()
    };
    assert_eq!(first("m=video"), "AV1/90000");
    assert_eq!(first("m=audio"), "PCMU/8000");
}

#[test]
fn a_full_agents_answer_is_read() {
    let offer = CounterOffer::new(&[]);
    let answer = answered(&offer);
    let negotiated = offer.read_answer(&answer).unwrap();
    assert_eq!(negotiated.direction, Direction::View);
    // One end sends the ClientHello: the one that the answer calls active.
    assert_eq!(
        negotiated.dtls_active,
        answer.contains("a=setup:passive\r\n")
    );
    let mids: Vec<_> = negotiated.media.iter().map(|m| &*m.mid).collect();
    assert_eq!(mids, ["0", "1"]);
    let codecs = negotiated.codecs(MediaKind::Video);
    assert!(codecs.contains(&Codec::Vp8) && codecs.contains(&Codec::H264));
    let video = &negotiated.media[1];
    assert!(video.codecs.iter().all(|c| c.rtx_pt == Some(c.pt + 1)));
    assert!(
        video
            .codecs
            .iter()
            .all(|c| c.feedback.nack && c.feedback.pli)
    );
    assert!(video.extensions.contains(&(1, HeaderExtension::Mid)));
}

#[test]
fn a_section_may_be_rejected() {
    let offer = CounterOffer::new(&[]);
    let answer = answered(&offer);
    let (audio, video) = answer.split_once("m=video").unwrap();
    let audio = audio.replace("m=audio 9 ", "m=audio 0 ");
    for silent in [
        format!("{audio}m=video{video}"),
        format!(
            "{}m=video{video}",
            audio
                .replace("m=audio 0 ", "m=audio 9 ")
                .replace("a=recvonly", "a=inactive")
        ),
    ] {
        let silent = silent.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 1");
        let negotiated = offer.read_answer(&silent).unwrap();
        assert_eq!(negotiated.media.len(), 1, "{silent}");
        assert_eq!(
            (negotiated.media[0].index, &*negotiated.media[0].mid),
            (1, "1")
        );
    }
}

#[test]
fn what_is_no_answer_to_this_offer_is_refused_in_words_about_answers() {
    let offer = CounterOffer::new(&[]);
    let good = answered(&offer);
    let swapped = good
        .replace("a=mid:0", "a=mid:x")
        .replace("BUNDLE 0", "BUNDLE x");
    let one = good.split("m=video").next().unwrap().to_owned();
    let lines_without = |what: &str| -> String {
        good.lines()
            .filter(|l| !l.starts_with(what))
            .map(|l| format!("{l}\r\n"))
            .collect()
    };
    let table = [
        ("v=0".to_owned(), 400),
        (String::new(), 400),
        (swapped, 400),
        (one, 400),
        (lines_without("a=ice-ufrag"), 400),
        (lines_without("a=fingerprint"), 400),
        (good.replace("a=recvonly", "a=sendonly"), 422),
        (
            good.replace("m=audio 9", "m=audio 0")
                .replace("m=video 9", "m=video 0"),
            422,
        ),
        (good.replace("t=0 0\r\n", "t=0 0\r\na=ice-lite\r\n"), 422),
        (
            good.replace(" VP8/", " X/")
                .replace(" H264/", " X/")
                .replace(" VP9/", " X/")
                .replace(" AV1/", " X/")
                .replace(" H265/", " X/"),
            422,
        ),
        (good.replace("a=rtpmap:111", "a=rtpmap:112"), 0),
    ];
    for (text, status) in table {
        match offer.read_answer(&text) {
            Ok(_) => assert_eq!(status, 0, "{text}"),
            Err(error) => {
                assert_eq!(error.0.status(), status, "{error}\n{text}");
                assert!(!error.to_string().contains("the offer "), "{error}");
            }
        }
    }
}

#[test]
fn forms_of_extensions_are_mixed_where_the_answer_says_so() {
    let offer = CounterOffer::new(&[]);
    let answer = answered(&offer).replace("a=extmap-allow-mixed\r\n", "");
    let both = answer.replacen("t=0 0\r\n", "t=0 0\r\na=extmap-allow-mixed\r\n", 1);
    let (audio, video) = answer.split_once("m=video").unwrap();
    let one = format!("{audio}m=video{video}a=extmap-allow-mixed\r\n");
    for (answer, expected) in [
        (&answer, [false; 2]),
        (&both, [true; 2]),
        (&one, [false, true]),
    ] {
        let negotiated = offer.read_answer(answer).unwrap();
        let media = negotiated.media.iter();
        let mixed: Vec<bool> = media.map(|m| m.mixed_extensions).collect();
        assert_eq!(mixed, expected);
    }
}
