//! What the server tells about itself: typed drop reasons, metrics and logs.

mod drops;
pub mod logging;
pub mod metrics;

pub use drops::{DropCounters, DropReason};
pub use metrics::Metrics;
