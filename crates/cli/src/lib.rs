//! homerun's client commands. They speak only the API.
