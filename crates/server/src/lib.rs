//! homerun: control API, store and the loops that turn intent into instances.
//!
//! `up` wires everything; `http` parses and answers; `app` authorises and decides by the model's rules;
//! `store` remembers; `tasks` carry out. See `docs/ARCHITECTURE.md`.

pub mod app;
pub mod audit;
pub mod auth;
pub mod certificate;
pub mod clock;
pub mod config;
pub mod console;
pub mod http;
pub mod ids;
pub mod limits;
pub mod lock;
pub mod logs;
pub mod meter;
pub mod metrics;
pub mod outgoing;
pub mod platform;
pub mod store;
pub mod tasks;
pub mod up;
