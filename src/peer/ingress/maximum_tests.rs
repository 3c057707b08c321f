//! Publishers that obey, over paths of some capacity.

use super::*;

/// A publisher that obeys, behind a queue of some capacity.
struct Path {
    maximum: MaximumRate,
    start: Instant,
    now: Micros,
    /// Bits per second that the encoder sends.
    rate: f64,
    /// And at most.
    most: f64,
    capacity: f64,
    free: Micros,
    stamped: bool,
    /// Of so many packets one is lost.
    loses: Option<u64>,
    number: u64,
    missing: u64,
    told: Vec<(Micros, u64)>,
    waited: Micros,
}

impl Path {
    fn new(rate: f64, most: f64) -> Self {
        Self {
            maximum: MaximumRate::default(),
            start: Instant::now(),
            now: 0,
            rate,
            most,
            capacity: 100e6,
            free: 0,
            stamped: true,
            loses: None,
            number: 0,
            missing: 0,
            told: Vec::new(),
            waited: 0,
        }
    }

    fn at(&self, micros: Micros) -> Instant {
        self.start + Duration::from_micros(micros as u64)
    }

    fn run(&mut self, seconds: i64) {
        self.waited = 0;
        let end = self.now + seconds * 1_000_000;
        let mut bits = 0.0;
        while self.now < end {
            // 25 pictures a second, each in packets of 1200 bytes.
            bits += self.rate / 25.0;
            let sent = self.now;
            while bits >= 9600.0 {
                bits -= 9600.0;
                self.number += 1;
                if self.loses.is_some_and(|n| self.number.is_multiple_of(n)) {
                    self.missing += 1;
                    continue;
                }
                self.free = self.free.max(sent) + (9600e6 / self.capacity) as Micros;
                self.waited = self.waited.max(self.free - sent);
                // The publisher's clock is 60 s ahead and wraps every 64.
                let stamp = (sent + 60_000_000).rem_euclid(ROUND);
                let packet = Arrived {
                    size: 1200,
                    missing: Some(std::mem::take(&mut self.missing)),
                    sent: self.stamped.then_some(((stamp << 18) / 1_000_000) as u32),
                };
                self.maximum.arrived(self.at(self.free + 20_000), packet);
                let due = self.maximum.deadline();
                let now = self.free + 20_000;
                if due.is_some_and(|at| at <= self.at(now)) {
                    let rate = self.maximum.due(self.at(now)).expect("it is due");
                    self.told.push((now, rate));
                    self.rate = (rate as f64).min(self.most);
                }
            }
            self.now += 40_000;
        }
    }
}

#[test]
fn an_encoder_that_obeys_is_at_its_full_rate_within_seconds() {
    let table = [(250e3, 1.5e6), (500e3, 1.5e6), (1e6, 3e6), (300e3, 10e6)];
    for (first, most) in table {
        let mut path = Path::new(first, most);
        path.run(4);
        assert_eq!(path.rate, most, "{:?}", path.told);
    }
}

#[test]
fn a_rate_that_stays_low_lowers_nothing() {
    let mut path = Path::new(3e6, 3e6);
    path.run(3);
    let before = path.maximum.rate();
    path.most = 200e3;
    path.rate = 200e3;
    path.run(5);
    assert_eq!(path.maximum.rate(), before);
}

#[test]
fn it_is_told_once_a_second_and_at_once_when_it_falls() {
    let mut path = Path::new(1e6, 2e6);
    path.run(10);
    let gaps = |told: &[(Micros, u64)]| -> Vec<Micros> {
        told.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    };
    assert!(gaps(&path.told).iter().all(|gap| *gap >= 1_000_000));
    assert!(path.told.len() >= 9, "{:?}", path.told);
    path.told.clear();
    path.capacity = 1e6;
    path.run(3);
    let first = path.told.iter().find(|(_, rate)| *rate < 1_200_000);
    assert!(first.expect("it fell").0 < 11_500_000, "{:?}", path.told);
    assert!(gaps(&path.told).iter().all(|gap| *gap >= 100_000));
}

#[test]
fn a_full_path_is_left_room_and_is_used() {
    let mut path = Path::new(500e3, 5e6);
    path.capacity = 1.5e6;
    path.run(10);
    let mut rates = Vec::new();
    for _ in 0..20 {
        path.run(1);
        rates.push(path.rate);
        assert!(path.waited < 600_000, "a queue of {} us", path.waited);
    }
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    assert!(
        (1.0e6..1.5e6).contains(&mean),
        "{mean} of 1.5 Mb/s: {rates:?}"
    );
    // And it is found when there is more again.
    path.capacity = 100e6;
    path.run(25);
    assert!(path.rate > 3e6, "{}", path.rate);
}

#[test]
fn without_stamps_only_loss_counts() {
    let mut path = Path::new(2e6, 2e6);
    path.stamped = false;
    path.loses = Some(100);
    path.run(5);
    assert_eq!(path.rate, 2e6, "1 % is no ground");
    path.loses = Some(5);
    path.run(10);
    assert!(path.rate < 1.0e6, "20 %: {}", path.rate);
    path.loses = None;
    path.run(20);
    assert!(path.rate > 1.5e6, "{}", path.rate);
}

#[test]
fn who_sends_nothing_is_told_nothing() {
    let mut maximum = MaximumRate::default();
    assert_eq!(maximum.deadline(), None);
    let mut path = Path::new(1e6, 1e6);
    path.run(2);
    maximum = path.maximum;
    let later = path.start + Duration::from_secs(30);
    let mut told = 0;
    while let Some(at) = maximum.deadline() {
        assert!(at < later);
        maximum.due(at);
        told += 1;
    }
    assert!(told <= 4, "told {told} times");
}
