//! Container Device Interface (CDI): files that say what a container needs for a device, applied here to
//! an OCI runtime spec. <https://github.com/cncf-tags/container-device-interface/blob/main/SPEC.md>
//!
//! Real GPUs have the file that NVIDIA's `nvidia-ctk cdi generate` writes, simulated ones the file that
//! `simulated` writes. Untested for want of hardware: NVIDIA's hooks inside a user namespace, and
//! device nodes of a real driver; the tests apply a file of the same form.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use container_device_interface::container_edits::ContainerEdits;
use container_device_interface::spec::{Spec as CdiSpec, read_spec};
use container_device_interface::utils::is_cdi_spec;
use homerun_model::names::DeviceId;
use oci_spec::runtime::{Mount, Process, Spec};

use super::{Device, simulated};

/// Where Cloud Run shows the driver's libraries (row G16).
pub(super) const LIBRARY_FOLDER: &str = "/usr/local/nvidia/lib64";
/// Where Cloud Run shows the driver's tools (row G16).
pub(super) const TOOL_FOLDER: &str = "/usr/local/nvidia/bin";
/// The CDI kind of NVIDIA's own files.
const NVIDIA_KIND: &str = "nvidia.com/gpu";
/// Where CDI files are, by CDI's specification; the later folder has precedence.
const CDI_FOLDERS: [&str; 2] = ["/etc/cdi", "/var/run/cdi"];

/// Why a container cannot get a device.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// The id is none of this machine's devices.
    #[error("this machine has no GPU {0}")]
    UnknownDevice(DeviceId),
    /// There is no CDI file at all for this kind of device.
    #[error(
        "there is no CDI file for {kind} in {folders}; install the NVIDIA Container Toolkit and run \
         `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml`"
    )]
    NoCdiFile {
        /// The kind of device.
        kind: &'static str,
        /// The folders that were searched.
        folders: String,
    },
    /// There are CDI files, but none has the device.
    #[error(
        "no CDI file in {folders} has {kind}={id} or {kind}={index}; the GPUs have changed since it was made: \
         run `nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml` again"
    )]
    NotInCdiFile {
        /// The kind of device.
        kind: &'static str,
        /// The device's id.
        id: DeviceId,
        /// The device's number.
        index: u32,
        /// The folders that were searched.
        folders: String,
    },
    /// A CDI file is malformed.
    #[error("the CDI file {} cannot be used", path.display())]
    BadCdiFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The edits do not fit this machine, for instance because a device node is missing.
    #[error("the edits that CDI asks for {kind} cannot be made")]
    Edit {
        /// The kind of device.
        kind: &'static str,
        /// What is wrong.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

/// Where the CDI files of one kind of device are.
#[derive(Debug)]
pub(super) struct Registry {
    kind: &'static str,
    folders: Vec<PathBuf>,
    /// What was last read. Reading and validating takes milliseconds, which no start of an instance
    /// should pay; looking whether a file has changed takes microseconds.
    read: Mutex<Option<Read>>,
}

/// The files of a registry's kind, and the state of its folders when they were read.
#[derive(Debug)]
struct Read {
    stamps: Vec<Stamp>,
    files: Arc<Vec<CdiSpec>>,
}

/// Tells a version of a file from any other.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    path: PathBuf,
    inode: u64,
    length: u64,
    /// Seconds and nanoseconds.
    changed: (i64, i64),
}

impl Registry {
    /// NVIDIA's own files.
    pub(super) fn nvidia() -> Self {
        Self::nvidia_in(CDI_FOLDERS.iter().map(PathBuf::from).collect())
    }

    /// NVIDIA's own files, in other folders.
    pub(super) fn nvidia_in(folders: Vec<PathBuf>) -> Self {
        Self { kind: NVIDIA_KIND, folders, read: Mutex::default() }
    }

    /// The file that [`simulated::install`] wrote into `folder`.
    pub(super) fn simulated(folder: &Path) -> Self {
        Self { kind: simulated::CDI_KIND, folders: vec![folder.join("cdi")], read: Mutex::default() }
    }

