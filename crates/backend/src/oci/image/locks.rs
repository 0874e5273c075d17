//! Locks by digest, so that the same work is done once however many ask for it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::digest::Digest;

/// One lock per digest for as long as somebody holds or awaits it.
#[derive(Debug, Default)]
pub(super) struct DigestLocks(Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>);

impl DigestLocks {
    /// Waits until nobody else works on the digest. If the other one gives up, the next takes over.
    pub(super) async fn lock(&self, digest: &Digest) -> tokio::sync::OwnedMutexGuard<()> {
        let lock = {
            let mut locks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            locks.retain(|_, lock| lock.strong_count() > 0);
            match locks.get(digest).and_then(Weak::upgrade) {
                Some(lock) => lock,
                None => {
                    let lock = Arc::default();
                    locks.insert(digest.clone(), Arc::downgrade(&lock));
                    lock
                }
            }
        };
        lock.lock_owned().await
    }
}
