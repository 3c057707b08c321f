//! Texts of the control plane.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::LazyLock;

use jsonwebtoken::{EncodingKey, Header};
use weir::config::Loader;
use weir::http::auth::Authenticator;
use weir::http::layer as layers;
use weir::peer::negotiate::{
    AnswerContext, AnswerNames, CounterOffer, Direction, Fingerprint, IceCredentials,
    LocalTransport, MAX_ANSWER, Policy, SignalledSsrc, fragment as fragments, read_offer,
};
use weir::units::MediaKind;

pub fn offer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let generous = Policy {
        data_channels: true,
        max_view_video: 8,
        max_view_audio: 8,
    };
    for direction in [Direction::Publish, Direction::View] {
        for policy in [Policy::default(), generous] {
            let accepted = match read_offer(text, direction, &policy) {
                Ok(accepted) => accepted,
                Err(error) => {
                    assert!((400..500).contains(&error.status()), "{error}");
                    continue;
                }
            };
            let address: SocketAddr = ([192, 0, 2, 1], 7882).into();
            let fingerprint = Fingerprint {
                algorithm: "sha-256".to_owned(),
                bytes: vec![0xab; 32],
            };
            let context = AnswerContext::new(&fingerprint, &[address], &[address]);
            let ssrcs = accepted.negotiated.media.iter().zip(1u32..);
            let local = LocalTransport {
                ice: IceCredentials {
                    ufrag: "ABCDEFGHIJKL".to_owned(),
                    pwd: "p".repeat(24),
                },
                ssrcs: ssrcs
                    .map(|(section, n)| SignalledSsrc {
                        ssrc: n * 2,
                        rtx: (section.kind == MediaKind::Video).then_some(n * 2 + 1),
                    })
                    .collect(),
            };
            let names = AnswerNames {
                session_id: 1,
                stream_id: "stream",
                cname: "cname",
            };
            let answer = accepted.answer(&context, &local, &names);
            assert!(answer.starts_with("v=0\r\n") && answer.ends_with("\r\n"));
            assert!(answer.len() <= MAX_ANSWER, "{} bytes", answer.len());
            assert_eq!(answer.matches('\n').count(), answer.matches("\r\n").count());
        }
    }
}

pub fn fragment(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(error) = fragments::read(text) {
        assert!((400..500).contains(&error.status()), "{error}");
    }
}

static COUNTER_OFFER: LazyLock<CounterOffer> = LazyLock::new(|| CounterOffer::new(&[]));

/// The text as a viewer's answer to an offer of ours.
pub fn answer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match COUNTER_OFFER.read_answer(text) {
        Ok(negotiated) => {
            let offered = &COUNTER_OFFER.negotiated().media;
            for section in &negotiated.media {
                assert!(offered.iter().any(|o| o.mid == section.mid));
                assert!(!section.codecs.is_empty());
            }
        }
        Err(error) => assert!((400..500).contains(&error.0.status()), "{error}"),
    }
}

/// The text as the body of a layer choice, and as the query of a WHEP POST.
pub fn layer(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let wish = match layers::parse(text) {
        Ok((_, wish)) => wish,
        Err(why) => {
            assert!(!why.is_empty());
            layers::parse_query(text).unwrap_or_default()
        }
    };
    if let Some((width, height)) = wish.max_size {
        assert!(width > 0 && height > 0);
    }
}

const SECRET: &str = "an-example-secret-of-32-characters-or-more";

static AUTHENTICATOR: LazyLock<Authenticator> = LazyLock::new(|| {
    let text = format!(
        "[auth]\nkeys = {{ APIweir = \"{SECRET}\" }}\n\
         [[auth.stream_keys]]\nkey = \"obs-key-1\"\nroom = \"studio\"\n"
    );
    let config = Loader::new()
        .toml(Path::new("fuzz.toml"), &text)
        .and_then(|loader| loader.finish())
        .expect("a valid configuration");
    Authenticator::from_config(&config)
});

/// The text as an `Authorization` value, and as the claims of a token that is signed rightly.
pub fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Err(error) = AUTHENTICATOR.authenticate(Some(text)) {
        error.www_authenticate();
    }
    let Ok(claims) = serde_json::from_str::<serde_json::Value>(text) else {
        return;
    };
    let key = EncodingKey::from_secret(SECRET.as_bytes());
    let Ok(token) = jsonwebtoken::encode(&Header::default(), &claims, &key) else {
        return;
    };
    if let Ok(access) = AUTHENTICATOR.authenticate(Some(&token)) {
        let _ = access.may_publish("studio", "alice");
        let _ = access.may_publish_kind(MediaKind::Video);
        let _ = access.may_subscribe("studio");
        let _ = access.may_administer("studio");
    }
}

pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let read = Loader::new()
        .toml(Path::new("fuzz.toml"), text)
        .and_then(|loader| loader.finish());
    if let Err(error) = read {
        assert!(!error.to_string().is_empty());
    }
    let variables = text.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        Some((format!("WEIR_{}", name.trim()), value.to_owned()))
    });
    if let Err(error) = Loader::new()
        .env(variables)
        .and_then(|loader| loader.finish())
    {
        assert!(!error.to_string().is_empty());
    }
}
