//! The time of requests, one after the other.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::time::{Instant, Sleep};

use crate::seldom::Seldom;

/// Ends at the time that was set last.
///
/// A request's time mostly ends later than that of the one before, and long after its response. So the timer itself
/// stays as it is among the thread's timers, and only when it ends looks whether the time has been put off; asking costs
/// next to nothing.
pub(crate) struct Timer {
    /// When it is to end.
    at: Instant,
    /// When the timer ends, not later than that; `None` once it has ended.
    armed: Option<Instant>,
    sleep: Seldom<Sleep>,
}

impl Timer {
    pub(crate) fn new(at: Instant) -> Self {
        Self { at, armed: Some(at), sleep: Seldom::new(tokio::time::sleep_until(at)) }
    }

    /// When it ends.
    pub(crate) fn at(&self) -> Instant {
        self.at
    }

    pub(crate) fn set(&mut self, at: Instant) {
        self.at = at;
        if self.armed.is_none_or(|armed| at < armed) {
            self.arm();
        }
    }

    fn arm(&mut self) {
        self.armed = Some(self.at);
        self.sleep.change(|sleep| sleep.reset(self.at));
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(Pin::new(&mut self.sleep).poll(cx));
            if self.armed.take().is_none_or(|armed| self.at <= armed) {
                return Poll::Ready(());
            }
            self.arm();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn s09_a_timer_that_is_put_off_or_brought_forward_ends_when_it_should() {
        let mut timer = Timer::new(Instant::now() + Duration::from_secs(300));
        // Brought forward; then each later than the one before, some of them put off again while they run.
        for (first, then) in [(20, 20), (30, 60), (200, 10), (10, 90)] {
            let begun = Instant::now();
            timer.set(begun + Duration::from_millis(first));
            let ended = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut timer).poll(cx).is_ready())).await;
            assert!(!ended);
            timer.set(begun + Duration::from_millis(then));
            (&mut timer).await;
            let took = begun.elapsed().as_millis() as u64;
            assert!((then..then + 5000).contains(&took), "{took} instead of {then}");
        }
    }
}
