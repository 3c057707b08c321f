//! The control plane over fake workers.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use super::events::EventSet;
use super::messages::{CloseReason, Command, Event, InactiveReason, Refusal, SessionRole};
use super::testing::{ALL, FakeWorker, Mood, control_with, negotiated};
use super::*;
use crate::codec::Codec;
use crate::peer::negotiate::Direction;
use crate::units::MediaKind;

const VP8: &[Codec] = &[Codec::Vp8];
const OPUS: &[Codec] = &[Codec::Opus];

fn publish(room: &str, identity: &str, sections: &[&[Codec]]) -> OpenRequest {
    OpenRequest {
        room: room.into(),
        join: Join::Publish(identity.into()),
        caller: None,
        may_create: true,
        negotiated: negotiated(Direction::Publish, sections),
        bundle: Vec::new(),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        guard: None,
    }
}

fn view(room: &str, identity: Option<&str>, sections: &[&[Codec]]) -> OpenRequest {
    OpenRequest {
        room: room.into(),
        join: Join::View(identity.map(Into::into)),
        caller: None,
        may_create: true,
        negotiated: negotiated(Direction::View, sections),
        bundle: Vec::new(),
        client: IpAddr::V4(Ipv4Addr::LOCALHOST),
        guard: None,
    }
}

/// Waits until the pump has applied what was said.
async fn until(what: impl Fn() -> bool) {
    for _ in 0..1000 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("it did not happen");
}

fn closes(worker: &FakeWorker) -> Vec<(SessionKey, CloseReason)> {
    let log = worker.log();
    log.iter()
        .filter_map(|command| match command {
            Command::Close { key, reason } => Some((*key, *reason)),
            _ => None,
        })
        .collect()
}

fn control() -> (Control, Arc<FakeWorker>) {
    let (control, mut workers) = control_with(1, ControlSettings::default());
    (control, workers.remove(0))
}

#[tokio::test]
async fn a_publisher_opens_and_closes() {
    let (control, worker) = control();
    let opened = control.open(publish("r", "a", &[OPUS, VP8])).await.unwrap();
    assert_eq!(opened.local.ice.ufrag, "server0");
    assert_eq!(control.session_count(), 1);
    let found = control.session(opened.session.id()).unwrap();
    assert!(Arc::ptr_eq(&found, &opened.session));

    control.close(&opened.session, CloseReason::Deleted);
    until(|| control.session_count() == 0).await;
    assert_eq!(worker.open_sessions(), 0);
    // The id is remembered for late DELETEs.
    let found = control.session(opened.session.id()).unwrap();
    assert_eq!(found.closed(), Some(CloseReason::Deleted));
}

#[tokio::test]
async fn a_take_over_closes_the_old_publisher_and_keeps_participant_and_viewers() {
    let (control, worker) = control();
    let old = control.open(publish("r", "a", &[VP8])).await.unwrap();
    let viewer = control.open(view("r", Some("a"), &[VP8])).await.unwrap();
    let new = control.open(publish("r", "a", &[VP8])).await.unwrap();
    assert_eq!(old.session.role, new.session.role);
    until(|| closes(&worker).len() == 1).await;
    assert_eq!(
        closes(&worker),
        [(old.session.key().unwrap(), CloseReason::TakenOver)]
    );
    until(|| control.session_count() == 2).await;
    assert_eq!(old.session.closed(), Some(CloseReason::TakenOver));
    assert_eq!(viewer.session.closed(), None);
    let overview = control.overview(ALL).await;
    assert_eq!(overview.rooms[0].participants.len(), 1);
    assert_eq!(overview.rooms[0].viewers, 1);
    assert_eq!(
        overview.rooms[0].participants[0].session,
        new.session.log_id().to_string()
    );
}

