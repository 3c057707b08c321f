//! What the API shows of rooms: the registry joined with the workers' snapshots.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::messages::{EncodingSnapshot, PublisherSnapshot, TrackSnapshot, ViewerSnapshot};
use super::session::{Session, SessionCodecs};
use super::{Control, rooms::RoomRow};
use crate::room::doctor::{Finding, diagnose};
use crate::units::{MediaKind, ParticipantId, SessionKey};

/// How old the numbers may be: many who ask at once cost one snapshot.
const MAX_AGE: Duration = Duration::from_millis(500);

/// `GET /api/rooms`.
#[derive(Debug, Clone, Serialize)]
pub struct Overview {
    /// Rooms with somebody in them, by name.
    pub rooms: Vec<RoomView>,
}

/// A room.
#[derive(Debug, Clone, Serialize)]
pub struct RoomView {
    /// Its name.
    pub name: String,
    /// Who publishes, in order of arrival.
    pub participants: Vec<ParticipantView>,
    /// How many watch it.
    pub viewers: usize,
    /// What goes out to each viewer, where that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub viewing: Option<Vec<ViewerView>>,
}

/// A publishing participant.
#[derive(Debug, Clone, Serialize)]
pub struct ParticipantView {
    /// Who it is.
    pub identity: String,
    /// Its tracks.
    pub tracks: Vec<TrackView>,
    /// The session, as logs name it.
    pub session: String,
    /// ICE and DTLS are up.
    pub connected: bool,
    /// Seconds since the session was made.
    pub seconds: u64,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// How many watch this participant now.
    pub viewers: usize,
    /// What is wrong with what it sends, the worst first.
    pub findings: Vec<Finding>,
}

/// A track.
#[derive(Debug, Clone, Serialize)]
pub struct TrackView {
    /// `audio` or `video`.
    pub kind: &'static str,
    /// The codec that arrives; the first negotiated one before media came.
    pub codec: &'static str,
    /// Media has come.
    pub receiving: bool,
    /// All its encodings together, bits per second.
    pub bitrate: u64,
    /// One row an encoding.
    pub encodings: Vec<EncodingView>,
}

/// An encoding: a simulcast layer, or the whole track.
#[derive(Debug, Clone, Serialize)]
pub struct EncodingView {
    /// The layer's name, with simulcast.
    pub rid: Option<String>,
    /// Its SSRC, once seen.
    pub ssrc: Option<u32>,
    /// Packets arrived lately.
    pub active: bool,
    /// Bits per second.
    pub bitrate: u64,
    /// Picture width in pixels.
    pub width: Option<u16>,
    /// Picture height in pixels.
    pub height: Option<u16>,
    /// Pictures per second.
    pub frame_rate: f64,
    /// Packets arrived.
    pub packets: u64,
    /// Packets that never arrived.
    pub lost: u64,
    /// Lost share over the last seconds, 0 to 1.
    pub loss: f64,
    /// Time between the two newest keyframes in milliseconds.
    pub keyframe_interval_ms: Option<f64>,
}

/// A viewer.
#[derive(Debug, Clone, Serialize)]
pub struct ViewerView {
    /// The session, as logs name it.
    pub session: String,
    /// Whom it watches now.
    pub watching: Option<String>,
    /// Its sections and whom they show.
    pub slots: Vec<SlotView>,
    /// ICE and DTLS are up.
    pub connected: bool,
    /// Bits per second that go out to it.
    pub bitrate: u64,
    /// Bits per second that its path carries, by its own feedback; absent while
    /// no limit is known.
    pub estimate: Option<u64>,
    /// Lost share that its reports tell, 0 to 1.
    pub loss: f64,
    /// Round trip in milliseconds.
    pub rtt_ms: Option<f64>,
    /// Packets sent.
    pub packets: u64,
}

/// A viewer's section.
#[derive(Debug, Clone, Serialize)]
pub struct SlotView {
    /// `a=mid`.
    pub mid: String,
    /// `audio` or `video`.
    pub kind: &'static str,
    /// Whom it shows now.
    pub participant: Option<String>,
}

/// How much of it all is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Scope<'a> {
    /// Only the room of that name.
    pub room: Option<&'a str>,
    /// A row for each viewer, too. Who looks again and again, as every viewer's page does,
    /// goes without: it would cost the square of their number.
    pub viewing: bool,
}

impl Control {
    /// Rooms, participants, tracks, encodings and viewers with their numbers.
    pub async fn overview(&self, scope: Scope<'_>) -> Overview {
        let set = self.snapshots(MAX_AGE).await;
        let rows = self.0.rooms().rows(scope.room);
        let names: HashMap<_, &str> = rows.iter().map(|row| (row.id, &*row.name)).collect();
        let publishers: HashMap<SessionKey, &PublisherSnapshot> = set
            .workers
            .iter()
            .flat_map(|(_, worker)| &worker.publishers)
            .filter(|row| names.contains_key(&row.room))
            .map(|row| (row.key, row))
            .collect();
        let mut viewers: HashMap<&str, Vec<(std::sync::Arc<Session>, &ViewerSnapshot)>> =
            HashMap::new();
        for row in set.workers.iter().flat_map(|(_, worker)| &worker.viewers) {
            let Some(name) = names.get(&row.room) else {
                continue;
            };
            // What has left the registry since the snapshot is not shown any more.
            let session = self.0.by_key.get(&row.key).map(|e| e.value().clone());
            if let Some(session) = session.filter(|s| s.closed().is_none()) {
                viewers.entry(name).or_default().push((session, row));
            }
        }
        let rooms = rows
            .iter()
            .map(|row| {
                let viewing = viewers.remove(&*row.name).unwrap_or_default();
                room_view(row, &publishers, &viewing, scope.viewing)
            })
            .collect();
        Overview { rooms }
    }
}

