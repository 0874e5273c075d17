//! Who may do what.

use serde::{Deserialize, Serialize};

use crate::run_v1::lenient::{integer, unset_if_null};
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Policy {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "unset_if_null")]
    pub audit_configs: Vec<AuditConfig>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "unset_if_null")]
    pub bindings: Vec<Binding>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "integer")]
    pub version: Option<i32>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Binding {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub condition: Option<Expr>,
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "unset_if_null")]
    pub members: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Expr {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AuditConfig {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "unset_if_null")]
    pub audit_log_configs: Vec<AuditLogConfig>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct AuditLogConfig {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "unset_if_null")]
    pub exempted_members: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log_type: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct SetIamPolicyRequest {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub update_mask: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TestIamPermissionsRequest {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "unset_if_null")]
    pub permissions: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct TestIamPermissionsResponse {
    #[serde(skip_serializing_if = "Vec::is_empty", deserialize_with = "unset_if_null")]
    pub permissions: Vec<String>,
}
