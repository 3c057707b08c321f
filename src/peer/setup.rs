//! From a negotiation to the protocol engine: what str0m is told of a session.
//!
//! Its SDP layer is not used; every payload type and id is the offer's.

use std::time::Instant;

use str0m::format::{Codec as EngineCodec, CodecConfig, CodecSpec, FormatParams, PayloadParams};
use str0m::media::{Frequency, MediaKind as EngineKind, Mid, Pt, Rid};
use str0m::rtp::{Extension, ExtensionMap};
use str0m::{IceCreds, Rtc, RtcError};

use super::crypto::Crypto;
use super::negotiate::{
    Direction, HeaderExtension, IceCredentials, MediaSection, Negotiated, NegotiatedCodec,
};
use crate::codec::Codec;
use crate::units::MediaKind;

fn engine_codec(codec: Codec) -> (EngineCodec, Frequency) {
    match codec {
        Codec::Opus => (EngineCodec::Opus, Frequency::FORTY_EIGHT_KHZ),
        Codec::Pcmu => (EngineCodec::PCMU, Frequency::EIGHT_KHZ),
        Codec::Pcma => (EngineCodec::PCMA, Frequency::EIGHT_KHZ),
        // The engine knows that G.722 has an RTP clock of half its sample rate.
        Codec::G722 => (EngineCodec::G722, Frequency::SIXTEEN_KHZ),
        Codec::Vp8 => (EngineCodec::Vp8, Frequency::NINETY_KHZ),
        Codec::Vp9 => (EngineCodec::Vp9, Frequency::NINETY_KHZ),
        Codec::H264 => (EngineCodec::H264, Frequency::NINETY_KHZ),
        Codec::H265 => (EngineCodec::H265, Frequency::NINETY_KHZ),
        Codec::Av1 => (EngineCodec::Av1, Frequency::NINETY_KHZ),
    }
}

fn payload_params(codec: &NegotiatedCodec) -> Vec<PayloadParams> {
    let (engine, clock_rate) = engine_codec(codec.codec);
    let spec = CodecSpec {
        codec: engine,
        clock_rate,
        channels: codec
            .codec
            .kind()
            .eq(&MediaKind::Audio)
            .then_some(codec.channels),
        format: FormatParams::default(),
    };
    let make = |pt: u8, rtx: Option<u8>| {
        let mut params = PayloadParams::new(Pt::from(pt), rtx.map(Pt::from), spec);
        params.set_fb_nack(codec.feedback.nack);
        params.set_fb_pli(codec.feedback.pli);
        params.set_fb_fir(codec.feedback.fir);
        params.set_fb_remb(codec.feedback.remb);
        params.set_fb_transport_cc(codec.feedback.transport_cc);
        params
    };
    let mut all = vec![make(codec.pt, codec.rtx_pt)];
    // RED packets pass through whole: to the engine they are one more payload type.
    if let Some(red) = codec.red_pt {
        all.push(make(red, None));
    }
    all
}

fn engine_extension(extension: HeaderExtension) -> Option<Extension> {
    match extension {
        HeaderExtension::Mid => Some(Extension::RtpMid),
        HeaderExtension::RtpStreamId => Some(Extension::RtpStreamId),
        HeaderExtension::RepairedRtpStreamId => Some(Extension::RepairedRtpStreamId),
        HeaderExtension::TransportWideCc => Some(Extension::TransportSequenceNumber),
        HeaderExtension::AbsSendTime => Some(Extension::AbsoluteSendTime),
        // The others are read from the clear header by ourselves.
        _ => None,
    }
}

fn engine_kind(kind: MediaKind) -> EngineKind {
    match kind {
        MediaKind::Audio => EngineKind::Audio,
        MediaKind::Video => EngineKind::Video,
    }
}

/// A section's mid as the engine knows it.
pub fn engine_mid(mid: &str) -> Mid {
    Mid::from(mid)
}

/// Whether a session needs the engine: viewers without data channels only need DTLS.
pub fn needs_engine(negotiated: &Negotiated) -> bool {
    negotiated.direction == Direction::Publish || negotiated.data.is_some()
}

/// Builds the engine for a session.
///
/// A viewer's engine does DTLS and SCTP only: it knows no media, so it sends
/// no RTP and no RTCP; those are the egress's.
pub fn engine(
    crypto: &Crypto,
    local: &IceCredentials,
    negotiated: &Negotiated,
    now: Instant,
) -> Result<Rtc, RtcError> {
    let publishes = negotiated.direction == Direction::Publish;
    let mut config = crypto
        .rtc_config(negotiated.peer_keys)
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .set_local_ice_credentials(IceCreds {
            ufrag: local.ufrag.clone(),
            pass: local.pwd.clone(),
        })
        .clear_codecs()
        .clear_extension_map();
    if publishes {
        let mut extensions = ExtensionMap::empty();
        let mut params = Vec::new();
        for section in &negotiated.media {
            for codec in &section.codecs {
                params.extend(payload_params(codec));
            }
            for &(id, extension) in &section.extensions {
                if let Some(extension) = engine_extension(extension)
                    && (1..=14).contains(&id)
                {
                    extensions.set(id, extension);
                }
            }
        }
        *config.codec_config() = CodecConfig::new_from_payload_params(params);
        config = config.set_extension_map(extensions);
    }
    let mut rtc = config.build(now);
    {
        let mut api = rtc.direct_api();
        api.set_remote_ice_credentials(IceCreds {
            ufrag: negotiated.ice.ufrag.clone(),
            pass: negotiated.ice.pwd.clone(),
        });
        api.set_remote_fingerprint(negotiated.fingerprint.clone().into());
        if publishes {
            for section in &negotiated.media {
                declare(&mut api, section);
            }
            if wants_transport_cc(&negotiated.media) {
                api.enable_twcc_feedback();
            }
        }
        api.start_dtls(negotiated.dtls_active)?;
        if negotiated.data.is_some() {
            // RFC 8841 §10.3: who is DTLS client opens the SCTP association.
            api.start_sctp(negotiated.dtls_active);
        }
    }
    Ok(rtc)
}

fn wants_transport_cc(sections: &[MediaSection]) -> bool {
    sections
        .iter()
        .any(|s| s.codecs.iter().any(|c| c.feedback.transport_cc))
}

fn declare(api: &mut str0m::change::DirectApi<'_>, section: &MediaSection) {
    let mid = engine_mid(&section.mid);
    let media = api.declare_media(mid, engine_kind(section.kind));
    for rid in &section.rids {
        media.expect_rid_rx(Rid::from(rid.as_str()));
    }
    if section.rids.is_empty() {
        for ssrc in &section.ssrcs {
            api.expect_stream_rx(ssrc.ssrc.into(), ssrc.rtx.map(Into::into), mid, None)
                .suppress_nack(true); // we ask ourselves: see `nack`
        }
    }
}
