//! Trickled candidates and ICE restarts.

use super::fragment::{Fragment, read, render_restart};
use super::*;

const ICE: &str = "a=ice-ufrag:EsAw\r\na=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n";
const HOST: &str = "a=candidate:1 1 udp 2130706431 192.0.2.7 5000 typ host\r\n";

#[test]
fn the_captured_fragments_are_read() {
    let captured = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/offers/simple-whip-client.trickle.txt"
    ));
    let bodies: Vec<Fragment> = captured
        .split("----")
        .filter_map(|part| {
            let start = part.find("a=ice-ufrag")?;
            Some(read(&part[start..]).expect("a fragment"))
        })
        .collect();
    assert_eq!(bodies.len(), 2);
    assert!(!bodies[0].end_of_candidates && bodies[1].end_of_candidates);
    assert_eq!(bodies[1].mids, ["video0"]);
    let ice = bodies[0].ice.as_ref().expect("credentials");
    assert_eq!(ice.ufrag, "i5pFU2wZfIPzkYLecQ8qrYMhhA5HCG4m");
}

#[test]
fn case_51_fragments_of_every_form_are_accepted() {
    for lines in [
        HOST.to_owned(),
        format!("m=audio 9 RTP/AVP 0\r\na=mid:0\r\n{HOST}"),
        format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n{HOST}"),
        format!("a=mid:video0\r\n{HOST}"),
        HOST.replace("1 1 udp", "1 0 udp"),
        HOST.replace(" udp ", " UDP "),
        HOST.replace("typ host", "typ host generation 0 ufrag EsAw network-id 1"),
    ] {
        let body = format!("{ICE}{lines}");
        for body in [
            body.clone(),
            body.replace("\r\n", "\n"),
            format!("v=0\r\n{body}"),
        ] {
            let fragment = read(&body).unwrap_or_else(|e| panic!("{body}: {e}"));
            assert_eq!(fragment.ice.expect("ice").ufrag, "EsAw");
        }
    }
    // Credentials inside the section, or none.
    let inside = format!("m=audio 9 RTP/AVP 0\r\na=mid:0\r\n{ICE}a=end-of-candidates\r\n");
    assert!(read(&inside).expect("a fragment").ice.is_some());
    assert!(read(HOST).expect("a fragment").ice.is_none());
    // A restart may be credentials only.
    assert!(read(ICE).expect("a fragment").ice.is_some());
}

#[test]
fn case_52_candidates_that_could_not_be_used_are_passed_over() {
    for value in [
        "1 1 udp 2113937151 0f0a6ee1-ab52-4b7c-8a77-1cd2d8fa.local 50000 typ host",
        "1 1 tcp 1518214911 192.0.2.7 9 typ host tcptype active",
        "1 1 ssltcp 1518214911 192.0.2.7 443 typ host",
        "1 2 udp 2130706430 192.0.2.7 5001 typ host",
        "1 1 udp 2130706431 fe80::1 5000 typ host",
        "1 1 udp 2130706431 0.0.0.0 5000 typ host",
        "1 1 udp 2130706431 224.0.0.1 5000 typ host",
        "1 1 udp 2130706431 192.0.2.7 0 typ host",
        "1 1 udp 2130706431 192.0.2.7 5000 typ unheard-of",
        "7 1 udp 999999999999 2001:db8::7 5000 typ srflx raddr 10.0.0.1 rport 4000",
        "",
    ] {
        let body = format!("{ICE}a=candidate:{value}\r\n");
        let fragment = read(&body).unwrap_or_else(|e| panic!("{value}: {e}"));
        assert!(fragment.ice.is_some(), "{value}");
    }
}

#[test]
fn case_53_malformed_fragments_are_400() {
    for body in [
        "",
        "\r\n",
        "garbage",
        "{\"candidate\":\"\"}",
        "a=foo:bar\r\n",
        "m=audio\r\n",
        "a=ice-ufrag:EsAw\r\n",
        "a=ice-pwd:P2uYro0UCOQ4zxjKXaWCBui1\r\n",
        "a=ice-ufrag:EsAw\r\na=ice-pwd:short\r\n",
        "a=candidate:1 1 udp\r\n",
        "a=candidate:1 1 udp x 192.0.2.7 5000 typ host\r\n",
        "a=candidate:1 1 udp 1 192.0.2.7 70000 typ host\r\n",
        "a=candidate:1 1 udp 1 192.0.2.7 5000 host\r\n",
    ] {
        let error = read(body).expect_err(body);
        assert_eq!(error.status(), 400);
    }
    // The line is counted in what was sent.
    assert!(matches!(
        read("a=mid:0\r\nbroken\r\n"),
        Err(FragmentError::Malformed { line: 2, .. })
    ));
}

#[test]
fn fragments_are_bounded() {
    assert!(read(&HOST.repeat(1000)).is_ok());
    assert!(matches!(
        read(&"a=x\r\n".repeat(5000)),
        Err(FragmentError::TooLarge { what: "lines", .. })
    ));
}

#[test]
fn case_49_the_restart_reply_keeps_lite_and_options() {
    let accepted = publish(offer("obs-32.2-h264")).expect("accepted");
    let ice = IceCredentials {
        ufrag: "newU".to_owned(),
        pwd: "newPasswordOf24Character".to_owned(),
    };
    let reply = render_restart(&ice, &context(), accepted.bundle_mids());
    assert_eq!(reply.matches('\n').count(), reply.matches("\r\n").count());
    let answer = answer(&accepted);
    let lines: Vec<&str> = reply.split_terminator("\r\n").collect();
    assert!(lines.contains(&"a=ice-lite"));
    let options = format!("a=ice-options:{}", answer.session.one("ice-options"));
    assert!(lines.contains(&options.as_str()));
    assert!(lines.contains(&"a=group:BUNDLE 0 1"));
    for candidate in answer.section(0).all("candidate") {
        assert!(lines.contains(&format!("a=candidate:{candidate}").as_str()));
    }
    // It is a fragment itself.
    let read = read(&reply).expect("a fragment");
    assert_eq!(read.ice, Some(ice));
    assert!(read.end_of_candidates);
    assert_eq!(read.mids, ["0"]);
}