    /// See [`super::Gpus::inject`].
    pub(super) fn inject(&self, spec: &mut Spec, devices: &[&Device]) -> Result<(), InjectError> {
        if devices.is_empty() {
            return Ok(());
        }
        let mut edits = self.edits(devices)?;
        let mut edited = spec.clone();
        // The crate would append variables that are set already, and the last one would win.
        if let Some(wanted) = edits.container_edits.env.take()
            && let Some(process) = edited.process_mut()
        {
            for pair in wanted {
                set_if_unset(process, &pair);
            }
        }
        let mirror = mirror(&self.mounts(&edits)?);
        // The crate gives a spec without mounts an empty one beside those of the device.
        edited.mounts_mut().get_or_insert_default();
        edits.apply(&mut edited).map_err(|error| self.edit_error(error.into()))?;
        edited.mounts_mut().get_or_insert_default().extend(mirror);
        if let Some(process) = edited.process_mut() {
            set_if_unset(process, &format!("LD_LIBRARY_PATH={LIBRARY_FOLDER}"));
            append_to_path(process, TOOL_FOLDER);
        }
        *spec = edited;
        Ok(())
    }

    /// What all the devices need, with what their files ask for any device once.
    fn edits(&self, devices: &[&Device]) -> Result<ContainerEdits, InjectError> {
        let files = self.files()?;
        let mut common = BTreeSet::new();
        let mut edits = ContainerEdits::new();
        for device in devices {
            let names = [device.id.to_string(), device.index.to_string()];
            let found = files.iter().rev().find_map(|file| {
                let entry = names.iter().find_map(|name| file.get_device(name))?;
                Some((entry.edits(), file))
            });
            let (own, file) = found.ok_or_else(|| InjectError::NotInCdiFile {
                kind: self.kind,
                id: device.id.clone(),
                index: device.index,
                folders: self.folder_list(),
            })?;
            let shared = match common.insert(file.get_path()) {
                true => file.cdi_spec.container_edits.clone(),
                false => None,
            };
            let shared = shared.map(|container_edits| ContainerEdits { container_edits });
            for each in shared.into_iter().chain([own]) {
                edits.append(each).map_err(|error| self.edit_error(error.into()))?;
            }
        }
        Ok(edits)
    }

    /// Checks that there is a file that serves, and keeps what was read for the first instance.
    pub(super) fn check(&self) -> Result<(), InjectError> {
        self.files().map(|_| ())
    }

    /// The files of this kind, in ascending precedence, read anew when one has changed.
    fn files(&self) -> Result<Arc<Vec<CdiSpec>>, InjectError> {
        let stamps = self.stamps();
        // What is behind the lock is replaced whole, so a panic elsewhere cannot have spoilt it.
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = &*read
            && last.stamps == stamps
        {
            return Ok(Arc::clone(&last.files));
        }
        let files = Arc::new(self.read_files(&stamps)?);
        *read = Some(Read { stamps, files: Arc::clone(&files) });
        Ok(files)
    }

    fn stamps(&self) -> Vec<Stamp> {
        let mut stamps = Vec::new();
        for folder in &self.folders {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten();
            let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
            paths.sort();
            for path in paths.into_iter().filter(|path| is_cdi_spec(path)) {
                if let Ok(data) = fs::metadata(&path) {
                    stamps.push(Stamp {
                        path,
                        inode: data.ino(),
                        length: data.len(),
                        changed: (data.mtime(), data.mtime_nsec()),
                    });
                }
            }
        }
        stamps
    }

    /// Files of other vendors' devices are no concern of ours, broken ones included, unless nothing else
    /// is there.
    fn read_files(&self, stamps: &[Stamp]) -> Result<Vec<CdiSpec>, InjectError> {
        let mut files = Vec::new();
        let mut bad = None;
        for (Stamp { path, .. }, priority) in stamps.iter().zip(0..) {
            match read_spec(path, priority) {
                Ok(file) if self.is_ours(&file) => files.push(file),
                Ok(_) => {}
                Err(error) => bad = Some(InjectError::BadCdiFile { path: path.clone(), source: error.into() }),
            }
        }
        match bad {
            _ if !files.is_empty() => Ok(files),
            Some(error) => Err(error),
            None => Err(InjectError::NoCdiFile { kind: self.kind, folders: self.folder_list() }),
        }
    }

    fn is_ours(&self, file: &CdiSpec) -> bool {
        self.kind.split_once('/') == Some((&file.get_vendor(), &file.get_class()))
    }

