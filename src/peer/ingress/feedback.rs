//! What a publisher is told, sealed with the session's keys: reports, requests for repairs
//! and keyframes, feedback for its congestion control.

use std::sync::Arc;

use crate::net::{Path, SendArena};
use crate::peer::crypto::Keying;
use crate::peer::rtcp::{RtcpError, RtcpWriter};
use crate::peer::srtp::{MAX_RTCP_OVERHEAD, SrtpError, SrtpReceiver, SrtpSender};

/// The longest RTCP packet that is sent: with IP and UDP below any path's limit.
const ROOM: usize = 1200;

/// A publisher's keys, once the handshake is over: what opens its packets, and seals ours.
#[derive(Debug)]
pub struct Sealed {
    /// Opens what it sends.
    pub receiver: SrtpReceiver,
    /// Tells it things.
    pub feedback: FeedbackSender,
}

impl Sealed {
    /// With a session's keys; `ssrc` is ours in RTCP, `cname` its name.
    ///
    /// # Errors
    /// [`SrtpError::Keys`] when the cryptographic library refuses them.
    pub fn new(keying: &Keying, ssrc: u32, cname: Arc<str>) -> Result<Self, SrtpError> {
        Ok(Self {
            receiver: SrtpReceiver::new(keying)?,
            feedback: FeedbackSender {
                srtp: SrtpSender::new(keying)?,
                ssrc,
                cname,
                refused: 0,
            },
        })
    }
}

/// See the module's description.
#[derive(Debug)]
pub struct FeedbackSender {
    srtp: SrtpSender,
    ssrc: u32,
    cname: Arc<str>,
    /// What found no room in the arena.
    refused: u64,
}

impl FeedbackSender {
    /// Our SSRC in RTCP.
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// How many messages found no room in the arena since the last call.
    pub fn take_refused(&mut self) -> u64 {
        std::mem::take(&mut self.refused)
    }

    /// Sends what `compose` writes; it is given our SSRC and name. False when it was not sent:
    /// there is no room, or `compose` has nothing to say and returned false.
    pub(super) fn send(
        &mut self,
        arena: &mut SendArena,
        path: Path,
        compose: impl FnOnce(&mut RtcpWriter<'_>, u32, &str) -> Result<bool, RtcpError>,
    ) -> bool {
        let Some(buffer) = arena.reserve(path, ROOM) else {
            self.refused += 1;
            return false;
        };
        let mut writer = RtcpWriter::new(&mut buffer[..ROOM - MAX_RTCP_OVERHEAD]);
        if compose(&mut writer, self.ssrc, &self.cname) != Ok(true) {
            return false;
        }
        let length = writer.len();
        match self.srtp.protect_rtcp(buffer, length) {
            Ok(total) => {
                arena.commit(total);
                true
            }
            Err(_) => false,
        }
    }

    /// Sends one feedback message. Unless the publisher takes `reduced` packets (RFC 5506), an
    /// empty report and our name go ahead (RFC 3550 §6.1).
    pub(super) fn message(
        &mut self,
        arena: &mut SendArena,
        path: Path,
        reduced: bool,
        compose: impl FnOnce(&mut RtcpWriter<'_>, u32) -> Result<bool, RtcpError>,
    ) -> bool {
        self.send(arena, path, |writer, ssrc, cname| {
            if !reduced {
                writer.receiver_report(ssrc, &[])?;
                writer.sdes_cname(ssrc, cname)?;
            }
            compose(writer, ssrc)
        })
    }

    /// Takes our leave (RFC 3550 §6.6).
    pub fn goodbye(&mut self, arena: &mut SendArena, path: Path) -> bool {
        self.message(arena, path, false, |writer, ssrc| {
            writer.bye(&[ssrc])?;
            Ok(true)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Proto;
    use crate::peer::crypto::SrtpProfile;

    #[test]
    fn what_finds_no_room_is_counted() {
        let profile = SrtpProfile::AeadAes128Gcm;
        let material = vec![3; profile.material_len()];
        let keying = Keying::new(profile, false, &material).expect("keys");
        let mut sealed = Sealed::new(&keying, 99, "cname".into()).expect("keys");
        let path = Path {
            proto: Proto::Udp,
            local: ([127, 0, 0, 1], 1).into(),
            remote: ([127, 0, 0, 1], 2).into(),
        };
        let mut arena = SendArena::new(2 * ROOM, 16);
        let sender = &mut sealed.feedback;
        let mut sent = 0;
        while sent < 100 && sender.goodbye(&mut arena, path) {
            sent += 1;
        }
        assert!((1..100).contains(&sent), "{sent}");
        assert_eq!((sender.take_refused(), sender.take_refused()), (1, 0));
        arena.clear();
        assert!(sender.goodbye(&mut arena, path));
        assert_eq!(sender.take_refused(), 0);
    }
}
