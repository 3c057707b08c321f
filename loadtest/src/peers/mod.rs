//! What a server is compared with in one run.

pub mod floor;
