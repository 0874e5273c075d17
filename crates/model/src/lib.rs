//! The rules of homerun: pure functions and types, without IO and without a clock.
//!
//! Time is always a parameter. Every rule lives here once, so that the API, the console, the command
//! line and the tests give the same answer to the same mistake.

pub mod billing;
pub mod condition;
pub mod container;
pub mod domain;
pub mod gpu;
pub mod iam;
pub mod instance;
pub mod metrics;
pub mod names;
pub mod operation;
pub mod plan;
pub mod quantity;
pub mod quota;
pub mod receipt;
pub mod revision;
pub mod service;
pub mod traffic;
pub mod violation;

/// A point in time. The model never asks for the current one; callers pass it.
pub type Timestamp = chrono::DateTime<chrono::Utc>;
