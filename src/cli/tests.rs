//! What the command line takes, refuses and prints.

use std::ffi::OsString;

use clap::CommandFactory;

use super::*;
use crate::http::auth::Authenticator;

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn parse(arguments: &[&str]) -> Cli {
    let arguments = std::iter::once("weir").chain(arguments.iter().copied());
    Cli::try_parse_from(arguments).expect("arguments")
}

fn configured(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    configure(&parse(arguments).serve, variables(environment))
}

fn variables(list: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    list.iter()
        .map(|(name, value)| (OsString::from(name), OsString::from(value)))
        .collect()
}

fn token_args(arguments: &[&str]) -> TokenArgs {
    match parse(arguments).command {
        Some(Command::Token(args)) => args,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn flags_win_over_environment_and_file() {
    let directory = tempfile::tempdir().expect("directory");
    let file = directory.path().join("weir.toml");
    std::fs::write(
        &file,
        "workers = 1\n[udp]\nport = 1000\n[http]\nlisten = \"127.0.0.1:1\"\n",
    )
    .expect("file");
    let file = file.to_str().expect("UTF-8");
    let environment = [("WEIR_UDP_PORT", "2000"), ("WEIR_WORKERS", "2")];
    let config = configured(&["--config", file, "--workers", "3"], &environment).expect("valid");
    assert_eq!(config.http.listen.port(), 1);
    assert_eq!(config.udp.port, 2000);
    assert_eq!(config.workers, 3);
}

#[test]
fn every_flag_reaches_its_key() {
    let config = configured(
        &[
            "--http",
            "0.0.0.0:0",
            "--auth",
            "open",
            "--udp-port",
            "0",
            "--workers",
            "2",
            "--announce",
            "192.0.2.1",
            "--announce",
            "[2001:db8::1]:4000",
            "--log-format",
            "json",
            "--log-level",
            "debug",
        ],
        &[],
    )
    .expect("valid");
    assert_eq!(config.http.listen.to_string(), "0.0.0.0:0");
    assert!(config.open_access());
    assert_eq!((config.udp.port, config.workers), (0, 2));
    let announced: Vec<String> = config
        .announce
        .addresses
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(announced, ["192.0.2.1", "[2001:db8::1]:4000"]);
    assert_eq!(config.log.format, crate::config::LogFormat::Json);
    assert_eq!(config.log.level, "debug");
}

#[test]
fn bad_flags_are_named_with_what_is_allowed() {
    for (arguments, parts) in [
        (
            ["--http", "localhost"],
            ["--http: http.listen = \"localhost\"", "127.0.0.1:8080"],
        ),
        (
            ["--udp-port", "70000"],
            ["--udp-port: udp.port = 70000", "from 0 to 65535"],
        ),
        (
            ["--workers", "many"],
            ["--workers: workers = \"many\"", "a whole number"],
        ),
        (
            ["--announce", "here"],
            ["--announce: announce.addresses", "203.0.113.5"],
        ),
        (
            ["--http", "0.0.0.0:8080"],
            ["--http: http.listen", "auth.mode = \"open\""],
        ),
    ] {
        let error = configured(&arguments, &[])
            .expect_err("refused")
            .to_string();
        for part in parts {
            assert!(error.contains(part), "{arguments:?}: {error}");
        }
    }
}

#[test]
fn tokens_open_what_was_asked() {
    let keys = format!("weir={SECRET}");
    let environment = variables(&[("WEIR_AUTH_KEYS", &keys)]);
    let config = load(None, environment.clone())
        .and_then(|l| l.finish())
        .expect("config");
    let authenticator = Authenticator::from_config(&config);
    let access = |arguments: &[&str]| {
        let mut all = vec!["token", "--room", "studio", "--identity", "alice"];
        all.extend(arguments);
        let token = make_token(&token_args(&all), environment.clone()).expect("token");
        authenticator
            .authenticate(Some(&format!("Bearer {token}")))
            .expect("accepted")
    };
    let both = access(&[]);
    assert_eq!(both.may_publish("studio", "alice"), Ok(()));
    assert_eq!(both.may_subscribe("studio"), Ok(()));
    assert!(both.may_publish("studio", "bob").is_err() && both.may_subscribe("hall").is_err());
    let publisher = access(&["--publish"]);
    assert!(publisher.publish && publisher.publish_data && !publisher.subscribe);
    let viewer = access(&["--subscribe", "--name", "Alice"]);
    assert!(!viewer.publish && !viewer.publish_data && viewer.subscribe && !viewer.admin);
    assert_eq!(viewer.name, "Alice");
    let admin = access(&["--admin"]);
    assert_eq!(admin.may_administer("studio"), Ok(()));

    let given = [
        "token",
        "--room",
        "r",
        "--identity",
        "i",
        "--key",
        "weir",
        "--secret",
        SECRET,
    ];
    let token = make_token(&token_args(&given), []).expect("token");
    assert!(authenticator.authenticate(Some(&token)).is_ok());
}

#[test]
fn tokens_need_exactly_one_key() {
    let arguments = ["token", "--room", "r", "--identity", "i"];
    let why = |arguments: &[&str], keys: &str| {
        let environment = if keys.is_empty() {
            Vec::new()
        } else {
            variables(&[("WEIR_AUTH_KEYS", keys)])
        };
        make_token(&token_args(arguments), environment)
            .expect_err("refused")
            .to_string()
    };
    assert!(why(&arguments, "").contains("--key and --secret"));
    assert!(why(&arguments, "a=x,b=y").contains("(a, b)"));
    let unknown = ["token", "--room", "r", "--identity", "i", "--key", "c"];
    assert!(why(&unknown, "a=x,b=y").contains("no API key \"c\""));
    let empty = ["token", "--room", "", "--identity", "i"];
    assert!(why(&empty, "a=x").contains("--room"));
}

#[test]
fn summaries_say_where_and_who_but_no_secret() {
    let keys = format!("weir={SECRET}");
    let environment = variables(&[
        ("WEIR_AUTH_KEYS", &keys),
        ("WEIR_WORKERS", "2"),
        ("WEIR_ANNOUNCE_STUN", "stun.example.org:3478"),
    ]);
    let config = load(None, environment)
        .and_then(|l| l.finish())
        .expect("config");
    let text = summary(&config);
    for part in [
        "127.0.0.1:8080",
        "7882-7883",
        "1 API keys",
        "what stun.example.org:3478 sees",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert!(!text.contains(SECRET));
    assert_eq!(summary::ports(7882, 1), "7882");
}

#[test]
fn a_key_without_its_secret_asks_for_it() {
    let args = token_args(&["token", "--room", "r", "--identity", "a", "--key", "k"]);
    let error = make_token(&args, variables(&[])).expect_err("no secret");
    assert!(error.to_string().contains("--secret"), "{error}");
}
