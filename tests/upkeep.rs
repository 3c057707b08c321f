//! What request times hold while nobody reads the metrics. The only test of its process, whose
//! memory it looks at.

use std::sync::Arc;
use std::time::Duration;

use weir::telemetry::Metrics;

/// Kilobytes of this process that are in memory.
fn resident() -> i64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|n| n.parse().ok()).expect("a number")
}

#[tokio::test]
async fn request_times_that_nobody_reads_do_not_pile_up() {
    let metrics = Arc::new(Metrics::new().expect("metrics"));
    metrics.install().expect("no other recorder");
    let upkeep = Arc::clone(&metrics);
    tokio::spawn(async move { upkeep.keep_up(Duration::from_millis(1)).await });
    let before = resident();
    for _ in 0..400 {
        for _ in 0..10_000 {
            metrics::histogram!("weir_http_request_seconds", "route" => "/").record(0.001);
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    // Four million values are 64 MB.
    let more = resident() - before;
    assert!(more < 16_000, "{more} kB");
    let text = metrics.render();
    assert!(
        text.contains("weir_http_request_seconds_count{route=\"/\"} 4000000"),
        "{text}"
    );
}
