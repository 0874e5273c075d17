//! A future beside one that is polled all the time.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

/// A future that is polled only when it has been woken by itself, not whenever its task is.
///
/// What seldom happens to a connection (its timers, the end of homerun) takes locks to ask for, some of which all
/// connections share; its requests wake its task several times each.
pub(crate) struct Seldom<F> {
    future: Pin<Box<F>>,
    woken: Arc<Woken>,
    waker: Waker,
    /// The task that `woken` knows.
    task: Option<Waker>,
}

struct Woken {
    yes: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.yes.store(true, Ordering::Release);
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}

impl<F: Future> Seldom<F> {
    pub(crate) fn new(future: F) -> Self {
        let woken = Arc::new(Woken { yes: AtomicBool::new(true), task: Mutex::default() });
        Self { future: Box::pin(future), waker: woken.clone().into(), woken, task: None }
    }
}

impl<F: Future> Seldom<F> {
    /// Changes the future, which is polled the next time.
    pub(crate) fn change(&mut self, change: impl FnOnce(Pin<&mut F>)) {
        change(self.future.as_mut());
        self.woken.yes.store(true, Ordering::Release);
    }
}

impl<F: Future> Future for Seldom<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        // Before asking: who wakes after that finds the task.
        if !self.task.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            self.task = Some(cx.waker().clone());
            self.woken.task.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&self.task);
        }
        if !self.woken.yes.load(Ordering::Acquire) {
            return Poll::Pending;
        }
        self.woken.yes.swap(false, Ordering::Acquire);
        let Self { future, waker, .. } = &mut *self;
        future.as_mut().poll(&mut Context::from_waker(waker))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn s09_a_future_that_is_seldom_ready_is_polled_when_it_is_and_not_before() {
        let (sender, mut receiver) = tokio::sync::mpsc::channel::<u8>(1);
        let polls = std::cell::Cell::new(0);
        let mut asked = std::pin::pin!(async { receiver.recv().await });
        let counted = std::future::poll_fn(|cx| {
            polls.set(polls.get() + 1);
            asked.as_mut().poll(cx)
        });
        let mut seldom = std::pin::pin!(Seldom::new(counted));
        for _ in 0..5 {
            let ready = std::future::poll_fn(|cx| Poll::Ready(seldom.as_mut().poll(cx).is_ready())).await;
            assert!(!ready);
        }
        assert_eq!(polls.get(), 1);
        let later = async {
            tokio::task::yield_now().await;
            sender.send(7).await.unwrap();
        };
        let (got, ()) = tokio::join!(seldom, later);
        assert_eq!((got, polls.get()), (Some(7), 2));
    }
}
