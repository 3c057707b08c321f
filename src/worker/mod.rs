//! A worker: an OS thread that owns its sockets, sessions, tracks and timers,
//! around a core that has none of time, sockets and threads.
//!
//! Around the core: [`thread`] waits and makes the calls, `network` reads and sends, `pace` and
//! `patience` say when, [`mod@junction`] ties workers together. [`sans_io`] is the seam.
//!
//! In the [`core`](mod@core), the way of a packet first: `route` finds a datagram's session,
//! `fanout` gives a publisher's packets to its viewers, `backlog` and `probing` send what waits and
//! what probes paths. What makes it so: `commands` of the control plane, `rooms` with the tracks of
//! all workers ([`mesh`]), `binding` (which track a slot shows), `viewing` and `layers` (in which
//! layers), `speakers`, and as time passes `ticks` and [`timers`].

mod backlog;
mod binding;
pub mod clock;
mod commands;
pub mod core;
mod fanout;
pub mod junction;
mod layers;
pub mod mesh;
mod network;
mod pace;
mod patience;
mod probing;
mod rooms;
mod route;
pub mod sans_io;
mod session;
mod sessions;
mod snapshot;
mod speakers;
pub mod thread;
mod ticks;
pub mod timers;
mod viewing;

#[cfg(test)]
mod backlog_tests;
#[cfg(test)]
mod fanout_tests;
#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod rooms_tests;
#[cfg(test)]
mod ticks_tests;

pub use self::core::{Core, CoreConfig, Flush, Held, Input, Outputs};
pub use junction::{Seat, junction};
pub use thread::{CommandSender, Sockets, WorkerHandle, exit_process, spawn};
pub use timers::Timers;
