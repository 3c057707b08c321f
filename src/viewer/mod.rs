//! A viewer: what it watches, its slots, and what goes out to it.
//!
//! For a viewer of a room, [`assign`] says whom its slots show; [`allocate`] chooses their layers
//! (both are pure functions). A [`slot`] is one section: [`select`] decides which source flows in it
//! (a state machine), [`mod@line`] where its packets go on the viewer's own line (arithmetic, with
//! [`timeline`] for timestamps), [`formats`] under which payload types.
//!
//! [`pace`] says how fast packets leave; [`catch_up`] and [`order`] what is sent, and first, where slots
//! are behind. [`repair`] holds what was asked for again. [`reception`] reads what the viewer reports
//! of its path, and [`demand`] how much its keyframe requests count.

pub mod allocate;
pub mod assign;
pub mod catch_up;
pub mod demand;
pub mod formats;
pub mod line;
pub mod order;
pub mod pace;
pub mod reception;
pub mod repair;
pub mod select;
pub mod slot;
pub mod timeline;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::control::messages::{InactiveReason, ViewTarget};
use crate::peer::congestion::{Carries, Congestion};
use crate::peer::egress::Egress;
use crate::units::{Bitrate, MediaKind, ParticipantId};
use pace::Pacer;
use repair::Repairs;
use slot::Slot;

/// A backlog begins this long after the connection: Firefox loses what comes in
/// the milliseconds between its handshake's end and the start of its receivers.
pub const FIRST_BURST: Duration = Duration::from_millis(15);

/// Sender reports of a slot are this far apart. RFC 3550 §6.2 allows 360 s divided by the rate in
/// kbit/s, less than this from 360 kbit/s on; browsers expect one a second of any stream.
pub const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A viewer whose tracks are all silent has nothing to report and nothing to choose: it is looked
/// at this rarely.
pub const SILENT_INTERVAL: Duration = Duration::from_secs(5);

/// A viewing session's media side.
#[derive(Debug)]
pub struct Viewer {
    /// What it asked to watch.
    pub target: ViewTarget,
    /// Who it is, where its token tells.
    pub identity: Option<Arc<str>>,
    /// Whom it watches; of a room, the active speaker when it shows that one.
    pub watching: Option<ParticipantId>,
    /// One a negotiated section.
    pub slots: Vec<Slot>,
    /// Its SRTP, once the handshake is over.
    pub egress: Option<Egress>,
    /// How fast packets leave to it.
    pub pacer: Pacer,
    /// What it asked to be sent again.
    pub repairs: Repairs,
    /// No backlog is sent before this.
    pub bursts_from: Option<Instant>,
    /// When what it is behind with goes on.
    pub next_burst: Option<Instant>,
    /// When the next sender reports are due, and layers chosen anew.
    pub next_report: Option<Instant>,
    /// Media flows, as last told to the control plane; `None` before either was told.
    pub told: Option<Result<(), InactiveReason>>,
    /// What went out.
    pub sent: SentStats,
    /// Lost share in the newest receiver reports, 0 to 1.
    pub loss: f32,
    /// Round trip from the newest receiver report.
    pub rtt: Option<Duration>,
    /// Packets the viewer asked for.
    pub nacked: u64,
    /// What its path carries, by its own feedback only; `None` while no limit is known.
    pub estimate: Option<Bitrate>,
    /// The estimate at which the next layer of use would be taken, all slots together;
    /// `None` when there is nothing better to take.
    pub probe_target: Option<Bitrate>,
    /// The estimate that layers were last chosen for.
    pub allocated_for: Option<Bitrate>,
    /// Makes the estimate.
    pub congestion: Box<Congestion>,
}

/// Layers are chosen anew at once when the estimate moved by more than this share, in percent;
/// else they are within a second.
const MATERIAL: u64 = 5;

impl Viewer {
    /// A viewer whose transport is not up yet.
    pub fn new(target: ViewTarget, identity: Option<Arc<str>>, slots: Vec<Slot>) -> Self {
        Self {
            target,
            identity,
            watching: None,
            slots,
            egress: None,
            pacer: Pacer::default(),
            repairs: Repairs::default(),
            bursts_from: None,
            next_burst: None,
            next_report: None,
            told: None,
            sent: SentStats::default(),
            loss: 0.0,
            rtt: None,
            nacked: 0,
            estimate: None,
            probe_target: None,
            allocated_for: None,
            congestion: Box::default(),
        }
    }

    /// The estimate has moved so far that layers have to be chosen anew.
    pub fn estimate_moved(&self) -> bool {
        match (self.allocated_for, self.estimate) {
            (Some(before), Some(now)) => {
                before.0.abs_diff(now.0).saturating_mul(100) > before.0.saturating_mul(MATERIAL)
            }
            (before, now) => before != now,
        }
    }

    /// It was told that it waits for a keyframe.
    #[inline]
    pub fn told_of_wait(&self) -> bool {
        matches!(self.told, Some(Err(InactiveReason::Keyframe { .. })))
    }

    /// What it is sent at present.
    pub fn carries(&self) -> Carries {
        let mut carries = Carries::Sound;
        for slot in self.slots.iter().filter(|s| s.kind == MediaKind::Video) {
            if slot.selection.current().is_some() {
                return Carries::Pictures;
            }
            if slot.paused || slot.selection.awaited().is_some() {
                carries = Carries::Soon;
            }
        }
        carries
    }

    /// What its path carries for each picture, at least.
    pub fn picture_budget(&self) -> Option<Bitrate> {
        let pictures = self.slots.iter().filter(|s| s.kind == MediaKind::Video);
        let pictures = pictures.count().max(1) as u64;
        self.estimate.map(|estimate| Bitrate(estimate.0 / pictures))
    }

    /// The slot of the section `mid`.
    pub fn slot_by_mid(&mut self, mid: &str) -> Option<&mut Slot> {
        self.slots.iter_mut().find(|s| *s.mid == *mid)
    }

    /// The index of the slot that sends with `ssrc`, media or RTX.
    pub fn slot_index(&self, ssrc: u32) -> Option<u8> {
        let is_its = |s: &Slot| s.ssrcs.ssrc == ssrc || s.ssrcs.rtx == Some(ssrc);
        u8::try_from(self.slots.iter().position(is_its)?).ok()
    }

    /// The slot that sends with `ssrc`, media or RTX.
    pub fn slot_by_ssrc(&mut self, ssrc: u32) -> Option<&mut Slot> {
        self.slots
            .iter_mut()
            .find(|s| s.ssrcs.ssrc == ssrc || s.ssrcs.rtx == Some(ssrc))
    }
}

/// Packets and bytes to one viewer.
#[derive(Debug, Default)]
pub struct SentStats {
    /// Packets sent, repairs included.
    pub packets: u64,
    /// Bytes on the wire.
    pub bytes: u64,
    window: Option<(Instant, u64)>,
    bitrate: Bitrate,
}

impl SentStats {
    /// Counts a packet.
    #[inline]
    pub fn count(&mut self, size: usize) {
        self.packets += 1;
        self.bytes += size as u64;
    }

    /// Ends a measuring window; called about once a second.
    pub fn roll(&mut self, now: Instant) {
        if let Some((at, bytes)) = self.window {
            let micros = now.saturating_duration_since(at).as_micros();
            self.bitrate = Bitrate::from_bytes(
                self.bytes - bytes,
                u64::try_from(micros).unwrap_or(u64::MAX),
            );
        }
        self.window = Some((now, self.bytes));
    }

    /// The rate over the last window.
    pub fn bitrate(&self) -> Bitrate {
        self.bitrate
    }
}
