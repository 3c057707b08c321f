//! What an answer took of the features that were offered.

use super::offer::{RTX_PT, TRANSPORT_CC_EXTENSION, TRANSPORT_CC_URI};

/// What a stream carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Medium {
    /// Sound.
    Audio,
    /// Pictures.
    Video,
}

/// A section that something is received in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// What it carries.
    pub medium: Medium,
    /// Its `a=mid`.
    pub mid: String,
    /// SSRCs of its stream, where they were told: media, then retransmissions.
    pub ssrcs: Vec<u32>,
}

/// The sections of an answer that were not refused.
pub fn sections(answer: &str) -> Vec<Section> {
    accepted(answer)
        .filter_map(|section| {
            let medium = match section.split(' ').next() {
                Some("audio") => Medium::Audio,
                Some("video") => Medium::Video,
                _ => return None,
            };
            let lines = || section.lines().map(str::trim_end);
            let mid = lines().find_map(|l| l.strip_prefix("a=mid:"));
            // RFC 5576 §4.1.
            let mut ssrcs: Vec<u32> = lines()
                .filter_map(|l| l.strip_prefix("a=ssrc:")?.split(' ').next()?.parse().ok())
                .collect();
            ssrcs.dedup();
            ssrcs.truncate(MOST_SSRCS);
            Some(Section {
                medium,
                mid: mid.unwrap_or_default().to_owned(),
                ssrcs,
            })
        })
        .collect()
}

/// A stream of media and one of retransmissions are told of a section, and no more.
const MOST_SSRCS: usize = 2;

/// The sections of an answer whose port is not 0.
fn accepted(answer: &str) -> impl Iterator<Item = &str> {
    let sections = answer.split("\nm=").skip(1);
    sections.filter(|s| s.split(' ').nth(1) != Some("0"))
}

/// The features. What is not negotiated is not used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Negotiated {
    /// Transport-wide feedback on audio.
    pub audio_transport_cc: bool,
    /// Transport-wide feedback on video.
    pub video_transport_cc: bool,
    /// Retransmission streams for video (RFC 4588).
    pub rtx: bool,
    /// The receiver's estimate (REMB) on video.
    pub remb: bool,
}

impl Negotiated {
    /// Reads an answer to an offer of ours. Anything it does not understand is
    /// taken as a no.
    pub fn of(answer: &str) -> Self {
        let mut out = Self::default();
        for section in accepted(answer) {
            let has = |wanted: &dyn Fn(&str) -> bool| section.lines().any(|l| wanted(l.trim_end()));
            // A number may carry a direction (RFC 8285 §5); ids keep their offer's value.
            let extension = has(&|l| {
                l.strip_prefix("a=extmap:").is_some_and(|v| {
                    let (id, uri) = v.split_once(' ').unwrap_or((v, ""));
                    let id = id.split('/').next().unwrap_or(id);
                    id.parse() == Ok(TRANSPORT_CC_EXTENSION)
                        && uri.split(' ').next() == Some(TRANSPORT_CC_URI)
                })
            });
            let feedback = |kind: &str| {
                has(&|l| {
                    l.strip_prefix("a=rtcp-fb:")
                        .and_then(|v| v.split_once(' '))
                        .is_some_and(|(_, fb)| fb == kind)
                })
            };
            let transport_cc = extension && feedback("transport-cc");
            if section.starts_with("video") {
                out.video_transport_cc |= transport_cc;
                out.rtx |= has(&|l| {
                    l.strip_prefix("a=rtpmap:")
                        .and_then(|v| v.split_once(' '))
                        .is_some_and(|(pt, name)| {
                            pt.parse() == Ok(RTX_PT) && name.eq_ignore_ascii_case("rtx/90000")
                        })
                });
                out.remb |= feedback("goog-remb");
            } else if section.starts_with("audio") {
                out.audio_transport_cc |= transport_cc;
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_each_section_took() {
        let uri = TRANSPORT_CC_URI;
        let answer = format!(
            "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=extmap:3 {uri}\r\n\
             m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=extmap:3/recvonly {uri}\r\n\
             a=rtcp-fb:96 transport-cc\r\na=rtpmap:97 RTX/90000\r\n"
        );
        let expected = Negotiated {
            audio_transport_cc: false,
            video_transport_cc: true,
            rtx: true,
            remb: false,
        };
        assert_eq!(Negotiated::of(&answer), expected);
        let other = answer.replace("extmap:3/", "extmap:7/");
        assert!(!Negotiated::of(&other).video_transport_cc);
        assert_eq!(Negotiated::of("nonsense"), Negotiated::default());
        // Further sections that were refused take nothing back.
        let more = format!("{answer}m=video 0 UDP/TLS/RTP/SAVPF 96\r\na=inactive\r\n");
        assert_eq!(Negotiated::of(&more), expected);
    }

    #[test]
    fn sections_have_their_streams() {
        let answer = "v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
            a=ssrc:11 cname:x\r\na=ssrc:11 msid:s a\r\n\
            m=audio 0 UDP/TLS/RTP/SAVPF 111\r\na=mid:1\r\na=inactive\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:2\r\na=ssrc-group:FID 21 22\r\n\
            a=ssrc:21 cname:x\r\na=ssrc:22 cname:x\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 96 97\r\na=mid:3\r\n\
            m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:4\r\n";
        let section = |medium, mid: &str, ssrcs: &[u32]| Section {
            medium,
            mid: mid.to_owned(),
            ssrcs: ssrcs.to_vec(),
        };
        let expected = [
            section(Medium::Audio, "0", &[11]),
            section(Medium::Video, "2", &[21, 22]),
            section(Medium::Video, "3", &[]),
        ];
        assert_eq!(sections(answer), expected);
        assert_eq!(sections("nonsense"), []);
    }
}
