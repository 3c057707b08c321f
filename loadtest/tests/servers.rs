//! Servers of all kinds: searched, ramped up to, driven through Janus's API, over
//! TLS and IPv6, started, starved, and let take turns.

mod fake;

use std::io::{BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use fake::{Badness, Fake};
use weir_loadtest::peers::Peer;
use weir_loadtest::peers::rounds::{self, Rounds};
use weir_loadtest::report::Report;
use weir_loadtest::run::{self, Plan};
use weir_loadtest::scenario::{self, types::Scenario};
use weir_loadtest::server::cores_of;
use weir_loadtest::signal::client::{HttpError, Signalling, Trust};
use weir_loadtest::signal::janus::Janus;

fn scenario(options: &[&str]) -> Scenario {
    let mut all = vec![
        "seconds=1.0".to_owned(),
        "settle-seconds=0.1".to_owned(),
        "media.kbps=600".to_owned(),
        "viewer.full-check-every=2".to_owned(),
        // A busy machine must not decide these tests.
        "limits.delay-p99-ms=5000.0".to_owned(),
        "limits.freeze-ms=5000.0".to_owned(),
        "ramp.join-timeout-seconds=60.0".to_owned(),
    ];
    all.extend(options.iter().map(ToString::to_string));
    scenario::load("broadcast", &all).unwrap()
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

fn drive(plan: &Plan) -> Report {
    runtime().block_on(run::run(plan)).unwrap()
}

/// Without media the generator can't be late, so that only capacity decides.
const SILENT: &str = "media.silent=true";

#[test]
fn a_search_finds_what_a_server_takes() {
    let fake = Fake::start(Badness {
        capacity: 6,
        ..Badness::default()
    });
    let plan = Plan::new(scenario(&[SILENT, "load.viewers=2"]), &*fake.url);
    let mut tried = Vec::new();
    let searched = run::search(&plan, 1.0, 100, |viewers, _| tried.push(viewers));
    let report = runtime().block_on(searched).unwrap();
    assert_eq!(tried, [2, 4, 8, 6, 7]);
    assert_eq!(report.highest_load_held, Some(6));
    assert_eq!(report.verdict, "pass", "{}", report.reason);
    let limit = report.limit_broken.unwrap();
    assert!(limit.starts_with("connected-percent"), "{limit}");
    assert!(
        limit.contains("status 503") && limit.ends_with("at 7 viewers"),
        "{limit}"
    );
    let steps: Vec<_> = report.steps.iter().map(|s| s.figures.viewers).collect();
    assert_eq!(steps, [2, 4, 8, 6, 7]);
    assert_eq!(report.steps[2].figures.connected, 6);
}

#[test]
fn a_ramp_stops_at_the_step_that_breaks_a_limit() {
    let fake = Fake::start(Badness {
        capacity: 6,
        ..Badness::default()
    });
    let ramp = "ramp.steps=[50.0, 100.0, 150.0, 200.0]";
    let all = [SILENT, "load.viewers=5", "ramp.shape=steps", ramp];
    let r = drive(&Plan::new(scenario(&all), &*fake.url));
    let loads: Vec<_> = r.steps.iter().map(|s| s.figures.viewers).collect();
    assert_eq!(loads, [3, 5, 8]);
    assert_eq!(r.highest_load_held, Some(5));
    assert_eq!(r.verdict, "fail", "{}", r.reason);
    assert!(r.limit_broken.unwrap().ends_with("at 8 viewers"));
    let json: serde_json::Value = serde_json::to_value(&r.steps[2]).unwrap();
    for pointer in [
        "/limit_broken",
        "/viewers",
        "/connected",
        "/sent_packets",
        "/received_packets",
        "/loss_percent",
        "/duplicates",
        "/delay_ms/p999",
        "/join_ms/p95",
        "/freezes",
        "/generator/cpu_cores",
        "/generator/late_sends",
        "/generator/socket_drops",
    ] {
        assert!(json.pointer(pointer).is_some(), "{pointer}");
    }
}

#[test]
fn everyone_at_once_is_one_step() {
    let fake = Fake::start(Badness::default());
    let all = [SILENT, "load.viewers=8", "ramp.shape=at-once"];
    let mut plan = Plan::new(scenario(&all), &*fake.url);
    // The server is a part of this process.
    plan.pid = Some(std::process::id());
    let r = drive(&plan);
    assert_eq!((r.steps.len(), r.figures.connected), (1, 8), "{}", r.reason);
    assert_eq!(r.figures.connect_ms.count, 8);
    assert_eq!(r.figures.received_packets, 0);
    let server = r.figures.server.unwrap();
    let (joining, all) = (server.cpu_us_per_join, server.cpu_us_per_join_and_wait);
    assert!(all > 10.0 && joining <= all, "{joining} of {all}");
}

/// Janus offers to viewers, controls ICE and chooses the payload types.
#[test]
fn janus_is_driven_through_its_api() {
    let fake = Fake::start(Badness {
        lose_every: 20,
        repair: true,
        ..Badness::default()
    });
    let options = ["load.viewers=3", "http.api=janus", "seconds=3.0"];
    let target = format!("{}/janus", fake.url);
    let r = drive(&Plan::new(scenario(&options), target));
    let f = &r.figures;
    assert_eq!((f.connected, f.join_ms.count), (3, 3), "{f:?}");
    assert!(f.http_errors.is_empty(), "{f:?}");
    let received = f.received_packets as f64 / (f.sent_packets * 3) as f64;
    assert!((0.85..1.15).contains(&received), "{f:?}");
    // Repairs come under the payload type that was agreed on.
    assert!(f.retransmissions > 0 && f.recovered > 0, "{f:?}");
    assert_eq!((f.bad_packets, f.lost_packets), (0, 0), "{f:?}");
}

#[test]
fn what_janus_refuses_is_told_by_its_code() {
    let fake = Fake::start(Badness::default());
    let base = reqwest::Url::parse(&format!("{}/janus/", fake.url)).unwrap();
    let error = runtime().block_on(async {
        let janus = Janus::new(base, None, &Trust::default()).unwrap();
        let answer = |_: &str| Ok(((), String::new()));
        janus.watch(1, 99, answer).await.unwrap_err()
    });
    assert_eq!(error.to_string(), "janus 428: no");
}

#[test]
fn ipv6_alone_is_enough() {
    let fake = Fake::start_at("[::1]:0", Badness::default());
    assert!(fake.url.contains("[::1]"));
    let r = drive(&Plan::new(scenario(&["load.viewers=2"]), &*fake.url));
    assert_eq!(r.figures.connected, 2, "{:?}", r.figures);
    assert!(r.figures.received_packets > 50, "{:?}", r.figures);
}

/// One HTTPS connection after another, each answered like a WHIP endpoint.
fn tls_server() -> (String, String) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let config = Arc::new(config);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let connection = rustls::ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut reader = BufReader::new(rustls::StreamOwned::new(connection, stream));
            // A client that does not trust us ends the handshake here.
            if fake::read_request(&mut reader).is_some() {
                let reply = "HTTP/1.1 201 Created\r\nLocation: /s/1\r\nContent-Length: 3\r\nConnection: close\r\n\r\nv=0";
                let stream = reader.get_mut();
                stream.write_all(reply.as_bytes()).unwrap();
                stream.conn.send_close_notify();
                let _ = stream.flush();
            }
        }
    });
    (format!("https://localhost:{port}/"), made.cert.pem())
}

