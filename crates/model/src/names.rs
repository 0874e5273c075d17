//! Names of things, each its own type so that they cannot be mixed up.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// Wraps a text that the caller has already checked or read back from the store.
            pub fn new(text: impl Into<String>) -> Self {
                Self(text.into())
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.to_owned())
            }
        }
    };
}

name_type!(
    /// A project's id, for instance `demo`. Never its number.
    ProjectId
);
name_type!(
    /// A region, for instance `us-central1`.
    Region
);
name_type!(
    /// A service's name, unique in its project and region.
    ServiceName
);
name_type!(
    /// A revision's name, unique in its project and region, for instance `hello-00001-abc`.
    RevisionName
);
name_type!(
    /// An instance's id: unique for all time on this homerun, usable as a file and cgroup name.
    InstanceId
);
name_type!(
    /// A GPU's id, stable across restarts (its UUID).
    DeviceId
);
name_type!(
    /// A host of a user's own, for instance `www.example.com`.
    DomainName
);
name_type!(
    /// A GPU type as users write it, for instance `nvidia-l4`.
    GpuType
);

/// A project: its id and the number that appears in URLs and `metadata.namespace`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Project {
    /// The id, for instance `demo`.
    pub id: ProjectId,
    /// The number, for instance 100000000001.
    pub number: u64,
}

/// What identifies a service.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ServiceKey {
    /// The project that owns the service.
    pub project: ProjectId,
    /// The region it is deployed to.
    pub region: Region,
    /// Its name there.
    pub name: ServiceName,
}

impl fmt::Display for ServiceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "projects/{}/locations/{}/services/{}", self.project, self.region, self.name)
    }
}

/// What identifies a revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct RevisionKey {
    /// The project that owns the revision.
    pub project: ProjectId,
    /// The region it is deployed to.
    pub region: Region,
    /// Its name there.
    pub name: RevisionName,
}

impl fmt::Display for RevisionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "projects/{}/locations/{}/revisions/{}", self.project, self.region, self.name)
    }
}
