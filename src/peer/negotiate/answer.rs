//! Writing the answer (RFC 8829 §5.3).

use std::fmt::Write;

use super::codecs::decimal;
use super::context::AnswerContext;
use super::offer::{Accepted, Line, LineKind, MediaLine};
use super::types::{
    AnswerNames, Direction, IceCredentials, LocalTransport, MediaSection, SignalledSsrc,
};
use crate::units::MediaKind;

/// The longest answer in bytes, all included: FFmpeg reads no more than 8 KiB.
pub const MAX_ANSWER: usize = 8 * 1024 - 1;

/// The largest data channel message we take, in bytes; the limit of str0m's
/// SCTP association and of browsers.
const MAX_MESSAGE_SIZE: usize = 256 * 1024;

/// ICE options of every answer (RFC 8839 §5.6). `ice2`: an agent of RFC 8445.
/// `trickle`: the peer may send candidates later (RFC 8838 §3, RFC 9725 §4.3.2);
/// our own list is complete at once and ends with `a=end-of-candidates`.
pub(super) const ICE_OPTIONS: &str = "a=ice-options:ice2 trickle\r\n";

impl Accepted {
    /// Writes the answer: CRLF throughout, begins with `v=0`, at most
    /// [`MAX_ANSWER`] bytes with names and ICE credentials of at most 64 and 32
    /// bytes, and more only where there are more than two media sections. At most 16 candidates are written, UDP first.
    pub fn answer(
        &self,
        context: &AnswerContext,
        local: &LocalTransport,
        names: &AnswerNames<'_>,
    ) -> String {
        let mut out = String::with_capacity(MAX_ANSWER);
        let _ = write!(
            out,
            "v=0\r\no=- {} 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n",
            names.session_id & (u64::MAX >> 1),
        );
        if !self.bundle.is_empty() {
            let _ = write!(out, "a=group:BUNDLE {}\r\n", self.bundle.join(" "));
        }
        // ICE-lite (RFC 8445 §2.5): every candidate is a host address that can be
        // reached, so only the peer checks.
        out.push_str("a=ice-lite\r\n");
        out.push_str(ICE_OPTIONS);
        if self.allow_mixed {
            out.push_str("a=extmap-allow-mixed\r\n");
        }
        for (index, line) in self.lines.iter().enumerate() {
            self.write_section(&mut out, index, line, context, local, names);
        }
        out
    }

    fn write_section(
        &self,
        out: &mut String,
        index: usize,
        line: &Line,
        context: &AnswerContext,
        local: &LocalTransport,
        names: &AnswerNames<'_>,
    ) {
        write_m_line(out, line, context);
        if let Some(mid) = &line.mid {
            out.extend(["a=mid:", mid, "\r\n"]);
        }
        // In every section, rejected ones too: webrtcbin takes no answer that has
        // a section without them.
        self.write_transport(out, context, &local.ice);
        if index == self.tagged {
            out.push_str(&context.candidates);
        }
        match &line.kind {
            LineKind::Rejected { .. } => out.push_str("a=inactive\r\n"),
            LineKind::Data => {
                let _ = write!(
                    out,
                    "a=sctp-port:5000\r\na=max-message-size:{MAX_MESSAGE_SIZE}\r\n"
                );
            }
            LineKind::Media(media) => {
                if let Some(section) = self.negotiated.media.get(media.at) {
                    self.write_media(out, media, section, local, names);
                }
            }
        }
    }

    fn write_transport(&self, out: &mut String, context: &AnswerContext, ice: &IceCredentials) {
        out.extend(["a=ice-ufrag:", &ice.ufrag, "\r\n"]);
        out.extend(["a=ice-pwd:", &ice.pwd, "\r\n"]);
        out.push_str(&context.fingerprint);
        // An answer chooses; it never says actpass (RFC 8842 §5.3).
        out.push_str(if self.negotiated.dtls_active {
            "a=setup:active\r\n"
        } else {
            "a=setup:passive\r\n"
        });
    }

