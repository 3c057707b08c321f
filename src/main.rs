//! The `weir` server.
fn main() {}
