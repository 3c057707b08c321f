//! Tokens of other implementations, stream keys, and refusals.

use std::path::Path;
use std::time::Duration;

use super::fixtures::*;
use super::*;
use crate::config::Loader;
use crate::units::MediaKind;

fn authenticator(text: &str) -> Authenticator {
    let config = Loader::new()
        .toml(Path::new("test.toml"), text)
        .and_then(|loader| loader.finish())
        .expect("configuration");
    Authenticator::from_config(&config)
}

fn with_keys() -> Authenticator {
    authenticator(&format!(
        "[auth]\nkeys = {{ {KEY} = \"{SECRET}\", APIspare = \"spare\" }}\n\
         [[auth.stream_keys]]\nkey = \"obs-key-1\"\nroom = \"studio\"\n\
         [[auth.stream_keys]]\nkey = \"wall.2.x\"\nroom = \"hall\"\nidentity = \"stage\"\nsubscribe = true\n"
    ))
}

fn access(token: &str) -> Arc<Access> {
    with_keys()
        .authenticate(Some(&format!("Bearer {token}")))
        .expect("accepted")
}

fn refused(token: &str) -> AuthError {
    with_keys()
        .authenticate(Some(&format!("Bearer {token}")))
        .expect_err("refused")
}

fn why(token: &str) -> &'static str {
    match refused(token) {
        AuthError::Invalid { why } => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn livekit_tokens_give_what_they_grant() {
    let alice = access(LIVEKIT_JOIN);
    assert_eq!(alice.identity.as_deref(), Some("alice"));
    assert_eq!(alice.name, "Alice");
    assert_eq!(alice.metadata, "{\"seat\":7}");
    assert_eq!(alice.attributes["side"], "left");
    assert_eq!(alice.may_publish("studio", "alice"), Ok(()));
    assert_eq!(alice.may_subscribe("studio"), Ok(()));
    assert_eq!(alice.may_publish_data("studio"), Ok(()));
    assert!(alice.may_publish("studio", "bob").is_err());
    assert!(alice.may_publish("hall", "alice").is_err());
    assert!(alice.may_subscribe("hall").is_err());
    assert!(alice.may_administer("studio").is_err());
    assert!(alice.may_create_room("studio").is_err());
    assert!(alice.may_list().is_err());

    // Who watches may say who they are, where the token does not say otherwise.
    let named = |access: &Arc<Access>, name: &str| {
        let named = access.clone().named(Some(name.to_owned()));
        named.map(|a| a.identity.clone())
    };
    assert_eq!(named(&alice, "alice"), Ok(Some("alice".to_owned())));
    assert!(named(&alice, "bob").is_err());
    let anybody = Arc::new(Access::everything());
    assert_eq!(named(&anybody, "bob"), Ok(Some("bob".to_owned())));
    assert_eq!(alice.clone().named(None).as_ref(), Ok(&alice));

    let watcher = access(LIVEKIT_WATCH_ONLY);
    assert!(watcher.may_publish("studio", "alice").is_err());
    assert!(watcher.may_publish_data("studio").is_err());
    assert_eq!(watcher.may_subscribe("studio"), Ok(()));

    let camera = access(LIVEKIT_CAMERA_ONLY);
    assert_eq!(camera.may_publish_kind(MediaKind::Video), Ok(()));
    assert!(camera.may_publish_kind(MediaKind::Audio).is_err());
    assert_eq!(alice.may_publish_kind(MediaKind::Audio), Ok(()));

    let admin = access(LIVEKIT_ADMIN);
    assert_eq!(admin.may_administer("studio"), Ok(()));
    assert!(admin.may_administer("hall").is_err());
    assert_eq!(admin.may_create_room("studio"), Ok(()));
    assert_eq!(admin.may_list(), Ok(()));
    assert!(admin.may_publish("studio", "x").is_err(), "no roomJoin");

    let nothing = access(LIVEKIT_NO_GRANT);
    assert!(nothing.may_publish("studio", "alice").is_err());
    assert!(nothing.may_subscribe("studio").is_err());
}

#[test]
fn absent_permissions_allow_once_the_token_joins() {
    let alice = access(PYJWT_JOIN);
    assert!(alice.publish && alice.subscribe && alice.publish_data);
    assert!(!alice.admin && !alice.create && !alice.list);
    let anywhere = access(PYJWT_ANY_ROOM);
    assert_eq!(anywhere.may_publish("whichever", "alice"), Ok(()));
    let nulls = access(PYJWT_NULLS);
    assert!(nulls.publish && nulls.room.is_none());
    assert_eq!(
        access(PYJWT_WITH_AUDIENCE).identity.as_deref(),
        Some("alice")
    );
}

#[test]
fn bad_tokens_are_refused_for_their_reason() {
    assert_eq!(refused(PYJWT_EXPIRED), AuthError::Expired);
    assert_eq!(refused(PYJWT_NOT_YET), AuthError::NotYetValid);
    assert_eq!(why(PYJWT_NO_EXP), "no end of validity (exp)");
    assert_eq!(why(PYJWT_NO_SUB), "roomJoin without an identity (sub)");
    assert_eq!(why(PYJWT_OTHER_SECRET), "wrong signature");
    assert!(why(PYJWT_OTHER_ISSUER).contains("not an API key"));
    assert_eq!(why(PYJWT_NO_ISSUER), "no issuer (iss)");
    assert!(why(PYJWT_HS512).contains("HS256"));
    assert!(why(PYJWT_RS256).contains("HS256"));
    assert_eq!(why(PYJWT_NONE), "neither a known stream key nor a token");
    assert_eq!(why("undefined"), "neither a known stream key nor a token");
    assert_eq!(why(&"x".repeat(MAX_CREDENTIAL + 1)), "too long");
}

#[test]
fn every_changed_byte_of_a_token_is_noticed() {
    let authenticator = with_keys();
    // The last character carries two bits that no byte of the signature has.
    for at in 0..PYJWT_JOIN.len() - 1 {
        let mut bytes = PYJWT_JOIN.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
        let token = String::from_utf8(bytes).expect("ASCII");
        assert!(authenticator.authenticate(Some(&token)).is_err(), "{at}");
    }
}

#[test]
fn stream_keys_open_their_room() {
    let obs = access("obs-key-1");
    assert_eq!(obs.may_publish("studio", "anybody"), Ok(()));
    assert_eq!(obs.publisher_identity(None), None);
    assert!(obs.may_publish("hall", "anybody").is_err());
    assert!(obs.may_subscribe("studio").is_err());
    assert_eq!(obs.may_create_room("studio"), Ok(()));
    assert!(obs.may_list().is_err());

    let stage = access("wall.2.x");
    assert_eq!(stage.publisher_identity(None), Some("stage"));
    assert_eq!(stage.may_subscribe("hall"), Ok(()));
    assert!(stage.may_publish("hall", "other").is_err());

    for wrong in ["obs-key-", "obs-key-11", "OBS-KEY-1", "wall"] {
        assert!(
            matches!(refused(wrong), AuthError::Invalid { .. }),
            "{wrong}"
        );
    }
}

#[test]
fn the_scheme_may_be_missing_or_in_any_case() {
    let authenticator = with_keys();
    for value in [
        "obs-key-1",
        "Bearer obs-key-1",
        "bearer  obs-key-1 ",
        "BEARER obs-key-1",
    ] {
        assert!(authenticator.authenticate(Some(value)).is_ok(), "{value}");
    }
    for value in [None, Some(""), Some("Bearer"), Some("Bearer ")] {
        assert_eq!(
            authenticator.authenticate(value),
            Err(AuthError::Missing),
            "{value:?}"
        );
    }
    assert_eq!(
        authenticator.authenticate(Some("Basic b2JzLWtleS0x")),
        Err(AuthError::Invalid {
            why: "the scheme is not Bearer"
        })
    );
}

#[test]
fn an_open_server_ignores_credentials() {
    let authenticator = authenticator("");
    assert!(authenticator.is_open());
    for value in [None, Some("Bearer undefined"), Some("Basic x")] {
        let access = authenticator.authenticate(value).expect("open");
        assert_eq!(access.may_publish("any", "body"), Ok(()));
        assert_eq!(access.may_list(), Ok(()));
    }
}

#[test]
fn challenges_follow_rfc_6750() {
    assert_eq!(
        AuthError::Missing.www_authenticate(),
        "Bearer realm=\"weir\""
    );
    let invalid = AuthError::Expired.www_authenticate();
    assert!(invalid.contains("error=\"invalid_token\""), "{invalid}");
    let denied = access(LIVEKIT_JOIN).may_list().expect_err("denied");
    assert!(
        denied
            .www_authenticate()
            .contains("error=\"insufficient_scope\"")
    );
}

#[test]
fn minted_tokens_hold_what_was_asked_in_livekits_form() {
    let claims = Claims {
        sub: "bob".to_owned(),
        video: VideoGrant {
            room: "studio".to_owned(),
            room_join: true,
            can_publish: Some(false),
            ..VideoGrant::default()
        },
        ..Claims::default()
    };
    let token = mint(KEY, SECRET, claims, Duration::from_secs(60)).expect("minted");
    let bob = access(&token);
    assert_eq!(bob.identity.as_deref(), Some("bob"));
    assert!(!bob.publish && bob.subscribe);

    let payload: serde_json::Value =
        jsonwebtoken::dangerous::insecure_decode_claims(&token).expect("claims");
    assert_eq!(payload["iss"], KEY);
    assert_eq!(
        payload["exp"]
            .as_u64()
            .zip(payload["nbf"].as_u64())
            .map(|(e, n)| e - n),
        Some(60)
    );
    assert_eq!(
        payload["video"],
        serde_json::json!({"room": "studio", "roomJoin": true, "canPublish": false})
    );
}
