//! Whole calls on a virtual clock. Each test runs over several seeds; replay
//! one with `WEIR_SEED=n cargo test --test simulation NAME`.

mod checks;
mod client;
mod codecs;
mod determinism;
mod link;
mod media;
mod nonces;
mod world;

mod congestion;
mod estimates;
mod forwarding;
mod join;
mod layers;
mod narrow;
mod paths;
mod publishers;
mod repairs;
mod restarts;
mod rollover;
mod rooms;
mod svc;
mod viewers;
mod voices;
mod workers;
