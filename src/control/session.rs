//! One session as the control plane knows it.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use tokio::sync::watch;

use super::id::{EntityTag, SessionId};
use super::messages::{CloseReason, InactiveReason, LayerWish, SessionRole};
use crate::codec::Codec;
use crate::peer::negotiate::{CounterOffer, Direction, IceCredentials, Negotiated};
use crate::units::{MediaKind, ParticipantId, RoomId, SessionKey};

/// How many former ICE generations of the peer are remembered, so that a
/// candidate which arrives late is not taken for a restart.
const FORMER_GENERATIONS: usize = 8;

/// The ICE generation that a session is in.
#[derive(Debug)]
pub struct IceGeneration {
    /// Its entity tag.
    pub tag: EntityTag,
    /// The peer's credentials.
    pub remote: IceCredentials,
    /// The peer's credentials of earlier generations, newest last.
    pub former: VecDeque<IceCredentials>,
}

/// What a viewer receives now, as its event stream tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activity {
    /// Nothing was heard from the worker yet.
    Unknown,
    /// Media flows.
    Active,
    /// Nothing comes.
    Inactive(InactiveReason),
    /// The session has ended.
    Closed,
}

/// The slots of a room's viewer: each one's `a=mid`, and whom it shows.
pub type Slots = Vec<(Arc<str>, Option<ParticipantId>)>;

/// What a publisher's kinds of media carry: the codecs that were agreed on,
/// and the one that really arrives.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindCodecs {
    /// Codecs of the negotiation, without repeats, in the offer's order.
    pub negotiated: Vec<Codec>,
    /// The codec of the newest packets.
    pub actual: Option<Codec>,
}

impl KindCodecs {
    /// What may come: the codec that arrives, or all that were agreed on.
    pub fn possible(&self) -> &[Codec] {
        match &self.actual {
            Some(codec) => std::slice::from_ref(codec),
            None => &self.negotiated,
        }
    }
}

/// Codecs of both kinds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SessionCodecs {
    /// Audio.
    pub audio: KindCodecs,
    /// Video.
    pub video: KindCodecs,
}

impl SessionCodecs {
    /// The codecs of a negotiation.
    pub fn of(negotiated: &Negotiated) -> Self {
        let mut codecs = Self::default();
        for section in &negotiated.media {
            let list = &mut codecs.kind_mut(section.kind).negotiated;
            for codec in section.codecs.iter().map(|c| c.codec) {
                if !list.contains(&codec) {
                    list.push(codec);
                }
            }
        }
        codecs
    }

    /// Codecs of one kind.
    pub fn kind(&self, kind: MediaKind) -> &KindCodecs {
        match kind {
            MediaKind::Audio => &self.audio,
            MediaKind::Video => &self.video,
        }
    }

    fn kind_mut(&mut self, kind: MediaKind) -> &mut KindCodecs {
        match kind {
            MediaKind::Audio => &mut self.audio,
            MediaKind::Video => &mut self.video,
        }
    }
}

#[derive(Debug)]
struct State {
    ice: IceGeneration,
    codecs: SessionCodecs,
    connected: bool,
    closed: Option<CloseReason>,
    streams: Vec<super::events::StreamSlot>,
    /// Media has flowed to it.
    was_active: bool,
    /// A layer that it asked for before its publisher was there.
    early_wish: Option<(Arc<str>, LayerWish)>,
    /// The offer of ours that it has not answered yet.
    counter_offer: Option<Arc<CounterOffer>>,
    /// Counts the session of its address.
    guard: Option<super::limits::SessionGuard>,
}

/// A session. Shared between the registry, its room and the requests about it.
#[derive(Debug)]
pub struct Session {
    id: SessionId,
    log_id: Arc<str>,
    /// Its room.
    pub room: RoomId,
    /// Its room's name.
    pub room_name: Arc<str>,
    /// Who publishes, or who is watched; `None` for a viewer of the room.
    pub identity: Option<Arc<str>>,
    /// What it does.
    pub role: SessionRole,
    /// The address of the request that made it.
    pub client: IpAddr,
    /// The mids of the answer's BUNDLE group.
    pub bundle: Vec<String>,
    /// The mids of its video sections, each with its place among the m-lines.
    video: Vec<(usize, Arc<str>)>,
    /// When it was made.
    pub created: Instant,
    key: OnceLock<SessionKey>,
    state: Mutex<State>,
    activity: watch::Sender<Activity>,
    /// Counts changes of what can be chosen and of what flows.
    layers: watch::Sender<u64>,
    /// Who is in which slot of a room's viewer, as told last.
    slots: watch::Sender<Slots>,
    /// One ICE restart, or one answer to an offer of ours, at a time.
    pub(crate) restarting: tokio::sync::Mutex<()>,
}

