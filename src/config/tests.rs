//! Sources over one another, the documented file, and errors that say what to do.

use std::path::Path;
use std::time::Duration;

use super::*;

const DOCUMENTED: &str = include_str!("../../config/weir.toml");
const NAME: &str = "some/weir.toml";
const LONG_SECRET: &str = "0123456789abcdef0123456789abcdef";

fn load(text: &str) -> Result<Config, ConfigError> {
    Loader::new().toml(Path::new(NAME), text)?.finish()
}

fn refused(text: &str) -> String {
    load(text).expect_err(text).to_string()
}

fn from_env(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Loader::new().env(variables)?.finish()
}

#[test]
fn documented_file_holds_exactly_the_defaults() {
    assert_eq!(load(DOCUMENTED).expect("parses"), Config::default());
}

#[test]
fn documented_file_names_every_key_with_a_sentence() {
    let mut section = String::new();
    let mut named = Vec::new();
    let mut previous = "";
    for line in DOCUMENTED.lines() {
        if let Some(name) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = format!("{name}.");
        } else if let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) {
            assert!(previous.starts_with("# "), "{section}{key} has no sentence");
            named.push(format!("{section}{key}"));
        }
        previous = line;
    }
    named.sort();
    let all: Vec<&str> = keys().collect();
    assert_eq!(named, all);
    assert!(all.contains(&"auth.keys") && all.contains(&"workers") && all.len() > 30);
}

#[test]
fn every_default_is_valid() {
    assert_eq!(load("").expect("defaults"), Config::default());
}

#[test]
fn presets_are_valid() {
    let lan = include_str!("../../config/lan.toml");
    assert!(load(lan).expect("lan").open_access());

    let public = include_str!("../../config/public.toml");
    let message = refused(public);
    assert!(message.contains("there is no key"), "{message}");
    let keys = ("WEIR_AUTH_KEYS".to_owned(), format!("weir={LONG_SECRET}"));
    let config = Loader::new()
        .toml(Path::new("public.toml"), public)
        .and_then(|loader| loader.env([keys])?.finish())
        .expect("public");
    assert!(!config.open_access() && !config.is_local());
}

#[test]
fn later_sources_win() {
    let mut loader = Loader::new();
    loader
        .toml(
            Path::new(NAME),
            "[udp]\nport = 1000\nsend_buffer = 100000\n",
        )
        .expect("file");
    assert_eq!(loader.finish().expect("file").udp.port, 1000);
    loader
        .env([("WEIR_UDP_PORT".to_owned(), "2000".to_owned())])
        .expect("env");
    assert_eq!(loader.finish().expect("env").udp.port, 2000);
    loader.flag("--udp-port", "udp.port", "3000").expect("flag");
    let config = loader.finish().expect("flag");
    assert_eq!(config.udp.port, 3000);
    assert_eq!(config.udp.send_buffer, 100_000);
}

#[test]
fn errors_name_file_line_key_value_and_what_is_allowed() {
    let message = refused("workers = 1\n\n[udp]\nport = 99999\n");
    assert_eq!(
        message,
        "some/weir.toml:4: udp.port = 99999: invalid value: integer `99999`, \
         expected a whole number from 0 to 65535"
    );
    let message = refused("[auth]\nmode = \"closed\"\n");
    assert!(
        message.starts_with("some/weir.toml:2: auth.mode = \"closed\": unknown variant"),
        "{message}"
    );
    for allowed in ["`auto`", "`open`", "`token`"] {
        assert!(message.contains(allowed), "{message}");
    }
    let message = refused("[http]\nlisten = \"localhost\"\n");
    assert!(message.starts_with("some/weir.toml:2: http.listen = \"localhost\""));
    assert!(message.contains("\"127.0.0.1:8080\""), "{message}");
    let message = refused("shutdown_timeout = 5");
    assert!(message.contains(":1: shutdown_timeout = 5: expected a time such as \"30s\""));
    let message = refused("[announce]\naddresses = [\"10.0.0.1\", \"example.org\"]");
    assert!(message.contains("announce.addresses") && message.contains("203.0.113.5"));
    let message = refused("[log]\nlevel = \"a=b=c\"");
    assert!(
        message.contains(":2: log.level") && message.contains("debug"),
        "{message}"
    );
}

