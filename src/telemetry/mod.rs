//! What the server tells about itself: typed drop reasons, metrics and logs.

mod drops;

pub use drops::{DropCounters, DropReason};
