//! GPU quotas: how many GPUs the live instances of a project may hold in a region.
//!
//! A limit is what was granted to the project ([`preference`]), or else the default of the installation's
//! settings; an override, as Service Usage has it, can only lower it.

mod preference;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::gpu::{GpuInventory, GpuTypeInfo};
use crate::names::{GpuType, ProjectId, Region};

pub use preference::{
    Change, Decided, Decision, DecreaseRefused, Preference, PreferenceRefused, SafetyChecks, Standing, ask,
    check_decrease, decide,
};

/// One of Cloud Run's GPU quotas; each project has it in each region.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Quota {
    /// The GPU type.
    pub gpu: GpuType,
    /// Whether it counts instances with zonal redundancy.
    pub zonal_redundancy: bool,
}

/// What one limit is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Bucket {
    /// The project.
    pub project: ProjectId,
    /// The quota.
    pub quota: Quota,
    /// The region; `None` for every region that has no limit of its own.
    pub region: Option<Region>,
}

/// How limits come about, in the settings file's `[quotas]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuotaSettings {
    /// GPUs of each type that the machine has, which the project that exists from the start may hold until
    /// it is granted another number, without zonal redundancy; all of them where absent.
    pub default_project: Option<u32>,
    /// The same for every other project, in every region.
    pub other_projects: u32,
    /// Which requests are granted at once.
    pub auto_approve: AutoApprove,
}

/// Which requests for more GPUs are granted without an administrator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "AutoApproveText", into = "AutoApproveText")]
pub enum AutoApprove {
    /// None.
    #[default]
    Never,
    /// Those for at most as many GPUs as the machine has.
    Machine,
    /// Those for at most so many GPUs.
    UpTo(u32),
}

/// How [`AutoApprove`] is written.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "not valid; it must be \"never\", \"machine\" or a number of GPUs")]
enum AutoApproveText {
    Number(u32),
    Word(String),
}

impl TryFrom<AutoApproveText> for AutoApprove {
    type Error = String;

    fn try_from(text: AutoApproveText) -> Result<Self, String> {
        match text {
            AutoApproveText::Number(most) => Ok(Self::UpTo(most)),
            AutoApproveText::Word(word) if word == "never" => Ok(Self::Never),
            AutoApproveText::Word(word) if word == "machine" => Ok(Self::Machine),
            AutoApproveText::Word(word) => {
                Err(format!("'{word}' is not valid; it must be \"never\", \"machine\" or a number of GPUs"))
            }
        }
    }
}

impl From<AutoApprove> for AutoApproveText {
    fn from(policy: AutoApprove) -> Self {
        match policy {
            AutoApprove::Never => Self::Word("never".to_owned()),
            AutoApprove::Machine => Self::Word("machine".to_owned()),
            AutoApprove::UpTo(most) => Self::Number(most),
        }
    }
}

/// What a quota limits: GPUs of one type, of one project, in one region, with or without zonal
/// redundancy (each has a quota of its own, row G25).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct QuotaKey {
    /// The project.
    pub project: ProjectId,
    /// The region.
    pub region: Region,
    /// The GPU type.
    pub gpu: GpuType,
    /// Whether it counts instances with zonal redundancy.
    pub zonal_redundancy: bool,
}

/// The limits in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Quotas {
    default_project: Option<ProjectId>,
    settings: QuotaSettings,
    /// GPUs that the machine has.
    machine: BTreeMap<(GpuType, Region), u32>,
    granted: BTreeMap<Bucket, u32>,
    overridden: BTreeMap<Bucket, u32>,
}

/// The sentence by which gcloud knows that it can offer the same deployment without zonal redundancy;
/// it replaces it by its own question, so it must stand as it is.
pub const OFFER_NO_ZONAL_REDUNDANCY: &str = "You could deploy using GPUs without zonal redundancy instead.";

/// Why a service may not have as many GPUs as its maximum of instances would take.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QuotaViolation {
    /// Nothing was ever granted, but the quota without zonal redundancy was.
    #[error(
        "{} Learn more about GPU zonal redundancy: g.co/cloudrun/gpu-redundancy-help\n\n{}\n\n{OFFER_NO_ZONAL_REDUNDANCY}",
        none_granted(.key), how_to_ask(.key, *.requested)
    )]
    OnlyWithoutZonalRedundancy {
        /// The quota.
        key: QuotaKey,
        /// GPUs asked for.
        requested: u32,
    },
    /// Nothing was ever granted.
    #[error("{}\n\n{}", none_granted(.key), how_to_ask(.key, *.requested))]
    NoneGranted {
        /// The quota.
        key: QuotaKey,
        /// GPUs asked for.
        requested: u32,
    },
    /// Less was granted than asked for.
    #[error(
        "Max instances must be set to {allowed} or fewer in order to set GPU requirements. {}\n\n\
         Quota violated: {} requested: {requested} allowed: {allowed}",
        how_to_ask(.key, *.requested), .key.quota_id()
    )]
    Exceeded {
        /// The quota.
        key: QuotaKey,
        /// GPUs asked for.
        requested: u32,
        /// GPUs granted.
        allowed: u32,
    },
}

