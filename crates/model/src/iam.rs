//! Who may do what: principals, access policies and the predefined roles.
//!
//! A policy belongs to a resource. What a project's policy grants holds for everything in the project.

mod roles;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::names::{ProjectId, ServiceKey};
use crate::violation::Violation;

pub use roles::{PERMISSIONS, Role, role, roles};

/// The role that allows sending requests to a private service.
pub const INVOKER: &str = "roles/run.invoker";
/// The permission to send requests to a service.
pub const INVOKE: &str = "run.routes.invoke";
/// The permission to let instances have a service account's identity.
pub const ACT_AS: &str = "iam.serviceAccounts.actAs";
/// The member that stands for everybody, signed in or not.
pub const ALL_USERS: &str = "allUsers";
/// The member that stands for everybody who is signed in.
pub const ALL_AUTHENTICATED_USERS: &str = "allAuthenticatedUsers";
/// Most members that a policy may have in all, as IAM limits it.
const MEMBERS_MAX: usize = 1500;

/// Somebody who was authenticated.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Principal {
    /// A person, by email.
    User(String),
    /// A service account, by email.
    ServiceAccount(String),
}

impl Principal {
    /// The principal that an email names: service accounts have their own domains.
    pub fn of_email(email: &str) -> Self {
        if email.ends_with(".gserviceaccount.com") {
            Self::ServiceAccount(email.to_owned())
        } else {
            Self::User(email.to_owned())
        }
    }

    /// The email, as it is shown for creators and modifiers.
    pub fn email(&self) -> &str {
        let (Self::User(email) | Self::ServiceAccount(email)) = self;
        email
    }
}

/// As policies name it: `user:ann@example.com`.
impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::User(email) => write!(f, "user:{email}"),
            Self::ServiceAccount(email) => write!(f, "serviceAccount:{email}"),
        }
    }
}

/// What a permission is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resource {
    /// This installation: what concerns every project.
    Platform,
    /// A project.
    Project(ProjectId),
    /// A service.
    Service(ServiceKey),
    /// A service account.
    ServiceAccount {
        /// The project that it belongs to.
        project: ProjectId,
        /// Its email.
        email: String,
    },
}

impl Resource {
    /// Under which name the resource's own policy is kept.
    pub fn policy_name(&self) -> String {
        match self {
            Self::Platform => "platform".to_owned(),
            Self::Project(project) => format!("projects/{project}"),
            Self::Service(key) => key.to_string(),
            Self::ServiceAccount { project, email } => format!("projects/{project}/serviceAccounts/{email}"),
        }
    }

    /// What it is part of, whose policy counts too.
    pub fn parent(&self) -> Option<Self> {
        match self {
            Self::Platform | Self::Project(_) => None,
            Self::Service(key) => Some(Self::Project(key.project.clone())),
            Self::ServiceAccount { project, .. } => Some(Self::Project(project.clone())),
        }
    }
}

/// As messages name it.
impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Platform => f.write_str("homerun"),
            Self::Service(key) => write!(f, "namespaces/{}/services/{}", key.project, key.name),
            Self::Project(_) | Self::ServiceAccount { .. } => f.write_str(&self.policy_name()),
        }
    }
}

/// The etag of a policy that was never set; in base64 it is the `ACAB` that Google's APIs give.
pub const UNSET_ETAG: &str = "\0 \u{1}";

/// An access policy as the IAM API has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Policy {
    /// Format version, 1 or 3.
    pub version: u32,
    /// Role -> members.
    pub bindings: Vec<Binding>,
    /// Changes with every change of the policy; guards against lost updates.
    pub etag: String,
}

/// One role and who has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Binding {
    /// For instance `roles/run.invoker`.
    pub role: String,
    /// For instance `allUsers` or `user:ann@example.com`.
    pub members: Vec<String>,
}

impl Policy {
    /// Whether the policy gives a permission to a principal; `None` is somebody who is not signed in.
    pub fn allows(&self, principal: Option<&Principal>, permission: &str) -> bool {
        self.bindings.iter().any(|binding| {
            binding.members.iter().any(|member| is(member, principal))
                && role(&binding.role).is_some_and(|role| role.includes(permission))
        })
    }

