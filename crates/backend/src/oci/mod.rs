//! The `oci` backend: real containers on this machine.

pub mod image;
