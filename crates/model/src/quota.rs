//! GPU quotas: how many GPUs the live instances of a project may hold in a region.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::names::{GpuType, ProjectId, Region};

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
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quotas {
    limits: BTreeMap<QuotaKey, u32>,
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
    format!(
        "To request quota: homerun quota, or gcloud beta quotas preferences create --service=run.googleapis.com \
         --quota-id={} --dimensions=region={} --preferred-value={requested} --project={}",
        key.quota_id(),
        key.region,
        key.project
    )
}

impl Quotas {
    /// Sets a limit, in GPUs.
    pub fn set(&mut self, key: QuotaKey, limit: u32) {
        self.limits.insert(key, limit);
    }

    /// The limit, in GPUs; 0 where none was ever granted.
    pub fn limit(&self, key: &QuotaKey) -> u32 {
        self.limits.get(key).copied().unwrap_or(0)
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

impl QuotaKey {
    /// The quota's metric as Cloud Run names it, for instance
    /// `run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy`.
    pub fn metric(&self) -> String {
        let gpu = self.gpu.as_str().replace('-', "_");
        let suffix = if self.zonal_redundancy { "" } else { "_no_zonal_redundancy" };
        format!("run.googleapis.com/{gpu}_gpu_allocation{suffix}")
    }

    /// The quota's id as Cloud Run names it, for instance
    /// `NvidiaL4GpuAllocNoZonalRedundancyPerProjectRegion`.
    pub fn quota_id(&self) -> String {
        let suffix = if self.zonal_redundancy { "" } else { "NoZonalRedundancy" };
        format!("{}GpuAlloc{suffix}PerProjectRegion", self.words().concat())
    }

    /// The quota's name for people, for instance
    /// `Total Nvidia L4 GPU allocation, per project per region`.
    pub fn display_name(&self) -> String {
        let suffix = if self.zonal_redundancy { "" } else { " without zonal redundancy" };
        format!("Total {} GPU allocation{suffix}, per project per region", self.words().join(" "))
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
