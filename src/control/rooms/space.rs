//! Whether there is space for a newcomer: the limits on rooms, participants and viewers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::room::{Participant, Room};
use super::{RoomSettings, Rooms, Want};
use crate::control::error::ControlError;
use crate::units::RoomId;

impl Rooms {
    /// The room of that name, made when it is new, with space for the newcomer.
    pub(super) fn room_for(
        &mut self,
        name: &str,
        want: &Want<'_>,
        may_create: bool,
        now: Instant,
    ) -> Result<RoomId, ControlError> {
        if let Some(id) = self.names.get(name) {
            let id = *id;
            let room = self.rooms.get_mut(&id).ok_or(ControlError::Setup)?;
            room.make_space(want, &self.settings)?;
            return Ok(id);
        }
        if !may_create {
            return Err(ControlError::NoSuchRoom);
        }
        if self.rooms.len() >= self.settings.max_rooms {
            self.forget_all_vacant();
            if self.rooms.len() >= self.settings.max_rooms {
                return Err(ControlError::Limit(format!(
                    "there are {} rooms, which is the limit (limits.rooms)",
                    self.settings.max_rooms
                )));
            }
        }
        let id = RoomId(self.next_room);
        self.next_room += 1;
        let name: Arc<str> = name.into();
        self.names.insert(name.clone(), id);
        self.rooms.insert(
            id,
            Room {
                name,
                participants: HashMap::new(),
                viewers: watch::Sender::new(0),
                pending: 0,
                pending_viewers: 0,
                members: BTreeMap::new(),
                idle_since: Some(now),
            },
        );
        Ok(id)
    }

    fn forget_all_vacant(&mut self) {
        let names = &mut self.names;
        self.rooms.retain(|_, room| {
            let keep = !room.vacant();
            if !keep {
                names.remove(&room.name);
            }
            keep
        });
    }
}

impl Room {
    /// Makes space for a newcomer by forgetting whom nobody misses.
    fn make_space(&mut self, want: &Want<'_>, settings: &RoomSettings) -> Result<(), ControlError> {
        let max = settings.max_participants;
        // Publishing and awaited participants don't count against each other: who may only
        // watch, and waits for names that nobody has, must not keep publishers out.
        let (identity, publishes) = match want {
            Want::Publish(identity) => (*identity, true),
            Want::ViewParticipant(identity) => (*identity, false),
            Want::ViewRoom => ("", false),
        };
        let known = self.participants.get(identity);
        let is_new = match want {
            Want::Publish(_) => !known.is_some_and(Participant::publishes),
            Want::ViewParticipant(_) => known.is_none(),
            Want::ViewRoom => false,
        };
        if is_new && self.participants.len() >= max {
            self.participants
                .retain(|name, p| !p.vacant() || **name == *identity);
            let alike = self.participants.values();
            let alike = alike.filter(|p| !p.vacant() && p.publishes() == publishes);
            if alike.count() >= max {
                let what = match publishes {
                    true => "participants",
                    false => "participants that viewers wait for",
                };
                return Err(ControlError::Limit(format!(
                    "the room has {max} {what}, which is the limit (limits.participants_per_room)"
                )));
            }
        }
        let viewers = *self.viewers.borrow() + self.pending_viewers;
        if !publishes && viewers >= settings.max_viewers {
            return Err(ControlError::Limit(format!(
                "the room has {} viewers, which is the limit (limits.viewers_per_room)",
                settings.max_viewers
            )));
        }
        Ok(())
    }
}
