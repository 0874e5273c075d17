//! Access policies, both ways.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use homerun_model::iam::{Binding, Policy, UNSET_ETAG};
use homerun_model::violation::Violation;

use super::containers::some;
use crate::run_v1::types as wire;

/// Reads a policy. Conditions and audit settings can't be honoured yet and are refused.
pub fn policy_from_wire(wire: wire::Policy) -> (Policy, Vec<Violation>) {
    let mut violations = Vec::new();
    if !wire.audit_configs.is_empty() {
        violations.push(Violation::new("policy.auditConfigs", "Audit settings are not supported by homerun yet."));
    }
    let mut bindings = Vec::new();
    for (index, binding) in wire.bindings.into_iter().enumerate() {
        if binding.condition.is_some() {
            let field = format!("policy.bindings[{index}].condition");
            violations.push(Violation::new(field, "Conditions are not supported by homerun yet."));
        }
        let role = binding.role.unwrap_or_default();
        if role.is_empty() {
            let field = format!("policy.bindings[{index}].role");
            violations.push(Violation::new(field, "must be given, for instance 'roles/run.invoker'."));
        }
        bindings.push(Binding { role, members: binding.members });
    }
    let etag = wire.etag.unwrap_or_default();
    let etag = STANDARD.decode(&etag).ok().and_then(|bytes| String::from_utf8(bytes).ok()).unwrap_or_else(|| {
        violations.push(Violation::new("policy.etag", format!("'{etag}' is no etag of this policy.")));
        String::new()
    });
    let version = u32::try_from(wire.version.unwrap_or(1)).unwrap_or(1);
    (Policy { version, bindings, etag }, violations)
}

/// Renders a policy.
pub fn policy_to_wire(policy: &Policy) -> wire::Policy {
    let binding = |binding: &Binding| wire::Binding {
        role: some(&binding.role),
        members: binding.members.clone(),
        condition: None,
    };
    wire::Policy {
        version: Some(1),
        etag: some(&STANDARD.encode(if policy.etag.is_empty() { UNSET_ETAG } else { &policy.etag })),
        bindings: policy.bindings.iter().map(binding).collect(),
        ..wire::Policy::default()
    }
}
