//! What to run: scenario files, flags over them, and the limits to hold.

mod check;
mod load;
pub mod types;

pub use load::{ScenarioError, load, set, shipped};
