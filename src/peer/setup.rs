//! From a negotiation to the protocol engine, for sessions with data channels: DTLS and SCTP.
//!
//! It knows no media, so it sends no RTP and no RTCP, and is given none; its SDP layer is not
//! used.

use std::time::Instant;

use str0m::{IceCreds, Rtc, RtcError};

use super::crypto::Crypto;
use super::negotiate::{IceCredentials, Negotiated};

/// Whether a session needs the engine: without data channels DTLS is all.
pub fn needs_engine(negotiated: &Negotiated) -> bool {
    negotiated.data.is_some()
}

/// Builds the engine for a session.
pub fn engine(
    crypto: &Crypto,
    local: &IceCredentials,
    negotiated: &Negotiated,
    now: Instant,
) -> Result<Rtc, RtcError> {
    let mut rtc = crypto
        .rtc_config(negotiated.peer_keys)
        .set_rtp_mode(true)
        .set_ice_lite(true)
        .set_local_ice_credentials(IceCreds {
            ufrag: local.ufrag.clone(),
            pass: local.pwd.clone(),
        })
        .clear_codecs()
        .clear_extension_map()
        .build(now);
    let mut api = rtc.direct_api();
    api.set_remote_ice_credentials(IceCreds {
        ufrag: negotiated.ice.ufrag.clone(),
        pass: negotiated.ice.pwd.clone(),
    });
    api.set_remote_fingerprint(negotiated.fingerprint.clone().into());
    api.start_dtls(negotiated.dtls_active)?;
    if negotiated.data.is_some() {
        // RFC 8841 §10.3: who is DTLS client opens the SCTP association.
        api.start_sctp(negotiated.dtls_active);
    }
    Ok(rtc)
}