#[tokio::test]
async fn a_failed_take_over_changes_nothing() {
    let (control, worker) = control();
    let old = control.open(publish("r", "a", &[VP8])).await.unwrap();
    for mood in [
        Mood::Refusing(Refusal::Full),
        Mood::Refusing(Refusal::Setup),
        Mood::Full,
    ] {
        worker.set_mood(mood);
        assert!(control.open(publish("r", "a", &[VP8])).await.is_err());
    }
    worker.set_mood(Mood::Willing);
    assert_eq!(old.session.closed(), None);
    assert!(closes(&worker).is_empty());
    assert_eq!(control.0.admitted.load(Ordering::Acquire), 1);
    assert_eq!(control.0.workers[0].sessions.load(Ordering::Acquire), 1);
}

#[tokio::test]
async fn a_silent_worker_means_overload_and_leaves_no_reservation() {
    let settings = ControlSettings {
        reply_timeout: Duration::from_millis(30),
        ..ControlSettings::default()
    };
    let (control, mut workers) = control_with(1, settings);
    let worker = workers.remove(0);
    worker.set_mood(Mood::Silent);
    let error = control.open(publish("r", "a", &[VP8])).await.unwrap_err();
    assert!(matches!(error, ControlError::Overloaded(_)));
    assert!(error.retry_after().is_some());
    assert_eq!(control.0.admitted.load(Ordering::Acquire), 0);
    // A session that opens after all is ended at once.
    worker.set_mood(Mood::Willing);
    let Some(Command::Open(open)) = worker.log().pop() else {
        panic!("no open command");
    };
    worker.send(Command::Open(open)).unwrap();
    until(|| closes(&worker).len() == 1).await;
    assert_eq!(control.session_count(), 0);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_no_reservation() {
    let (control, worker) = control();
    worker.set_mood(Mood::Silent);
    let task = tokio::spawn({
        let control = control.clone();
        async move { control.open(publish("r", "a", &[VP8])).await }
    });
    until(|| worker.log().len() == 1).await;
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    assert_eq!(control.0.admitted.load(Ordering::Acquire), 0);
    assert_eq!(control.0.workers[0].sessions.load(Ordering::Acquire), 0);
}

#[tokio::test]
async fn a_viewer_that_can_not_decode_the_publisher_is_told_the_codecs_of_both() {
    let (control, worker) = control();
    let both: &[Codec] = &[Codec::Vp8, Codec::H264];
    let publisher = control.open(publish("r", "a", &[both])).await.unwrap();
    // Until media came, either codec may come.
    assert!(control.open(view("r", None, &[VP8])).await.is_ok());
    worker.say(Event::TrackCodec {
        key: publisher.session.key().unwrap(),
        kind: MediaKind::Video,
        codec: Codec::H264,
    });
    until(|| publisher.session.codecs().video.actual.is_some()).await;
    let error = control.open(view("r", None, &[VP8])).await.unwrap_err();
    assert_eq!(
        error,
        ControlError::CodecMismatch {
            kind: MediaKind::Video,
            publishes: vec![Codec::H264],
            offered: vec![Codec::Vp8],
        }
    );
    // A kind that the publisher has not is no mismatch.
    assert!(control.open(view("r", None, &[OPUS])).await.is_ok());
}

#[tokio::test]
async fn viewers_wait_for_a_publisher_only_where_they_may() {
    let mut settings = ControlSettings::default();
    settings.rooms.wait_for_publisher = false;
    let (control, _workers) = control_with(1, settings);
    let none = control.open(view("r", None, &[VP8])).await.unwrap_err();
    assert_eq!(none, ControlError::NoPublisher);
    assert!(none.retry_after().is_some());
    control.open(publish("r", "a", &[VP8])).await.unwrap();
    assert!(control.open(view("r", None, &[VP8])).await.is_ok());
    assert!(control.open(view("r", Some("b"), &[VP8])).await.is_err());
}

#[tokio::test]
async fn a_dead_publisher_does_not_hold_its_name() {
    let (control, worker) = control();
    let old = control.open(publish("r", "a", &[VP8])).await.unwrap();
    worker.say(Event::Closed {
        key: old.session.key().unwrap(),
        reason: CloseReason::TimedOut,
    });
    until(|| control.session_count() == 0).await;
    assert!(control.overview(ALL).await.rooms.is_empty());
    let new = control.open(publish("r", "a", &[VP8])).await.unwrap();
    assert!(closes(&worker).is_empty());
    // Numbers are stable over a reconnect.
    assert_eq!(new.session.role, old.session.role);
    assert_eq!(new.session.room, old.session.room);
}

#[tokio::test]
async fn an_ice_restart_changes_tag_and_credentials_and_a_refused_one_does_not() {
    let (control, worker) = control();
    let opened = control.open(publish("r", "a", &[VP8])).await.unwrap();
    let session = opened.session;
    let before = session.tag();
    let new = IceCredentials {
        ufrag: "new".into(),
        pwd: "newnewnewnewnewnewnewnew".into(),
    };
    worker.set_mood(Mood::Refusing(Refusal::Setup));
    let refused = control.restart_ice(&session, new.clone()).await;
    assert_eq!(refused.unwrap_err(), ControlError::Setup);
    assert_eq!(session.tag(), before);

    worker.set_mood(Mood::Willing);
    let (local, tag) = control.restart_ice(&session, new.clone()).await.unwrap();
    assert!(local.ufrag.starts_with("again"));
    assert_ne!(tag, before);
    assert_eq!(session.tag(), tag);
    session.with_ice(|ice| {
        assert_eq!(ice.remote, new);
        assert_eq!(ice.former[0].ufrag, "client");
    });
}

#[tokio::test]
async fn viewers_stay_with_their_publisher_until_its_worker_is_loaded() {
    let mut settings = ControlSettings::default();
    settings.placement.spill_sessions = 3;
    let (control, workers) = control_with(2, settings);
    control.open(publish("x", "a", &[VP8])).await.unwrap();
    let publisher = control.open(publish("r", "a", &[VP8])).await.unwrap();
    let home = publisher.session.key().unwrap().worker;
    assert_eq!(
        home,
        WorkerId(1),
        "the second publisher takes the idle worker"
    );
    let mut placed = Vec::new();
    for _ in 0..3 {
        let viewer = control.open(view("r", None, &[VP8])).await.unwrap();
        placed.push(viewer.session.key().unwrap().worker.0);
    }
    assert_eq!(placed, [1, 1, 0]);
    assert_eq!(workers[0].open_sessions(), 2);
    // Taking over goes where the old publisher is, loaded or not.
    let again = control.open(publish("r", "a", &[VP8])).await.unwrap();
    assert_eq!(again.session.key().unwrap().worker, home);
}

#[tokio::test]
async fn limits_refuse_with_their_name_and_a_time_to_try_again() {
    let mut settings = ControlSettings {
        max_sessions: 2,
        ..ControlSettings::default()
    };
    settings.rooms.max_rooms = 1;
    let (control, _workers) = control_with(1, settings);
    let first = control.open(publish("r", "a", &[VP8])).await.unwrap();
    let rooms = control.open(publish("s", "a", &[VP8])).await.unwrap_err();
    assert!(rooms.to_string().contains("limits.rooms"), "{rooms}");
    control.open(view("r", None, &[VP8])).await.unwrap();
    let sessions = control.open(view("r", None, &[VP8])).await.unwrap_err();
    assert!(
        sessions.to_string().contains("limits.sessions"),
        "{sessions}"
    );
    assert!(sessions.retry_after().is_some());
    control.close(&first.session, CloseReason::Deleted);
    assert!(control.open(view("r", None, &[VP8])).await.is_ok());
}

#[tokio::test]
async fn shutdown_refuses_newcomers_and_ends_everybody() {
    let (control, worker) = control();
    for identity in ["a", "b", "c"] {
        control.open(publish("r", identity, &[VP8])).await.unwrap();
    }
    assert_eq!(control.shutdown(Duration::from_secs(2)).await, 0);
    assert_eq!(closes(&worker).len(), 3);
    assert!(!control.accepting());
    let refused = control.open(publish("r", "a", &[VP8])).await.unwrap_err();
    assert_eq!(refused, ControlError::ShuttingDown);
}

#[tokio::test]
async fn shutdown_is_bounded_and_tells_who_is_left() {
    let (control, worker) = control();
    control.open(publish("r", "a", &[VP8])).await.unwrap();
    worker.set_mood(Mood::Silent);
    assert_eq!(control.shutdown(Duration::from_millis(60)).await, 1);
}

#[tokio::test]
async fn a_close_that_meets_a_full_queue_is_sent_again() {
    let (control, worker) = control();
    let opened = control.open(publish("r", "a", &[VP8])).await.unwrap();
    worker.set_mood(Mood::Full);
    control.close(&opened.session, CloseReason::Deleted);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(worker.open_sessions(), 1);
    worker.set_mood(Mood::Willing);
    until(|| worker.open_sessions() == 0).await;
}

#[tokio::test]
async fn an_event_stream_tells_states_and_ends_with_its_session() {
    let (control, worker) = control();
    let opened = control.open(view("r", None, &[VP8])).await.unwrap();
    let session = opened.session;
    let mut events = EventSet::default();
    assert!(events.add("active") && events.add("viewercount"));
    let id = control.subscribe(&session, events).unwrap();
    let mut source = control.event_source(&session, &id).unwrap();
    assert_eq!(*source.viewers.borrow(), 1);
    worker.say(Event::ViewerInactive {
        key: session.key().unwrap(),
        why: InactiveReason::NoPublisher,
    });
    source.activity.changed().await.unwrap();
    assert_eq!(
        *source.activity.borrow_and_update(),
        Activity::Inactive(InactiveReason::NoPublisher)
    );
    control.open(view("r", None, &[VP8])).await.unwrap();
    source.viewers.changed().await.unwrap();
    assert_eq!(*source.viewers.borrow(), 2);
    for _ in 1..events::MAX_STREAMS {
        control.subscribe(&session, events).unwrap();
    }
    assert!(control.subscribe(&session, events).is_err());

    control.close(&session, CloseReason::Deleted);
    source.ended.cancelled().await;
    assert!(control.event_source(&session, &id).is_none());
    assert!(control.subscribe(&session, events).is_err());
}

#[tokio::test]
async fn a_viewer_of_the_room_watches_the_room() {
    let (control, _worker) = control();
    let room = control.open(view("r", None, &[VP8])).await.unwrap();
    let one = control.open(view("r", Some("a"), &[VP8])).await.unwrap();
    let publisher = control.open(publish("r", "a", &[VP8])).await.unwrap();
    use super::messages::ViewTarget;
    assert_eq!(room.session.role, SessionRole::Viewer(ViewTarget::Room));
    let SessionRole::Publisher(participant) = publisher.session.role else {
        panic!("not a publisher");
    };
    assert_eq!(
        one.session.role,
        SessionRole::Viewer(ViewTarget::Participant(participant))
    );
}

#[tokio::test]
async fn whoever_goes_before_the_answer_leaves_no_session_behind() {
    let (control, worker) = control();
    let mut opening = Box::pin(control.open(publish("r", "a", &[VP8])));
    assert!(futures_util::poll!(&mut opening).is_pending());
    // The worker has answered and the pump has told, and nobody has listened yet.
    until(|| control.session_count() == 1).await;
    drop(opening);
    until(|| control.session_count() == 0).await;
    assert_eq!(worker.open_sessions(), 0);
    assert!(control.overview(ALL).await.rooms.is_empty());
    // Its place is free once.
    assert_eq!(control.0.admitted.load(Ordering::Acquire), 0);
}
