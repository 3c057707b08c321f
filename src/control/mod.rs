//! The control plane: sessions, placement, rooms, commands and events (the slow path).

pub mod messages;
