//! Cases 8–14, 16–21, 23, 24, 62 and 67: what answers say.

use super::offers::*;
use super::server::Server;

#[tokio::test]
async fn every_offer_of_a_real_client_is_created() {
    let server = Server::start().await;
    for (index, (name, offer)) in PUBLISHERS.iter().enumerate() {
        let answer = server.post(&format!("/whip/p{index}"), offer).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.body);
    }
    for (index, (name, offer)) in VIEWERS.iter().enumerate() {
        let answer = server.post(&format!("/whep/v{index}"), offer).await;
        assert_eq!(answer.status, 201, "{name}: {}", answer.body);
    }
}

#[tokio::test]
async fn case_08_publishing_the_wrong_way_is_422() {
    let server = Server::start().await;
    for direction in ["inactive", "recvonly"] {
        let offer = directed(OBS, direction);
        server.post("/whip/r", &offer).await.expect(422);
    }
    assert!(server.rooms().await.is_empty());
}

#[tokio::test]
async fn case_09_watching_the_wrong_way_is_422() {
    let server = Server::start().await;
    for direction in ["inactive", "sendonly"] {
        let offer = directed(PLAYER, direction);
        server.post("/whep/r", &offer).await.expect(422);
    }
    assert!(server.rooms().await.is_empty());
}

/// Posts an offer in both directions and checks that the answer has only one.
async fn answered_one_way(path: &str, offer: &str, direction: &str, never: &str) {
    let server = Server::start().await;
    let answer = server.post(path, &directed(offer, "sendrecv")).await;
    answer.expect(201);
    let (_, sections) = parts(&answer.body);
    for section in sections.iter().filter(|s| !s.rejected()) {
        assert!(section.has(direction), "{:?}", section.0);
        assert!(!section.has(never) && !section.has("a=sendrecv"));
    }
}

#[tokio::test]
async fn case_10_publishing_sendrecv_is_answered_recvonly() {
    answered_one_way("/whip/r", OBS, "a=recvonly", "a=sendonly").await;
}

#[tokio::test]
async fn case_11_watching_sendrecv_is_answered_sendonly() {
    answered_one_way("/whep/r", PLAYER, "a=sendonly", "a=recvonly").await;
}

#[tokio::test]
async fn case_12_two_video_tracks_are_422_and_make_no_session() {
    let server = Server::start().await;
    let at = OBS.find("m=video").unwrap();
    let second = OBS[at..]
        .replace("a=mid:1", "a=mid:2")
        .replace("4126363247", "4126363248");
    let offer = format!("{OBS}{second}").replace("BUNDLE 0 1", "BUNDLE 0 1 2");
    server.post("/whip/r", &offer).await.expect(422);
    assert!(server.rooms().await.is_empty());
}

/// Renames codecs so that none is known.
fn unknown_video(offer: &str) -> String {
    let mut offer = offer.to_owned();
    for name in ["H264", "H265", "VP8", "VP9", "AV1"] {
        offer = offer.replace(&format!(" {name}/90000"), " unheard-of/90000");
    }
    offer
}

#[tokio::test]
async fn case_13_publishing_without_a_common_codec_is_422() {
    let server = Server::start().await;
    server
        .post("/whip/r", &unknown_video(OBS))
        .await
        .expect(422);
    let neither = unknown_video(OBS).replace("opus/48000/2", "unheard-of/48000/2");
    server.post("/whip/r", &neither).await.expect(422);
    assert!(server.rooms().await.is_empty());
}

#[tokio::test]
async fn case_14_watching_without_a_common_codec_is_422_with_the_codecs_of_both() {
    let server = Server::start().await;
    server
        .post("/whep/r", &unknown_video(PLAYER))
        .await
        .expect(422);
    // The publisher can send H.264 only, the viewer takes VP8 only.
    server.post("/whip/r", OBS).await.expect(201);
    let mut vp8 = PLAYER.to_owned();
    for name in ["H264", "H265", "VP9", "AV1"] {
        vp8 = vp8.replace(&format!(" {name}/90000"), " unheard-of/90000");
    }
    let answer = server.post("/whep/r", &vp8).await;
    answer.expect(422);
    let problem = answer.json();
    assert_eq!(problem["publishes"], serde_json::json!(["H264"]));
    assert_eq!(problem["offered"], serde_json::json!(["VP8"]));
}

