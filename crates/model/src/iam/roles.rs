//! The predefined roles and their permissions, as published in Google's list of IAM roles and
//! permissions. Permissions of products that homerun does not have are left out.

/// Every permission that something here asks for, or that a role published for it has.
pub const PERMISSIONS: &[&str] = &[
    "cloudquotas.quotas.get",
    "cloudquotas.quotas.update",
    "homerun.budgets.get",
    "homerun.budgets.update",
    "homerun.images.import",
    "homerun.images.list",
    "homerun.projects.list",
    "homerun.quotas.decide",
    "homerun.status.get",
    "homerun.tokens.create",
    "homerun.usage.get",
    "iam.roles.get",
    "iam.roles.list",
    "iam.serviceAccounts.actAs",
    "iam.serviceAccounts.create",
    "iam.serviceAccounts.delete",
    "iam.serviceAccounts.get",
    "iam.serviceAccounts.getAccessToken",
    "iam.serviceAccounts.getIamPolicy",
    "iam.serviceAccounts.getOpenIdToken",
    "iam.serviceAccounts.list",
    "iam.serviceAccounts.setIamPolicy",
    "iam.serviceAccounts.update",
    "logging.logEntries.list",
    "logging.logs.list",
    "monitoring.timeSeries.list",
    "resourcemanager.projects.create",
    "resourcemanager.projects.get",
    "resourcemanager.projects.getIamPolicy",
    "resourcemanager.projects.list",
    "resourcemanager.projects.setIamPolicy",
    "run.configurations.get",
    "run.configurations.list",
    "run.domainmappings.create",
    "run.domainmappings.delete",
    "run.domainmappings.get",
    "run.domainmappings.list",
    "run.locations.list",
    "run.operations.delete",
    "run.operations.get",
    "run.operations.list",
    "run.revisions.delete",
    "run.revisions.get",
    "run.revisions.list",
    "run.routes.get",
    "run.routes.invoke",
    "run.routes.list",
    "run.services.create",
    "run.services.delete",
    "run.services.get",
    "run.services.getIamPolicy",
    "run.services.list",
    "run.services.setIamPolicy",
    "run.services.update",
    "serviceusage.quotas.get",
    "serviceusage.quotas.update",
    "serviceusage.services.disable",
    "serviceusage.services.enable",
    "serviceusage.services.get",
    "serviceusage.services.list",
];

/// A predefined role.
#[derive(Debug, PartialEq, Eq)]
pub struct Role {
    /// For instance `roles/run.developer`.
    pub name: &'static str,
    /// Its title for people.
    pub title: &'static str,
    /// What it is for.
    pub description: &'static str,
    /// Permissions, or patterns with one `*` at the beginning or the end.
    grants: &'static [&'static str],
    /// What the patterns would grant too much.
    except: &'static [&'static str],
}

const PROJECT: [&str; 2] = ["resourcemanager.projects.get", "resourcemanager.projects.list"];