#[test]
fn https_is_trusted_as_told_and_errors_have_kinds() {
    let (url, pem) = tls_server();
    let post = |url: &str, trust: &Trust| {
        let url = reqwest::Url::parse(url).unwrap();
        let client = Signalling::new(url, None, trust).unwrap();
        runtime().block_on(client.post("whep/x", "v=0".to_owned(), str::to_owned))
    };
    let nobody = Trust::default();
    let error = post(&url, &nobody).unwrap_err();
    assert!(matches!(error, HttpError::Tls(_)), "{error:?}");
    assert!(error.to_string().contains("certificate"), "{error}");
    let authorities = reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap();
    let known = Trust {
        authorities,
        anyone: false,
    };
    let created = post(&url, &known).unwrap();
    assert_eq!(created.answer, "v=0");
    assert!(created.resource.unwrap().path().ends_with("/s/1"));
    let anyone = Trust {
        anyone: true,
        ..Trust::default()
    };
    assert!(post(&url, &anyone).is_ok());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let closed = format!("http://{}/", free.local_addr().unwrap());
    drop(free);
    assert_eq!(post(&closed, &nobody).unwrap_err(), HttpError::Refused);
    let unknown = post("http://nowhere.invalid/", &nobody).unwrap_err();
    assert_eq!(unknown, HttpError::Name);
}

