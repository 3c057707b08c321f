//! The SRTP keys a DTLS handshake exports, and how they get from inside str0m
//! to the session that owns them.

use std::cell::RefCell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use str0m::crypto::dtls;
use zeroize::Zeroizing;

/// The SRTP protection profile DTLS agreed on (RFC 5764 §4.1.2, RFC 7714 §14.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SrtpProfile {
    /// `SRTP_AEAD_AES_256_GCM`.
    AeadAes256Gcm,
    /// `SRTP_AEAD_AES_128_GCM`.
    AeadAes128Gcm,
    /// `SRTP_AES128_CM_HMAC_SHA1_80`.
    Aes128CmHmacSha1_80,
}

impl SrtpProfile {
    /// Bytes of a master key.
    pub const fn key_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            Self::AeadAes128Gcm | Self::Aes128CmHmacSha1_80 => 16,
        }
    }

    /// Bytes of a master salt.
    pub const fn salt_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 12,
            Self::Aes128CmHmacSha1_80 => 14,
        }
    }

    /// Bytes of the authentication tag of SRTP and SRTCP packets.
    pub const fn tag_len(self) -> usize {
        match self {
            Self::AeadAes256Gcm | Self::AeadAes128Gcm => 16,
            Self::Aes128CmHmacSha1_80 => 10,
        }
    }

    /// Bytes DTLS exports: both sides' keys and salts (RFC 5764 §4.2).
    pub const fn material_len(self) -> usize {
        2 * (self.key_len() + self.salt_len())
    }

    pub(super) fn from_dtls(profile: dtls::SrtpProfile) -> Option<Self> {
        match profile {
            dtls::SrtpProfile::AEAD_AES_256_GCM => Some(Self::AeadAes256Gcm),
            dtls::SrtpProfile::AEAD_AES_128_GCM => Some(Self::AeadAes128Gcm),
            dtls::SrtpProfile::AES128_CM_SHA1_80 => Some(Self::Aes128CmHmacSha1_80),
            _ => None,
        }
    }
}

/// The longest keying material of any profile (AES-256-GCM).
const MAX_MATERIAL: usize = SrtpProfile::AeadAes256Gcm.material_len();

/// One side's SRTP master key and salt.
#[derive(Clone, Copy)]
pub struct MasterKey<'a> {
    /// The profile they belong to.
    pub profile: SrtpProfile,
    /// The master key, [`SrtpProfile::key_len`] bytes.
    pub key: &'a [u8],
    /// The master salt, [`SrtpProfile::salt_len`] bytes.
    pub salt: &'a [u8],
}

impl fmt::Debug for MasterKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey")
            .field("profile", &self.profile)
            .finish_non_exhaustive()
    }
}

/// What a DTLS handshake exported for SRTP. Wiped when dropped, and never printed.
#[derive(Clone)]
pub struct Keying {
    profile: SrtpProfile,
    we_are_client: bool,
    material: Zeroizing<[u8; MAX_MATERIAL]>,
}

impl Keying {
    /// Keying from exported bytes: client key, server key, client salt, server
    /// salt (RFC 5764 §4.2). `None` when the length is not the profile's.
    pub fn new(profile: SrtpProfile, we_are_client: bool, exported: &[u8]) -> Option<Self> {
        if exported.len() != profile.material_len() {
            return None;
        }
        let mut material = Zeroizing::new([0; MAX_MATERIAL]);
        material[..exported.len()].copy_from_slice(exported);
        Some(Self {
            profile,
            we_are_client,
            material,
        })
    }

    /// The agreed protection profile.
    pub fn profile(&self) -> SrtpProfile {
        self.profile
    }

    /// True when our side was the DTLS client.
    pub fn we_are_client(&self) -> bool {
        self.we_are_client
    }

    /// The keys we send with.
    pub fn local(&self) -> MasterKey<'_> {
        self.side(self.we_are_client)
    }

    /// The keys the peer sends with.
    pub fn remote(&self) -> MasterKey<'_> {
        self.side(!self.we_are_client)
    }

    fn side(&self, client: bool) -> MasterKey<'_> {
        let (key_len, salt_len) = (self.profile.key_len(), self.profile.salt_len());
        let side = usize::from(!client);
        let key = side * key_len;
        let salt = 2 * key_len + side * salt_len;
        MasterKey {
            profile: self.profile,
            key: &self.material[key..key + key_len],
            salt: &self.material[salt..salt + salt_len],
        }
    }
}

impl fmt::Debug for Keying {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Keying")
            .field("profile", &self.profile)
            .field("we_are_client", &self.we_are_client)
            .finish_non_exhaustive()
    }
}

thread_local! {
    /// What the DTLS endpoint of that number exported last on this thread.
    static MAILBOX: RefCell<Option<(u64, Keying)>> = const { RefCell::new(None) };
}

/// What the session that this thread drained last has exported, if its
/// handshake finished in that drain; empties the mailbox.
///
/// Call it after each drain of `Rtc::poll_output`, for every session and before
/// another is polled: then a key can't reach the wrong session. When the drain
/// fails, call it too and drop the result: the peer's fingerprint may have been
/// the failure. As a second guard, polling another session's DTLS endpoint
/// discards what was not taken.
pub fn take_keying() -> Option<Keying> {
    MAILBOX.take().map(|(_, keying)| keying)
}

/// A number that no other DTLS endpoint of the process has, whatever made it.
pub(super) fn next_endpoint() -> u64 {
    static ENDPOINTS: AtomicU64 = AtomicU64::new(0);
    ENDPOINTS.fetch_add(1, Ordering::Relaxed)
}

/// Leaves a copy of exported keys in the mailbox when `output` has them.
#[inline]
pub(super) fn tap(endpoint: u64, we_are_client: bool, output: &dtls::DtlsOutput<'_>) {
    if let dtls::DtlsOutput::KeyingMaterial(material, profile) = output
        && let Some(profile) = SrtpProfile::from_dtls(*profile)
        && let Some(keying) = Keying::new(profile, we_are_client, material)
    {
        put(endpoint, keying);
    }
}

/// Puts what `endpoint` exported into this thread's mailbox.
pub(super) fn put(endpoint: u64, keying: Keying) {
    MAILBOX.set(Some((endpoint, keying)));
}

/// Drops what another endpoint than this has left.
#[inline]
pub(super) fn discard_others(endpoint: u64) {
    MAILBOX.with_borrow_mut(|slot| {
        if slot.as_ref().is_some_and(|(from, _)| *from != endpoint) {
            *slot = None;
        }
    });
}
