//! Who may do what to a service: its own policy, and what it inherits from its project's.

use axum::body::Bytes;
use axum::extract::Path;
use axum::response::{IntoResponse, Redirect, Response};
use homerun_api::error::ApiError;
use homerun_model::iam::{self, ALL_AUTHENTICATED_USERS, ALL_USERS, Binding, INVOKER, Policy, Resource, Role};
use homerun_model::names::ServiceKey;
use homerun_model::service::Service;
use maud::{Markup, html};

use super::super::confirm::{self, Question};
use super::super::failure::Failure;
use super::super::fields::Mistakes;
use super::super::layout::{Section, form_secret};
use super::super::visit::{Posted, Visit};
use super::super::words;
use super::{At, find, show};
use crate::app::{self, policies};

const SET: &str = "run.services.setIamPolicy";
const GET_OF_PROJECT: &str = "resourcemanager.projects.getIamPolicy";
const TAB: &str = "permissions";
/// The roles that are offered first: those that are about one service.
const USUAL: [&str; 4] = [INVOKER, "roles/run.developer", "roles/run.viewer", "roles/run.admin"];

/// A member that is to get a role.
#[derive(Debug, Default)]
struct New {
    member: String,
    role: String,
}

pub(in super::super) async fn page(visit: Visit, Path(at): Path<At>) -> Result<Response, Failure> {
    let service = find(&visit, &at)?.value;
    let content = content(&visit, &service, &New::default(), &Mistakes::default())?;
    Ok(show(&visit, &service, TAB, false, &content))
}

pub(in super::super) async fn submit(visit: Visit, Path(at): Path<At>, body: Bytes) -> Result<Response, Failure> {
    let posted = Posted::read(&visit, &body)?;
    let service = find(&visit, &at)?.value;
    let text = |name: &str| posted.get(name).unwrap_or_default().trim().to_owned();
    let new = New { member: text("member"), role: text("role") };
    if !confirm::given(&posted)
        && let Some(question) = question(&visit, &service.key, &posted, &new)
    {
        app::access::require(visit.platform(), visit.caller(), SET, &Resource::Service(service.key.clone()))?;
        return Ok(question);
    }
    let changed = match posted.get("action") {
        Some("remove") => change(&visit, &service.key, &posted, |policy| without(policy, &new)).await,
        Some("open") => change(&visit, &service.key, &posted, |policy| with(policy, &everybody())).await,
        Some("close") => change(&visit, &service.key, &posted, |policy| without(policy, &everybody())).await,
        _ => change(&visit, &service.key, &posted, |policy| with(policy, &new)).await,
    };
    match changed {
        Ok(()) => Ok(Redirect::to(&words::path(&service.key, TAB)).into_response()),
        Err(error) => {
            let field = |of: &str| {
                (of.contains(".members")).then_some("member").or_else(|| of.ends_with(".role").then_some("role"))
            };
            let wrong = Mistakes::of(error, field)?;
            let content = content(&visit, &service, &new, &wrong)?;
            Ok(wrong.answer(show(&visit, &service, TAB, false, &content)))
        }
    }
}

/// What is asked before everybody may send requests, and before somebody loses a role.
fn question(visit: &Visit, key: &ServiceKey, posted: &Posted, new: &New) -> Option<Response> {
    let lang = visit.lang;
    let etag = posted.get("etag").unwrap_or_default();
    let all = [ALL_USERS, ALL_AUTHENTICATED_USERS].contains(&new.member.as_str());
    let action = match posted.get("action") {
        Some("close") => return None,
        Some(action @ ("open" | "remove")) => action,
        _ if all => "add",
        _ => return None,
    };
    let words = || [("name", key.name.to_string()), ("member", new.member.clone()), ("role", new.role.clone())];
    let (title, means, button) = match action {
        "open" => ("permissions-allow", "permissions-open-means", "permissions-allow"),
        "add" => ("permissions-add", "permissions-add-all-means", "permissions-add"),
        _ => ("permissions-remove", "permissions-remove-means", "remove"),
    };
    let question = Question {
        title: lang.t(title).into_owned(),
        means: lang.with(means, words()),
        button: lang.t(button).into_owned(),
        action: words::path(key, TAB),
        back: words::path(key, TAB),
        fields: &[("etag", etag), ("member", &new.member), ("role", &new.role), ("action", action)],
    };
    Some(question.ask(visit, Section::Services, &super::crumbs(visit, key)))
}

