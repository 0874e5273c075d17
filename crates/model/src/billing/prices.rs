//! Prices: what is sold in which unit, and what it costs where and since when.

use std::collections::BTreeMap;
use std::fmt;

use chrono::NaiveDate;
use serde::{Deserialize, Serialize};

use super::money::{Money, Rate, decimal};
use super::{Billing, Shape};
use crate::names::{GpuType, Region};

/// Something that is sold.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Sku {
    /// CPU with instance-based billing.
    CpuInstance,
    /// Memory with instance-based billing.
    MemoryInstance,
    /// CPU with request-based billing.
    CpuRequest,
    /// Memory with request-based billing.
    MemoryRequest,
    /// CPU of an idle instance of the minimum, with request-based billing.
    CpuIdle,
    /// Memory of such an instance.
    MemoryIdle,
    /// Requests with request-based billing.
    Requests,
    /// A GPU of this type.
    Gpu(GpuType),
    /// A GPU of this type with zonal redundancy.
    GpuZonal(GpuType),
}

/// How SKUs without a GPU type are written.
const PLAIN: [(Sku, &str); 7] = [
    (Sku::CpuInstance, "cpu-instance"),
    (Sku::MemoryInstance, "memory-instance"),
    (Sku::CpuRequest, "cpu-request"),
    (Sku::MemoryRequest, "memory-request"),
    (Sku::CpuIdle, "cpu-idle"),
    (Sku::MemoryIdle, "memory-idle"),
    (Sku::Requests, "requests"),
];
const GPU: &str = "gpu/";
const GPU_ZONAL: &str = "gpu-zonal/";

impl fmt::Display for Sku {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Gpu(gpu) => write!(f, "{GPU}{gpu}"),
            Self::GpuZonal(gpu) => write!(f, "{GPU_ZONAL}{gpu}"),
            plain => f.write_str(PLAIN.iter().find(|(sku, _)| sku == plain).map_or("", |(_, name)| name)),
        }
    }
}

impl TryFrom<String> for Sku {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let gpu = |prefix: &str| text.strip_prefix(prefix).filter(|name| !name.is_empty()).map(GpuType::from);
        let plain = PLAIN.iter().find(|(_, name)| *name == text).map(|(sku, _)| sku.clone());
        plain.or_else(|| gpu(GPU).map(Self::Gpu)).or_else(|| gpu(GPU_ZONAL).map(Self::GpuZonal)).ok_or_else(|| {
            let names: Vec<&str> = PLAIN.iter().map(|(_, name)| *name).collect();
            format!("'{text}' is not sold; it must be one of {}, {GPU}TYPE, {GPU_ZONAL}TYPE", names.join(", "))
        })
    }
}

impl From<Sku> for String {
    fn from(sku: Sku) -> Self {
        sku.to_string()
    }
}

impl Sku {
    /// What one of it is called.
    pub fn unit(&self) -> &'static str {
        match self {
            Self::CpuInstance | Self::CpuRequest | Self::CpuIdle => "vCPU-second",
            Self::MemoryInstance | Self::MemoryRequest | Self::MemoryIdle => "GiB-second",
            Self::Requests => "request",
            Self::Gpu(_) | Self::GpuZonal(_) => "GPU-second",
        }
    }

    /// How many of what is counted make one unit: thousandths of a vCPU, bytes or GPUs times steps; requests.
    pub fn per(&self) -> u128 {
        const STEPS_PER_SECOND: u128 = 10;
        match self {
            Self::CpuInstance | Self::CpuRequest | Self::CpuIdle => 1000 * STEPS_PER_SECOND,
            Self::MemoryInstance | Self::MemoryRequest | Self::MemoryIdle => (1 << 30) * STEPS_PER_SECOND,
            Self::Requests => 1,
            Self::Gpu(_) | Self::GpuZonal(_) => STEPS_PER_SECOND,
        }
    }

    /// An amount in units, to nine decimals.
    pub fn quantity(&self, amount: u128) -> String {
        decimal((amount * 1_000_000_000 + self.per() / 2) / self.per(), 9)
    }
}

/// What a subject is billed for in a period.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    /// Steps at the full rate.
    pub active: u64,
    /// Those of them with the startup CPU boost.
    pub boosted: u64,
    /// Steps at the idle rate.
    pub idle: u64,
    /// Requests.
    pub requests: u64,
}