fn room_view(
    row: &RoomRow,
    publishers: &HashMap<SessionKey, &PublisherSnapshot>,
    viewing: &[(std::sync::Arc<Session>, &ViewerSnapshot)],
    show_viewing: bool,
) -> RoomView {
    let participant_of = |session: &Session| match session.role {
        super::messages::SessionRole::Publisher(id) => Some(id),
        super::messages::SessionRole::Viewer(_) => None,
    };
    let identities: HashMap<ParticipantId, &str> = row
        .publishers
        .iter()
        .filter_map(|(identity, session)| Some((participant_of(session)?, &**identity)))
        .collect();
    let name = |id: Option<ParticipantId>| identities.get(&id?).map(ToString::to_string);
    let mut watched: HashMap<ParticipantId, usize> = HashMap::new();
    for id in viewing.iter().filter_map(|(_, row)| row.watching) {
        *watched.entry(id).or_default() += 1;
    }
    RoomView {
        name: row.name.to_string(),
        viewers: row.viewers,
        participants: row
            .publishers
            .iter()
            .map(|(identity, session)| {
                let numbers = session.key().and_then(|key| publishers.get(&key)).copied();
                ParticipantView {
                    identity: identity.to_string(),
                    tracks: match numbers {
                        Some(numbers) => numbers.tracks.iter().map(track_view).collect(),
                        None => negotiated_tracks(&session.codecs()),
                    },
                    session: session.log_id().to_string(),
                    connected: session.connected(),
                    seconds: session.created.elapsed().as_secs(),
                    rtt_ms: numbers.and_then(|n| n.rtt).map(millis),
                    viewers: participant_of(session)
                        .and_then(|id| watched.get(&id).copied())
                        .unwrap_or(0),
                    findings: numbers.map_or_else(Vec::new, |n| diagnose(&n.tracks)),
                }
            })
            .collect(),
        viewing: show_viewing.then(|| viewing_rows(viewing, name)),
    }
}

/// A row for each viewer; `name` says who has which number.
fn viewing_rows(
    viewing: &[(std::sync::Arc<Session>, &ViewerSnapshot)],
    name: impl Fn(Option<ParticipantId>) -> Option<String>,
) -> Vec<ViewerView> {
    viewing
        .iter()
        .map(|(session, row)| ViewerView {
            session: session.log_id().to_string(),
            watching: name(row.watching),
            slots: row
                .slots
                .iter()
                .map(|slot| SlotView {
                    mid: slot.mid.to_string(),
                    kind: slot.kind.as_str(),
                    participant: name(slot.participant),
                })
                .collect(),
            connected: row.connected,
            bitrate: row.bitrate.0,
            estimate: row.estimate.map(|rate| rate.0),
            loss: rounded(row.loss),
            rtt_ms: row.rtt.map(millis),
            packets: row.packets,
        })
        .collect()
}

fn track_view(track: &TrackSnapshot) -> TrackView {
    TrackView {
        kind: track.kind.as_str(),
        codec: track.codec.name(),
        receiving: track.receiving,
        bitrate: track.encodings.iter().map(|e| e.bitrate.0).sum(),
        encodings: track.encodings.iter().map(encoding_view).collect(),
    }
}

fn encoding_view(encoding: &EncodingSnapshot) -> EncodingView {
    EncodingView {
        rid: encoding.rid.clone(),
        ssrc: encoding.ssrc,
        active: encoding.active,
        bitrate: encoding.bitrate.0,
        width: encoding.size.map(|(width, _)| width),
        height: encoding.size.map(|(_, height)| height),
        frame_rate: rounded(encoding.frame_rate),
        packets: encoding.packets,
        lost: encoding.lost,
        loss: rounded(encoding.loss),
        keyframe_interval_ms: encoding.keyframe_interval.map(millis),
    }
}

/// The tracks of a publisher that is newer than the snapshot.
fn negotiated_tracks(codecs: &SessionCodecs) -> Vec<TrackView> {
    [MediaKind::Audio, MediaKind::Video]
        .into_iter()
        .filter_map(|kind| {
            let codec = codecs.kind(kind).possible().first()?;
            Some(TrackView {
                kind: kind.as_str(),
                codec: codec.name(),
                receiving: false,
                bitrate: 0,
                encodings: Vec::new(),
            })
        })
        .collect()
}

/// Milliseconds to the microsecond.
fn millis(time: Duration) -> f64 {
    time.as_micros() as f64 / 1000.0
}

/// To four decimals; what is no number becomes 0, because JSON has no word for it.
fn rounded(value: f32) -> f64 {
    let value = f64::from(value);
    if value.is_finite() {
        (value * 10_000.0).round() / 10_000.0
    } else {
        0.0
    }
}
