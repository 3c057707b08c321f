//! A participant who joins a conference of ten and sees and hears the nine others in one session.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::paths::{SECOND, p95, path, sound_took};
use crate::checks::{shown, video};
use crate::client::{Plan, Received};
use crate::world::{ClientId, World};

const OTHERS: u8 = 9;

/// A picture that comes this long after it was made is not live.
const LIVE: Duration = Duration::from_millis(150);

/// What of one participant came to the one who joined.
struct Participant {
    /// The first whole picture.
    first: Instant,
    /// The last picture that was not live.
    late: Instant,
    /// Share of the sound that did not come.
    lost: f64,
}

/// Joins over a path of `rate` while everybody sends 2 Mb/s, in three layers or one. Gives when
/// the first and the last of the nine pictures were there, in ms since the connection; the share of the
/// sound that was lost, and how late it came, in ms; the keyframes that all publishers together
/// were asked for; and when all pictures had caught up, in ms.
pub fn join(seed: u64, rate: Option<u64>, layers: bool) -> Vec<f64> {
    let mut world = World::new(seed, 1);
    // Keyframes come every two seconds, each at another time.
    let publishers: Vec<ClientId> = (1..=OTHERS + 1)
        .map(|tag| {
            let plan = Plan {
                tag,
                packets_per_frame: 7,
                keyframe_packets: 14,
                gop: 60,
                ..if layers {
                    Plan::layered([1, 2, 7])
                } else {
                    Plan::default()
                }
            };
            let publisher = world.publish(0, 1, u64::from(tag), plan);
            world.run(Duration::from_millis(170 + 10 * seed));
            publisher
        })
        .collect();
    world.run(3 * SECOND);
    let requests = |world: &World| -> usize {
        let of = publishers.iter().map(|p| &world.clients[p.0]);
        of.map(|client| client.keyframe_requests as usize).sum()
    };
    let before = requests(&world);
    world.links = path(seed, rate);
    let own = format!("p{}", OTHERS + 1);
    let viewer = world.view_room(0, 1, Some(&own), (OTHERS.into(), OTHERS.into()));
    world.run(8 * SECOND);

    let connected = world.clients[viewer.0].connected.expect("connected");
    let mut delays = Vec::new();
    let others: Vec<Participant> = (1..=OTHERS)
        .zip(&publishers)
        .map(|(tag, publisher)| came(&world, viewer, *publisher, tag, &mut delays))
        .collect();
    let ms = |at: Instant| (at - connected).as_secs_f64() * 1000.0;
    let firsts = others.iter().map(|p| ms(p.first));
    vec![
        firsts.clone().fold(f64::MAX, f64::min),
        firsts.fold(0.0, f64::max),
        others.iter().map(|p| p.lost).sum::<f64>() / f64::from(OTHERS),
        p95(delays),
        (requests(&world) - before) as f64,
        others.iter().map(|p| ms(p.late)).fold(0.0, f64::max),
    ]
}

/// What came of a publisher, and how long its sound took, in ms.
fn came(
    world: &World,
    viewer: ClientId,
    publisher: ClientId,
    tag: u8,
    delays: &mut Vec<f64>,
) -> Participant {
    let client = &world.clients[viewer.0];
    let connected = client.connected.expect("connected");
    let begun = world.clients[publisher.0].connected.expect("connected");
    let of = |p: &&Received| p.from == Some(tag);
    let pictures: Vec<&Received> = video(client).into_iter().filter(of).collect();
    let late = pictures.iter().filter(|p| {
        let made = begun + SECOND * (p.stamp.expect("a stamp").frame - 1) / 30;
        p.at.saturating_duration_since(made) > LIVE
    });
    let mut numbers = BTreeSet::new();
    for packet in client.received.iter().filter(|p| !p.video).filter(of) {
        let (number, took) = sound_took(packet, begun);
        delays.push(took);
        numbers.insert(number);
    }
    // What is still on its way at the end is not lost.
    let sent = (world.now - connected).as_secs_f64() * 50.0 - 10.0;
    Participant {
        first: shown(&pictures).first().copied().unwrap_or(world.now),
        late: late.map(|p| p.at).max().unwrap_or(connected),
        lost: (1.0 - numbers.len() as f64 / sent).max(0.0),
    }
}
