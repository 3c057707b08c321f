//! A session as its worker holds it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::net::prefetch::prefetch;
use crate::peer::ingress::Ingress;
use crate::peer::nack::NackSender;
use crate::peer::transport::Transport;
use crate::units::{MediaKind, ParticipantId, RoomId, SessionKey};
use crate::viewer::Viewer;

/// A publishing session's media side.
#[derive(Debug)]
pub struct Publisher {
    /// Whose tracks they are.
    pub participant: ParticipantId,
    /// Which of the participant's publishers in this worker it is.
    pub generation: u32,
    /// From the engine's packets to tracks.
    pub ingress: Ingress,
    /// Asks it for repairs, once the handshake is over.
    pub nack: Option<NackSender>,
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
/// In this order, because what a packet or a report needs is to lie side by side, ahead of the ten
/// kilobytes of the protocol engine.
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
