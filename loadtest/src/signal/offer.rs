//! The offers we post, written out as a browser would (RFC 8829), with only
//! what the load test uses.

use std::fmt::Write as _;
use std::net::SocketAddr;

use crate::media::VideoCodec;
use crate::wire::transport::Credentials;

/// Payload type of Opus.
pub const OPUS_PT: u8 = 111;
/// Payload type of the video codec.
pub const VIDEO_PT: u8 = 96;
/// Payload type of retransmissions (RFC 4588).
pub const RTX_PT: u8 = 97;
/// Header extension `urn:ietf:params:rtp-hdrext:sdes:mid`.
pub const MID_EXTENSION: u8 = 1;
/// Header extension `urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id`.
pub const RID_EXTENSION: u8 = 2;
/// Header extension of transport-wide sequence numbers
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01 §2).
pub const TRANSPORT_CC_EXTENSION: u8 = 3;
/// Its name.
pub const TRANSPORT_CC_URI: &str =
    "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
/// Header extension `urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id`.
pub const REPAIRED_RID_EXTENSION: u8 = 4;
/// `mid` of a publisher's audio section.
pub const AUDIO_MID: &str = "0";
/// `mid` of a publisher's video section.
pub const VIDEO_MID: &str = "1";

/// Payload types of what a viewer receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// Opus.
    pub audio: u8,
    /// The video codec.
    pub video: u8,
    /// Retransmissions of it, if they were agreed on.
    pub rtx: Option<u8>,
}

impl Formats {
    /// Those of our own offers.
    pub fn offered(rtx: bool) -> Self {
        Self {
            audio: OPUS_PT,
            video: VIDEO_PT,
            rtx: rtx.then_some(RTX_PT),
        }
    }
}

/// What to offer.
#[derive(Debug)]
pub struct Offer<'a> {
    /// Our ICE credentials.
    pub credentials: &'a Credentials,
    /// Our certificate's SHA-256, as SDP writes it.
    pub fingerprint: &'a str,
    /// Our only candidate.
    pub candidate: SocketAddr,
    /// Audio sections to offer.
    pub audio: usize,
    /// Video sections to offer, and of which codec.
    pub video: Option<(VideoCodec, usize)>,
    /// What we send, or `None` to receive.
    pub sending: Option<&'a Sending>,
    /// Offer retransmission on a stream of its own.
    pub rtx: bool,
    /// Offer transport-wide feedback.
    pub transport_cc: bool,
    /// Offer whatever else Chromium does behind the codecs that are used, so that it is
    /// as much to read.
    pub every_codec: bool,
}

/// What Chromium's viewers offer besides: payload types, of retransmissions too,
/// encoding and parameters.
const MORE_VIDEO: &[(u8, u8, &str, &str)] = &[
    (108, 109, "VP8", ""),
    (98, 99, "VP9", "profile-id=0"),
    (100, 101, "VP9", "profile-id=2"),
    (35, 36, "VP9", "profile-id=1"),
    (37, 38, "VP9", "profile-id=3"),
    (
        102,
        103,
        "H264",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f",
    ),
    (
        104,
        107,
        "H264",
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f",
    ),
    (
        114,
        115,
        "H264",
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42e01f",
    ),
    (
        116,
        117,
        "H264",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=4d001f",
    ),
    (
        39,
        40,
        "H264",
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=4d001f",
    ),
    (
        41,
        42,
        "H264",
        "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=f4001f",
    ),
    (
        43,
        44,
        "H264",
        "level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=f4001f",
    ),
    (45, 46, "AV1", "level-idx=5;profile=0;tier=0"),
    (47, 48, "AV1", "level-idx=5;profile=1;tier=0"),
];

/// The same of sound.
const MORE_AUDIO: &[(u8, &str, &str)] = &[
    (63, "red/48000/2", "111/111"),
    (9, "G722/8000", ""),
    (0, "PCMU/8000", ""),
    (8, "PCMA/8000", ""),
    (13, "CN/8000", ""),
    (110, "telephone-event/48000", ""),
    (126, "telephone-event/8000", ""),
];

/// The streams a publisher announces.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sending {
    /// SSRC of the audio stream.
    pub audio_ssrc: u32,
    /// SSRC of the video stream; unused with simulcast.
    pub video_ssrc: u32,
    /// Restriction identifiers of simulcast encodings (RFC 8853); empty without.
    pub rids: Vec<String>,
}

impl Sending {
    /// SSRC of an encoding's retransmission stream.
    pub fn rtx_ssrc(&self, encoding: usize) -> u32 {
        // Video SSRCs are the upper half, audio ones the lower (without its end).
        self.video_ssrc
            .wrapping_add(encoding as u32)
            .wrapping_add(1 << 31)
            .wrapping_add(1 << 16)
    }
}