fn none_granted(key: &QuotaKey) -> String {
    let with = if key.zonal_redundancy { "with" } else { "without" };
    format!(
        "You do not have quota for using GPUs {with} zonal redundancy: '{}' of project {} in {} is 0.",
        key.display_name(),
        key.project,
        key.region
    )
}

fn how_to_ask(key: &QuotaKey, requested: u32) -> String {
    let QuotaKey { project, region, gpu, zonal_redundancy } = key;
    let zonal = if *zonal_redundancy { " --zonal-redundancy" } else { "" };
    format!(
        "To request quota: homerun quota request --gpu-type={gpu}{zonal} --region={region} --value={requested} \
         --project={project}, or gcloud beta quotas preferences create --service=run.googleapis.com --quota-id={} \
         --dimensions=region={region} --preferred-value={requested} --project={project}",
        key.quota_id(),
    )
}

impl Quotas {
    /// The limits of an installation where nothing has been granted yet.
    pub fn new(settings: QuotaSettings, default_project: ProjectId, inventory: &GpuInventory) -> Self {
        let counts = inventory.regions.iter().flat_map(|(region, types)| {
            types.iter().map(|(gpu, zones)| ((gpu.clone(), region.clone()), zones.iter().sum()))
        });
        Self { default_project: Some(default_project), settings, machine: counts.collect(), ..Self::default() }
    }

    /// Grants GPUs to a project in a region.
    pub fn set(&mut self, key: QuotaKey, limit: u32) {
        self.grant(key.bucket(), limit);
    }

    /// Grants GPUs.
    pub fn grant(&mut self, bucket: Bucket, limit: u32) {
        self.granted.insert(bucket, limit);
    }

    /// Lowers a limit, whatever is granted.
    pub fn lower(&mut self, bucket: Bucket, limit: u32) {
        self.overridden.insert(bucket, limit);
    }

    /// The limit, in GPUs.
    pub fn limit(&self, key: &QuotaKey) -> u32 {
        let granted = self.granted(key);
        self.overriding(key).map_or(granted, |limit| limit.min(granted))
    }

    /// What is granted, or the default where nothing is, in GPUs.
    pub fn granted(&self, key: &QuotaKey) -> u32 {
        nearest(&self.granted, key).unwrap_or_else(|| self.default_limit(key))
    }

    /// The override, in GPUs, if there is one.
    pub fn overriding(&self, key: &QuotaKey) -> Option<u32> {
        nearest(&self.overridden, key)
    }

    /// What a project has without any grant, in GPUs.
    pub fn default_limit(&self, key: &QuotaKey) -> u32 {
        // One machine is one zone.
        if key.zonal_redundancy {
            return 0;
        }
        if self.default_project.as_ref() != Some(&key.project) {
            return self.settings.other_projects;
        }
        let machine = self.machine_count(&key.gpu, Some(&key.region));
        self.settings.default_project.map_or(machine, |limit| if machine > 0 { limit } else { 0 })
    }

    /// Up to how many GPUs a request is granted without an administrator.
    pub fn auto_approved(&self, bucket: &Bucket) -> u32 {
        match self.settings.auto_approve {
            AutoApprove::Never => 0,
            AutoApprove::UpTo(most) => most,
            AutoApprove::Machine => self.machine_count(&bucket.quota.gpu, bucket.region.as_ref()),
        }
    }

    /// GPUs of a type that the machine has in a region, or in all.
    fn machine_count(&self, gpu: &GpuType, region: Option<&Region>) -> u32 {
        let here = |at: &Region| region.is_none_or(|region| region == at);
        self.machine.iter().filter(|((of, at), _)| of == gpu && here(at)).map(|(_, count)| count).sum()
    }

