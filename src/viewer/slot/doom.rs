//! Lines that panic on purpose, for tests of what that does to other viewers.

use std::cell::Cell;

/// What a line is doing when it panics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Forwarding a live packet.
    Forward,
    /// Sending what it is behind with.
    Advance,
    /// Being bound to whom it is to show.
    Bind,
    /// Choosing layers.
    Aim,
    /// Being found a keyframe.
    Feed,
}

thread_local! {
    static DOOMED: Cell<Option<(u32, Doing)>> = const { Cell::new(None) };
}

/// From now on the line with this SSRC panics in this thread when it does that.
pub fn doom(ssrc: u32, doing: Doing) {
    DOOMED.set(Some((ssrc, doing)));
}

/// Panics where it was told to.
pub fn strike(ssrc: u32, doing: Doing) {
    if DOOMED.get() == Some((ssrc, doing)) {
        panic!("on purpose");
    }
}
