//! Redundant audio, of a publisher that packs it by itself.

use super::*;

const RED: u8 = 63;

/// Viewers are not to look at the payload again: what its headers say is on the packet.
#[test]
fn what_red_headers_say_is_read_once() {
    let mut sections = sections();
    sections[1].codecs[0].red_pt = Some(RED);
    let mut bench = Bench::new(&sections);
    let mut read = |seq, payload: &[u8]| {
        let mut sent = media(500, RED, seq).named(&[(MID, "1")]);
        sent.payload = payload.to_vec();
        let routed = bench.send(&sent).map(|r| r.unwrap().packet);
        routed.map(|p| (p.codec, p.red.map(|told| (told.primary, told.only))))
    };
    let alike = [0x80 | OPUS, 0x0f, 0, 1, OPUS, 7, 8];
    assert_eq!(read(1, &alike), Ok((Codec::Opus, Some((6, Some(OPUS))))));
    let mixed = [0x80 | 13, 0x0f, 0, 1, OPUS, 7, 8];
    assert_eq!(read(2, &mixed), Ok((Codec::Opus, Some((6, None)))));
    let cut_short = [0x80 | OPUS, 0x0f, 0, 9, OPUS, 7];
    assert_eq!(read(3, &cut_short), Err(Unroutable::Malformed));
    let plain = bench.send(&media(500, OPUS, 4).named(&[(MID, "1")]));
    assert_eq!(plain.unwrap().unwrap().packet.red, None);
}
