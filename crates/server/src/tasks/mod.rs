//! The loops that turn intent into instances. Each is woken by a signal and by a timer, takes no other
//! input, and converges from any state.

pub mod autoscale;
mod back_off;
pub mod budgets;
pub mod meter;
pub mod metrics;
mod pull;
pub mod reconcile;
mod revisions;
mod routes;
mod standby;
