//! A session as its worker holds it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::prefetch::prefetch;
use crate::peer::ingress::{Ingress, Sealed};
use crate::peer::transport::{Phase, Transport};
use crate::units::{MediaKind, ParticipantId, RoomId, SessionKey};
use crate::viewer::Viewer;

/// Deadlines this far ahead are in no hurry.
const FAR: Duration = Duration::from_secs(2);

/// A publishing session's media side.
#[derive(Debug)]
pub struct Publisher {
    /// Whose tracks they are.
    pub participant: ParticipantId,
    /// Which of the participant's publishers in this worker it is.
    pub generation: u32,
    /// From its packets to tracks.
    pub ingress: Ingress,
    /// Its keys, once the handshake is over.
    pub sealed: Option<Sealed>,
    /// Round trip, where the publisher reports it.
    pub rtt: Option<Duration>,
}

/// What a session does.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)] // sessions are boxed one by one, and viewers are the many
pub enum Media {
    /// It sends to us.
    Publisher(Publisher),
    /// We send to it.
    Viewer(Viewer),
}

/// See the module's description.
///
/// In this order, because what a packet or a report needs is to lie side by side, ahead of
/// the handshake.
#[derive(Debug)]
#[repr(C)]
pub struct Session {
    /// What it does.
    pub media: Media,
    /// Its name.
    pub key: SessionKey,
    /// When something authentic last came from the peer.
    pub heard: Instant,
    /// When its timer runs, as the wheel knows it.
    pub scheduled: Option<Instant>,
    /// ICE and DTLS.
    pub transport: Transport,
    /// When it was opened.
    pub opened: Instant,
    /// Its room.
    pub room: RoomId,
    /// Its public id, shortened, for logs; also the CNAME of what it is sent.
    pub log_id: Arc<str>,
}

impl Session {
    /// Begins to load what every packet and report needs of it.
    #[inline]
    pub fn prefetch(&self) {
        prefetch(&self.media);
        prefetch(&self.key);
        prefetch(&self.transport.ice);
    }

    /// The most slots of one kind that it has as a viewer.
    pub fn most_slots(&self) -> usize {
        let Some(viewer) = self.as_viewer() else {
            return 0;
        };
        [MediaKind::Audio, MediaKind::Video]
            .map(|kind| viewer.slots.iter().filter(|s| s.kind == kind).count())
            .into_iter()
            .max()
            .unwrap_or(0)
    }

    /// When its engine wants time to pass. A connected viewer's has nothing to do but to look whether the
    /// peer is there: such far deadlines wait for the viewer's reports, so that the session is
    /// looked at once for both.
    pub fn engine_deadline(&self, now: Instant) -> Option<Instant> {
        let at = self.transport.deadline()?;
        let report = self.as_viewer().and_then(|viewer| viewer.next_report);
        let is_far = self.transport.phase() == Phase::Connected && at >= now + FAR;
        Some(
            report
                .filter(|_| is_far)
                .map_or(at, |report| report.max(at)),
        )
    }

    /// Its viewing side, to look at.
    #[inline]
    pub fn as_viewer(&self) -> Option<&Viewer> {
        match &self.media {
            Media::Viewer(viewer) => Some(viewer),
            Media::Publisher(_) => None,
        }
    }

    /// Its viewing side.
    pub fn viewer(&mut self) -> Option<&mut Viewer> {
        match &mut self.media {
            Media::Viewer(viewer) => Some(viewer),
            Media::Publisher(_) => None,
        }
    }
}