    fn mounts(&self, edits: &ContainerEdits) -> Result<Vec<Mount>, InjectError> {
        let mounts = edits.container_edits.mounts.iter().flatten();
        mounts.map(|mount| mount.to_oci().map_err(|error| self.edit_error(error.into()))).collect()
    }

    fn folder_list(&self) -> String {
        let folders: Vec<_> = self.folders.iter().map(|folder| folder.display().to_string()).collect();
        folders.join(" or ")
    }

    fn edit_error(&self, source: Box<dyn std::error::Error + Send + Sync>) -> InjectError {
        InjectError::Edit { kind: self.kind, source }
    }
}

/// NVIDIA's files mount each library and tool where the host has it. Cloud Run has them under
/// `/usr/local/nvidia`, so each is mounted a second time there, the libraries also under the names that
/// programs ask for (`libcuda.so.1`), which on the host are links beside the file.
fn mirror(mounts: &[Mount]) -> Vec<Mount> {
    let present: BTreeSet<_> = mounts.iter().map(Mount::destination).collect();
    let mut aliases = Aliases::default();
    let mut mirrored = BTreeMap::new();
    for mount in mounts {
        let (Some(source), Some(name)) = (mount.source(), file_name(mount.destination())) else {
            continue;
        };
        if mount.destination().starts_with("/usr/local/nvidia") || is_32_bit(mount.destination()) {
            continue;
        }
        let folder = mount.destination().parent().and_then(file_name);
        let targets: Vec<PathBuf> = if is_library(name) {
            let names = aliases.of(source).into_iter().chain([name.to_owned()]);
            names.map(|name| Path::new(LIBRARY_FOLDER).join(name)).collect()
        } else if matches!(folder, Some("bin" | "sbin")) {
            vec![Path::new(TOOL_FOLDER).join(name)]
        } else {
            continue;
        };
        for target in targets.into_iter().filter(|target| !present.contains(target)) {
            let mut copy = mount.clone();
            copy.set_destination(target.clone());
            mirrored.entry(target).or_insert(copy);
        }
    }
    mirrored.into_values().collect()
}

/// Names of the links to libraries, by folder and file, read once per folder.
#[derive(Default)]
struct Aliases(BTreeMap<PathBuf, BTreeMap<PathBuf, Vec<String>>>);

impl Aliases {
    /// The links beside a library of the host that lead to it.
    fn of(&mut self, library: &Path) -> Vec<String> {
        let (Some(folder), Ok(file)) = (library.parent(), library.canonicalize()) else {
            return Vec::new();
        };
        let links = self.0.entry(folder.to_owned()).or_insert_with(|| links_in(folder));
        links.get(&file).cloned().unwrap_or_default()
    }
}

fn links_in(folder: &Path) -> BTreeMap<PathBuf, Vec<String>> {
    let mut links: BTreeMap<PathBuf, Vec<String>> = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        let name = entry.file_name().into_string().unwrap_or_default();
        if is_link
            && is_library(&name)
            && let Ok(file) = entry.path().canonicalize()
        {
            links.entry(file).or_default().push(name);
        }
    }
    links
}

fn file_name(path: &Path) -> Option<&str> {
    path.file_name()?.to_str()
}

fn is_library(name: &str) -> bool {
    name.starts_with("lib") && (name.ends_with(".so") || name.contains(".so."))
}

/// Libraries for 32-bit programs have the same names as the others and would take their places.
fn is_32_bit(path: &Path) -> bool {
    path.iter().any(|part| part == "lib32" || part == "i386-linux-gnu")
}

/// Adds `NAME=value` unless image or service set the name.
fn set_if_unset(process: &mut Process, pair: &str) {
    let name = pair.split_once('=').map_or(pair, |(name, _)| name);
    let env = process.env_mut().get_or_insert_default();
    let is_set = |present: &String| present.split_once('=').is_some_and(|(key, _)| key == name);
    if !env.iter().any(is_set) {
        env.push(pair.to_owned());
    }
}

fn append_to_path(process: &mut Process, folder: &str) {
    for pair in process.env_mut().iter_mut().flatten() {
        if let Some(path) = pair.strip_prefix("PATH=")
            && !path.split(':').any(|present| present == folder)
        {
            *pair = format!("PATH={path}:{folder}");
        }
    }
}
