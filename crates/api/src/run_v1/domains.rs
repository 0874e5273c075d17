//! Domain mappings, field by field as published; see [`super::types`].

#![allow(missing_docs, reason = "the fields are the published ones; their meaning is published with them")]

use serde::{Deserialize, Serialize};

use super::lenient::{integer, unset_if_null};
use super::types::{Condition, ListMeta, ObjectMeta};

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DomainMapping {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<ObjectMeta>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spec: Option<DomainMappingSpec>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<DomainMappingStatus>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DomainMappingSpec {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub force_override: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub route_name: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct DomainMappingStatus {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "unset_if_null")]
    pub conditions: Vec<Condition>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mapped_route_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "integer")]
    pub observed_generation: Option<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "unset_if_null")]
    pub resource_records: Vec<ResourceRecord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ResourceRecord {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rrdata: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r#type: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct ListDomainMappingsResponse {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "unset_if_null")]
    pub items: Vec<DomainMapping>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metadata: Option<ListMeta>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "unset_if_null")]
    pub unreachable: Vec<String>,
}