#[test]
fn unknown_keys_are_refused_with_near_ones() {
    let message = refused("[udp]\nprot = 7882\n");
    assert!(
        message.starts_with("some/weir.toml:2: udp.prot: there is no such key"),
        "{message}"
    );
    assert!(message.contains("Did you mean udp.port"), "{message}");
    let message = refused("[htpp]\nlisten = \"127.0.0.1:1\"\n");
    assert!(
        message.contains(":1: htpp: there is no such key"),
        "{message}"
    );
    let message = refused("zzzzzz = 1\n");
    assert!(
        message.contains(
            "there are ice_servers, shutdown_timeout, strict, workers, [announce], [auth]"
        ),
        "{message}"
    );
    let message = refused("listen = \"127.0.0.1:1\"\n");
    assert!(message.contains("http.listen"), "{message}");
    let message = refused("[tcp]\nzzzzzz = 1\n");
    assert!(
        message.contains("the keys of [tcp] are enabled"),
        "{message}"
    );
    let message = refused("http = 1\n");
    assert!(
        message.contains("http is a section") && message.contains("listen"),
        "{message}"
    );
    let message = refused("ice_servers = [{ url = \"stun:x\" }]");
    assert!(message.contains("unknown field `url`"), "{message}");
}

#[test]
fn bad_toml_names_the_line() {
    let message = refused("workers = 1\nstrict = = true\n");
    assert!(message.starts_with("some/weir.toml:2: "), "{message}");
    let missing = Loader::new()
        .file(Path::new("no/such/file.toml"))
        .expect_err("missing")
        .to_string();
    assert!(
        missing.starts_with("no/such/file.toml: can't be read:"),
        "{missing}"
    );
}

#[test]
fn environment_sets_every_type() {
    let config = from_env(&[
        ("WEIR_HTTP_LISTEN", "[::1]:9000"),
        ("WEIR_UDP_PORT", "0"),
        ("WEIR_STRICT", "yes"),
        ("WEIR_LIMITS_CONSENT_TIMEOUT", "10s"),
        ("WEIR_ANNOUNCE_ADDRESSES", "192.0.2.1, [2001:db8::1]:4000"),
        ("WEIR_AUTH_KEYS", "a=one, b=two=2"),
        ("WEIR_AUTH_STREAM_KEYS", "[{ key = \"k\", room = \"r\" }]"),
        ("WEIR_CONFIG", "read by the command line"),
        ("PATH", "/bin"),
    ])
    .expect("environment");
    assert_eq!(config.http.listen.port(), 9000);
    assert_eq!(config.udp.port, 0);
    assert!(config.strict);
    assert_eq!(config.limits.consent_timeout, Duration::from_secs(10));
    assert_eq!(config.announce.addresses[0].to_string(), "192.0.2.1");
    assert_eq!(config.announce.addresses[1].port, Some(4000));
    assert_eq!(config.auth.keys["b"].expose(), "two=2");
    let key = &config.auth.stream_keys[0];
    assert!(key.publish && !key.subscribe && key.identity.is_none());
}

#[test]
fn unknown_and_bad_variables_are_refused() {
    let message = from_env(&[("WEIR_UDP_PRT", "1")]).unwrap_err().to_string();
    assert!(
        message.starts_with("environment variable WEIR_UDP_PRT: no configuration key"),
        "{message}"
    );
    assert!(message.contains("WEIR_UDP_PORT"), "{message}");
    let message = from_env(&[("WEIR_UDP_PORT", "x")]).unwrap_err().to_string();
    assert!(
        message.starts_with("environment variable WEIR_UDP_PORT: udp.port = \"x\":"),
        "{message}"
    );
    let message = from_env(&[("WEIR_STRICT", "perhaps")])
        .unwrap_err()
        .to_string();
    assert!(message.contains("expected true or false"), "{message}");
}

