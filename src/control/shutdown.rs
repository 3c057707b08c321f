//! Stopping: refuse newcomers, say goodbye to everybody, wait a little.

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::Control;
use super::messages::CloseReason;

impl Control {
    /// Refuses new sessions and ends all others with DTLS `close_notify`.
    ///
    /// Returns how many sessions the workers had not ended after `limit`.
    pub async fn shutdown(&self, limit: Duration) -> usize {
        self.0.stopping.store(true, Ordering::Release);
        let wait = async {
            loop {
                let mut ended = std::pin::pin!(self.0.ended.notified());
                ended.as_mut().enable();
                // A request that was under way may still open a session: look again each time.
                let open: Vec<_> = self.0.by_key.iter().map(|e| e.value().clone()).collect();
                for session in &open {
                    if session.closed().is_none() {
                        self.close(session, CloseReason::Shutdown);
                    }
                }
                if open.is_empty() && self.0.admitted.load(Ordering::Acquire) == 0 {
                    return;
                }
                // Sessions that open meanwhile tell nobody, so the wait is bounded.
                let _ = tokio::time::timeout(Duration::from_millis(50), ended).await;
            }
        };
        let _ = tokio::time::timeout(limit, wait).await;
        self.session_count()
    }
}
