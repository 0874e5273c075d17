//! Wire types of the published APIs and their conversion to and from the model.
