//! Offers of real clients, the numbered cases of the conformance list that
//! negotiation decides, and mutated text.

mod cases;
mod fixtures;
mod fragments;
mod mutations;
mod simulcast;
mod tolerance;
mod viewing;

use std::collections::HashMap;

use crate::codec::Codec;
use crate::units::MediaKind;

use super::*;

/// Every captured offer, with the endpoint that it was sent to.
macro_rules! offers {
    ($($way:ident $name:literal),* $(,)?) => {
        pub(super) const OFFERS: &[(&str, Direction, &str)] = &[$((
            $name,
            Direction::$way,
            include_str!(concat!(
                env!("CARGO_MANIFEST_DIR"),
                "/tests/fixtures/offers/", $name, ".sdp"
            )),
        )),*];
    };
}

offers! {
    Publish "chromium-av1-simulcast3",
    Publish "chromium-av1-svc",
    Publish "chromium-av1",
    Publish "chromium-default",
    Publish "chromium-h264-simulcast3",
    Publish "chromium-h264",
    View "chromium-recvonly",
    Publish "chromium-vp8-simulcast3",
    Publish "chromium-vp8",
    Publish "chromium-vp9-svc",
    Publish "chromium-vp9",
    Publish "ffmpeg-9-active",
    Publish "ffmpeg-9-passive",
    Publish "ffmpeg-9-video-only",
    Publish "firefox-av1-simulcast3",
    Publish "firefox-av1",
    Publish "firefox-default",
    Publish "firefox-h264",
    View "firefox-recvonly",
    Publish "firefox-vp8-simulcast3",
    Publish "firefox-vp8",
    Publish "firefox-vp9-simulcast3",
    Publish "firefox-vp9",
    View "gst-whepsrc",
    Publish "gst-whipsink-h264",
    Publish "gst-whipsink-vp8",
    Publish "obs-32.2-h264-simulcast3",
    Publish "obs-32.2-h264",
    Publish "simple-whip-client",
    View "whep-browser-vp8",
}

/// A captured offer by name.
fn offer(name: &str) -> &'static str {
    OFFERS
        .iter()
        .find(|(n, _, _)| *n == name)
        .map(|(_, _, sdp)| *sdp)
        .expect("a captured offer")
}

fn context() -> AnswerContext {
    context_of(&["192.0.2.10:7882", "[2001:db8::10]:7882"])
}

fn context_of(udp: &[&str]) -> AnswerContext {
    let fingerprint = Fingerprint {
        algorithm: "sha-256".to_owned(),
        bytes: (0..32).collect(),
    };
    let parse = |address: &&str| address.parse().expect("address");
    let udp: Vec<_> = udp.iter().map(parse).collect();
    AnswerContext::new(&fingerprint, &udp, &[parse(&"192.0.2.10:7882")])
}

fn local(accepted: &Accepted) -> LocalTransport {
    let ssrcs = match accepted.negotiated.direction {
        Direction::Publish => Vec::new(),
        Direction::View => (0..)
            .take(accepted.negotiated.media.len())
            .map(|n| SignalledSsrc {
                ssrc: 1000 + n,
                rtx: Some(2000 + n),
            })
            .collect(),
    };
    LocalTransport {
        ice: IceCredentials {
            ufrag: "srvUfrag0".to_owned(),
            pwd: "serverPasswordOf24Chars+".to_owned(),
        },
        ssrcs,
    }
}

fn names() -> AnswerNames<'static> {
    AnswerNames {
        session_id: u64::MAX,
        stream_id: "weir",
        cname: "weir-cname",
    }
}

fn publish(sdp: &str) -> Result<Accepted, NegotiateError> {
    read_offer(sdp, Direction::Publish, &Policy::default())
}

fn view(sdp: &str) -> Result<Accepted, NegotiateError> {
    read_offer(sdp, Direction::View, &Policy::default())
}

fn answer(accepted: &Accepted) -> Answer {
    let text = accepted.answer(&context(), &local(accepted), &names());
    check(&text);
    Answer::new(&text)
}

/// Checks what holds for every answer, and that two other parsers take it:
/// the one of Firefox and `sdp-types`.
fn check(text: &str) {
    assert!(text.starts_with("v=0\r\n"), "{text}");
    assert!(text.ends_with("\r\n"), "{text}");
    assert_eq!(text.matches('\n').count(), text.matches("\r\n").count());
    assert!(text.len() <= MAX_ANSWER, "{} bytes", text.len());
    assert!(!text.contains("actpass"));
    let parsed = webrtc_sdp::parse_sdp(text, true);
    assert!(parsed.is_ok(), "{:?}\n{text}", parsed.err());
    let parsed = sdp_types::Session::parse(text.as_bytes());
    assert!(parsed.is_ok(), "{:?}\n{text}", parsed.err());
    for section in Answer::new(text).sections {
        for name in ["ice-ufrag", "ice-pwd", "fingerprint", "setup"] {
            assert_eq!(section.all(name).len(), 1, "{name} in {section:?}");
        }
        if section.port() != "0" && section.kind() != "application" {
            for flag in ["rtcp-mux", "rtcp-mux-only"] {
                assert!(section.has(flag), "{flag} in {section:?}");
            }
        }
    }
}

