//! The rules of services: what is filled in, what is refused, and what a change makes.

mod apply;
mod case;
mod defaults;
mod laws;
mod table;