/// The roles by name.
const ROLES: &[Role] = &[
    Role {
        name: "roles/cloudquotas.admin",
        title: "Cloud Quotas Admin",
        description: "Full access to quotas.",
        grants: &["cloudquotas.quotas.*", PROJECT[0], PROJECT[1]],
        except: &[],
    },
    Role {
        name: "roles/cloudquotas.viewer",
        title: "Cloud Quotas Viewer",
        description: "Read access to quotas.",
        grants: &["cloudquotas.quotas.get", PROJECT[0], PROJECT[1]],
        except: &[],
    },
    Role {
        name: "roles/editor",
        title: "Editor",
        description: "View, create, update and delete most resources.",
        grants: &["*"],
        except: &[
            "*.setIamPolicy",
            "homerun.budgets.update",
            "homerun.quotas.decide",
            "homerun.tokens.create",
            "iam.serviceAccounts.getAccessToken",
            "iam.serviceAccounts.getOpenIdToken",
            "resourcemanager.projects.create",
            "run.routes.invoke",
        ],
    },
    Role {
        name: "roles/iam.serviceAccountAdmin",
        title: "Service Account Admin",
        description: "Create and manage service accounts.",
        grants: &["iam.serviceAccounts.*", PROJECT[0], PROJECT[1]],
        except: &[
            "iam.serviceAccounts.actAs",
            "iam.serviceAccounts.getAccessToken",
            "iam.serviceAccounts.getOpenIdToken",
        ],
    },
    Role {
        name: "roles/iam.serviceAccountTokenCreator",
        title: "Service Account Token Creator",
        description: "Impersonate service accounts: make access and identity tokens of them.",
        grants: &[
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getAccessToken",
            "iam.serviceAccounts.getOpenIdToken",
            "iam.serviceAccounts.list",
            PROJECT[0],
            PROJECT[1],
        ],
        except: &[],
    },
    Role {
        name: "roles/iam.serviceAccountUser",
        title: "Service Account User",
        description: "Run operations as the service account.",
        grants: &[
            "iam.serviceAccounts.actAs",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
            PROJECT[0],
            PROJECT[1],
        ],
        except: &[],
    },
    Role {
        name: "roles/iam.serviceAccountViewer",
        title: "View Service Accounts",
        description: "Read access to service accounts and their policies.",
        grants: &[
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.getIamPolicy",
            "iam.serviceAccounts.list",
            PROJECT[0],
            PROJECT[1],
        ],
        except: &[],
    },
    Role {
        name: "roles/logging.viewer",
        title: "Logs Viewer",
        description: "Read access to logs.",
        grants: &["logging.*", PROJECT[0]],
        except: &[],
    },
    Role {
        name: "roles/monitoring.viewer",
        title: "Monitoring Viewer",
        description: "Read access to metrics.",
        grants: &["monitoring.*", PROJECT[0]],
        except: &[],
    },
    Role {
        name: "roles/owner",
        title: "Owner",
        description: "Full access to all resources.",
        grants: &["*"],
        except: &[],
    },
    Role {
        name: "roles/resourcemanager.projectIamAdmin",
        title: "Project IAM Admin",
        description: "Access to administer a project's policies.",
        grants: &[
            "resourcemanager.projects.get",
            "resourcemanager.projects.getIamPolicy",
            "resourcemanager.projects.setIamPolicy",
        ],
        except: &[],
    },
    Role {
        name: "roles/run.admin",
        title: "Cloud Run Admin",
        description: "Full control over all Cloud Run resources.",
        grants: &["run.*", PROJECT[0], PROJECT[1]],
        except: &[],
    },
    Role {
        name: "roles/run.developer",
        title: "Cloud Run Developer",
        description: "Read and write access to all Cloud Run resources.",
        grants: &["run.*", PROJECT[0], PROJECT[1]],
        except: &["run.services.setIamPolicy"],
    },
    Role {
        name: "roles/run.invoker",
        title: "Cloud Run Invoker",
        description: "Can invoke Cloud Run services and execute Cloud Run jobs.",
        grants: &["run.routes.invoke"],
        except: &[],
    },
    Role {
        name: "roles/run.servicesInvoker",
        title: "Cloud Run Service Invoker",
        description: "Can invoke Cloud Run services.",
        grants: &["run.routes.invoke"],
        except: &[],
    },
    Role {
        name: "roles/run.sourceDeveloper",
        title: "Cloud Run Source Developer",
        description: "Deploy and manage Cloud Run source deployed resources.",
        grants: &[
            "run.*",
            PROJECT[0],
            PROJECT[1],
            "logging.*",
            "serviceusage.services.get",
            "serviceusage.services.list",
            "iam.serviceAccounts.get",
            "iam.serviceAccounts.list",
        ],
        except: &["run.services.setIamPolicy", "run.routes.invoke"],
    },
    Role {
        name: "roles/run.viewer",
        title: "Cloud Run Viewer",
        description: "Can view the state of all Cloud Run resources, including IAM policies.",
        grants: &[
            "run.configurations.*",
            "run.domainmappings.get",
            "run.domainmappings.list",
            "run.locations.list",
            "run.operations.get",
            "run.operations.list",
            "run.revisions.get",
            "run.revisions.list",
            "run.routes.get",
            "run.routes.list",
            "run.services.get",
            "run.services.getIamPolicy",
            "run.services.list",
            PROJECT[0],
            PROJECT[1],
        ],
        except: &[],
    },
    Role {
        name: "roles/serviceusage.serviceUsageAdmin",
        title: "Service Usage Admin",
        description: "Enable, disable and inspect services, and set their quotas.",
        grants: &["serviceusage.*", PROJECT[0]],
        except: &[],
    },
    Role {
        name: "roles/serviceusage.serviceUsageViewer",
        title: "Service Usage Viewer",
        description: "Inspect services and their quotas.",
        grants: &["serviceusage.quotas.get", "serviceusage.services.get", "serviceusage.services.list", PROJECT[0]],
        except: &[],
    },
    Role {
        name: "roles/viewer",
        title: "Viewer",
        description: "View most resources.",
        grants: &["*.get", "*.list", "*.getIamPolicy"],
        except: &[],
    },
];

