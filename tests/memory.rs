//! What a viewer that waits holds, C libraries included. The only test of its
//! process: others would allocate meanwhile.
#![allow(unsafe_code)]

#[path = "bench/peer.rs"]
#[allow(dead_code)]
mod peer;
#[path = "bench/stage.rs"]
#[allow(dead_code, missing_docs)]
mod stage;

use weir::peer::negotiate::PeerKeys;

use peer::Profiles;
use stage::{Stage, Watch};

const VIEWERS: usize = 100;

/// Bytes of an idle viewer: over the DTLS stack of browsers, OBS and FFmpeg, and
/// over that of everybody else.
const MOST: [(PeerKeys, i64); 2] = [(PeerKeys::Ecdsa, 48_000), (PeerKeys::Unknown, 115_000)];

/// What the core's steps leave allocated, by whatever language.
#[derive(Default)]
struct Held {
    bytes: i64,
    before: i64,
}

fn allocated() -> i64 {
    // SAFETY: it only reads the allocator's own numbers.
    let info = unsafe { libc::mallinfo2() };
    (info.uordblks + info.hblkhd) as i64
}

impl Watch for Held {
    fn begin(&mut self) {
        self.before = allocated();
    }

    fn end(&mut self) {
        self.bytes += allocated() - self.before;
    }
}

#[test]
fn an_idle_viewer_holds_little() {
    for (keys, most) in MOST {
        let mut stage = Stage::new();
        stage.publish();
        let mut held = Held::default();
        for _ in 0..VIEWERS {
            stage.view(Profiles::Gcm, keys, &mut held);
        }
        let each = held.bytes / VIEWERS as i64;
        println!("{keys:?}: {each} bytes a viewer");
        assert!(each < most, "{keys:?}: {each} bytes a viewer");
    }
}
