//! Cloud Quotas v1 and v1beta: what quotas there are, and preferences for other limits.
//!
//! Field names are those of the published API; homerun has quotas of Cloud Run only, each with the one
//! dimension `region`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A 64-bit number, which Google's JSON writes as text.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Int64(pub i64);

impl Serialize for Int64 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Int64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "expected a whole number, as text or as a number")]
        enum Either {
            Number(i64),
            Text(String),
        }
        match Either::deserialize(deserializer)? {
            Either::Number(number) => Ok(Self(number)),
            Either::Text(text) => match text.parse() {
                Ok(number) => Ok(Self(number)),
                Err(_) => Err(serde::de::Error::custom(format!("\"{text}\" is no whole number"))),
            },
        }
    }
}

impl From<u32> for Int64 {
    fn from(number: u32) -> Self {
        Self(number.into())
    }
}

/// A quota of a project.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct QuotaInfo {
    /// `projects/NUMBER/locations/global/services/SERVICE/quotaInfos/ID`.
    pub name: String,
    /// Its id, unique in the service.
    pub quota_id: String,
    /// For instance `run.googleapis.com/nvidia_l4_gpu_allocation_no_zonal_redundancy`.
    pub metric: String,
    /// `run.googleapis.com`.
    pub service: String,
    /// Whether it counts with absolute precision.
    pub is_precise: bool,
    /// Whose quota it is, `PROJECT`.
    pub container_type: String,
    /// What it is apart for: `region`.
    pub dimensions: Vec<String>,
    /// The metric's name for people.
    pub metric_display_name: String,
    /// The quota's name for people.
    pub quota_display_name: String,
    /// What the limit counts.
    pub metric_unit: String,
    /// Whether more can be asked for.
    pub quota_increase_eligibility: Eligibility,
    /// Limits, those of single regions first.
    pub dimensions_infos: Vec<DimensionsInfo>,
}

/// Whether more can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Eligibility {
    /// It can.
    pub is_eligible: bool,
}

/// The limit in some regions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DimensionsInfo {
    /// `region` where it is of one region; empty for all others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
    /// The limit.
    pub details: QuotaDetails,
    /// The regions.
    pub applicable_locations: Vec<String>,
}

/// A limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaDetails {
    /// What is in force.
    pub value: Int64,
}

/// A page of quotas.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListQuotaInfos {
    /// The quotas.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quota_infos: Vec<QuotaInfo>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

/// The limit that a project wants.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QuotaPreference {
    /// `projects/NUMBER/locations/global/quotaPreferences/ID`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What the limit is for: `region`, or nothing for all regions.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub dimensions: BTreeMap<String, String>,
    /// What is wanted and what was granted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_config: Option<QuotaConfig>,
    /// Changes with every change of the preference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// When it was made; output only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub create_time: Option<DateTime<Utc>>,
    /// When it was changed; output only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_time: Option<DateTime<Utc>>,
    /// `run.googleapis.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// The quota's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota_id: Option<String>,
    /// Whether it waits for an administrator; output only.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reconciling: bool,
    /// Why it is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub justification: Option<String>,
    /// Whom to ask; input only.
    #[serde(skip_serializing)]
    pub contact_email: Option<String>,
}

/// What is wanted and what was granted.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct QuotaConfig {
    /// What is wanted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preferred_value: Option<Int64>,
    /// What the last decision was; output only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_detail: Option<String>,
    /// What is granted; output only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub granted_value: Option<Int64>,
    /// Names the request for more; output only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The client's own notes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Where the request came from; output only and never set here.
    #[serde(skip_serializing)]
    pub request_origin: Option<String>,
}

/// A page of preferences.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListQuotaPreferences {
    /// The preferences.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quota_preferences: Vec<QuotaPreference>,
    /// Where the next page begins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_page_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn g09_numbers_are_written_as_text_and_read_as_either() {
        for given in [json!({"preferredValue": "3"}), json!({"preferredValue": 3})] {
            let config: QuotaConfig = serde_json::from_value(given).expect("a number");
            assert_eq!(serde_json::to_value(config).expect("JSON"), json!({"preferredValue": "3"}));
        }
        for wrong in [json!({"preferredValue": "three"}), json!({"preferredValue": 1.5})] {
            assert!(serde_json::from_value::<QuotaConfig>(wrong).is_err());
        }
    }

    #[test]
    fn g09_whom_to_ask_is_never_told() {
        let preference = QuotaPreference { contact_email: Some("ann@example.com".to_owned()), ..Default::default() };
        assert_eq!(serde_json::to_value(preference).expect("JSON"), json!({}));
    }
}