/// What is sold with this usage, and how much of it, in parts of a unit ([`Sku::per`]).
pub fn sold(shape: &Shape, sum: &Sum) -> Vec<(Sku, u128)> {
    let times = |of: u64, steps: u64| u128::from(of) * u128::from(steps);
    let cpu = times(shape.cpu_millis, sum.active) + times(shape.boost_millis, sum.boosted);
    let memory = times(shape.memory_bytes, sum.active);
    let mut sold = match shape.billing {
        Billing::Instance => vec![(Sku::CpuInstance, cpu), (Sku::MemoryInstance, memory)],
        Billing::Request => vec![
            (Sku::CpuRequest, cpu),
            (Sku::MemoryRequest, memory),
            (Sku::CpuIdle, times(shape.cpu_millis, sum.idle)),
            (Sku::MemoryIdle, times(shape.memory_bytes, sum.idle)),
            (Sku::Requests, u128::from(sum.requests)),
        ],
    };
    if let Some(gpu) = &shape.gpu {
        let sku = if shape.zonal_redundancy { Sku::GpuZonal } else { Sku::Gpu };
        sold.push((sku(gpu.clone()), times(shape.gpus, sum.active)));
    }
    sold.retain(|(_, amount)| *amount > 0);
    sold
}

/// A price list as its file has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceList {
    /// What the list is, for people.
    #[serde(default)]
    pub title: String,
    /// ISO 4217 code of the currency.
    pub currency: String,
    /// The prices.
    #[serde(default)]
    pub price: Vec<Price>,
    /// What is free in each month, all projects together, where the settings grant it.
    #[serde(default)]
    pub free: Vec<Free>,
}

/// One price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Price {
    /// What it is for.
    pub sku: Sku,
    /// Where it holds; `*` is every region that no other price of the SKU names.
    pub regions: Vec<String>,
    /// The first day on which it holds (UTC), until a later price does.
    pub from: NaiveDate,
    /// What one unit costs.
    pub price: Rate,
}

/// What is free of something in each month.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Free {
    /// What.
    pub sku: Sku,
    /// How many units.
    pub units: u64,
    /// What one free unit is worth: free usage is a discount at this price.
    pub price: Rate,
}

/// Why a price list cannot be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// The currency is no code.
    #[error("currency: '{0}' is no ISO 4217 code: write three capital letters, for instance USD")]
    Currency(String),
    /// A price that holds nowhere.
    #[error("price {0} ({1}): regions is empty: name regions, or \"*\" for all that are not named")]
    NoRegion(usize, Sku),
    /// Two prices for the same.
    #[error("price {index}: {sku} has two prices in {region} from {from} on; leave one of them")]
    Twice {
        /// The position in the list, from 1.
        index: usize,
        /// What is sold.
        sku: Sku,
        /// Where.
        region: String,
        /// Since when.
        from: NaiveDate,
    },
}

/// A price list that can be looked up.
#[derive(Debug, Clone)]
pub struct Prices {
    list: PriceList,
    /// By SKU and region: the prices by the day from which they hold.
    rates: BTreeMap<(Sku, String), BTreeMap<NaiveDate, Rate>>,
    /// Every day on which some price changes.
    changes: Vec<NaiveDate>,
}

const EVERYWHERE: &str = "*";

impl Prices {
    /// Checks a list.
    ///
    /// # Errors
    /// See [`PriceError`].
    pub fn new(list: PriceList) -> Result<Self, PriceError> {
        if list.currency.len() != 3 || !list.currency.bytes().all(|byte| byte.is_ascii_uppercase()) {
            return Err(PriceError::Currency(list.currency));
        }
        let mut rates: BTreeMap<(Sku, String), BTreeMap<NaiveDate, Rate>> = BTreeMap::new();
        for (index, price) in (1..).zip(&list.price) {
            if price.regions.is_empty() {
                return Err(PriceError::NoRegion(index, price.sku.clone()));
            }
            for region in &price.regions {
                let of = rates.entry((price.sku.clone(), region.clone())).or_default();
                if of.insert(price.from, price.price).is_some() {
                    let (sku, region, from) = (price.sku.clone(), region.clone(), price.from);
                    return Err(PriceError::Twice { index, sku, region, from });
                }
            }
        }
        let mut changes: Vec<NaiveDate> = list.price.iter().map(|price| price.from).collect();
        changes.sort_unstable();
        changes.dedup();
        Ok(Self { list, rates, changes })
    }

    /// The list.
    pub fn list(&self) -> &PriceList {
        &self.list
    }

    /// What a unit costs in a region on a day; `None` if the list does not say.
    pub fn rate(&self, sku: &Sku, region: &Region, day: NaiveDate) -> Option<Rate> {
        let of = |region: &str| {
            let prices = self.rates.get(&(sku.clone(), region.to_owned()))?;
            prices.range(..=day).next_back().map(|(_, rate)| *rate)
        };
        of(region.as_str()).or_else(|| of(EVERYWHERE))
    }

    /// The first day of the time around `day` in which no price changes.
    pub fn epoch(&self, day: NaiveDate) -> NaiveDate {
        let index = self.changes.partition_point(|change| *change <= day);
        index.checked_sub(1).map_or(NaiveDate::MIN, |index| self.changes[index])
    }

    /// What an amount costs.
    pub fn cost(&self, sku: &Sku, region: &Region, day: NaiveDate, amount: u128) -> Option<Money> {
        self.rate(sku, region, day).map(|rate| rate.cost(amount, sku.per()))
    }
}

#[cfg(test)]
mod tests;