/// Ids and URIs of the header extensions; an answer turns their direction round.
fn extensions<'a>(section: &Part<'a>) -> Vec<(&'a str, &'a str)> {
    let maps = section.values("extmap").into_iter();
    maps.filter_map(|map| {
        let (id, uri) = map.split_once(' ')?;
        Some((id.split('/').next()?, uri))
    })
    .collect()
}

#[tokio::test]
async fn case_16_answers_keep_the_order_and_numbers_of_offers() {
    let server = Server::start().await;
    let publishers = PUBLISHERS.iter().map(|offer| ("whip", offer));
    let viewers = VIEWERS.iter().map(|offer| ("whep", offer));
    for (index, (endpoint, (name, offer))) in publishers.chain(viewers).enumerate() {
        let answer = server.post(&format!("/{endpoint}/r{index}"), offer).await;
        answer.expect(201);
        let (_, offered) = parts(offer);
        let (_, answered) = parts(&answer.body);
        assert_eq!(offered.len(), answered.len(), "{name}");
        for (offered, answered) in offered.iter().zip(&answered) {
            assert_eq!(offered.kind(), answered.kind(), "{name}");
            assert_eq!(offered.value("mid"), answered.value("mid"), "{name}");
            if answered.rejected() {
                continue;
            }
            // What remains of the payload types stands in the offer's order.
            let mut offers = offered.payload_types().into_iter();
            for pt in answered.payload_types() {
                assert!(offers.any(|offer| offer == pt), "{name}: {pt}");
                let map = |part: &Part| {
                    let maps = part.values("rtpmap").into_iter();
                    let mut maps = maps.filter_map(|map| map.split_once(' '));
                    maps.find(|(number, _)| *number == pt)
                        .map(|(_, map)| map.to_lowercase())
                };
                // Static payload types need no map.
                if let Some(offered) = map(offered) {
                    assert_eq!(map(answered), Some(offered), "{name}: {pt}");
                }
            }
            for extension in extensions(answered) {
                assert!(
                    extensions(offered).contains(&extension),
                    "{name}: {extension:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn case_17_answers_are_complete() {
    let server = Server::start().await;
    for (endpoint, offer) in [("whip", OBS), ("whep", PLAYER), ("whip", FFMPEG_PASSIVE)] {
        let answer = server.post(&format!("/{endpoint}/r"), offer).await;
        answer.expect(201);
        let (session, sections) = parts(&answer.body);
        let group = session.value("group").expect("a group");
        assert!(group.starts_with("BUNDLE "));
        assert!(session.has("a=ice-lite"));
        for section in &sections {
            let mid = section.value("mid").expect("a mid");
            assert!(group.split(' ').any(|word| word == mid), "{group}: {mid}");
            assert!(section.has("a=rtcp-mux"));
            let fingerprint = section.value("fingerprint").expect("a fingerprint");
            assert!(fingerprint.starts_with("sha-256 "));
            assert!(section.value("ice-ufrag").expect("ufrag").len() >= 4);
            assert!(section.value("ice-pwd").expect("pwd").len() >= 22);
        }
        assert!(!sections[0].values("candidate").is_empty());
        assert!(answer.body.contains("a=end-of-candidates\r\n"), "complete");
    }
}

#[tokio::test]
async fn case_18_first_candidate_is_ipv4_udp_host_and_the_answer_is_short() {
    let server = Server::start().await;
    let publishers = PUBLISHERS.iter().map(|offer| ("whip", offer));
    let viewers = VIEWERS.iter().map(|offer| ("whep", offer));
    for (index, (endpoint, (name, offer))) in publishers.chain(viewers).enumerate() {
        let answer = server.post(&format!("/{endpoint}/r{index}"), offer).await;
        answer.expect(201);
        assert!(
            answer.body.len() < 8 * 1024,
            "{name}: {}",
            answer.body.len()
        );
        let first = answer
            .body
            .lines()
            .find_map(|l| l.strip_prefix("a=candidate:"));
        let words: Vec<&str> = first.expect("a candidate").split(' ').collect();
        assert_eq!(words[2].to_lowercase(), "udp", "{name}");
        assert!(
            words[4].parse::<std::net::Ipv4Addr>().is_ok(),
            "{name}: {}",
            words[4]
        );
        assert_eq!(&words[6..8], ["typ", "host"], "{name}");
    }
}

#[tokio::test]
async fn case_19_viewers_get_one_stream_id_in_every_section() {
    let server = Server::start().await;
    for (index, (name, offer)) in VIEWERS.iter().enumerate() {
        let answer = server.post(&format!("/whep/r{index}"), offer).await;
        answer.expect(201);
        let (_, sections) = parts(&answer.body);
        let sections = sections
            .iter()
            .filter(|s| !s.rejected() && s.kind() != "application");
        let ids: Vec<&str> = sections
            .map(|section| {
                section
                    .value("msid")
                    .expect("msid")
                    .split(' ')
                    .next()
                    .unwrap()
            })
            .collect();
        assert!(ids.len() >= 2, "{name}");
        assert!(
            ids.iter().all(|id| *id == ids[0] && *id != "-"),
            "{name}: {ids:?}"
        );
    }
}

#[tokio::test]
async fn case_20_optional_lines_may_be_missing() {
    let server = Server::start().await;
    let optional = ["a=rtcp-mux-only", "a=ice-options", "a=extmap"];
    for (path, offer) in [("/whip/r", OBS), ("/whep/r", PLAYER)] {
        let bare = without(offer, &optional);
        assert_ne!(bare, offer);
        server.post(path, &bare).await.expect(201);
    }
}

#[tokio::test]
async fn case_21_ice2_and_lip_sync_groups_are_tolerated() {
    let server = Server::start().await;
    assert!(OBS.contains("a=ice-options:ice2,trickle") && OBS.contains("a=group:LS 0 1"));
    server.post("/whip/r", OBS).await.expect(201);
}

#[tokio::test]
async fn case_23_bundle_may_name_a_mid_that_is_not_there() {
    let server = Server::start().await;
    let offer = FFMPEG_VIDEO
        .lines()
        .map(|line| match line {
            line if line.starts_with("a=group:BUNDLE") => "a=group:BUNDLE 0 1\r\n".to_owned(),
            line => format!("{line}\r\n"),
        })
        .collect::<String>();
    assert!(offer.contains("BUNDLE 0 1") && offer.contains("a=mid:1"));
    assert!(!offer.contains("a=mid:0"));
    server.post("/whip/r", &offer).await.expect(201);
}

#[tokio::test]
async fn case_24_actpass_is_answered_with_a_choice() {
    let server = Server::start().await;
    for (offer, expected) in [
        (OBS, "passive"),
        (FFMPEG_ACTIVE, "passive"),
        (FFMPEG_PASSIVE, "active"),
    ] {
        let answer = server.post("/whip/r", offer).await;
        answer.expect(201);
        let (_, sections) = parts(&answer.body);
        for section in sections {
            assert_eq!(section.value("setup"), Some(expected));
        }
    }
}

#[tokio::test]
async fn case_62_simulcast_answers_name_every_layer() {
    let server = Server::start().await;
    for (name, offer) in PUBLISHERS
        .iter()
        .filter(|(name, _)| name.contains("simulcast3"))
    {
        let answer = server.post(&format!("/whip/{name}"), offer).await;
        answer.expect(201);
        let (_, offered) = parts(offer);
        let (_, answered) = parts(&answer.body);
        let video = |sections: &[Part<'_>]| {
            let at = sections.iter().position(|s| s.kind() == "video");
            at.expect("video")
        };
        let layers = |part: &Part<'_>, way: &str| -> Vec<String> {
            let value = part.value("simulcast").expect("simulcast").to_owned();
            let list = value.split(' ').skip_while(|word| *word != way).nth(1);
            let list = list.expect("layers").split(';');
            list.map(|rid| rid.trim_start_matches('~').to_owned())
                .collect()
        };
        let sent = layers(&offered[video(&offered)], "send");
        let answered = &answered[video(&answered)];
        assert_eq!(layers(answered, "recv"), sent, "{name}");
        assert_eq!(sent.len(), 3);
        for rid in &sent {
            let wanted = format!("{rid} recv");
            assert!(
                answered
                    .values("rid")
                    .iter()
                    .any(|line| line.starts_with(&wanted)),
                "{name}: {rid}"
            );
        }
    }
}

#[tokio::test]
async fn case_67_stereo_is_kept_where_it_was_offered() {
    let server = Server::start().await;
    let stereo = |body: &str| body.contains("stereo=1") && body.contains("sprop-stereo=1");
    assert!(stereo(OBS));
    let answer = server.post("/whip/r", OBS).await;
    assert!(stereo(&answer.expect(201).body), "{}", answer.body);
    let mono = OBS.replace("stereo=1;sprop-stereo=1;", "");
    let answer = server.post("/whip/s", &mono).await;
    assert!(!answer.expect(201).body.contains("stereo=1"));
}
