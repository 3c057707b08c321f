//! Layers as a viewer sees them (draft-ietf-wish-whep-events): what can be
//! chosen, what flows, and what its path carries.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::error::ControlError;
use super::messages::{
    Command, EncodingSnapshot, LayerSnapshot, LayerWish, PublisherSnapshot, SlotSnapshot,
    TrackSnapshot, ViewerSnapshot,
};
use super::session::Session;
use super::{Control, open_key};
use crate::units::MediaKind;

/// One layer of the `layers` event.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerView {
    /// The simulcast encoding; left out without simulcast.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rid: Option<String>,
    /// The same by its older name, which some players look for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoding_id: Option<String>,
    /// Spatial layer, from 0.
    pub spatial_layer_id: u8,
    /// Temporal layer, from 0.
    pub temporal_layer_id: u8,
    /// Bits per second, the layers below counted in; 0 while it does not come.
    pub bitrate: u64,
    /// Bits per second that this viewer was given for it; on what flows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_bitrate: Option<u64>,
    /// Picture width in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<u16>,
    /// Picture height in pixels.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
    /// Pictures per second; a field of our own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frame_rate: Option<u32>,
    /// It flows to this viewer; a field of our own.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub selected: bool,
}

/// The data of a `layers` event: by mid, the best layer first.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct LayersView(pub BTreeMap<String, Vec<LayerView>>);

impl LayersView {
    /// True when more than bitrates and frame rates differ.
    pub fn differs(&self, other: &Self) -> bool {
        let shape = |l: &LayerView| {
            let size = (l.width, l.height);
            let ids = (l.rid.clone(), l.spatial_layer_id, l.temporal_layer_id);
            (ids, size, l.bitrate == 0, l.selected)
        };
        self.0.len() != other.0.len()
            || self.0.iter().any(|(mid, mine)| {
                other
                    .0
                    .get(mid)
                    .is_none_or(|theirs| !mine.iter().map(shape).eq(theirs.iter().map(shape)))
            })
    }
}

/// The data of a `quality` event, an event of our own.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct QualityView {
    /// Bits per second that the viewer's path carries; null while no limit is known.
    pub estimate: Option<u64>,
    /// Bits per second that go out to it.
    pub bitrate: u64,
    /// By mid, what flows.
    pub slots: BTreeMap<String, SlotView>,
}

impl QualityView {
    /// True when more than bitrates differ.
    pub fn differs(&self, other: &Self) -> bool {
        let shape = |(mid, slot): (&String, &SlotView)| {
            let target_bitrate = None;
            (
                mid.clone(),
                SlotView {
                    target_bitrate,
                    ..slot.clone()
                },
            )
        };
        !self
            .slots
            .iter()
            .map(shape)
            .eq(other.slots.iter().map(shape))
    }
}

/// What flows in one video slot.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SlotView {
    /// The simulcast encoding.
    pub rid: Option<String>,
    /// The spatial layer; null while nothing flows.
    pub spatial_layer_id: Option<u8>,
    /// The temporal layer; null while nothing flows.
    pub temporal_layer_id: Option<u8>,
    /// Picture width in pixels.
    pub width: Option<u16>,
    /// Picture height in pixels.
    pub height: Option<u16>,
    /// Bits per second of the chosen layer.
    pub target_bitrate: Option<u64>,
    /// The server chooses: the viewer named no layer.
    pub automatic: bool,
}

/// What a viewer is told of its layers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ViewerReport {
    /// The `layers` event.
    pub layers: LayersView,
    /// The `quality` event.
    pub quality: QualityView,
}

/// The report of a viewer; `publisher` is asked for who is shown in a slot.
fn report<'p>(
    viewer: &ViewerSnapshot,
    publisher: impl Fn(&SlotSnapshot) -> Option<&'p PublisherSnapshot>,
) -> ViewerReport {
    let mut report = ViewerReport::default();
    report.quality.estimate = viewer.estimate.map(|e| e.0);
    report.quality.bitrate = viewer.bitrate.0;
    for slot in viewer.slots.iter().filter(|s| s.kind == MediaKind::Video) {
        let track =
            publisher(slot).and_then(|p| p.tracks.iter().find(|t| t.kind == MediaKind::Video));
        let layers = track.map(|track| layers(track, slot)).unwrap_or_default();
        report.layers.0.insert(slot.mid.to_string(), layers);
        let wish = &slot.wish;
        report.quality.slots.insert(
            slot.mid.to_string(),
            SlotView {
                rid: slot.rid.clone(),
                spatial_layer_id: slot.spatial,
                temporal_layer_id: slot.temporal,
                width: slot.size.map(|(width, _)| width),
                height: slot.size.map(|(_, height)| height),
                target_bitrate: slot.target_bitrate.map(|b| b.0),
                automatic: wish.rid.is_none() && wish.spatial.is_none() && wish.temporal.is_none(),
            },
        );
    }
    report
}

