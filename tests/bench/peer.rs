//! A client of the server's that costs next to nothing itself: the offer of a
//! real browser, one connectivity check, OpenSSL's DTLS, and packets that are
//! written by hand. What it is sent it drops, but for a few headers.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::OnceLock;

use openssl::pkey::PKey;
use openssl::srtp::SrtpProfileId;
use openssl::ssl::{Ssl, SslContext, SslMethod, SslOptions, SslStream, SslVerifyMode, SslVersion};
use openssl::x509::X509;
use str0m::ice::{StunMessage, TransId};
use weir::peer::negotiate::IceCredentials;
use weir::peer::srtp::{Keying, MAX_RTCP_OVERHEAD, MAX_RTP_OVERHEAD, SrtpProfile, SrtpSender};

/// The SRTP profiles that a peer offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profiles {
    /// As browsers do.
    #[default]
    Gcm,
    /// The one that FFmpeg knows.
    Sha1,
}

/// Datagrams both ways, as OpenSSL reads and writes them.
#[derive(Debug, Default)]
struct Pipe {
    incoming: VecDeque<Vec<u8>>,
    outgoing: Vec<Vec<u8>>,
}

impl Read for Pipe {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let datagram = self.incoming.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let length = datagram.len().min(out.len());
        out[..length].copy_from_slice(&datagram[..length]);
        Ok(length)
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.outgoing.push(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct Shared {
    gcm: SslContext,
    sha1: SslContext,
    fingerprint: String,
}

fn shared() -> &'static Shared {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    SHARED.get_or_init(|| {
        let certificate =
            dimpl::certificate::generate_self_signed_certificate().expect("a certificate");
        let context = |profiles: &str| {
            let mut builder = SslContext::builder(SslMethod::dtls()).expect("a context");
            let x509 = X509::from_der(&certificate.certificate).expect("a certificate");
            let key = PKey::private_key_from_der(&certificate.private_key).expect("a key");
            builder.set_certificate(&x509).expect("its certificate");
            builder.set_private_key(&key).expect("its key");
            builder
                .set_max_proto_version(Some(SslVersion::DTLS1_2))
                .expect("DTLS 1.2");
            builder.set_tlsext_use_srtp(profiles).expect("profiles");
            builder.set_verify_callback(SslVerifyMode::PEER, |_, _| true);
            builder.set_options(SslOptions::NO_QUERY_MTU | SslOptions::NO_TICKET);
            builder.build()
        };
        Shared {
            gcm: context("SRTP_AEAD_AES_256_GCM:SRTP_AEAD_AES_128_GCM:SRTP_AES128_CM_SHA1_80"),
            sha1: context("SRTP_AES128_CM_SHA1_80"),
            fingerprint: certificate.fingerprint_str(),
        }
    })
}

/// The SSRC and sequence number of a packet that arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    pub ssrc: u32,
    pub seq: u16,
    pub size: usize,
}

/// See the module's description.
pub struct Peer {
    pub address: SocketAddr,
    credentials: IceCredentials,
    dtls: Option<SslStream<Pipe>>,
    sender: Option<SrtpSender>,
    pub outgoing: Vec<Vec<u8>>,
    /// The newest packets; only kept while `watching`.
    pub seen: Vec<Seen>,
    pub watching: bool,
}

impl Peer {
    /// A peer with the credentials `number` gives it.
    pub fn new(number: usize, profiles: Profiles) -> Self {
        let context = match profiles {
            Profiles::Gcm => &shared().gcm,
            Profiles::Sha1 => &shared().sha1,
        };
        let mut ssl = Ssl::new(context).expect("a DTLS end");
        ssl.set_mtu(1200).expect("its MTU");
        ssl.set_connect_state();
        Self {
            address: SocketAddr::from(([10, 1, (number >> 8) as u8, number as u8], 5000)),
            credentials: IceCredentials {
                ufrag: format!("peer{number:04}"),
                pwd: format!("0123456789012345678-{number:04}"),
            },
            dtls: Some(SslStream::new(ssl, Pipe::default()).expect("a DTLS end")),
            sender: None,
            outgoing: Vec::new(),
            seen: Vec::new(),
            watching: false,
        }
    }