    /// Whether a service may have up to `requested` GPUs at a time (row G07).
    ///
    /// # Errors
    /// [`QuotaViolation`] if fewer were granted.
    pub fn check(&self, key: &QuotaKey, requested: u32) -> Result<(), QuotaViolation> {
        let allowed = self.limit(key);
        let key = key.clone();
        if requested <= allowed {
            Ok(())
        } else if allowed > 0 {
            Err(QuotaViolation::Exceeded { key, requested, allowed })
        } else if key.zonal_redundancy && self.limit(&QuotaKey { zonal_redundancy: false, ..key.clone() }) > 0 {
            Err(QuotaViolation::OnlyWithoutZonalRedundancy { key, requested })
        } else {
            Err(QuotaViolation::NoneGranted { key, requested })
        }
    }
}

/// What stands for a region by itself, or else for all of them.
fn nearest(limits: &BTreeMap<Bucket, u32>, key: &QuotaKey) -> Option<u32> {
    let own = key.bucket();
    limits.get(&own).or_else(|| limits.get(&Bucket { region: None, ..own })).copied()
}

impl QuotaKey {
    /// Which of Cloud Run's quotas it is.
    pub fn quota(&self) -> Quota {
        Quota { gpu: self.gpu.clone(), zonal_redundancy: self.zonal_redundancy }
    }

    /// The bucket of this region alone.
    pub fn bucket(&self) -> Bucket {
        Bucket { project: self.project.clone(), quota: self.quota(), region: Some(self.region.clone()) }
    }

    /// See [`Quota::metric`].
    pub fn metric(&self) -> String {
        self.quota().metric()
    }

    /// See [`Quota::id`].
    pub fn quota_id(&self) -> String {
        self.quota().id()
    }

    /// See [`Quota::display_name`].
    pub fn display_name(&self) -> String {
        self.quota().display_name()
    }
}

impl Bucket {
    /// The keys that it is for, of the regions given.
    pub fn keys(&self, regions: &[Region]) -> BTreeSet<QuotaKey> {
        let own = self.region.as_ref().map_or(regions, std::slice::from_ref);
        own.iter().map(|region| self.quota.key(&self.project, region)).collect()
    }
}

impl fmt::Display for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of project {}", self.quota.id(), self.project)?;
        match &self.region {
            Some(region) => write!(f, " in {region}"),
            None => f.write_str(" in every region"),
        }
    }
}

impl Quota {
    /// Every quota that there is for the types given, by id.
    pub fn all(types: &[GpuTypeInfo]) -> Vec<Self> {
        let both = |info: &GpuTypeInfo| {
            [true, false].map(|zonal_redundancy| Self { gpu: info.name.clone(), zonal_redundancy })
        };
        let mut all: Vec<Self> = types.iter().flat_map(both).collect();
        all.sort_by_key(Self::id);
        all
    }

    /// This quota of a project in a region.
    pub fn key(&self, project: &ProjectId, region: &Region) -> QuotaKey {
        let (project, region, gpu) = (project.clone(), region.clone(), self.gpu.clone());
        QuotaKey { project, region, gpu, zonal_redundancy: self.zonal_redundancy }
    }

    /// The quota's metric as Cloud Run names it, for instance
    /// `run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy`.
    pub fn metric(&self) -> String {
        let gpu = self.gpu.as_str().replace('-', "_");
        let suffix = if self.zonal_redundancy { "" } else { "_no_zonal_redundancy" };
        format!("run.googleapis.com/{gpu}_gpu_allocation{suffix}")
    }

    /// The quota's id as Cloud Run names it, for instance
    /// `NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion`.
    pub fn id(&self) -> String {
        let suffix = if self.zonal_redundancy { "" } else { "NoZonalRedundancy" };
        format!("{}GpuAlloc{suffix}PerProjectRegion", self.words().concat())
    }

    /// The quota's name for people, for instance
    /// `Total Nvidia L4 GPU allocation, per project per region`.
    pub fn display_name(&self) -> String {
        format!("{}, per project per region", self.metric_display_name())
    }

    /// The metric's name for people, for instance `Total Nvidia L4 GPU allocation`.
    pub fn metric_display_name(&self) -> String {
        let suffix = if self.zonal_redundancy { "" } else { " without zonal redundancy" };
        format!("Total {} GPU allocation{suffix}", self.words().join(" "))
    }

    /// The type's words, each with a capital: `nvidia-l4` is `Nvidia`, `L4`.
    fn words(&self) -> Vec<String> {
        let capital = |word: &str| {
            let mut letters = word.chars();
            letters.next().map(|first| first.to_ascii_uppercase().to_string() + letters.as_str()).unwrap_or_default()
        };
        self.gpu.as_str().split('-').map(capital).collect()
    }
}
