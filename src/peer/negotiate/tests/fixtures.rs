//! The right answer to each captured offer.

use super::*;

/// What the answer to an offer has to hold, section by section.
struct Expected {
    name: &'static str,
    bundle: &'static str,
    setup: &'static str,
    sections: &'static [Section],
}

struct Section {
    mid: &'static str,
    /// The m-line's payload types.
    formats: &'static str,
    /// Ids of `a=extmap`, separated by spaces.
    extensions: &'static str,
    /// The value of `a=simulcast`.
    simulcast: &'static str,
}

const fn section(
    mid: &'static str,
    formats: &'static str,
    extensions: &'static str,
    simulcast: &'static str,
) -> Section {
    Section {
        mid,
        formats,
        extensions,
        simulcast,
    }
}

const CHROMIUM_AUDIO: Section = section("0", "111 63 9 0 8", "1 2 3 4", "");
const FIREFOX_AUDIO: Section = section("0", "109 9 0 8", "1 3 7", "");
const FFMPEG_AUDIO: Section = section("0", "111", "", "");
const FFMPEG_VIDEO: Section = section("1", "106 105", "", "");
const CHROMIUM_VIDEO_IDS: &str = "2 13 3 5 6 8 4 10 11";
const CHROMIUM_LAYER_IDS: &str = "2 13 3 5 6 8 4 10 11 12 9";
const FIREFOX_LAYER_IDS: &str = "3 4 7 8/recvonly 9/recvonly 10/recvonly";
const LMH: &str = "recv l;m;h";

const fn chromium(name: &'static str, sections: &'static [Section]) -> Expected {
    Expected {
        name,
        bundle: "BUNDLE 0 1",
        setup: "passive",
        sections,
    }
}