const SERVE: &str = "WEIR_LOADTEST_FAKE";

/// No test, but the server of the tests below: they start this program again with
/// a variable set. It ends with them.
#[test]
fn a_server_of_its_own() {
    let Ok(what) = std::env::var(SERVE) else {
        return;
    };
    let fake = Fake::start(Badness {
        lose_every: what.parse().unwrap(),
        ..Badness::default()
    });
    println!("\nready http={}", fake.url);
    loop {
        std::thread::park();
    }
}

fn peer(name: &str, lose_every: usize) -> Peer {
    let program = std::env::current_exe().unwrap();
    Peer {
        name: name.to_owned(),
        command: format!(
            "{} --exact a_server_of_its_own --nocapture",
            program.display()
        ),
        environment: [(SERVE.to_owned(), lose_every.to_string())].into(),
        ..Peer::default()
    }
}

#[test]
fn peers_take_turns_and_are_measured() {
    let wanted = Rounds {
        scenario: "broadcast".to_owned(),
        options: [
            "load.viewers=3",
            "seconds=2.0",
            "settle-seconds=0.1",
            "limits.delay-p99-ms=5000.0",
            "limits.freeze-ms=5000.0",
            // The other tests of this program must not be pinned with this one.
            "generator.pin=false",
        ]
        .map(str::to_owned)
        .to_vec(),
        rounds: 2,
        peers: vec![peer("good", 0), peer("bad", 4)],
        floor: true,
        progress: false,
    };
    let mut told = Vec::new();
    let report = rounds::run(&wanted, |r| told.push((r.round, r.peer.clone()))).unwrap();
    let order: Vec<_> = told.iter().map(|(n, name)| (*n, name.as_str())).collect();
    let expected = [
        (1, "good"),
        (1, "bad"),
        (1, "floor"),
        (2, "bad"),
        (2, "floor"),
        (2, "good"),
    ];
    assert_eq!(order, expected);
    let [good, bad, floor] = &report.peers[..] else {
        panic!("{:?}", report.peers);
    };
    assert_eq!(
        (good.measured, good.errors),
        (2, 0),
        "{}",
        report.markdown()
    );
    assert_eq!(good.loss_percent, Some(0.0), "{}", report.markdown());
    assert!(bad.loss_percent.unwrap() > 5.0, "{}", report.markdown());
    assert_eq!(bad.passed, 0);
    assert_eq!(floor.ratio_to_floor.unwrap().median, 1.0);
    // A server that does everything by itself costs more than the floor does.
    assert!(
        good.ratio_to_floor.unwrap().min > 1.0,
        "{}",
        report.markdown()
    );
    assert!(good.cpu_cores.unwrap() > 0.0 && good.rss_bytes_per_session.is_some());
    assert!(!report.passed());
}

/// Ends what it started, however the test ends.
struct Spinners(Vec<Child>);

impl Drop for Spinners {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn a_starved_server_is_not_blamed() {
    let cores = cores_of(std::process::id());
    let core = *cores.first().unwrap();
    let running = peer("starved", 0).start(&[core]).unwrap();
    let spin = || {
        let mut command = Command::new("taskset");
        command.args(["-c", &core.to_string(), "sh", "-c", "while :; do :; done"]);
        command.stdin(Stdio::null()).spawn().unwrap()
    };
    let _others = Spinners((0..3).map(|_| spin()).collect());
    // A limit that nobody can hold, and that a lack of CPU would break, too.
    let options = [
        "load.viewers=2",
        "limits.delay-p99-ms=0.000001",
        "seconds=3.0",
    ];
    let mut plan = Plan::new(scenario(&options), &*running.target);
    plan.pid = Some(running.server.pid());
    let r = drive(&plan);
    let step = &r.steps[0];
    assert!(step.limit_broken.is_some(), "{step:?}");
    assert!(step.disturbed.is_some(), "{step:?}");
    assert_eq!(r.verdict, "inconclusive", "{}", r.reason);
    let server = r.figures.server.unwrap();
    assert_eq!(server.cores, [core]);
    assert!(server.foreign_cores > 0.2, "{server:?}");
    assert!(server.waited_ms_per_second > 10.0, "{server:?}");
}