impl Offer<'_> {
    /// The text.
    pub fn text(&self) -> String {
        let mut s = String::with_capacity(2048);
        let audio: Vec<String> = (0..self.audio).map(|i| i.to_string()).collect();
        // A publisher's only video section has the same mid without sound.
        let first = self.audio.max(1);
        let sections = self.video.map_or(0, |(_, sections)| sections);
        let video: Vec<String> = (first..first + sections).map(|i| i.to_string()).collect();
        let mids: Vec<&str> = audio.iter().chain(&video).map(String::as_str).collect();
        s.push_str("v=0\r\no=- 1 2 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n");
        let _ = write!(s, "a=group:BUNDLE {}\r\n", mids.join(" "));
        s.push_str("a=msid-semantic: WMS *\r\n");
        for mid in &audio {
            let _ = write!(s, "m=audio 9 UDP/TLS/RTP/SAVPF {OPUS_PT}");
            let more = if self.every_codec { MORE_AUDIO } else { &[] };
            for (pt, ..) in more {
                let _ = write!(s, " {pt}");
            }
            s.push_str("\r\n");
            self.common(&mut s, mid, "audio");
            let _ = write!(
                s,
                "a=rtpmap:{OPUS_PT} opus/48000/2\r\na=fmtp:{OPUS_PT} minptime=10;useinbandfec=1\r\n"
            );
            self.transport_feedback(&mut s, OPUS_PT);
            for &(pt, encoding, parameters) in more {
                let _ = write!(s, "a=rtpmap:{pt} {encoding}\r\n");
                parameters_line(&mut s, pt, parameters);
            }
            if let Some(sending) = self.sending {
                ssrc_lines(&mut s, sending.audio_ssrc, "audio");
            }
        }
        for mid in &video {
            let rtx = self.rtx;
            let _ = write!(s, "m=video 9 UDP/TLS/RTP/SAVPF {VIDEO_PT}");
            if rtx {
                let _ = write!(s, " {RTX_PT}");
            }
            let more = if self.every_codec { MORE_VIDEO } else { &[] };
            for (pt, rtx, ..) in more {
                let _ = write!(s, " {pt} {rtx}");
            }
            s.push_str("\r\n");
            self.common(&mut s, mid, "video");
            let h264 = self.video.is_some_and(|(c, _)| c == VideoCodec::H264);
            let name = if h264 { "H264" } else { "VP8" };
            let _ = write!(s, "a=rtpmap:{VIDEO_PT} {name}/90000\r\n");
            if h264 {
                let _ = write!(
                    s,
                    "a=fmtp:{VIDEO_PT} level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f\r\n"
                );
            }
            self.video_feedback(&mut s, VIDEO_PT);
            if rtx {
                let _ = write!(
                    s,
                    "a=rtpmap:{RTX_PT} rtx/90000\r\na=fmtp:{RTX_PT} apt={VIDEO_PT}\r\n"
                );
            }
            for &(pt, rtx, encoding, parameters) in more {
                let _ = write!(s, "a=rtpmap:{pt} {encoding}/90000\r\n");
                self.video_feedback(&mut s, pt);
                parameters_line(&mut s, pt, parameters);
                let _ = write!(s, "a=rtpmap:{rtx} rtx/90000\r\na=fmtp:{rtx} apt={pt}\r\n");
            }
            if let Some(sending) = self.sending {
                if sending.rids.is_empty() {
                    if rtx {
                        // RFC 5576 §4.2, RFC 4588 §8.3.
                        let (media, repair) = (sending.video_ssrc, sending.rtx_ssrc(0));
                        let _ = write!(s, "a=ssrc-group:FID {media} {repair}\r\n");
                        ssrc_lines(&mut s, media, "video");
                        ssrc_lines(&mut s, repair, "video");
                    } else {
                        ssrc_lines(&mut s, sending.video_ssrc, "video");
                    }
                } else {
                    for rid in &sending.rids {
                        let _ = write!(s, "a=rid:{rid} send\r\n");
                    }
                    let _ = write!(s, "a=simulcast:send {}\r\n", sending.rids.join(";"));
                }
            }
        }
        s
    }

    fn video_feedback(&self, s: &mut String, payload_type: u8) {
        for feedback in ["goog-remb", "ccm fir", "nack", "nack pli"] {
            let _ = write!(s, "a=rtcp-fb:{payload_type} {feedback}\r\n");
        }
        self.transport_feedback(s, payload_type);
    }

    fn transport_feedback(&self, s: &mut String, payload_type: u8) {
        if self.transport_cc {
            let _ = write!(s, "a=rtcp-fb:{payload_type} transport-cc\r\n");
        }
    }

    fn common(&self, s: &mut String, mid: &str, track: &str) {
        let Credentials { fragment, password } = self.credentials;
        let (ip, port) = (self.candidate.ip(), self.candidate.port());
        s.push_str("c=IN IP4 0.0.0.0\r\na=rtcp:9 IN IP4 0.0.0.0\r\n");
        let _ = write!(
            s,
            "a=ice-ufrag:{fragment}\r\na=ice-pwd:{password}\r\na=ice-options:trickle\r\n"
        );
        let _ = write!(
            s,
            "a=fingerprint:sha-256 {}\r\na=setup:actpass\r\na=mid:{mid}\r\n",
            self.fingerprint
        );
        let _ = write!(
            s,
            "a=candidate:1 1 udp 2130706431 {ip} {port} typ host\r\na=end-of-candidates\r\n"
        );
        let _ = write!(
            s,
            "a=extmap:{MID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:mid\r\n"
        );
        if self.transport_cc {
            let _ = write!(
                s,
                "a=extmap:{TRANSPORT_CC_EXTENSION} {TRANSPORT_CC_URI}\r\n"
            );
        }
        if self.sending.is_some_and(|w| !w.rids.is_empty()) && track == "video" {
            let _ = write!(
                s,
                "a=extmap:{RID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id\r\n\
                 a=extmap:{REPAIRED_RID_EXTENSION} urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id\r\n"
            );
        }
        if self.sending.is_some() {
            let _ = write!(s, "a=sendonly\r\na=msid:loadtest {track}\r\n");
        } else {
            s.push_str("a=recvonly\r\n");
        }
        s.push_str("a=rtcp-mux\r\na=rtcp-rsize\r\n");
    }
}

