//! RTCP that we send, written with the `rtcp` crate.

use bytes::Bytes;
use rtcp::packet::Packet;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtcp::receiver_report::ReceiverReport;
use rtcp::reception_report::ReceptionReport;
use rtcp::sender_report::SenderReport;
use rtcp::source_description::{
    SdesType, SourceDescription, SourceDescriptionChunk, SourceDescriptionItem,
};
use rtcp::transport_feedbacks::transport_layer_nack::{
    TransportLayerNack, nack_pairs_from_sequence_numbers,
};

/// Seconds from 1900 to 1970 (RFC 3550 §4).
const NTP_OFFSET: u64 = 2_208_988_800;

/// NTP time in 32.32 format of a Unix time in nanoseconds.
pub(super) fn ntp(unix_ns: u64) -> u64 {
    let seconds = unix_ns / 1_000_000_000 + NTP_OFFSET;
    let fraction = ((unix_ns % 1_000_000_000) << 32) / 1_000_000_000;
    seconds << 32 | fraction
}

/// The reverse of [`ntp`].
pub(super) fn unix_ns(ntp: u64) -> u64 {
    let seconds = (ntp >> 32).saturating_sub(NTP_OFFSET);
    seconds * 1_000_000_000 + (((ntp & 0xFFFF_FFFF) * 1_000_000_000) >> 32)
}

fn description(ssrc: u32) -> SourceDescription {
    SourceDescription {
        chunks: vec![SourceDescriptionChunk {
            source: ssrc,
            items: vec![SourceDescriptionItem {
                sdes_type: SdesType::SdesCname,
                text: Bytes::from_static(b"loadtest"),
            }],
        }],
    }
}

fn compound(packets: &[&dyn Packet]) -> Option<Bytes> {
    let mut out = Vec::new();
    for packet in packets {
        // A packet that can't be written is a mistake of ours, never of the wire.
        out.extend_from_slice(&packet.marshal().ok()?);
    }
    Some(out.into())
}

/// A receiver report for these streams.
pub(super) fn receiver_report(ssrc: u32, reports: Vec<ReceptionReport>) -> Option<Bytes> {
    let report = ReceiverReport {
        ssrc,
        reports,
        ..ReceiverReport::default()
    };
    compound(&[&report, &description(ssrc)])
}

/// A sender report.
pub(super) fn sender_report(
    ssrc: u32,
    unix_ns: u64,
    rtp_time: u32,
    packets: u32,
    octets: u32,
) -> Option<Bytes> {
    let report = SenderReport {
        ssrc,
        ntp_time: ntp(unix_ns),
        rtp_time,
        packet_count: packets,
        octet_count: octets,
        ..SenderReport::default()
    };
    compound(&[&report, &description(ssrc)])
}

/// Asks for packets again. Reduced size (RFC 5506), as browsers do.
pub(super) fn nack(sender: u32, media: u32, sequences: &[u16]) -> Option<Bytes> {
    compound(&[&TransportLayerNack {
        sender_ssrc: sender,
        media_ssrc: media,
        nacks: nack_pairs_from_sequence_numbers(sequences),
    }])
}

/// Asks for a keyframe.
pub(super) fn pli(sender: u32, media: u32) -> Option<Bytes> {
    compound(&[&PictureLossIndication {
        sender_ssrc: sender,
        media_ssrc: media,
    }])
}

/// Tells the server how much this viewer can take, in bits a second.
pub(super) fn remb(sender: u32, media: u32, bitrate: f32) -> Option<Bytes> {
    compound(&[&ReceiverEstimatedMaximumBitrate {
        sender_ssrc: sender,
        bitrate,
        ssrcs: vec![media],
    }])
}

/// Ends streams (RFC 3550 §6.6). Written here: the crate adds padding to a
/// good-bye without a reason. At most 31 streams fit; the rest is left out.
pub(super) fn goodbye(ssrcs: &[u32]) -> Bytes {
    let ssrcs = &ssrcs[..ssrcs.len().min(31)];
    let count = ssrcs.len() as u8;
    let mut out = vec![0x80 | count, 203, 0, count];
    for ssrc in ssrcs {
        out.extend_from_slice(&ssrc.to_be_bytes());
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ntp_and_back() {
        let t = 1_790_000_000_123_456_789;
        assert!(unix_ns(ntp(t)).abs_diff(t) <= 1);
        assert_eq!(ntp(0), NTP_OFFSET << 32);
    }

    #[test]
    fn messages_have_their_types() {
        assert_eq!(pli(1, 2).unwrap()[..2], [0x81, 206]);
        assert_eq!(nack(1, 2, &[5, 7]).unwrap()[12..16], [0, 5, 0, 2]);
        assert_eq!(receiver_report(1, vec![]).unwrap()[..2], [0x80, 201]);
        assert_eq!(sender_report(1, 0, 0, 0, 0).unwrap()[..2], [0x80, 200]);
        assert_eq!(remb(1, 2, 1e6).unwrap()[12..16], *b"REMB");
        assert_eq!(goodbye(&[9])[..], [0x81, 203, 0, 1, 0, 0, 0, 9]);
    }
}