/// All layers of a track, the best first.
fn layers(track: &TrackSnapshot, slot: &SlotSnapshot) -> Vec<LayerView> {
    let mut encodings: Vec<&EncodingSnapshot> = track.encodings.iter().collect();
    let pixels = |size: Option<(u16, u16)>| size.map_or(0, |(w, h)| u32::from(w) * u32::from(h));
    encodings.sort_by_key(|e| std::cmp::Reverse((pixels(e.size), e.bitrate.0)));
    let view = |encoding: &EncodingSnapshot, layer: &LayerSnapshot| {
        let selected = slot.spatial == Some(layer.spatial)
            && slot.temporal == Some(layer.temporal)
            && slot.rid == encoding.rid;
        let size = layer.size.or(encoding.size);
        let pace = layer.frame_rate.round();
        LayerView {
            rid: encoding.rid.clone(),
            encoding_id: encoding.rid.clone(),
            spatial_layer_id: layer.spatial,
            temporal_layer_id: layer.temporal,
            bitrate: if encoding.active { layer.bitrate.0 } else { 0 },
            target_bitrate: slot.target_bitrate.filter(|_| selected).map(|b| b.0),
            width: size.map(|(width, _)| width),
            height: size.map(|(_, height)| height),
            frame_rate: (encoding.active && pace >= 1.0).then_some(pace as u32),
            selected,
        }
    };
    encodings
        .into_iter()
        .flat_map(|e| e.layers.iter().rev().map(move |layer| view(e, layer)))
        .collect()
}

impl Control {
    /// What a viewer is told of its layers, not older than `since`; `None`
    /// while its worker does not know it or does not answer.
    pub async fn viewer_report(&self, session: &Session, since: Instant) -> Option<ViewerReport> {
        let key = session.key()?;
        let set = self.snapshots_since(since).await;
        let viewer = set.viewer(key)?;
        Some(report(viewer, |slot| {
            set.publisher(session.room, slot.participant?)
        }))
    }

    /// Chooses layers for a viewer's section. A wish for what is not there
    /// changes nothing.
    pub async fn choose_layers(
        &self,
        session: &Session,
        mid: Arc<str>,
        wish: LayerWish,
    ) -> Result<(), ControlError> {
        let key = open_key(session)?;
        self.ask(key, |request| Command::ChooseLayers {
            request,
            key,
            mid,
            wish,
        })
        .await
    }

