//! What OpenSSL offers and no safe crate does.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

use foreign_types::ForeignTypeRef;
use openssl::ssl::SslStream;

unsafe extern "C" {
    /// `SSL_free_buffers(3)`.
    fn SSL_free_buffers(ssl: *mut c_void) -> c_int;
}

/// Frees the buffers of a session's records (17 kB to read), unless data waits
/// in them; returns whether it did. OpenSSL allocates them again when it needs
/// them. `SSL_MODE_RELEASE_BUFFERS` does this by itself, but not for DTLS.
pub fn free_buffers<S>(stream: &mut SslStream<S>) -> bool {
    let ssl = stream.ssl().as_ptr().cast();
    // SAFETY: `ssl` is alive while `stream` is borrowed, and nobody else uses it
    // meanwhile, for the borrow is exclusive. The safe crate keeps no pointers
    // into the buffers between calls.
    unsafe { SSL_free_buffers(ssl) == 1 }
}