fn everybody() -> New {
    New { member: ALL_USERS.to_owned(), role: INVOKER.to_owned() }
}

/// Changes the policy that the visitor has seen, or nothing.
async fn change(
    visit: &Visit,
    key: &ServiceKey,
    posted: &Posted,
    how: impl FnOnce(Policy) -> Policy,
) -> Result<(), ApiError> {
    let resource = Resource::Service(key.clone());
    let present = policies::get(visit.platform(), visit.caller(), &resource)?;
    // The store refuses it if somebody else has changed the policy in between.
    let policy = Policy { etag: posted.get("etag").unwrap_or_default().to_owned(), ..how(present) };
    let path = format!("/v1/projects/{}/locations/{}/services/{}:setIamPolicy", key.project, key.region, key.name);
    let work = async { policies::set(visit.platform(), visit.caller(), &resource, policy) };
    visit.change("POST", path, work).await.map(drop)
}

fn with(mut policy: Policy, new: &New) -> Policy {
    if policy.bindings.iter().all(|binding| binding.role != new.role) {
        policy.bindings.push(Binding { role: new.role.clone(), members: Vec::new() });
    }
    if let Some(binding) = policy.bindings.iter_mut().find(|binding| binding.role == new.role)
        && !binding.members.contains(&new.member)
    {
        binding.members.push(new.member.clone());
    }
    policy
}

fn without(mut policy: Policy, gone: &New) -> Policy {
    for binding in policy.bindings.iter_mut().filter(|binding| binding.role == gone.role) {
        binding.members.retain(|member| *member != gone.member);
    }
    policy.bindings.retain(|binding| !binding.members.is_empty());
    policy
}

fn content(visit: &Visit, service: &Service, new: &New, wrong: &Mistakes) -> Result<Markup, Failure> {
    let (lang, resource) = (visit.lang, Resource::Service(service.key.clone()));
    let own = policies::get(visit.platform(), visit.caller(), &resource)?;
    let project = Resource::Project(visit.project.id.clone());
    let inherited = match visit.may(GET_OF_PROJECT) {
        true => Some(policies::get(visit.platform(), visit.caller(), &project)?),
        false => None,
    };
    let may = visit.may_on(SET, &resource);
    let etag = if own.etag.is_empty() { iam::UNSET_ETAG } else { &own.etag };
    let hidden = html! { (form_secret(visit)) input type="hidden" name="etag" value=(etag); };
    let action = words::path(&service.key, TAB);
    Ok(html! {
        (wrong.summary(lang))
        (switch(visit, &own, may, (&action, &hidden)))
        h2 { (lang.t("permissions-members")) }
        (members(visit, &own, inherited.as_ref(), may.then_some((&action, &hidden))))
        @if inherited.is_none() { p .hint { (lang.t("permissions-project-hidden")) } }
        @if may {
            form .card method="post" action=(action) {
                h2 { (lang.t("permissions-add")) }
                (hidden)
                (wrong.field(("member", &lang.t("permissions-member")), &lang.t("permissions-member-hint"), |says| html! {
                    input #member name="member" required value=(new.member) autocomplete="off" spellcheck="false"
                        aria-describedby=[&says.described] aria-invalid=[says.invalid];
                }))
                (wrong.field(("role", &lang.t("permissions-role")), "", |says| html! {
                    select #role name="role" aria-describedby=[&says.described] aria-invalid=[says.invalid] {
                        (roles(visit, &new.role))
                    }
                }))
                button .primary type="submit" name="action" value="add" { (lang.t("permissions-add")) }
            }
        }
    })
}