    /// Every rule that the policy breaks.
    pub fn validate(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        for (index, binding) in self.bindings.iter().enumerate() {
            if role(&binding.role).is_none() {
                let message = format!("Role {} is not supported for this resource.", binding.role);
                found.push(Violation::new(format!("policy.bindings[{index}].role"), message));
            }
            for (at, member) in binding.members.iter().enumerate() {
                if let Err(message) = check_member(member) {
                    found.push(Violation::new(format!("policy.bindings[{index}].members[{at}]"), message));
                }
            }
        }
        let count: usize = self.bindings.iter().map(|binding| binding.members.len()).sum();
        if count > MEMBERS_MAX {
            let message = format!("A policy may have at most {MEMBERS_MAX} members; it has {count}.");
            found.push(Violation::new("policy.bindings", message));
        }
        found
    }
}

/// Whether a policy's member stands for a principal.
fn is(member: &str, principal: Option<&Principal>) -> bool {
    let Some(principal) = principal else {
        return member == ALL_USERS;
    };
    match member.split_once(':') {
        None => member == ALL_USERS || member == ALL_AUTHENTICATED_USERS,
        Some(("user", email)) => matches!(principal, Principal::User(own) if own.eq_ignore_ascii_case(email)),
        Some(("serviceAccount", email)) => {
            matches!(principal, Principal::ServiceAccount(own) if own.eq_ignore_ascii_case(email))
        }
        Some(("domain", domain)) => {
            matches!(principal, Principal::User(own) if own.rsplit_once('@').is_some_and(|(_, d)| d.eq_ignore_ascii_case(domain)))
        }
        Some(_) => false,
    }
}

fn check_member(member: &str) -> Result<(), String> {
    let is_email = |text: &str| {
        text.split_once('@').is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty())
            && !text.contains(char::is_whitespace)
    };
    match member.split_once(':') {
        None if member == ALL_USERS || member == ALL_AUTHENTICATED_USERS => Ok(()),
        Some(("user" | "serviceAccount", email)) if is_email(email) => Ok(()),
        Some(("domain", domain)) if domain.contains('.') && !domain.contains('@') => Ok(()),
        // homerun knows no groups; accepting one would grant nothing, in silence.
        Some(("group", _)) => Err(format!("Groups are not supported here: name the members of '{member}' one by one.")),
        _ => Err(format!(
            "Invalid member '{member}': it must be allUsers, allAuthenticatedUsers, or begin with user:, serviceAccount: or \
             domain:."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(role: &str, members: &[&str]) -> Policy {
        let members = members.iter().map(|member| (*member).to_owned()).collect();
        Policy { bindings: vec![Binding { role: role.to_owned(), members }], ..Policy::default() }
    }

    #[test]
    fn s13_members_stand_for_whom_they_name() {
        let ann = Principal::of_email("ann@example.com");
        let robot = Principal::of_email("robot@demo.iam.gserviceaccount.com");
        assert_eq!(robot.to_string(), "serviceAccount:robot@demo.iam.gserviceaccount.com");
        for (member, nobody, for_ann, for_robot) in [
            ("allUsers", true, true, true),
            ("allAuthenticatedUsers", false, true, true),
            ("user:Ann@example.com", false, true, false),
            ("domain:example.com", false, true, false),
            ("serviceAccount:robot@demo.iam.gserviceaccount.com", false, false, true),
            ("user:robot@demo.iam.gserviceaccount.com", false, false, false),
            ("serviceAccount:ann@example.com", false, false, false),
        ] {
            let policy = policy(INVOKER, &[member]);
            let given = [None, Some(&ann), Some(&robot)].map(|principal| policy.allows(principal, INVOKE));
            assert_eq!(given, [nobody, for_ann, for_robot], "{member}");
            assert!(!policy.allows(Some(&ann), "run.services.get"), "{member}");
        }
    }

    #[test]
    fn s13_a_policy_that_would_grant_nothing_is_refused() {
        for (role, member, field, words) in [
            ("roles/run.king", "allUsers", "policy.bindings[0].role", "Role roles/run.king is not supported"),
            (INVOKER, "ann@example.com", "policy.bindings[0].members[0]", "begin with user:"),
            (INVOKER, "user:ann", "policy.bindings[0].members[0]", "Invalid member"),
            (INVOKER, "group:all@example.com", "policy.bindings[0].members[0]", "Groups are not supported"),
        ] {
            let found = policy(role, &[member]).validate();
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].field == field && found[0].message.contains(words), "{found:?}");
        }
        assert_eq!(policy("roles/run.developer", &["user:ann@example.com", "domain:example.com"]).validate(), []);
    }
}
