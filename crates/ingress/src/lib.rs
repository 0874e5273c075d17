//! The data plane: it carries users' requests to instances.
