//! Rooms as a table.

use super::*;

fn table(max_rooms: usize) -> Rooms {
    Rooms::new(RoomSettings {
        max_rooms,
        max_participants: 2,
        ..RoomSettings::default()
    })
}

#[test]
fn empty_rooms_are_forgotten_after_their_time_and_keep_their_number_until_then() {
    let mut rooms = table(10);
    let start = Instant::now();
    let timeout = RoomSettings::default().empty_timeout;
    let first = rooms.join("r", Want::ViewRoom, true, start).unwrap().seat;
    rooms.release(&first, start);
    rooms.sweep(start + timeout / 2);
    let second = rooms
        .join("r", Want::ViewRoom, true, start + timeout / 2)
        .unwrap()
        .seat;
    assert_eq!(first.room, second.room);
    // Somebody is there: the first due date passes without effect.
    rooms.sweep(start + timeout * 2);
    assert_eq!(rooms.len(), 1);
    rooms.release(&second, start + timeout * 2);
    rooms.sweep(start + timeout * 2 + timeout / 2);
    assert_eq!(rooms.len(), 1);
    rooms.sweep(start + timeout * 3);
    assert_eq!(rooms.len(), 0);
    let third = rooms
        .join("r", Want::ViewRoom, true, start + timeout * 3)
        .unwrap()
        .seat;
    assert_ne!(third.room, first.room, "room numbers are never reused");
}

#[test]
fn the_limit_on_rooms_counts_only_rooms_in_use() {
    let mut rooms = table(2);
    let now = Instant::now();
    let a = rooms.join("a", Want::ViewRoom, true, now).unwrap().seat;
    let _b = rooms.join("b", Want::ViewRoom, true, now).unwrap().seat;
    assert!(matches!(
        rooms.join("c", Want::ViewRoom, true, now),
        Err(ControlError::Limit(_))
    ));
    rooms.release(&a, now);
    assert!(rooms.join("c", Want::ViewRoom, true, now).is_ok());
    assert_eq!(rooms.len(), 2);
}

#[test]
fn the_limit_on_participants_counts_those_who_publish() {
    let mut rooms = table(2);
    let now = Instant::now();
    let mut publish = |identity| rooms.join("r", Want::Publish(identity), true, now);
    let a = publish("a").unwrap().seat;
    publish("b").unwrap();
    assert!(matches!(publish("c"), Err(ControlError::Limit(_))));
    // Taking over adds nobody.
    assert!(publish("b").is_ok());
    assert!(rooms.join("r", Want::ViewRoom, true, now).is_ok());
    rooms.release(&a, now);
    assert!(rooms.join("r", Want::Publish("c"), true, now).is_ok());
}

#[test]
fn viewers_who_wait_for_strangers_are_bounded_and_keep_no_publisher_out() {
    let mut rooms = table(2);
    let now = Instant::now();
    let mut view = |identity| rooms.join("r", Want::ViewParticipant(identity), true, now);
    let x = view("x").unwrap().seat;
    view("y").unwrap();
    assert!(matches!(view("z"), Err(ControlError::Limit(_))));
    assert!(view("y").is_ok());
    for identity in ["a", "b"] {
        let joined = rooms.join("r", Want::Publish(identity), true, now);
        assert!(joined.is_ok(), "{identity}");
    }
    // Who is awaited counts as soon as it comes.
    assert!(rooms.join("r", Want::Publish("x"), true, now).is_err());
    assert!(
        rooms
            .join("r", Want::ViewParticipant("a"), true, now)
            .is_ok()
    );
    rooms.release(&x, now);
    assert!(
        rooms
            .join("r", Want::ViewParticipant("z"), true, now)
            .is_ok()
    );
}

#[test]
fn an_awaited_participant_gets_the_same_number_when_it_comes() {
    let mut rooms = table(2);
    let now = Instant::now();
    let viewer = rooms
        .join("r", Want::ViewParticipant("a"), true, now)
        .unwrap();
    assert!(viewer.publisher.is_none());
    let publisher = rooms.join("r", Want::Publish("a"), true, now).unwrap();
    let SessionRole::Publisher(id) = publisher.seat.role else {
        panic!("not a publisher");
    };
    assert_eq!(
        viewer.seat.role,
        SessionRole::Viewer(ViewTarget::Participant(id))
    );
}

#[test]
fn without_the_right_nobody_makes_a_room() {
    let mut rooms = Rooms::new(RoomSettings {
        auto_create: false,
        ..RoomSettings::default()
    });
    let now = Instant::now();
    assert!(matches!(
        rooms.join("r", Want::Publish("a"), false, now),
        Err(ControlError::NoSuchRoom)
    ));
    assert!(rooms.join("r", Want::Publish("a"), true, now).is_ok());
    assert!(rooms.join("r", Want::ViewRoom, false, now).is_ok());
}

#[test]
fn the_limit_on_viewers_counts_those_who_are_about_to_come() {
    let mut rooms = Rooms::new(RoomSettings {
        max_viewers: 2,
        ..RoomSettings::default()
    });
    let now = Instant::now();
    let first = rooms.join("r", Want::ViewRoom, true, now).unwrap().seat;
    let _second = rooms
        .join("r", Want::ViewParticipant("a"), true, now)
        .unwrap();
    assert!(matches!(
        rooms.join("r", Want::ViewRoom, true, now),
        Err(ControlError::Limit(_))
    ));
    assert!(rooms.join("r", Want::Publish("a"), true, now).is_ok());
    rooms.release(&first, now);
    assert!(rooms.join("r", Want::ViewRoom, true, now).is_ok());
    assert!(rooms.join("r", Want::ViewRoom, true, now).is_err());
}
