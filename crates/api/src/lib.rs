//! Wire types of the published APIs and their conversion to and from the model.

pub mod cloud_quotas;
pub mod consumer_quotas;
pub mod error;
pub mod iam;
pub mod logging;
pub mod operations;
pub mod own;
pub mod resource_manager;
pub mod run_v1;
pub mod service_usage;
mod strict;
pub mod usage;
