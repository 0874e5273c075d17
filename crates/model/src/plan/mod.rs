//! Decisions, apart from their execution. Each is a function of what is wanted, what is seen and the time.
