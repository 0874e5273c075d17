//! A client's connection, as all its requests know it.

use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use http::HeaderValue;
use tokio::time::Instant;

use crate::observe::Observe;
use crate::timer::Timer;

/// Timers that a connection keeps while no request uses them: on HTTP/1.1 one will do.
const MAX_TIMERS: usize = 4;

/// Made once for a connection, so that its requests need not say the same again and again.
pub(crate) struct Client {
    /// Its address.
    pub(crate) peer: SocketAddr,
    /// Its address as the last entry of `X-Forwarded-For`.
    pub(crate) forwarded_for: HeaderValue,
    /// The same for `Forwarded` (RFC 7239).
    pub(crate) forwarded: HeaderValue,
    /// The scheme that clients see.
    pub(crate) proto: HeaderValue,
    /// Who is told about its requests. Kept here because it is taken for each: a count of who holds it that all
    /// connections share would go from core to core.
    pub(crate) observe: Arc<dyn Observe>,
    timers: Mutex<Vec<Timer>>,
}

impl Client {
    pub(crate) fn new(peer: SocketAddr, scheme: &'static str, observe: Arc<dyn Observe>) -> Self {
        let address = peer.ip().to_canonical();
        let forwarded = match address {
            IpAddr::V4(v4) => format!("for=\"{v4}\";proto={scheme}"),
            IpAddr::V6(v6) => format!("for=\"[{v6}]\";proto={scheme}"),
        };
        let value = |text: String| HeaderValue::try_from(text).expect("an address and a word");
        Self {
            peer,
            forwarded_for: value(address.to_string()),
            forwarded: value(forwarded),
            proto: HeaderValue::from_static(scheme),
            observe,
            timers: Mutex::default(),
        }
    }

    fn timers(&self) -> MutexGuard<'_, Vec<Timer>> {
        self.timers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
impl Client {
    /// One about whose requests nobody is told.
    pub(crate) fn untold(peer: SocketAddr, scheme: &'static str) -> Self {
        struct Nobody;
        impl Observe for Nobody {
            fn request(&self, _: &crate::RequestRecord) {}
        }
        Self::new(peer, scheme, Arc::new(Nobody))
    }
}

/// When a request's time is over.
///
/// Its timer is the connection's, and is used by one request after the other.
pub(crate) struct Deadline {
    /// `None` once it is given back.
    timer: Option<Timer>,
    client: Arc<Client>,
}

impl Deadline {
    pub(crate) fn new(at: Instant, client: &Arc<Client>) -> Self {
        let kept = client.timers().pop();
        let timer = match kept {
            Some(mut timer) => {
                timer.set(at);
                timer
            }
            None => Timer::new(at),
        };
        Self { timer: Some(timer), client: client.clone() }
    }

    fn timer(&mut self) -> &mut Timer {
        self.timer.as_mut().expect("a timer is taken by drop alone")
    }

    pub(crate) fn at(&mut self) -> Instant {
        self.timer().at()
    }
}

impl Future for Deadline {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(self.timer()).poll(cx)
    }
}

impl Drop for Deadline {
    fn drop(&mut self) {
        let mut timers = self.client.timers();
        if timers.len() < MAX_TIMERS {
            timers.extend(self.timer.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn s09_a_timer_that_is_used_again_ends_at_its_new_time() {
        let client = Arc::new(Client::untold("192.0.2.1:9".parse().unwrap(), "http"));
        let after = |millis| Deadline::new(Instant::now() + Duration::from_millis(millis), &client);
        let mut long = after(300_000);
        let ended = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut long).poll(cx).is_ready())).await;
        assert!(!ended);
        drop(long);
        for millis in [20, 60, 10] {
            let begun = Instant::now();
            after(millis).await;
            let took = begun.elapsed().as_millis() as u64;
            assert!((millis..millis + 5000).contains(&took), "{took} instead of {millis}");
            assert_eq!(client.timers().len(), 1);
        }
        let many: Vec<_> = (0..9).map(|_| after(1000)).collect();
        drop(many);
        assert_eq!(client.timers().len(), MAX_TIMERS);
    }
}
