//! homerun: control API, console, store and the loops that turn intent into instances.
