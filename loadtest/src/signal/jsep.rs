//! Answers to a server's offer, for servers whose viewers are offered to (Janus).

use std::fmt::Write as _;

use super::answer::{self, AnswerError};
use super::offer::{Formats, Offer};
use crate::media::VideoCodec;
use crate::wire::stun::Role;
use crate::wire::transport::Remote;

/// One section of an offer.
#[derive(Debug, Default)]
struct Section<'a> {
    kind: &'a str,
    profile: &'a str,
    mid: &'a str,
    formats: Vec<u8>,
    attributes: Vec<&'a str>,
}

impl<'a> Section<'a> {
    fn read(line: &'a str) -> Self {
        let mut words = line.split(' ');
        let kind = words.next().unwrap_or_default();
        let profile = words.nth(1).unwrap_or_default();
        Self {
            kind,
            profile,
            formats: words.filter_map(|w| w.parse().ok()).collect(),
            ..Self::default()
        }
    }

    /// The value of `a=NAME:FORMAT VALUE`.
    fn of_format(&self, name: &str, format: u8) -> Option<&'a str> {
        self.attributes.iter().find_map(|a| {
            let (number, value) = a.strip_prefix(name)?.strip_prefix(':')?.split_once(' ')?;
            (number.parse() == Ok(format)).then_some(value)
        })
    }

    /// The first format of a codec that meets a condition.
    fn carries(&self, codec: &str, also: impl Fn(u8) -> bool) -> Option<u8> {
        self.formats.iter().copied().find(|&format| {
            self.of_format("rtpmap", format).is_some_and(|map| {
                let name = map.split('/').next().unwrap_or_default();
                name.eq_ignore_ascii_case(codec)
            }) && also(format)
        })
    }

    /// The retransmissions of a format (RFC 4588 §8.6).
    fn retransmits(&self, format: u8) -> Option<u8> {
        let of = format!("apt={format}");
        self.carries("rtx", |rtx| self.of_format("fmtp", rtx) == Some(&of))
    }
}

/// What an answer has agreed on, and its text.
#[derive(Debug)]
pub struct Agreed {
    /// The server's end.
    pub remote: Remote,
    /// The server's payload types.
    pub formats: Formats,
    /// Our answer.
    pub text: String,
}

/// Reads a server's offer and writes the answer that receives what we can take of
/// it. `own` is what we would offer ourselves.
pub fn answer(offer: &str, own: &Offer<'_>) -> Result<Agreed, AnswerError> {
    let remote = answer::read(offer, Role::Controlled)?;
    let mut sections: Vec<Section<'_>> = Vec::new();
    for line in offer.lines() {
        if let Some(media) = line.strip_prefix("m=") {
            sections.push(Section::read(media));
        } else if let (Some(section), Some(attribute)) =
            (sections.last_mut(), line.strip_prefix("a="))
        {
            if let Some(mid) = attribute.strip_prefix("mid:") {
                section.mid = mid;
            }
            section.attributes.push(attribute);
        }
    }
    let codec = own.video.map(|(codec, _)| match codec {
        VideoCodec::H264 => "H264",
        VideoCodec::Vp8 => "VP8",
    });
    // H.264 in the packetization mode that is published (RFC 6184 §8.2.2).
    let mode = |s: &Section<'_>, format| {
        let text = s.of_format("fmtp", format).unwrap_or_default();
        codec != Some("H264") || text.contains("packetization-mode=1")
    };
    let taken = |s: &Section<'_>| match (s.kind, codec) {
        ("audio", _) if own.audio > 0 => s.carries("opus", |_| true),
        ("video", Some(codec)) => s.carries(codec, |format| mode(s, format)),
        _ => None,
    };
    let mut formats = Formats::offered(false);
    let (mut audio, mut video) = (false, false);
    for section in &sections {
        match (section.kind, taken(section)) {
            ("audio", Some(format)) => (audio, formats.audio) = (true, format),
            ("video", Some(format)) => {
                (video, formats.video) = (true, format);
                formats.rtx = section.retransmits(format).filter(|_| own.rtx);
            }
            _ => {}
        }
    }
    if own.audio > 0 && !audio {
        return Err(AnswerError::Nothing("Opus"));
    }
    if let Some(codec) = codec
        && !video
    {
        return Err(AnswerError::Nothing(codec));
    }
    let mut s = String::with_capacity(2048);
    let mids: Vec<&str> = sections
        .iter()
        .filter(|s| taken(s).is_some())
        .map(|s| s.mid)
        .collect();
    s.push_str("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
    let _ = write!(s, "a=group:BUNDLE {}\r\n", mids.join(" "));
    for section in &sections {
        let rtx = formats.rtx.filter(|_| section.kind == "video");
        write_section(&mut s, section, (taken(section), rtx), &remote, own);
    }
    Ok(Agreed {
        remote,
        formats,
        text: s,
    })
}

