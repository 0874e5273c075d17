//! Who changed what: a record in the very transaction that makes the change.
//!
//! The wrapper around every call says who calls ([`during`]); the store asks when it writes
//! ([`due`]), so no change of an API call can be without its record, nor a record without its change.
//! What the loops write is nobody's call and is not recorded.

use std::cell::RefCell;

use homerun_model::Timestamp;
use serde::{Deserialize, Serialize};

/// A change that somebody made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When the call came.
    pub at: Timestamp,
    /// Who called.
    pub by: String,
    /// The HTTP verb.
    pub verb: String,
    /// The path, which names what was changed.
    pub path: String,
    /// Id of the project that it belongs to.
    pub project: String,
}

tokio::task_local! {
    /// The call that this task serves, until its change is recorded.
    static CALL: RefCell<Option<Record>>;
}

/// Serves a call: the first write to the store in `work` carries `record`.
pub async fn during<F: Future>(record: Record, work: F) -> F::Output {
    CALL.scope(RefCell::new(Some(record)), work).await
}

/// Names what the call creates, where its path names only the collection.
pub fn creates(name: &str) {
    let _ = CALL.try_with(|call| {
        if let Some(record) = call.borrow_mut().as_mut() {
            record.path = format!("{}/{name}", record.path.trim_end_matches('/'));
        }
    });
}

/// The record that a write must carry, if it is a call's first.
pub fn due() -> Option<Record> {
    CALL.try_with(|call| call.borrow_mut().take()).ok().flatten()
}

/// Makes a record due again, when the write that was to carry it has failed.
pub fn put_back(record: Record) {
    // Nobody else can have taken the call's place: a call is one task.
    let _ = CALL.try_with(|call| *call.borrow_mut() = Some(record));
}
