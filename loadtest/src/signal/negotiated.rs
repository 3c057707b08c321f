//! What an answer took of the features that were offered.

use super::offer::{RTX_PT, TRANSPORT_CC_EXTENSION, TRANSPORT_CC_URI};

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
        for section in answer.split("\nm=").skip(1) {
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
                out.video_transport_cc = transport_cc;
                out.rtx = has(&|l| {
                    l.strip_prefix("a=rtpmap:")
                        .and_then(|v| v.split_once(' '))
                        .is_some_and(|(pt, name)| {
                            pt.parse() == Ok(RTX_PT) && name.eq_ignore_ascii_case("rtx/90000")
                        })
                });
                out.remb = feedback("goog-remb");
            } else if section.starts_with("audio") {
                out.audio_transport_cc = transport_cc;
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
    }
}
