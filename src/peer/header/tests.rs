//! Headers written and read back, by ourselves and by another implementation.

use super::*;

const COLOR_SPACE: u8 = 9;

const PAIRS: [(u8, HeaderExtension); 7] = [
    (1, HeaderExtension::AudioLevel),
    (2, HeaderExtension::AbsSendTime),
    (3, HeaderExtension::TransportWideCc),
    (4, HeaderExtension::Mid),
    (12, HeaderExtension::DependencyDescriptor),
    (7, HeaderExtension::AbsCaptureTime),
    (COLOR_SPACE, HeaderExtension::ColorSpace),
];

fn outgoing<'a>() -> OutgoingHeader<'a> {
    OutgoingHeader {
        payload_type: 96,
        marker: true,
        sequence: 4711,
        timestamp: 90_000,
        ssrc: 0x1234_5678,
        padding: false,
        dependency: None,
        mid: Some(b"0"),
        abs_send_time: Some(0x01_02_03),
        transport_sequence: Some(77),
    }
}

#[test]
fn what_is_written_reads_back_and_parses_elsewhere() {
    use webrtc_util::marshal::Unmarshal;
    for dependency in [vec![], vec![9; 3], vec![7; 16], vec![5; 40], vec![3; 120]] {
        let passed = PassedExtensions {
            audio_level: Some(0x85),
            capture_time: SmallVec::from_slice(&[1; 8]),
            dependency: SmallVec::from_slice(&dependency),
            ..Default::default()
        };
        let mut out = [0u8; MAX_HEADER + 10];
        let length = write(
            &mut out,
            &outgoing(),
            &OutgoingIds::new(&PAIRS, true),
            &passed,
        )
        .unwrap();
        let (header, read_back) = read(&out[..length], &ExtensionIds::new(&PAIRS)).unwrap();
        assert_eq!(header.length, length);
        assert_eq!(read_back.passed, passed);
        assert_eq!(read_back.mid, b"0");
        assert_eq!(read_back.abs_send_time, Some(0x01_02_03));
        assert_eq!(read_back.transport_sequence, Some(77));
        assert_eq!((header.sequence, header.ssrc), (4711, 0x1234_5678));
        // The independent implementation agrees.
        let mut bytes = &out[..length + 10];
        let packet = rtp::packet::Packet::unmarshal(&mut bytes).unwrap();
        assert_eq!(packet.header.sequence_number, 4711);
        assert!(packet.header.marker);
        assert_eq!(packet.payload.len(), 10);
        let element = packet.header.get_extension(12);
        assert_eq!(element.as_deref().unwrap_or_default(), &dependency[..]);
        assert_eq!(packet.header.get_extension(3).unwrap()[..], [0, 77]);
    }
}

/// A receiver that knows the form of one byte alone loses all values of a packet with the other.
#[test]
fn long_values_are_left_out_where_forms_must_not_be_mixed() {
    use webrtc_util::marshal::Unmarshal;
    let passed = PassedExtensions {
        dependency: SmallVec::from_slice(&[1; 30]),
        color_space: SmallVec::from_slice(&[2; 28]),
        ..Default::default()
    };
    for (mixed, profile) in [(false, 0xbede), (true, 0x1000)] {
        let ids = OutgoingIds::new(&PAIRS, mixed);
        assert_eq!(ids.has_dependency(), mixed);
        let mut out = [0u8; 200];
        let length = write(&mut out, &outgoing(), &ids, &passed).unwrap();
        let mut bytes = &out[..length];
        let header = rtp::header::Header::unmarshal(&mut bytes).unwrap();
        assert_eq!(header.extension_profile, profile);
        assert_eq!(header.get_extension(3).unwrap()[..], [0, 77]);
        assert_eq!(header.get_extension(12).is_some(), mixed);
        assert_eq!(header.get_extension(COLOR_SPACE).is_some(), mixed);
    }
}

/// RFC 8285 §4.1.2 and §4.2: ids 0 with a length and 15 end the reading; padding does not.
#[test]
fn elements_behind_a_reserved_id_are_not_read() {
    let read_with = |between: &[u8]| {
        let level = [0x10, 0x85];
        let number = [0x31, 0, 77];
        let mut elements = [&level[..], between, &number].concat();
        elements.resize(24, 0);
        let mut packet = vec![0u8; 12];
        packet[0] = 0x90;
        packet.extend([0xbe, 0xde, 0, 6]);
        packet.extend(elements);
        let (_, found) = read(&packet, &ExtensionIds::new(&PAIRS)).expect("a header");
        assert_eq!(found.passed.audio_level, Some(0x85));
        found.transport_sequence
    };
    assert_eq!(read_with(&[0, 0]), Some(77));
    assert_eq!(
        read_with(&[0xd1, 9, 9]),
        Some(77),
        "an id that nobody knows"
    );
    for reserved in [0xf0, 0xf1, 0x01, 0x02, 0x0f] {
        let length = usize::from(reserved & 15u8) + 1;
        let element = [&[reserved][..], &vec![9; length]].concat();
        assert_eq!(read_with(&element), None, "{reserved:#x}");
    }
}

#[test]
fn a_header_without_values_has_no_extension() {
    let mut out = [0u8; 64];
    let plain = OutgoingHeader {
        mid: None,
        abs_send_time: None,
        transport_sequence: None,
        ..outgoing()
    };
    let ids = OutgoingIds::new(&PAIRS, true);
    assert_eq!(
        write(&mut out, &plain, &ids, &PassedExtensions::default()),
        Some(12)
    );
    assert_eq!(out[0], 0x80);
}

#[test]
fn padding_is_cut_off_and_never_more_than_there_is() {
    let mut packet = [0u8; 20];
    packet[0] = 0xa0;
    for (padding, left) in [(3, Some(5)), (8, Some(0)), (9, None), (0, None)] {
        packet[19] = padding;
        let (header, _) = read(&packet, &ExtensionIds::default()).unwrap();
        assert_eq!(header.payload(&packet).map(<[u8]>::len), left, "{padding}");
    }
    assert_eq!(
        read(&packet[..12], &ExtensionIds::default())
            .unwrap()
            .0
            .payload(&packet[..12]),
        None
    );
    packet[0] = 0x80;
    let (header, _) = read(&packet, &ExtensionIds::default()).unwrap();
    assert_eq!(header.payload(&packet).map(<[u8]>::len), Some(8));
}

#[test]
fn truncated_headers_are_refused_and_never_panic() {
    let mut out = [0u8; MAX_HEADER];
    let passed = PassedExtensions {
        dependency: SmallVec::from_slice(&[1; 30]),
        ..Default::default()
    };
    let length = write(
        &mut out,
        &outgoing(),
        &OutgoingIds::new(&PAIRS, true),
        &passed,
    )
    .unwrap();
    for end in 0..length {
        assert_eq!(read(&out[..end], &ExtensionIds::new(&PAIRS)), None);
        let mut small = vec![0; end];
        assert_eq!(
            write(
                &mut small,
                &outgoing(),
                &OutgoingIds::new(&PAIRS, true),
                &passed
            ),
            None
        );
    }
}
