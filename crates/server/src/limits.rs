//! GPU limits as they are in force now.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use homerun_model::quota::Quotas;

use crate::store::{Result, Store};

/// The limits in force: the defaults with what the store holds on top.
pub struct Limits {
    base: Quotas,
    now: RwLock<Arc<Quotas>>,
    changing: Mutex<()>,
}

/// The right to change limits. While one is held nobody else decides anything about them.
pub struct Changing<'a> {
    limits: &'a Limits,
    _alone: MutexGuard<'a, ()>,
}

impl Limits {
    /// The limits as the store has them, over the defaults.
    ///
    /// # Errors
    /// When the database fails.
    pub fn open(base: Quotas, store: &Store) -> Result<Self> {
        let now = RwLock::new(Arc::new(read(&base, store)?));
        Ok(Self { base, now, changing: Mutex::new(()) })
    }

    /// The limits at this moment.
    pub fn now(&self) -> Arc<Quotas> {
        self.now.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Begins a change: read, decide, write to the store, then [`Changing::done`].
    pub fn change(&self) -> Changing<'_> {
        Changing { limits: self, _alone: self.changing.lock().unwrap_or_else(PoisonError::into_inner) }
    }
}

impl Changing<'_> {
    /// Puts what the store holds now into force.
    ///
    /// # Errors
    /// When the database fails; the limits are as before then.
    pub fn done(self, store: &Store) -> Result<()> {
        let quotas = Arc::new(read(&self.limits.base, store)?);
        *self.limits.now.write().unwrap_or_else(PoisonError::into_inner) = quotas;
        Ok(())
    }
}

fn read(base: &Quotas, store: &Store) -> Result<Quotas> {
    let mut quotas = base.clone();
    for preference in store.quota_preferences()? {
        if let Some(granted) = preference.value.granted {
            quotas.grant(preference.value.bucket, granted);
        }
    }
    for each in store.quota_overrides()? {
        quotas.lower(each.bucket, each.limit);
    }
    Ok(quotas)
}