const EXPECTED: &[Expected] = &[
    chromium(
        "chromium-av1-simulcast3",
        &[
            CHROMIUM_AUDIO,
            section("1", "45 46", CHROMIUM_LAYER_IDS, LMH),
        ],
    ),
    chromium(
        "chromium-av1-svc",
        &[
            CHROMIUM_AUDIO,
            section("1", "45 46", CHROMIUM_LAYER_IDS, ""),
        ],
    ),
    chromium(
        "chromium-av1",
        &[
            CHROMIUM_AUDIO,
            section("1", "45 46", CHROMIUM_VIDEO_IDS, ""),
        ],
    ),
    chromium(
        "chromium-default",
        &[
            CHROMIUM_AUDIO,
            section(
                "1",
                "96 97 102 103 104 107 108 109 114 115 116 117 39 40 45 46 98 99 100 101",
                CHROMIUM_VIDEO_IDS,
                "",
            ),
        ],
    ),
    chromium(
        "chromium-h264-simulcast3",
        &[
            CHROMIUM_AUDIO,
            section(
                "1",
                "102 103 104 107 108 109 114 115 116 117 39 40",
                CHROMIUM_LAYER_IDS,
                LMH,
            ),
        ],
    ),
    chromium(
        "chromium-h264",
        &[
            CHROMIUM_AUDIO,
            section(
                "1",
                "102 103 104 107 108 109 114 115 116 117 39 40",
                CHROMIUM_VIDEO_IDS,
                "",
            ),
        ],
    ),
    chromium(
        "chromium-recvonly",
        &[
            CHROMIUM_AUDIO,
            section(
                "1",
                "96 97 98 99 100 101 35 36 37 38 102 103 104 107 108 109 114 115 116 117 \
                 39 40 41 42 43 44 45 46 47 48",
                "2 13 3 5 6 8 4",
                "",
            ),
        ],
    ),
    chromium(
        "chromium-vp8-simulcast3",
        &[
            CHROMIUM_AUDIO,
            section("1", "96 97", CHROMIUM_LAYER_IDS, LMH),
        ],
    ),
    chromium(
        "chromium-vp8",
        &[
            CHROMIUM_AUDIO,
            section("1", "96 97", CHROMIUM_VIDEO_IDS, ""),
        ],
    ),
    chromium(
        "chromium-vp9-svc",
        &[
            CHROMIUM_AUDIO,
            section("1", "98 99 100 101", CHROMIUM_LAYER_IDS, ""),
        ],
    ),
    chromium(
        "chromium-vp9",
        &[
            CHROMIUM_AUDIO,
            section("1", "98 99 100 101", CHROMIUM_VIDEO_IDS, ""),
        ],
    ),
    chromium("ffmpeg-9-active", &[FFMPEG_AUDIO, FFMPEG_VIDEO]),
    Expected {
        name: "ffmpeg-9-passive",
        bundle: "BUNDLE 0 1",
        setup: "active",
        sections: &[FFMPEG_AUDIO, FFMPEG_VIDEO],
    },
    Expected {
        name: "ffmpeg-9-video-only",
        bundle: "BUNDLE 1",
        setup: "active",
        sections: &[FFMPEG_VIDEO],
    },
    chromium(
        "firefox-av1-simulcast3",
        &[
            FIREFOX_AUDIO,
            section("1", "99 100", FIREFOX_LAYER_IDS, LMH),
        ],
    ),
    chromium(
        "firefox-av1",
        &[FIREFOX_AUDIO, section("1", "99 100", "3 4 7", "")],
    ),
    chromium(
        "firefox-default",
        &[
            FIREFOX_AUDIO,
            section(
                "1",
                "120 124 121 125 126 127 97 98 105 106 103 104 99 100",
                "3 4 7",
                "",
            ),
        ],
    ),
    chromium(
        "firefox-h264",
        &[
            FIREFOX_AUDIO,
            section("1", "126 127 97 98 105 106 103 104", "3 4 7", ""),
        ],
    ),
    chromium(
        "firefox-recvonly",
        &[
            FIREFOX_AUDIO,
            section(
                "1",
                "120 124 121 125 126 127 97 98 105 106 103 104 99 100",
                "3 4 6/sendonly 7",
                "",
            ),
        ],
    ),
    chromium(
        "firefox-vp8-simulcast3",
        &[
            FIREFOX_AUDIO,
            section("1", "120 124", FIREFOX_LAYER_IDS, LMH),
        ],
    ),
    chromium(
        "firefox-vp8",
        &[FIREFOX_AUDIO, section("1", "120 124", "3 4 7", "")],
    ),
    chromium(
        "firefox-vp9-simulcast3",
        &[
            FIREFOX_AUDIO,
            section("1", "121 125", FIREFOX_LAYER_IDS, LMH),
        ],
    ),
    chromium(
        "firefox-vp9",
        &[FIREFOX_AUDIO, section("1", "121 125", "3 4 7", "")],
    ),
    Expected {
        name: "gst-whepsrc",
        bundle: "BUNDLE audio0 video1",
        setup: "passive",
        sections: &[
            section("audio0", "111", "", ""),
            section("video1", "96", "", ""),
        ],
    },
    Expected {
        name: "gst-whipsink-h264",
        bundle: "BUNDLE video0 audio1",
        setup: "passive",
        sections: &[
            section("video0", "96", "", ""),
            section("audio1", "111", "", ""),
        ],
    },
    Expected {
        name: "gst-whipsink-vp8",
        bundle: "BUNDLE video0 audio1",
        setup: "passive",
        sections: &[
            section("video0", "96", "", ""),
            section("audio1", "111", "", ""),
        ],
    },
    chromium(
        "obs-32.2-h264-simulcast3",
        &[FFMPEG_AUDIO, section("1", "96", "1 2", "recv 0;1;2")],
    ),
    chromium(
        "obs-32.2-h264",
        &[FFMPEG_AUDIO, section("1", "96", "1 2", "")],
    ),
    Expected {
        name: "simple-whip-client",
        bundle: "BUNDLE video0 audio1",
        setup: "passive",
        sections: &[
            section("video0", "96", "", ""),
            section("audio1", "100", "", ""),
        ],
    },
    chromium(
        "whep-browser-vp8",
        &[
            FIREFOX_AUDIO,
            section(
                "1",
                "120 124 121 125 126 127 97 98 105 106 103 104 99 100",
                "3 4 6/sendonly 7",
                "",
            ),
        ],
    ),
];

