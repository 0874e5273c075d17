//! Decisions, apart from their execution. Each is a function of what is wanted, what is seen and the
//! time; the loops of the server carry out what it says and decide nothing themselves.

mod give_way;
pub mod place;
pub mod rollout;
pub mod scale;
pub mod serving;
pub mod standby;
pub mod start;
pub mod status;
pub mod throttle;