/// The predefined role of a name.
pub fn role(name: &str) -> Option<&'static Role> {
    ROLES.binary_search_by(|role| role.name.cmp(name)).ok().map(|index| &ROLES[index])
}

/// Every predefined role, by name.
pub fn roles() -> &'static [Role] {
    ROLES
}

impl Role {
    /// Whether it has a permission. A permission that does not exist is in no role.
    pub fn includes(&self, permission: &str) -> bool {
        let any = |patterns: &[&str]| patterns.iter().any(|pattern| matches(pattern, permission));
        PERMISSIONS.binary_search(&permission).is_ok() && any(self.grants) && !any(self.except)
    }

    /// Its permissions, in alphabetical order.
    pub fn permissions(&self) -> impl Iterator<Item = &'static str> {
        PERMISSIONS.iter().copied().filter(|permission| self.includes(permission))
    }
}

fn matches(pattern: &str, permission: &str) -> bool {
    match (pattern.strip_prefix('*'), pattern.strip_suffix('*')) {
        (Some(end), _) => permission.ends_with(end),
        (None, Some(begin)) => permission.starts_with(begin),
        (None, None) => pattern == permission,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s13_roles_and_permissions_are_found_by_name() {
        assert!(ROLES.windows(2).all(|pair| pair[0].name < pair[1].name), "the roles are in order");
        assert!(PERMISSIONS.windows(2).all(|pair| pair[0] < pair[1]), "the permissions are in order");
        for each in ROLES {
            assert_eq!(role(each.name), Some(each));
            assert!(each.permissions().next().is_some(), "{} has permissions", each.name);
            for pattern in each.grants.iter().chain(each.except) {
                assert!(PERMISSIONS.iter().any(|permission| matches(pattern, permission)), "{}: {pattern}", each.name);
            }
        }
        assert_eq!(role("roles/run.king"), None);
    }

    /// Row G22, and who may loosen what.
    #[test]
    fn g22_roles_have_their_published_permissions() {
        let may = |name: &str, permission: &str| role(name).is_some_and(|role| role.includes(permission));
        for (name, permission, expected) in [
            ("roles/run.developer", "run.services.update", true),
            ("roles/run.developer", "run.services.setIamPolicy", false),
            ("roles/run.developer", "iam.serviceAccounts.actAs", false),
            ("roles/run.admin", "run.services.setIamPolicy", true),
            ("roles/run.admin", "iam.serviceAccounts.actAs", false),
            ("roles/run.viewer", "run.services.getIamPolicy", true),
            ("roles/run.viewer", "run.services.update", false),
            ("roles/run.viewer", "run.routes.invoke", false),
            ("roles/run.invoker", "run.routes.invoke", true),
            ("roles/run.invoker", "run.services.get", false),
            ("roles/iam.serviceAccountUser", "iam.serviceAccounts.actAs", true),
            ("roles/editor", "iam.serviceAccounts.actAs", true),
            ("roles/editor", "run.services.setIamPolicy", false),
            ("roles/editor", "homerun.quotas.decide", false),
            ("roles/viewer", "run.services.get", true),
            ("roles/viewer", "run.services.delete", false),
            ("roles/viewer", "iam.serviceAccounts.getAccessToken", false),
            ("roles/monitoring.viewer", "monitoring.timeSeries.list", true),
            ("roles/viewer", "monitoring.timeSeries.list", true),
            ("roles/editor", "monitoring.timeSeries.list", true),
            // Cloud Run's own roles do not have it: https://cloud.google.com/run/docs/reference/iam/roles
            ("roles/run.admin", "monitoring.timeSeries.list", false),
            ("roles/run.viewer", "monitoring.timeSeries.list", false),
            ("roles/owner", "run.services.setIamPolicy", true),
            ("roles/owner", "no.such.permission", false),
        ] {
            assert_eq!(may(name, permission), expected, "{name} {permission}");
        }
    }
}