    /// The browser's offer with this peer's credentials and certificate.
    pub fn offer(&self, browser: &str) -> String {
        let mut offer = String::new();
        for line in browser.lines() {
            match line.split_once(':').map(|(key, _)| key) {
                Some("a=ice-ufrag") => offer += &format!("a=ice-ufrag:{}", self.credentials.ufrag),
                Some("a=ice-pwd") => offer += &format!("a=ice-pwd:{}", self.credentials.pwd),
                Some("a=fingerprint") => {
                    offer += &format!("a=fingerprint:sha-256 {}", shared().fingerprint);
                }
                _ => offer += line.trim_end(),
            }
            offer += "\r\n";
        }
        offer
    }

    /// A connectivity check that nominates its pair.
    pub fn check(&self, server: &IceCredentials) -> Vec<u8> {
        let username = format!("{}:{}", server.ufrag, self.credentials.ufrag);
        let request = StunMessage::binding_request(&username, TransId::new(), true, 1, 1, true);
        let provider = str0m::crypto::from_feature_flags();
        let hmac = |key: &[u8], parts: &[&[u8]]| provider.sha1_hmac_provider.sha1_hmac(key, parts);
        let mut buffer = [0; 256];
        let length = request
            .to_bytes(Some(server.pwd.as_bytes()), &mut buffer, hmac)
            .expect("a check");
        buffer[..length].to_vec()
    }

    /// SRTP keys are there.
    pub fn is_connected(&self) -> bool {
        self.sender.is_some()
    }

    /// Takes a datagram of the server's; answers are in `outgoing`.
    pub fn receive(&mut self, bytes: &[u8]) {
        match bytes.first() {
            Some(20..=63) => {
                if let Some(dtls) = &mut self.dtls {
                    dtls.get_mut().incoming.push_back(bytes.to_vec());
                    self.handshake();
                }
            }
            // RTP; RTCP has packet types 192 to 223 there.
            Some(128..=191) if self.watching && !(192..=223).contains(&bytes[1]) => {
                let [s0, s1] = [bytes[2], bytes[3]];
                self.seen.push(Seen {
                    seq: u16::from_be_bytes([s0, s1]),
                    ssrc: u32::from_be_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]),
                    size: bytes.len(),
                });
            }
            _ => {}
        }
    }

    /// Goes on with the handshake.
    pub fn handshake(&mut self) {
        let Some(dtls) = &mut self.dtls else { return };
        let done = dtls.connect().is_ok();
        self.outgoing.append(&mut dtls.get_mut().outgoing);
        if !done {
            return;
        }
        let profile = dtls.ssl().selected_srtp_profile().expect("a profile").id();
        let profile = match profile {
            SrtpProfileId::SRTP_AEAD_AES_256_GCM => SrtpProfile::AeadAes256Gcm,
            SrtpProfileId::SRTP_AEAD_AES_128_GCM => SrtpProfile::AeadAes128Gcm,
            _ => SrtpProfile::Aes128CmHmacSha1_80,
        };
        let mut exported = vec![0; profile.material_len()];
        dtls.ssl()
            .export_keying_material(&mut exported, "EXTRACTOR-dtls_srtp", None)
            .expect("keys");
        let keying = Keying::new(profile, true, &exported).expect("keys");
        self.sender = Some(SrtpSender::new(&keying).expect("a sender"));
        self.dtls = None;
    }

    /// Seals an RTP packet.
    pub fn seal(&mut self, header: &[u8], payload: &[u8], roc: u32) -> Vec<u8> {
        let mut packet = [header, payload].concat();
        let length = packet.len();
        packet.resize(length + MAX_RTP_OVERHEAD, 0);
        let sender = self.sender.as_mut().expect("connected");
        let total = sender
            .protect_rtp(&mut packet, header.len(), length, roc)
            .expect("sealed");
        packet.truncate(total);
        packet
    }

    /// Seals an RTCP packet.
    pub fn seal_rtcp(&mut self, mut packet: Vec<u8>) -> Vec<u8> {
        let length = packet.len();
        packet.resize(length + MAX_RTCP_OVERHEAD, 0);
        let sender = self.sender.as_mut().expect("connected");
        let total = sender.protect_rtcp(&mut packet, length).expect("sealed");
        packet.truncate(total);
        packet
    }
}