    fn write_media(
        &self,
        out: &mut String,
        media: &MediaLine,
        section: &MediaSection,
        local: &LocalTransport,
        names: &AnswerNames<'_>,
    ) {
        out.push_str(match self.negotiated.direction {
            Direction::Publish => "a=recvonly\r\n",
            Direction::View => "a=sendonly\r\n",
        });
        out.push_str("a=rtcp-mux\r\na=rtcp-mux-only\r\n");
        if section.rtcp_rsize {
            out.push_str("a=rtcp-rsize\r\n");
        }
        if media.allow_mixed {
            out.push_str("a=extmap-allow-mixed\r\n");
        }
        for extension in &media.extensions {
            extension.write(out);
        }
        out.extend(media.payloads.lines());
        write_layers(out, media);
        if self.negotiated.direction == Direction::View {
            let ssrcs = local.ssrcs.get(media.at);
            write_stream(out, media.at, section, ssrcs, names);
        }
    }
}

/// The m-line and its `c=` line. An accepted section names the default candidate, a
/// rejected one port 0.
fn write_m_line(out: &mut String, line: &Line, context: &AnswerContext) {
    let rejected = matches!(line.kind, LineKind::Rejected { .. });
    let port = if rejected { "0" } else { &context.port };
    out.extend(["m=", &line.media, " ", port, " ", &line.proto]);
    match &line.kind {
        LineKind::Rejected { formats } => out.extend([" ", formats]),
        LineKind::Data => out.push_str(" webrtc-datachannel"),
        LineKind::Media(media) => write_types(out, media.payloads.types()),
    }
    out.push_str("\r\n");
    out.push_str(if rejected {
        "c=IN IP4 0.0.0.0\r\n"
    } else {
        &context.connection
    });
}

/// The m-line of an offer of our own.
pub(super) fn write_offered_m_line(
    out: &mut String,
    kind: MediaKind,
    types: &[u8],
    context: &AnswerContext,
) {
    let _ = write!(out, "m={kind} {} UDP/TLS/RTP/SAVPF", context.port);
    write_types(out, types.iter().copied());
    out.push_str("\r\n");
    out.push_str(&context.connection);
}

fn write_types(out: &mut String, types: impl Iterator<Item = u8>) {
    for pt in types {
        out.extend([" ", decimal(pt, &mut [0; 3])]);
    }
}

/// Takes every layer of the offer in its order; the pause mark stays
/// (RFC 8853 §5.3.2).
fn write_layers(out: &mut String, media: &MediaLine) {
    if media.layers.is_empty() {
        return;
    }
    for layer in &media.layers {
        let parameters = layer.parameters(|pt| media.payloads.types().any(|p| p == pt));
        let _ = write!(out, "a=rid:{} recv{parameters}\r\n", layer.rid);
    }
    out.push_str("a=simulcast:recv ");
    for (index, layer) in media.layers.iter().enumerate() {
        let separator = if index == 0 { "" } else { ";" };
        let mark = if layer.paused { "~" } else { "" };
        let _ = write!(out, "{separator}{mark}{}", layer.rid);
    }
    out.push_str("\r\n");
}

/// What we send: the track's id (RFC 8830) and SSRCs (RFC 5576), those of
/// retransmissions grouped with the media (RFC 4588 §8.3).
pub(super) fn write_stream(
    out: &mut String,
    at: usize,
    section: &MediaSection,
    ssrcs: Option<&SignalledSsrc>,
    names: &AnswerNames<'_>,
) {
    let stream = names.stream_id;
    let track = format_args!("{}{at}", section.kind).to_string();
    let _ = write!(out, "a=msid:{stream} {track}\r\n");
    let Some(ssrcs) = ssrcs else {
        return;
    };
    let rtx = ssrcs.rtx.filter(|_| section.has_rtx());
    if let Some(rtx) = rtx {
        let _ = write!(out, "a=ssrc-group:FID {} {rtx}\r\n", ssrcs.ssrc);
    }
    for ssrc in std::iter::once(ssrcs.ssrc).chain(rtx) {
        let _ = write!(
            out,
            "a=ssrc:{ssrc} cname:{}\r\na=ssrc:{ssrc} msid:{stream} {track}\r\n",
            names.cname
        );
    }
}
