//! A worker: an OS thread that owns its sockets, sessions, tracks and timers.

pub mod timers;

pub use timers::Timers;
