//! What runs instances: the Backend trait and its implementations.
