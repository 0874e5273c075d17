//! The rules of homerun: pure functions and types, without IO and without a clock.
