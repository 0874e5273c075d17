//! The `--gpu` setting: `auto`, `none` or `simulated:TYPE=COUNT[,TYPE=COUNT]`.

use std::fmt;
use std::str::FromStr;

use homerun_model::gpu::{GpuTypeInfo, published_types};
use homerun_model::names::GpuType;

use super::simulated::MAX_DEVICES;

/// Where this machine's GPUs come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum GpuSetting {
    /// Those that the NVIDIA driver reports, if there is one.
    #[default]
    Auto,
    /// None, whatever the machine has.
    None,
    /// Simulated ones: so many of each type, in this order.
    Simulated(Vec<(GpuType, u32)>),
}

/// What is wrong with a `--gpu` setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GpuSettingError {
    /// None of the three forms.
    #[error(
        "`{0}` is not a GPU setting; use auto, none or simulated:TYPE=COUNT[,TYPE=COUNT], for example simulated:nvidia-l4=2"
    )]
    Unrecognised(String),
    /// A part of `simulated:` that is not `TYPE=COUNT`.
    #[error("`{0}` in the GPU setting must be TYPE=COUNT, for example nvidia-l4=2")]
    NotTypeAndCount(String),
    /// A type that does not exist.
    #[error("there is no GPU type `{given}`{hint}; the types are {known}")]
    UnknownType {
        /// What was written.
        given: String,
        /// Empty, or what was probably meant.
        hint: String,
        /// The types there are.
        known: String,
    },
    /// The same type a second time.
    #[error("GPU type `{0}` is given twice; give each type once, with its whole count")]
    TypeTwice(GpuType),
    /// A count that is no number in range.
    #[error("`{given}` GPUs of type {gpu_type}: the count must be a whole number from 0 to {MAX_DEVICES}")]
    Count {
        /// The type it was given for.
        gpu_type: GpuType,
        /// What was written.
        given: String,
    },
    /// More than a machine can have.
    #[error("{0} simulated GPUs in all: at most {MAX_DEVICES} can be simulated on one machine")]
    TooMany(u32),
}

impl GpuSetting {
    /// Parses the setting. `types` are the types there are, the operator's own included; a type that is
    /// simulated must be one of them.
    ///
    /// # Errors
    /// See [`GpuSettingError`].
    pub fn parse(text: &str, types: &[GpuTypeInfo]) -> Result<Self, GpuSettingError> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "none" => Ok(Self::None),
            Some(("simulated", list)) => parse_counts(list, types).map(Self::Simulated),
            _ => Err(GpuSettingError::Unrecognised(text.to_owned())),
        }
    }
}

fn parse_counts(list: &str, types: &[GpuTypeInfo]) -> Result<Vec<(GpuType, u32)>, GpuSettingError> {
    let mut counts: Vec<(GpuType, u32)> = Vec::new();
    for part in list.split(',') {
        let (name, count) = part.split_once('=').ok_or_else(|| GpuSettingError::NotTypeAndCount(part.to_owned()))?;
        let gpu_type = GpuType::from(name);
        if !types.iter().any(|info| info.name == gpu_type) {
            return Err(unknown_type(name, types));
        }
        if counts.iter().any(|(earlier, _)| *earlier == gpu_type) {
            return Err(GpuSettingError::TypeTwice(gpu_type));
        }
        match count.parse() {
            Ok(number) if number <= MAX_DEVICES => counts.push((gpu_type, number)),
            _ => {
                return Err(GpuSettingError::Count { gpu_type, given: count.to_owned() });
            }
        }
    }
    let total = counts.iter().map(|(_, count)| count).sum();
    if total > MAX_DEVICES {
        return Err(GpuSettingError::TooMany(total));
    }
    Ok(counts)
}

fn unknown_type(given: &str, types: &[GpuTypeInfo]) -> GpuSettingError {
    // `nvidia-L4` and `nvidia-14` look like `nvidia-l4` in many fonts.
    let meant = given.to_ascii_lowercase().replace("-1", "-l");
    let hint = types.iter().map(|info| info.name.as_str()).find(|name| *name == meant);
    GpuSettingError::UnknownType {
        given: given.to_owned(),
        hint: match hint {
            Some(name) if name.contains("-l") => {
                format!(" (did you mean {name}? The l is a lower-case letter L)")
            }
            Some(name) => format!(" (did you mean {name}?)"),
            None => String::new(),
        },
        known: types.iter().map(|info| info.name.as_str()).collect::<Vec<_>>().join(", "),
    }
}

impl FromStr for GpuSetting {
    type Err = GpuSettingError;

    /// Parses with the published types alone.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, &published_types())
    }
}

impl fmt::Display for GpuSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::None => f.write_str("none"),
            Self::Simulated(counts) => {
                let counts: Vec<_> = counts.iter().map(|(gpu_type, count)| format!("{gpu_type}={count}")).collect();
                write!(f, "simulated:{}", counts.join(","))
            }
        }
    }
}