    /// Tries again to give a viewer the layer that it asked for when there was
    /// no publisher yet. One that does not exist then is given up.
    pub(super) fn grant_early_wish(&self, session: &Arc<Session>) {
        let Some((mid, wish)) = session.take_early_wish() else {
            return;
        };
        let (control, session) = (self.clone(), session.clone());
        tokio::spawn(async move {
            let outcome = control.choose_layers(&session, mid, wish).await;
            tracing::debug!(session = %session.log_id(), ?outcome, "layers chosen late");
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Codec;
    use crate::control::messages::TrackRepair;
    use crate::units::{Bitrate, ParticipantId, RoomId, SessionKey, WorkerId};

    fn encoding(rid: Option<&str>, size: (u16, u16), layers: &[(u8, u8, u64)]) -> EncodingSnapshot {
        EncodingSnapshot {
            rid: rid.map(str::to_owned),
            active: true,
            bitrate: Bitrate(layers.iter().map(|l| l.2).max().unwrap_or(0)),
            size: Some(size),
            layers: layers
                .iter()
                .map(|&(spatial, temporal, bitrate)| LayerSnapshot {
                    spatial,
                    temporal,
                    bitrate: Bitrate(bitrate),
                    size: Some(size),
                    frame_rate: 29.7,
                })
                .collect(),
            ..EncodingSnapshot::default()
        }
    }

    const KEY: SessionKey = SessionKey {
        worker: WorkerId(0),
        slot: 1,
        generation: 0,
    };

    fn publisher(encodings: Vec<EncodingSnapshot>) -> PublisherSnapshot {
        PublisherSnapshot {
            key: KEY,
            room: RoomId(1),
            participant: ParticipantId(1),
            connected: true,
            rtt: None,
            tracks: vec![TrackSnapshot {
                kind: MediaKind::Video,
                codec: Codec::Vp8,
                receiving: true,
                repair: TrackRepair::default(),
                encodings,
            }],
        }
    }

    fn viewer(rid: Option<&str>, flows: Option<(u8, u8)>, wish: LayerWish) -> ViewerSnapshot {
        let slot = |mid: &str, kind| SlotSnapshot {
            mid: mid.into(),
            kind,
            participant: Some(ParticipantId(1)),
            rid: rid.map(str::to_owned),
            spatial: flows.map(|f| f.0),
            temporal: flows.map(|f| f.1),
            target_bitrate: Some(Bitrate(900_000)),
            size: Some((640, 360)),
            wish: wish.clone(),
        };
        ViewerSnapshot {
            key: KEY,
            room: RoomId(1),
            watching: Some(ParticipantId(1)),
            connected: true,
            bitrate: Bitrate(800_000),
            loss: 0.0,
            rtt: None,
            packets: 0,
            estimate: Some(Bitrate(2_000_000)),
            slots: vec![slot("a", MediaKind::Audio), slot("1", MediaKind::Video)],
        }
    }

    #[test]
    fn the_event_has_every_layer_by_mid_the_best_first() {
        let mut dead = encoding(Some("2"), (1280, 720), &[(0, 0, 0)]);
        dead.active = false;
        let publisher = publisher(vec![
            encoding(Some("0"), (320, 180), &[(0, 0, 100_000)]),
            dead,
            encoding(Some("1"), (640, 360), &[(0, 0, 300_000), (0, 1, 500_000)]),
        ]);
        let viewer = viewer(Some("1"), Some((0, 1)), LayerWish::default());
        let report = report(&viewer, |_| Some(&publisher));
        let json = serde_json::to_value(&report.layers).unwrap();
        assert_eq!(
            json,
            serde_json::json!({ "1": [
                { "rid": "2", "encodingId": "2", "spatialLayerId": 0, "temporalLayerId": 0,
                  "bitrate": 0, "width": 1280, "height": 720 },
                { "rid": "1", "encodingId": "1", "spatialLayerId": 0, "temporalLayerId": 1,
                  "bitrate": 500_000, "targetBitrate": 900_000, "width": 640, "height": 360,
                  "frameRate": 30, "selected": true },
                { "rid": "1", "encodingId": "1", "spatialLayerId": 0, "temporalLayerId": 0,
                  "bitrate": 300_000, "width": 640, "height": 360, "frameRate": 30 },
                { "rid": "0", "encodingId": "0", "spatialLayerId": 0, "temporalLayerId": 0,
                  "bitrate": 100_000, "width": 320, "height": 180, "frameRate": 30 },
            ]})
        );
        let json = serde_json::to_value(&report.quality).unwrap();
        assert_eq!(json["estimate"], 2_000_000);
        assert_eq!(json["slots"]["1"]["automatic"], true);
        assert_eq!(json["slots"]["1"]["rid"], "1");
    }

    #[test]
    fn without_simulcast_a_layer_is_named_by_its_numbers() {
        let publisher = publisher(vec![encoding(None, (640, 360), &[(0, 0, 500_000)])]);
        let viewer = viewer(None, Some((0, 0)), LayerWish::default());
        let report = report(&viewer, |_| Some(&publisher));
        let json = serde_json::to_value(&report.layers).unwrap();
        assert_eq!(json["1"][0].get("rid"), None);
        assert_eq!(json["1"][0]["spatialLayerId"], 0);
        assert_eq!(json["1"][0]["selected"], true);
    }

    #[test]
    fn a_viewer_without_publisher_has_its_section_and_no_layer() {
        let wish = LayerWish {
            rid: Some("h".into()),
            ..LayerWish::default()
        };
        let report = report(&viewer(None, None, wish), |_| None);
        let json = serde_json::to_value(&report.layers).unwrap();
        assert_eq!(json, serde_json::json!({ "1": [] }));
        assert!(!report.quality.slots["1"].automatic);
    }

    #[test]
    fn only_rates_that_move_are_no_other_layers() {
        let first = publisher(vec![encoding(Some("0"), (320, 180), &[(0, 0, 100_000)])]);
        let second = publisher(vec![encoding(Some("0"), (320, 180), &[(0, 0, 120_000)])]);
        let larger = publisher(vec![encoding(Some("0"), (640, 360), &[(0, 0, 120_000)])]);
        let of = |p: &PublisherSnapshot| {
            report(
                &viewer(Some("0"), Some((0, 0)), LayerWish::default()),
                |_| Some(p),
            )
        };
        assert!(!of(&first).layers.differs(&of(&second).layers));
        assert!(of(&first).layers.differs(&of(&larger).layers));
        assert!(!of(&first).quality.differs(&of(&second).quality));
        let elsewhere = report(&viewer(Some("0"), None, LayerWish::default()), |_| None);
        assert!(of(&first).layers.differs(&elsewhere.layers));
        assert!(of(&first).quality.differs(&elsewhere.quality));
    }
}