/// Whether requests need a token.
fn switch(visit: &Visit, own: &Policy, may: bool, (action, hidden): (&str, &Markup)) -> Markup {
    let lang = visit.lang;
    let open = own.allows(None, iam::INVOKE);
    html! {
        div .card {
            h2 { (lang.t("permissions-invocations")) }
            p {
                (words::badge(lang, if open { ("busy", "permissions-open") } else { ("good", "permissions-closed") }))
                " " (lang.t(if open { "permissions-open-what" } else { "permissions-closed-what" }))
            }
            @if may {
                form method="post" action=(action) {
                    (hidden)
                    button type="submit" name="action" value=(if open { "close" } else { "open" }) {
                        (lang.t(if open { "permissions-close" } else { "permissions-allow" }))
                    }
                }
            }
        }
    }
}

fn members(visit: &Visit, own: &Policy, inherited: Option<&Policy>, change: Option<(&String, &Markup)>) -> Markup {
    let lang = visit.lang;
    let of = |policy: &Policy, here: bool| -> Vec<(String, String, bool)> {
        let each = policy.bindings.iter().flat_map(|binding| {
            binding.members.iter().map(|member| (binding.role.clone(), member.clone(), here)).collect::<Vec<_>>()
        });
        each.collect()
    };
    let mut all = of(own, true);
    all.extend(inherited.map(|policy| of(policy, false)).unwrap_or_default());
    all.sort_by(|a, b| (&a.0, &a.1, !a.2).cmp(&(&b.0, &b.1, !b.2)));
    html! {
        @if all.is_empty() { p .empty { (lang.t("permissions-empty")) } }
        @else {
            div .scroll tabindex="0" role="region" aria-label=(lang.t("permissions-members")) {
                table {
                    thead {
                        tr {
                            th scope="col" { (lang.t("permissions-role")) }
                            th scope="col" { (lang.t("permissions-member")) }
                            th scope="col" { (lang.t("permissions-source")) }
                            @if change.is_some() { th scope="col" { (lang.t("permissions-change")) } }
                        }
                    }
                    tbody { @for one in &all { (line(visit, one, change)) } }
                }
            }
        }
    }
}

fn line(visit: &Visit, (role, member, here): &(String, String, bool), change: Option<(&String, &Markup)>) -> Markup {
    let lang = visit.lang;
    html! {
        tr {
            th scope="row" {
                @if let Some(role) = iam::role(role) { (role.title) p .hint { (role.name) } } @else { (role) }
            }
            td { (member) }
            td {
                @if *here { (lang.t("permissions-own")) }
                @else { (lang.with("permissions-inherited", [("project", visit.project.id.as_str())])) }
            }
            @if let Some((action, hidden)) = change {
                td {
                    @if *here {
                        form method="post" action=(action) {
                            (hidden)
                            input type="hidden" name="role" value=(role);
                            input type="hidden" name="member" value=(member);
                            button .danger type="submit" name="action" value="remove"
                                aria-label={ (lang.t("remove")) ": " (member) ", " (role) } { (lang.t("remove")) }
                        }
                    } @else { "–" }
                }
            }
        }
    }
}

fn roles(visit: &Visit, chosen: &str) -> Markup {
    let option = |role: &Role| {
        html! { option value=(role.name) selected[role.name == chosen] { (role.title) " (" (role.name) ")" } }
    };
    html! {
        @for role in USUAL.iter().filter_map(|name| iam::role(name)) { (option(role)) }
        optgroup label=(visit.lang.t("permissions-other-roles")) {
            @for role in iam::roles().iter().filter(|role| !USUAL.contains(&role.name)) { (option(role)) }
        }
    }
}
