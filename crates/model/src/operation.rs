//! Long-running operations: what became of a change of a service.
//!
//! An operation is a view of the service's conditions at the generation that it made; once it is over
//! its outcome stays, whatever happens to the service later.

use serde::{Deserialize, Serialize};

use crate::Timestamp;
use crate::condition::{self, ConditionType, Status};
use crate::names::ServiceKey;
use crate::service::{Service, ServiceStatus};

/// A change of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Operation {
    /// Its id, unique for all time.
    pub id: String,
    /// The service.
    pub service: ServiceKey,
    /// The service's unique id.
    pub uid: String,
    /// The generation that it made.
    pub generation: u64,
    /// Who asked for it.
    pub requester: String,
    /// When.
    pub created_at: Timestamp,
    /// How it ended; `None` while it is under way.
    pub ended: Option<Ended>,
}

/// The end of an operation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// When.
    pub at: Timestamp,
    /// How.
    pub outcome: Outcome,
}

/// How an operation ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The service is ready.
    Ready,
    /// The service is not, for this reason.
    Failed(String),
    /// The service was changed again before.
    Superseded,
    /// The service was deleted before.
    Deleted,
}

impl Operation {
    /// The operation of a service's last change.
    pub fn of(service: &Service) -> Self {
        Self {
            id: service.operation_id.clone(),
            service: service.key.clone(),
            uid: service.uid.clone(),
            generation: service.generation,
            requester: service.last_modifier.clone(),
            created_at: service.updated_at,
            ended: None,
        }
    }

    /// Its outcome as a status of the service tells it; `None` while that leaves it open.
    pub fn outcome(&self, status: &ServiceStatus) -> Option<Outcome> {
        let ready = condition::get(&status.conditions, ConditionType::Ready)?;
        match (status.observed_generation == self.generation, ready.status) {
            (true, Status::True) => Some(Outcome::Ready),
            (true, Status::False) => Some(Outcome::Failed(ready.message.clone())),
            _ => None,
        }
    }
}