impl Session {
    pub(super) fn new(
        id: SessionId,
        tag: EntityTag,
        seat: &super::rooms::Seat,
        request: &mut super::open::OpenRequest,
    ) -> Self {
        let negotiated = &request.negotiated;
        Self {
            log_id: id.log_id(),
            id,
            room: seat.room,
            room_name: seat.room_name.clone(),
            identity: seat.identity.clone(),
            role: seat.role,
            client: request.client,
            bundle: std::mem::take(&mut request.bundle),
            video: negotiated
                .media
                .iter()
                .filter(|section| section.kind == MediaKind::Video)
                .map(|section| (section.index, section.mid.as_str().into()))
                .collect(),
            created: Instant::now(),
            key: OnceLock::new(),
            state: Mutex::new(State {
                ice: IceGeneration {
                    tag,
                    remote: negotiated.ice.clone(),
                    former: VecDeque::new(),
                },
                codecs: SessionCodecs::of(negotiated),
                connected: false,
                closed: None,
                streams: Vec::new(),
                was_active: false,
                early_wish: None,
                counter_offer: None,
                guard: request.guard.take(),
            }),
            activity: watch::Sender::new(Activity::Unknown),
            layers: watch::Sender::new(0),
            slots: watch::Sender::default(),
            restarting: tokio::sync::Mutex::new(()),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The public id.
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// The part of the id that logs and the API may show.
    pub fn log_id(&self) -> &Arc<str> {
        &self.log_id
    }

    /// Which way its media flows.
    pub fn direction(&self) -> Direction {
        match self.role {
            SessionRole::Publisher(_) => Direction::Publish,
            SessionRole::Viewer(_) => Direction::View,
        }
    }

    /// The worker's name for it, once it is open.
    pub fn key(&self) -> Option<SessionKey> {
        self.key.get().copied()
    }

    pub(super) fn set_key(&self, key: SessionKey) {
        // A session is opened once; a second key would be the worker's error, and the first one stays right.
        let _ = self.key.set(key);
    }

    /// The entity tag of the present ICE session.
    pub fn tag(&self) -> EntityTag {
        self.state().ice.tag.clone()
    }

    /// Reads the ICE generation.
    pub fn with_ice<T>(&self, read: impl FnOnce(&IceGeneration) -> T) -> T {
        read(&self.state().ice)
    }

    pub(super) fn restarted(&self, tag: EntityTag, remote: IceCredentials) {
        let ice = &mut self.state().ice;
        let old = std::mem::replace(&mut ice.remote, remote);
        if ice.former.len() == FORMER_GENERATIONS {
            ice.former.pop_front();
        }
        ice.former.push_back(old);
        ice.tag = tag;
    }

    /// The codecs that were agreed on and those that arrive.
    pub fn codecs(&self) -> SessionCodecs {
        self.state().codecs.clone()
    }

    pub(super) fn set_actual_codec(&self, kind: MediaKind, codec: Codec) {
        self.state().codecs.kind_mut(kind).actual = Some(codec);
    }

    /// ICE and DTLS have been up.
    pub fn connected(&self) -> bool {
        self.state().connected
    }

    pub(super) fn set_connected(&self) {
        self.state().connected = true;
    }

    /// Why it ended, once it has.
    pub fn closed(&self) -> Option<CloseReason> {
        self.state().closed
    }

    /// Marks it as ended; false when it was already.
    pub(super) fn set_closed(&self, reason: CloseReason) -> bool {
        let mut state = self.state();
        if state.closed.is_some() {
            return false;
        }
        state.closed = Some(reason);
        state.streams.clear();
        state.guard = None;
        drop(state);
        self.set_activity(Activity::Closed);
        true
    }

    pub(super) fn set_activity(&self, activity: Activity) {
        if activity == Activity::Active {
            self.state().was_active = true;
        }
        self.activity.send_if_modified(|now| {
            let changed = *now != activity && *now != Activity::Closed;
            if changed {
                *now = activity;
            }
            changed
        });
    }

    /// What a viewer receives, and its changes.
    pub fn activity(&self) -> watch::Receiver<Activity> {
        self.activity.subscribe()
    }

    /// Media has flowed to this viewer.
    pub fn was_active(&self) -> bool {
        self.state().was_active
    }

    /// Counts changes of a viewer's layers.
    pub fn layers(&self) -> watch::Receiver<u64> {
        self.layers.subscribe()
    }

    pub(super) fn layers_changed(&self) {
        self.layers.send_modify(|count| *count += 1);
    }

    /// The mids of its video sections.
    pub fn video_mids(&self) -> impl Iterator<Item = &str> {
        self.video.iter().map(|(_, mid)| &**mid)
    }

    /// The mid of a video section by its mid or by its place among the m-lines;
    /// without either, that of the first.
    pub fn video_mid(&self, id: Option<&str>) -> Option<Arc<str>> {
        let Some(id) = id else {
            return self.video.first().map(|(_, mid)| mid.clone());
        };
        let by_mid = self.video.iter().find(|(_, mid)| **mid == *id);
        let by_place = || {
            let place: usize = id.parse().ok()?;
            self.video.iter().find(|(at, _)| *at == place)
        };
        by_mid.or_else(by_place).map(|(_, mid)| mid.clone())
    }

    /// Keeps a wish until the publisher comes.
    pub fn wish_early(&self, mid: Arc<str>, wish: LayerWish) {
        self.state().early_wish = Some((mid, wish));
    }

    pub(super) fn take_early_wish(&self) -> Option<(Arc<str>, LayerWish)> {
        self.state().early_wish.take()
    }

    pub(super) fn set_slots(&self, slots: Slots) {
        self.slots.send_replace(slots);
    }

    /// Who is in which slot, and its changes.
    pub fn slots(&self) -> watch::Receiver<Slots> {
        self.slots.subscribe()
    }

    /// The offer of ours that it has not answered yet.
    pub fn counter_offer(&self) -> Option<Arc<CounterOffer>> {
        self.state().counter_offer.clone()
    }

    pub(super) fn set_counter_offer(&self, offer: Option<Arc<CounterOffer>>) {
        self.state().counter_offer = offer;
    }

    /// The peer answered our offer.
    pub(super) fn answered(&self, remote: IceCredentials, codecs: SessionCodecs) {
        let mut state = self.state();
        state.counter_offer = None;
        state.ice.remote = remote;
        state.codecs = codecs;
    }

    /// Works on the session's event streams.
    pub(super) fn with_streams<T>(
        &self,
        work: impl FnOnce(&mut Vec<super::events::StreamSlot>) -> T,
    ) -> T {
        work(&mut self.state().streams)
    }
}
