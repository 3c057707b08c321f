//! Load test for WHIP and WHEP servers.
fn main() {}