/// An answer's lines, read with nothing of the code under test.
#[derive(Debug)]
struct Answer {
    session: Lines,
    sections: Vec<Lines>,
}

/// Attribute lines of one level by name, and the m-line.
#[derive(Debug, Default)]
struct Lines {
    m: String,
    attributes: HashMap<String, Vec<String>>,
}

impl Answer {
    fn new(text: &str) -> Self {
        let mut levels = vec![Lines::default()];
        for line in text.split("\r\n") {
            let level = levels.last_mut().expect("the session");
            if let Some(m) = line.strip_prefix("m=") {
                levels.push(Lines {
                    m: m.to_owned(),
                    ..Lines::default()
                });
            } else if let Some(attribute) = line.strip_prefix("a=") {
                let (name, value) = attribute.split_once(':').unwrap_or((attribute, ""));
                level
                    .attributes
                    .entry(name.to_owned())
                    .or_default()
                    .push(value.to_owned());
            }
        }
        let session = levels.remove(0);
        Self {
            session,
            sections: levels,
        }
    }

    fn section(&self, index: usize) -> &Lines {
        &self.sections[index]
    }

    fn of_kind(&self, kind: &str) -> &Lines {
        self.sections
            .iter()
            .find(|s| s.kind() == kind)
            .expect("a section of the kind")
    }
}

impl Lines {
    fn kind(&self) -> &str {
        self.m.split(' ').next().unwrap_or_default()
    }

    fn port(&self) -> &str {
        self.m.split(' ').nth(1).unwrap_or_default()
    }

    /// The formats of the m-line.
    fn formats(&self) -> String {
        self.m.splitn(4, ' ').nth(3).unwrap_or_default().to_owned()
    }

    fn all(&self, name: &str) -> &[String] {
        self.attributes.get(name).map_or(&[], Vec::as_slice)
    }

    fn one(&self, name: &str) -> &str {
        match self.all(name) {
            [one] => one,
            other => panic!("{name}: {other:?}"),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.attributes.contains_key(name)
    }

    /// Ids of the answered header extensions, with directions.
    fn extension_ids(&self) -> Vec<&str> {
        self.all("extmap")
            .iter()
            .map(|v| v.split(' ').next().unwrap_or_default())
            .collect()
    }

    /// The rest of `a=name:pt rest` lines.
    fn of_pt(&self, name: &str, pt: u8) -> Vec<&str> {
        let start = format!("{pt} ");
        self.all(name)
            .iter()
            .filter_map(|v| v.strip_prefix(&start))
            .collect()
    }
}

/// A section of a made-up offer.
fn made(kind: &str, mid: &str, way: &str, formats: &str, attributes: &[&str]) -> String {
    let mut text = format!(
        "m={kind} 9 UDP/TLS/RTP/SAVPF {formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{mid}\r\na={way}\r\n"
    );
    for attribute in attributes {
        text.push_str("a=");
        text.push_str(attribute);
        text.push_str("\r\n");
    }
    text
}

const OPUS: &[&str] = &["rtpmap:111 opus/48000/2"];
const VP8: &[&str] = &["rtpmap:96 VP8/90000"];

/// A made-up offer of sections, with the transport at session level.
fn made_offer(group: &str, sections: &[String]) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\na=group:{group}\r\n\
         a=ice-ufrag:abcd\r\na=ice-pwd:abcdefghijklmnopqrstuv\r\n\
         a=fingerprint:sha-256 {}\r\na=setup:actpass\r\n{}",
        vec!["AB"; 32].join(":"),
        sections.concat()
    )
}

/// The HTTP status of the outcome.
fn status(result: Result<Accepted, NegotiateError>) -> u16 {
    match result {
        Ok(_) => 201,
        Err(e) => {
            let message = e.to_string();
            assert!(message.contains(';') || message.contains(','), "{message}");
            e.status()
        }
    }
}

fn one_video(attributes: &[&str]) -> String {
    made_offer(
        "BUNDLE 0",
        &[made("video", "0", "sendonly", "96", attributes)],
    )
}
