//! What a helper is told, and what it answers.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Everything about one container. All decisions are made; the helper only carries out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::oci) struct Job {
    /// The container's own folder, with the FIFOs `stdout` and `stderr` and an empty folder `root`.
    pub folder: PathBuf,
    /// Unpacked layers, bottom first.
    pub layers: Vec<PathBuf>,
    /// Most the writable part of the file system may hold, in bytes.
    pub writable_bytes: u64,
    /// A process whose user, network, IPC and host name namespaces the container shares.
    pub join: Option<i32>,
    /// Host id of the container's root; ids 0..65535 follow it.
    pub id_base: u32,
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment as `NAME=VALUE`.
    pub env: Vec<String>,
    /// Folder to start in.
    pub cwd: String,
    /// `USER[:GROUP]` by name or number, as images have it; empty for root.
    pub user: String,
    /// Host name inside.
    pub hostname: String,
    /// What of the host appears in the container.
    pub binds: Vec<Bind>,
    /// Programs of the GPU's driver to run before the container's.
    pub hooks: Vec<Hook>,
    /// The compiled system call filter.
    pub seccomp: PathBuf,
    /// The container's id for hooks.
    pub id: String,
    /// Most open files.
    pub open_files: u64,
    /// How far the container is made at once.
    pub hold: Hold,
}

/// Where the helper answers [`Answer::Prepared`] and waits for [`Last`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::oci) enum Hold {
    /// Nowhere: the program is to run at once.
    Nowhere,
    /// Where the GPU's files come in: which GPU it gets is not known yet.
    BeforeGpu,
    /// Where all is ready for the program.
    BeforeProgram,
}

/// What a helper that waits is told in the end.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::oci) struct Last {
    /// For a container with a GPU.
    pub gpu: Option<GpuPart>,
}

/// What a GPU adds to a container.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(in crate::oci) struct GpuPart {
    /// The whole environment, as [`Job::env`].
    pub env: Vec<String>,
    /// What of the host appears besides.
    pub binds: Vec<Bind>,
    /// Programs of the GPU's driver to run before the container's.
    pub hooks: Vec<Hook>,
}

/// A file, folder or device of the host inside the container.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::oci) struct Bind {
    /// Path on the host.
    pub source: PathBuf,
    /// A folder below the source to mount instead, made where it is missing. Containers may write to the
    /// source, so no link in it leads out of it.
    pub below: Option<String>,
    /// Absolute path inside; made where it is missing.
    pub target: String,
    /// How it is mounted.
    pub kind: BindKind,
}

/// How something of the host appears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::oci) enum BindKind {
    /// Read only, no devices, no setuid.
    ReadOnly,
    /// Writable, no devices, no setuid.
    Writable,
    /// A device node.
    Device,
}

/// A program to run inside the container's namespaces while the host's files are still there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::oci) struct Hook {
    /// The program.
    pub path: PathBuf,
    /// Its arguments, the program's name first.
    pub args: Vec<String>,
    /// Its environment.
    pub env: Vec<String>,
}

/// What a helper answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(in crate::oci) enum Answer {
    /// The container is made as far as [`Job::hold`] says.
    Prepared {
        /// Its process id on the host, if it has a process yet.
        pid: Option<i32>,
    },
    /// The program runs.
    Started {
        /// Its process id on the host.
        pid: i32,
    },
    /// It does not, and nothing of it is left but the cgroup.
    Failed {
        /// Why, as a sentence.
        message: String,
    },
}