fn write_section(
    s: &mut String,
    section: &Section<'_>,
    (taken, rtx): (Option<u8>, Option<u8>),
    remote: &Remote,
    own: &Offer<'_>,
) {
    let Section { kind, profile, .. } = section;
    let Some(main) = taken else {
        // A refused section keeps its place (RFC 8829 §5.3.1).
        let _ = write!(
            s,
            "m={kind} 0 {profile} 0\r\na=mid:{}\r\na=inactive\r\n",
            section.mid
        );
        return;
    };
    let formats = match rtx {
        Some(rtx) => format!("{main} {rtx}"),
        None => main.to_string(),
    };
    let _ = write!(
        s,
        "m={kind} 9 {profile} {formats}\r\nc=IN IP4 0.0.0.0\r\na=mid:{}\r\n",
        section.mid
    );
    let setup = if remote.we_are_client {
        "active"
    } else {
        "passive"
    };
    let _ = write!(
        s,
        "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\na=fingerprint:sha-256 {}\r\na=setup:{setup}\r\n",
        own.credentials.fragment, own.credentials.password, own.fingerprint
    );
    let _ = write!(
        s,
        "a=candidate:1 1 udp 2130706431 {} {} typ host\r\na=end-of-candidates\r\n",
        own.candidate.ip(),
        own.candidate.port()
    );
    s.push_str("a=recvonly\r\na=rtcp-mux\r\na=rtcp-rsize\r\n");
    for format in [main].into_iter().chain(rtx) {
        for name in ["rtpmap", "fmtp"] {
            if let Some(value) = section.of_format(name, format) {
                let _ = write!(s, "a={name}:{format} {value}\r\n");
            }
        }
    }
    if *kind == "video" {
        // Of the feedback offered, what our viewers send.
        for feedback in ["ccm fir", "nack", "nack pli"] {
            let offered = section.attributes.iter().any(|a| {
                a.strip_prefix("rtcp-fb:")
                    .and_then(|v| v.split_once(' '))
                    .is_some_and(|(format, kind)| {
                        kind == feedback && (format == "*" || format.parse() == Ok(main))
                    })
            });
            if offered {
                let _ = write!(s, "a=rtcp-fb:{main} {feedback}\r\n");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::transport::Credentials;

    const OFFER: &str = "v=0\r\no=- 5 1 IN IP4 10.0.0.1\r\ns=x\r\nt=0 0\r\na=group:BUNDLE a v\r\n\
        a=ice-options:trickle\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=sendonly\r\na=mid:a\r\na=ice-ufrag:u\r\na=ice-pwd:p\r\n\
        a=fingerprint:sha-256 00:01:02:03:04:05:06:07:08:09:0A:0B:0C:0D:0E:0F:10:11:12:13:14:15:16:17:18:19:1A:1B:1C:1D:1E:FF\r\n\
        a=setup:actpass\r\na=rtpmap:111 opus/48000/2\r\na=candidate:1 1 udp 5 10.0.0.1 7000 typ host\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 100 107 108\r\na=sendonly\r\na=mid:v\r\na=rtpmap:100 H264/90000\r\na=fmtp:100 packetization-mode=0\r\na=rtpmap:107 H264/90000\r\n\
        a=fmtp:107 profile-level-id=42e01f;packetization-mode=1\r\na=rtcp-fb:107 nack\r\na=rtcp-fb:107 nack pli\r\n\
        a=rtpmap:108 rtx/90000\r\na=fmtp:108 apt=107\r\n\
        m=application 9 UDP/DTLS/SCTP webrtc-datachannel\r\na=mid:d\r\n";

    fn own(credentials: &Credentials, rtx: bool, video: Option<VideoCodec>) -> Offer<'_> {
        Offer {
            credentials,
            fingerprint: "AA:BB",
            candidate: "127.0.0.1:5000".parse().unwrap(),
            audio: 1,
            video: video.map(|codec| (codec, 1)),
            sending: None,
            rtx,
            transport_cc: false,
            every_codec: false,
        }
    }

    #[test]
    fn takes_what_we_know_and_refuses_the_rest() {
        let credentials = Credentials::random();
        let h264 = Some(VideoCodec::H264);
        let agreed = answer(OFFER, &own(&credentials, true, h264)).unwrap();
        assert_eq!(agreed.remote.role, Role::Controlled);
        let formats = Formats {
            audio: 111,
            video: 107,
            rtx: Some(108),
        };
        assert_eq!(agreed.formats, formats);
        let text = agreed.text;
        for line in [
            "a=group:BUNDLE a v",
            "m=video 9 UDP/TLS/RTP/SAVPF 107 108",
            "a=fmtp:108 apt=107",
            "a=rtcp-fb:107 nack pli",
            "m=application 0 UDP/DTLS/SCTP 0",
        ] {
            assert!(text.lines().any(|l| l == line), "{line}\n{text}");
        }
        assert_eq!(text.matches("a=setup:active").count(), 2);
        assert!(!text.contains("ccm fir"));
        let plain = answer(OFFER, &own(&credentials, false, h264)).unwrap();
        assert!(!plain.text.contains("rtx") && plain.formats.rtx.is_none());
        let sound = answer(OFFER, &own(&credentials, false, None)).unwrap();
        assert!(sound.text.contains("m=video 0 "));
    }

    #[test]
    fn an_offer_of_something_else_is_an_error() {
        let credentials = Credentials::random();
        let wanted = own(&credentials, true, Some(VideoCodec::Vp8));
        let error = answer(OFFER, &wanted).unwrap_err();
        assert_eq!(error, AnswerError::Nothing("VP8"));
        let other = OFFER.replace("opus", "PCMU");
        let wanted = own(&credentials, true, Some(VideoCodec::H264));
        let error = answer(&other, &wanted).unwrap_err();
        assert_eq!(error, AnswerError::Nothing("Opus"));
    }
}