#[test]
fn variables_of_a_kubernetes_service_called_weir_are_not_ours() {
    let config = from_env(&[
        ("WEIR_SERVICE_HOST", "10.0.0.1"),
        ("WEIR_SERVICE_PORT_HTTP", "8080"),
        ("WEIR_PORT", "tcp://10.0.0.1:8080"),
        ("WEIR_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("WEIR_PORT_8080_TCP_PROTO", "tcp"),
        ("WEIR_PORT_8080_TCP_PORT", "8080"),
        ("WEIR_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("WEIR_UDP_PORT", "udp://10.0.0.1:7882"),
    ])
    .expect("ignored");
    assert_eq!(config, Config::default());
}

#[test]
fn secrets_show_nowhere() {
    for text in [
        "[auth]\nstream_keys = [\"hunter2\"]",
        "[auth]\nkeys = \"hunter2\"",
        "[auth]\nstream_keys = [{ key = \"hunter2\", room = \"\" }]",
        "ice_servers = [{ urls = [\"turn:t\"], secret = \"hunter2\", username = \"u\", credential = \"hunter2\" }]",
        "ice_servers = [{ urls = [\"stun:t\"], ttl = \"hunter2\" }]",
    ] {
        let error = load(text).expect_err(text);
        assert!(!error.to_string().contains("hunter2"), "{error}");
        assert!(!format!("{error:?}").contains("hunter2"), "{error:?}");
    }
    let config = load("[auth]\nkeys = { a = \"hunter2\" }").expect("valid");
    assert!(!format!("{config:?}").contains("hunter2"));
    assert!(
        !toml::to_string(&config)
            .expect("serialises")
            .contains("hunter2")
    );
}

#[test]
fn a_reachable_listener_needs_a_key_or_open_written_out() {
    let public = "[http]\nlisten = \"0.0.0.0:8080\"\n";
    let message = refused(public);
    assert!(
        message.starts_with("some/weir.toml:2: http.listen = \"0.0.0.0:8080\": others can reach"),
        "{message}"
    );
    assert!(refused("[http]\nlisten = \"[::]:8080\"\n").contains("others can reach"));
    let behind = refused("[http]\ntrusted_proxies = [\"10.0.0.1\"]\n");
    assert!(
        behind.starts_with("some/weir.toml:2: http.trusted_proxies")
            && behind.contains("others can reach this server through the proxy"),
        "{behind}"
    );

    let open = load(&format!("{public}[auth]\nmode = \"open\"\n")).expect("open");
    assert!(open.open_access());
    let keyed = load(&format!(
        "{public}[auth]\nkeys = {{ k = \"{LONG_SECRET}\" }}\n"
    ));
    assert!(!keyed.expect("keyed").open_access());
    assert!(
        refused(&format!("{public}[auth]\nkeys = {{ k = \"short\" }}\n")).contains("too short")
    );
    let stream_key = load(&format!(
        "{public}[[auth.stream_keys]]\nkey = \"abcdef123456\"\nroom = \"r\"\n"
    ));
    assert!(!stream_key.expect("stream key").open_access());
    assert!(
        refused(&format!(
            "{public}[[auth.stream_keys]]\nkey = \"abc\"\nroom = \"r\"\n"
        ))
        .contains("too short")
    );
}

#[test]
fn loopback_is_open_until_a_key_is_configured() {
    assert!(load("").expect("defaults").open_access());
    assert!(
        load("[http]\nlisten = \"[::1]:8080\"")
            .expect("v6")
            .open_access()
    );
    assert!(
        !load("[auth]\nkeys = { a = \"b\" }")
            .expect("keys")
            .open_access()
    );
    assert!(refused("[auth]\nmode = \"token\"").contains("nobody could get in"));
}

#[test]
fn values_that_cannot_work_together_are_refused() {
    for (text, part) in [
        ("workers = 200", "from 1 to 128"),
        ("workers = 4\n[udp]\nport = 65533", "4 workers need"),
        (
            "workers = 2\n[announce]\naddresses = [\"192.0.2.1:65535\"]",
            "2 workers need",
        ),
        ("[announce]\naddresses = [\"0.0.0.0\"]", "can't be reached"),
        (
            "[announce]\nstun = \"stun.example.org\"",
            "a host and a port",
        ),
        (
            "[udp]\nlisten = [\"127.0.0.1\", \"127.0.0.1\"]",
            "each once",
        ),
        ("[udp]\nsend_buffer = 1", "from 65536"),
        ("[http]\nbody_limit = 10", "from 4096"),
        (
            "[http]\npublic_url = \"media.example.org\"",
            "https://media.example.org",
        ),
        (
            "[http]\npublic_url = \"https://media.example.org/\"",
            "a slash at the end",
        ),
        (
            "[http]\npublic_url = \"https://media.example.org/weir\"",
            "without a path",
        ),
        ("[log]\nlevel = \"loud\"", "off, error, warn"),
        ("[log]\nlevel = \"warn,weir::http\"", "off, error, warn"),
        (
            "[limits]\nname_length = 4\n[auth]\nstream_keys = [{ key = \"k\", room = \"study\" }]",
            "limits.name_length",
        ),
        (
            "[auth]\nstream_keys = [{ key = \"k\", room = \"r\", identity = \" \" }]",
            "1 to 128 bytes",
        ),
        (
            "[http]\ncors_origins = [\"app.example.org\"]",
            "an origin such as",
        ),
        ("[http]\nheader_timeout = \"0s\"", "from \"100ms\""),
        ("[http]\ntrusted_proxies = [\"10.0.0.0/99\"]", "10.0.0.0/8"),
        ("[limits]\nrequests_burst = 0", "at least 1"),
        ("[limits]\nname_length = 0", "from 1 to 1024"),
        ("[whep]\nvideo_slots = 0", "from 1 to 25"),
        ("[whep]\naudio_slots = 26", "from 1 to 25"),
        ("[limits]\nconsent_timeout = \"1ms\"", "from \"1s\""),
        ("ice_servers = [{ urls = [\"turn:t\"] }]", "entry 1: url"),
        (
            "[auth]\nstream_keys = [{ key = \"k\", room = \"r\", publish = false }]",
            "neither",
        ),
        (
            "[auth]\nstream_keys = [{ key = \"k\", room = \"r\" }, { key = \"k\", room = \"s\" }]",
            "entry 2: the same key",
        ),
    ] {
        let message = refused(text);
        assert!(message.contains(part), "{text}: {message}");
    }
}

#[test]
fn external_ports_follow_the_worker() {
    let config = load("workers = 2\n[announce]\nport = 40000").expect("valid");
    assert_eq!(config.external_port(None, 1, 7883), 40001);
    assert_eq!(config.external_port(Some(50000), 1, 7883), 50001);
    assert_eq!(Config::default().external_port(None, 1, 7883), 7883);
}

#[test]
fn networks_hold_their_addresses() {
    let config =
        load("[http]\ntrusted_proxies = [\"10.0.0.0/8\", \"192.0.2.7\"]\n[auth]\nmode = \"open\"")
            .expect("valid");
    let trusted = |ip: &str| {
        let ip = ip.parse().expect("address");
        config
            .http
            .trusted_proxies
            .iter()
            .any(|network| network.contains(ip))
    };
    assert!(trusted("10.1.2.3") && trusted("192.0.2.7") && trusted("::ffff:10.1.2.3"));
    assert!(!trusted("192.0.2.8") && !trusted("::1"));
}

#[test]
fn limits_of_zero_are_no_limits() {
    assert_eq!((Limit(0).get(), Limit(2).get()), (None, Some(2)));
}

#[test]
fn the_secrets_of_the_documentation_open_no_server() {
    let readme = include_str!("../../README.md");
    let example = readme.split("```toml\n").nth(1).expect("an example");
    let example = example.split("```").next().expect("its end");
    let message = refused(example);
    assert!(message.contains("too short"), "{message}");
    let example = example.replace("<openssl rand -base64 32>", LONG_SECRET);
    let message = refused(&example);
    assert!(message.contains("auth.stream_keys: entry 1"), "{message}");
    assert!(load(&example.replace("<openssl rand -hex 12>", LONG_SECRET)).is_ok());
}

#[test]
fn log_levels_are_words_or_directives() {
    for level in [
        "off",
        "TRACE",
        "info,weir::http=debug",
        "weir=warn",
        "warn,[session]=trace",
    ] {
        let text = format!("[log]\nlevel = \"{level}\"");
        assert!(load(&text).is_ok(), "{level}");
    }
}
