//! Binding requests by hand (RFC 8489), to leave out what ICE agents add.

use std::net::{SocketAddr, UdpSocket};
use std::time::Duration;

use aws_lc_rs::hmac;

const MAGIC: [u8; 4] = 0x2112_a442_u32.to_be_bytes();

/// A binding request with USERNAME, MESSAGE-INTEGRITY and FINGERPRINT only, and empty
/// attributes of the kinds in `more`.
pub fn bare_request(
    username: &str,
    password: &str,
    transaction: [u8; 12],
    more: &[u16],
) -> Vec<u8> {
    let mut message = vec![0x00, 0x01, 0, 0];
    message.extend_from_slice(&MAGIC);
    message.extend_from_slice(&transaction);
    attribute(&mut message, 0x0006, username.as_bytes());
    for kind in more {
        attribute(&mut message, *kind, &[]);
    }
    // Its length field counts the attribute that is being made (§14.5).
    set_length(&mut message, 24);
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
    let integrity = hmac::sign(&key, &message);
    attribute(&mut message, 0x0008, integrity.as_ref());
    set_length(&mut message, 8);
    let fingerprint = crc32(&message) ^ 0x5354_554e;
    attribute(&mut message, 0x8028, &fingerprint.to_be_bytes());
    set_length(&mut message, 0);
    message
}

fn attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&(value.len() as u16).to_be_bytes());
    message.extend_from_slice(value);
    message.resize(message.len().next_multiple_of(4), 0);
}

fn set_length(message: &mut [u8], to_come: usize) {
    let length = (message.len() - 20 + to_come) as u16;
    message[2..4].copy_from_slice(&length.to_be_bytes());
}

fn crc32(data: &[u8]) -> u32 {
    !data.iter().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg())
        })
    })
}

/// Sends a request a few times and returns the reply.
pub fn exchange(server: SocketAddr, request: &[u8]) -> Option<Vec<u8>> {
    let socket = UdpSocket::bind("127.0.0.1:0").ok()?;
    socket
        .set_read_timeout(Some(Duration::from_millis(500)))
        .ok()?;
    for _ in 0..4 {
        socket.send_to(request, server).ok()?;
        let mut buffer = [0; 1500];
        if let Ok((length, _)) = socket.recv_from(&mut buffer)
            && length >= 20
            && buffer[8..20] == request[8..20]
        {
            return Some(buffer[..length].to_vec());
        }
    }
    None
}
