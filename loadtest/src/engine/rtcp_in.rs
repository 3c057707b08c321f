//! RTCP that we receive. The compound is walked here, and what counts is read
//! with the `rtcp` crate; the rest costs nothing.

use rtcp::payload_feedbacks::full_intra_request::FullIntraRequest;
use rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtcp::sender_report::SenderReport;
use rtcp::transport_feedbacks::transport_layer_nack::TransportLayerNack;
use webrtc_util::marshal::Unmarshal;

/// A packet of a compound.
#[derive(Debug)]
pub(super) enum Incoming {
    /// A sender report (RFC 3550 §6.4.1).
    SenderReport(SenderReport),
    /// Packets are asked for again (RFC 4585 §6.2.1).
    Nack(TransportLayerNack),
    /// A keyframe is asked for (RFC 4585 §6.3.1).
    Pli(PictureLossIndication),
    /// A keyframe is asked for (RFC 5104 §4.3.1).
    Fir(FullIntraRequest),
    /// Transport-wide feedback, which is only counted.
    TransportFeedback,
    /// It is not what its header says.
    Malformed,
}

/// The packets of a compound that mean something to us.
pub(super) fn read(compound: &[u8]) -> impl Iterator<Item = Incoming> + '_ {
    let mut rest = compound;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let (packet, tail) = split(rest);
            rest = tail;
            match packet {
                Some(packet) => {
                    if let Some(incoming) = one(packet) {
                        return Some(incoming);
                    }
                }
                None => return Some(Incoming::Malformed),
            }
        }
        None
    })
}

/// The first packet, if it is whole and of version 2, and what follows it.
fn split(data: &[u8]) -> (Option<&[u8]>, &[u8]) {
    let Some(&[first, _, a, b]) = data.first_chunk::<4>() else {
        return (None, &[]);
    };
    let len = 4 * (usize::from(u16::from_be_bytes([a, b])) + 1);
    match data.split_at_checked(len) {
        Some((packet, tail)) if first >> 6 == 2 => (Some(packet), tail),
        _ => (None, &[]),
    }
}

fn one(packet: &[u8]) -> Option<Incoming> {
    fn parsed<P: Unmarshal>(mut packet: &[u8], make: fn(P) -> Incoming) -> Incoming {
        P::unmarshal(&mut packet).map_or(Incoming::Malformed, make)
    }
    // The crate panics on bodies that are too short for their kind.
    let (count, kind) = (packet[0] & 31, packet[1]);
    let whole = match (count, kind) {
        (_, 200) => packet.len() >= 28 + 24 * usize::from(count),
        (1, 205) => packet.len() >= 16,
        (1, 206) => packet.len() >= 12,
        (4, 206) => packet.len() >= 20 && (packet.len() - 12).is_multiple_of(8),
        _ => true,
    };
    if !whole {
        return Some(Incoming::Malformed);
    }
    Some(match (count, kind) {
        (_, 200) => parsed(packet, Incoming::SenderReport),
        (1, 205) => parsed(packet, Incoming::Nack),
        (15, 205) => Incoming::TransportFeedback,
        (1, 206) => parsed(packet, Incoming::Pli),
        (4, 206) => parsed(packet, Incoming::Fir),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::rtcp_out;

    #[test]
    fn reads_what_counts_of_a_compound() {
        let mut compound = rtcp_out::sender_report(7, 1_000_000_000, 5, 1, 2)
            .unwrap()
            .to_vec();
        compound.extend_from_slice(&rtcp_out::nack(1, 7, &[3, 4]).unwrap());
        compound.extend_from_slice(&rtcp_out::pli(1, 7).unwrap());
        compound.extend_from_slice(&[0x8F, 205, 0, 2, 0, 0, 0, 1, 0, 0, 0, 7]);
        let all: Vec<Incoming> = read(&compound).collect();
        assert!(
            matches!(
                &all[..],
                [
                    Incoming::SenderReport(s),
                    Incoming::Nack(n),
                    Incoming::Pli(p),
                    Incoming::TransportFeedback,
                ] if s.ssrc == 7 && n.nacks[0].packet_list() == [3, 4] && p.media_ssrc == 7
            ),
            "{all:?}"
        );
        let cut = read(&compound[..compound.len() - 1]).last();
        assert!(matches!(cut, Some(Incoming::Malformed)), "{cut:?}");
    }

    #[test]
    fn empty_and_foreign_packets_are_nothing() {
        assert_eq!(read(&[]).count(), 0);
        assert_eq!(read(&[0x80, 207, 0, 0]).count(), 0);
        assert!(matches!(
            read(&[0x40, 200, 0, 0]).next(),
            Some(Incoming::Malformed)
        ));
    }
}
