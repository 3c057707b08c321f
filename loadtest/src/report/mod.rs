//! What a run hands out: figures with fixed names, as JSON, as a page, and side
//! by side with other runs.

pub mod figures;
pub mod html;
mod plot;
pub mod results;
mod rows;
pub mod text;

pub use figures::{Figures, Report, Sample, Step};