#[test]
fn every_captured_offer_gets_its_answer() {
    assert_eq!(EXPECTED.len(), OFFERS.len());
    for (expected, (name, direction, sdp)) in EXPECTED.iter().zip(OFFERS) {
        assert_eq!(expected.name, *name);
        let accepted = read_offer(sdp, *direction, &Policy::default())
            .unwrap_or_else(|e| panic!("{name}: {e}"));
        let answer = answer(&accepted);
        assert_eq!(answer.session.one("group"), expected.bundle, "{name}");
        assert!(answer.session.has("ice-lite"), "{name}");
        assert_eq!(answer.sections.len(), expected.sections.len(), "{name}");
        let way = match direction {
            Direction::Publish => "recvonly",
            Direction::View => "sendonly",
        };
        for (section, expected_section) in answer.sections.iter().zip(expected.sections) {
            let label = format!("{name} mid {}", expected_section.mid);
            assert_eq!(section.one("mid"), expected_section.mid, "{label}");
            assert_eq!(section.formats(), expected_section.formats, "{label}");
            assert_eq!(
                section.extension_ids().join(" "),
                expected_section.extensions,
                "{label}"
            );
            assert_eq!(
                section.all("simulcast").join(""),
                expected_section.simulcast,
                "{label}"
            );
            assert_eq!(section.one("setup"), expected.setup, "{label}");
            assert!(section.has(way), "{label}");
            assert_eq!(section.port(), "7882", "{label}");
        }
    }
}

/// The other engine that reads what we return has to take it.
#[test]
fn every_local_candidate_is_in_the_tagged_section_and_parses() {
    let answer = answer(&publish(offer("obs-32.2-h264")).expect("accepted"));
    let lines = answer.section(0).all("candidate");
    assert_eq!(lines.len(), 3);
    for line in lines {
        str0m::Candidate::from_sdp_string(&format!("candidate:{line}")).expect(line);
    }
    assert!(lines[0].contains(" 1 udp ") && lines[0].ends_with("192.0.2.10 7882 typ host"));
    assert!(lines[2].ends_with("192.0.2.10 7882 typ host tcptype passive"));
    assert!(answer.section(0).has("end-of-candidates"));
    assert!(!answer.section(1).has("candidate"));
}

#[test]
fn announced_ssrcs_are_read_with_their_repairs() {
    let ssrcs = |name: &str, at: usize| {
        let accepted = publish(offer(name)).expect("accepted");
        accepted.negotiated.media[at]
            .ssrcs
            .iter()
            .map(|s| (s.ssrc, s.rtx))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        ssrcs("chromium-default", 1),
        [(1_932_407_065, Some(3_959_702_108))]
    );
    assert_eq!(ssrcs("chromium-default", 0), [(1_789_592_739, None)]);
    // FFmpeg names its RTX SSRC only in the group.
    assert_eq!(
        ssrcs("ffmpeg-9-active", 1),
        [(2_366_699_681, Some(2_366_699_682))]
    );
    assert_eq!(
        ssrcs("firefox-vp8-simulcast3", 1),
        [
            (1_691_598_330, Some(457_660_657)),
            (739_959_015, Some(1_415_790_533)),
            (928_537_461, Some(1_382_634_797)),
        ]
    );
    assert_eq!(ssrcs("chromium-h264-simulcast3", 1), []);
    assert_eq!(ssrcs("obs-32.2-h264", 1), [(4_126_363_247, None)]);
}

#[test]
fn feedback_is_agreed_as_offered() {
    let codec = |name: &str, at: usize| {
        let accepted = publish(offer(name)).expect("accepted");
        accepted.negotiated.media[at].codecs[0].clone()
    };
    let obs = codec("obs-32.2-h264", 1);
    assert_eq!(
        obs.feedback,
        Feedback {
            nack: true,
            pli: true,
            remb: true,
            ..Feedback::default()
        }
    );
    assert_eq!(obs.rtx_pt, None);
    let ffmpeg = codec("ffmpeg-9-passive", 1);
    assert_eq!((ffmpeg.pt, ffmpeg.rtx_pt), (106, Some(105)));
    assert!(ffmpeg.feedback.nack && !ffmpeg.feedback.pli);
    let opus = codec("chromium-default", 0);
    assert_eq!((opus.red_pt, opus.channels), (Some(63), 2));
    assert!(opus.feedback.transport_cc && !opus.feedback.nack);

    // Feedback for payload types that are not in the m-line is left out.
    let answer = answer(&publish(offer("firefox-vp8")).expect("accepted"));
    let video = answer.of_kind("video");
    assert!(video.all("rtcp-fb").iter().all(|f| f.starts_with("120 ")));
    assert_eq!(
        video.of_pt("rtcp-fb", 120),
        ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"]
    );
}