fn parameters_line(s: &mut String, payload_type: u8, parameters: &str) {
    if !parameters.is_empty() {
        let _ = write!(s, "a=fmtp:{payload_type} {parameters}\r\n");
    }
}

fn ssrc_lines(s: &mut String, ssrc: u32, track: &str) {
    let _ = write!(
        s,
        "a=ssrc:{ssrc} cname:loadtest\r\na=ssrc:{ssrc} msid:loadtest {track}\r\n"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::negotiated::{Medium, Negotiated};

    fn credentials() -> Credentials {
        Credentials {
            fragment: "abcd".into(),
            password: "abcdefghijklmnopqrstuvwx".into(),
        }
    }

    /// Another implementation takes each of our offers.
    #[test]
    fn an_engine_answers_every_offer() {
        let sending = |rids: &[&str]| Sending {
            audio_ssrc: 1,
            video_ssrc: 2,
            rids: rids.iter().map(ToString::to_string).collect(),
        };
        let (one, three) = (sending(&[]), sending(&["q", "h", "f"]));
        let credentials = credentials();
        let fingerprint = crate::wire::transport::local_fingerprint().unwrap();
        for codec in [VideoCodec::H264, VideoCodec::Vp8] {
            for sending in [None, Some(&one), Some(&three)] {
                let variants = [
                    (false, false, false),
                    (true, true, false),
                    (true, false, true),
                ];
                for (rtx, transport_cc, every_codec) in variants {
                    let offer = Offer {
                        credentials: &credentials,
                        fingerprint,
                        candidate: "127.0.0.1:5000".parse().unwrap(),
                        audio: if sending.is_some() { 1 } else { 3 },
                        video: Some((codec, if sending.is_some() { 1 } else { 4 })),
                        sending,
                        rtx,
                        transport_cc,
                        every_codec,
                    };
                    let mut rtc = str0m::Rtc::builder().build(std::time::Instant::now());
                    rtc.add_local_candidate(
                        str0m::Candidate::host("127.0.0.1:6000".parse().unwrap(), "udp").unwrap(),
                    );
                    let text = offer.text();
                    let parsed = str0m::change::SdpOffer::from_sdp_string(&text).unwrap();
                    let answer = rtc.sdp_api().accept_offer(parsed).unwrap();
                    let remote = crate::signal::answer::parse(&answer.to_sdp_string()).unwrap();
                    assert!(remote.we_are_client);
                    assert_eq!(remote.candidates, ["127.0.0.1:6000".parse().unwrap()]);
                    assert_eq!(remote.fingerprint.len(), 32);
                    let taken = Negotiated::of(&answer.to_sdp_string());
                    // Of many codecs the engine may take another.
                    assert!(every_codec || taken.rtx == rtx, "{text}");
                    let more = answer.to_sdp_string().contains(" VP9/90000");
                    assert_eq!(more, every_codec, "{text}");
                    assert_eq!(taken.video_transport_cc, transport_cc, "{text}");
                    let sections = crate::signal::negotiated::sections(&answer.to_sdp_string());
                    let mids: Vec<_> = sections.iter().map(|s| (s.medium, &*s.mid)).collect();
                    let (audio, video) = (Medium::Audio, Medium::Video);
                    if sending.is_some() {
                        assert_eq!(mids, [(audio, AUDIO_MID), (video, VIDEO_MID)]);
                    } else {
                        let all = ["0", "1", "2", "3", "4", "5", "6"];
                        let media = [audio; 3].into_iter().chain([video; 4]);
                        assert!(mids.into_iter().eq(media.zip(all)), "{text}");
                    }
                }
            }
        }
    }
}
