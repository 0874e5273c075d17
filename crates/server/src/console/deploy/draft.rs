//! A service while its form is filled in: the JSON that the API would be sent, with what was typed in its fields.
//!
//! A field's name in the form is the field's path in that JSON, so that what is wrong with it is known to stand there.
//! What no field shows is in the document that the form began with, and stays.

use std::collections::BTreeMap;

use homerun_api::run_v1::{self, ParseError, parse_strict};
use serde_json::{Value, json};

use super::{gpu, path};

/// The containers of a service.
pub(super) const CONTAINERS: &str = "spec.template.spec.containers";
/// Its volumes.
pub(super) const VOLUMES: &str = "spec.template.spec.volumes";
/// Where its requests go.
pub(super) const TRAFFIC: &str = "spec.traffic";
/// Its name.
pub(super) const NAME: &str = "metadata.name";
/// The version that was read.
pub(super) const VERSION: &str = "metadata.resourceVersion";
/// The name of the revision that is made.
pub(super) const REVISION: &str = "spec.template.metadata.name";
/// Which containers start after which, a JSON object.
pub(super) const DEPENDENCIES: &str = "spec.template.metadata.annotations[run.googleapis.com/container-dependencies]";
/// Who may reach the service.
pub(super) const INGRESS: &str = "metadata.annotations[run.googleapis.com/ingress]";
/// Whether instances have CPU only while they serve requests.
pub(super) const CPU_THROTTLING: &str = "spec.template.metadata.annotations[run.googleapis.com/cpu-throttling]";
/// The sandbox's generation.
pub(super) const ENVIRONMENT: &str = "spec.template.metadata.annotations[run.googleapis.com/execution-environment]";
/// More CPU while starting.
pub(super) const BOOST: &str = "spec.template.metadata.annotations[run.googleapis.com/startup-cpu-boost]";
/// A client's requests go to one instance.
pub(super) const AFFINITY: &str = "spec.template.metadata.annotations[run.googleapis.com/sessionAffinity]";

/// Names a list whose rows are all in the form.
pub(super) const ROWS: &str = "rows";
/// Names a box, which is sent only when it is ticked.
pub(super) const BOXES: &str = "boxes";
/// What a probe tries.
pub(super) const CHECKS: [&str; 3] = ["httpGet", "tcpSocket", "grpc"];

/// What these fields mean where they are left out; to choose it is to leave them out.
const UNSET: [(&str, &str); 2] = [(CPU_THROTTLING, "true"), (INGRESS, "all")];

/// A service while its form is filled in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Draft(pub(super) Value);

impl Draft {
    /// A service of which nothing is known yet.
    pub(super) fn empty() -> Self {
        Self(json!({
            "apiVersion": "serving.knative.dev/v1", "kind": "Service", "metadata": {},
            "spec": {"template": {"metadata": {}, "spec": {"containers": [{"from": ""}]}}},
        }))
    }

    /// A service as it is stored, for another revision.
    pub(super) fn of(service: &run_v1::Service) -> Self {
        let mut draft = Self::whole(service);
        // Each revision has a name of its own.
        draft.clear(REVISION);
        draft
    }

    /// A service as it is stored.
    pub(super) fn whole(service: &run_v1::Service) -> Self {
        // The types have nothing that JSON cannot have.
        let mut document = serde_json::to_value(service).unwrap_or_default();
        path::remove(&mut document, "status");
        for index in 0..path::length(&document, CONTAINERS) {
            path::set(&mut document, &format!("{CONTAINERS}[{index}].from"), json!(index.to_string()));
        }
        Self(document)
    }

    /// What was typed in a field.
    pub(super) fn text(&self, path: &str) -> String {
        path::text(&self.0, path)
    }

    /// How many rows a list has.
    pub(super) fn length(&self, path: &str) -> usize {
        path::length(&self.0, path)
    }

    /// Sets a field.
    pub(super) fn set(&mut self, path: &str, value: &str) {
        path::set(&mut self.0, path, json!(value));
    }

    /// Clears a field.
    pub(super) fn clear(&mut self, path: &str) {
        path::remove(&mut self.0, path);
    }

    /// The names of the containers.
    pub(super) fn names(&self) -> Vec<String> {
        (0..self.length(CONTAINERS)).map(|index| self.text(&format!("{CONTAINERS}[{index}].name"))).collect()
    }

    /// Container -> the containers that must have started before it.
    pub(super) fn dependencies(&self) -> BTreeMap<String, Vec<String>> {
        serde_json::from_str(&self.text(DEPENDENCIES)).unwrap_or_default()
    }

    pub(super) fn set_dependencies(&mut self, dependencies: &BTreeMap<String, Vec<String>>) {
        if self.dependencies() == *dependencies {
            return;
        }
        self.clear(DEPENDENCIES);
        if !dependencies.is_empty() {
            self.set(DEPENDENCIES, &serde_json::to_string(dependencies).unwrap_or_default());
        }
    }

    /// The form as it was sent, begun with `self`.
    pub(super) fn posted(&self, fields: &[(String, String)]) -> Self {
        let mut draft = self.clone();
        draft.take_rows(fields);
        for (name, value) in fields.iter().filter(|(name, _)| is_field(name)) {
            draft.take(name, value);
        }
        let kinds = fields.iter().filter_map(|(name, kind)| Some((name.strip_suffix(".kind")?, kind)));
        for (probe, kind) in kinds.filter(|(name, _)| name.ends_with("Probe")) {
            draft.take_kind(probe, kind);
        }
        let sent = |path: &str| fields.iter().any(|(name, _)| name == path);
        for (_, path) in fields.iter().filter(|(name, _)| name == BOXES) {
            if let Some(container) = path.strip_suffix(".gpu").filter(|path| is_field(path)) {
                gpu::switch(&mut draft, container, sent(path));
            } else if !sent(path) && is_field(path) {
                // A box that nobody has ticked yet is left out.
                let unticked = if self.text(path).is_empty() { "" } else { "false" };
                draft.take(path, unticked);
            }
        }
        draft.take_dependencies(fields);
        for (path, unset) in UNSET {
            // With a GPU the API takes another choice for what is left out; this one is the visitor's mistake.
            if path == CPU_THROTTLING && gpu::owner(&draft).is_some() {
                continue;
            }
            if self.text(path).is_empty() && draft.text(path) == unset {
                draft.clear(path);
            }
        }
        draft
    }

    /// Begins the lists that are all in the form anew. Containers keep what the form does not show.
    fn take_rows(&mut self, fields: &[(String, String)]) {
        let is_list = |list: &str| fields.iter().any(|(name, path)| name == ROWS && path == list);
        if is_list(CONTAINERS) {
            let name = |index: usize| format!("{CONTAINERS}[{index}].from");
            let from = |index: usize| fields.iter().find(|(field, _)| *field == name(index)).map(|(_, from)| from);
            let before = |from: &String| path::get(&self.0, &format!("{CONTAINERS}[{from}]")).cloned();
            let rows = (0..).map_while(from).map(|from| before(from).unwrap_or_else(|| json!({})));
            let rows: Vec<Value> = rows.collect();
            path::set(&mut self.0, CONTAINERS, Value::Array(rows));
        }
        let others = fields.iter().filter(|(name, list)| name == ROWS && is_field(list));
        for (_, list) in others.filter(|(_, list)| list != CONTAINERS && list != DEPENDENCIES) {
            path::set(&mut self.0, list, json!([]));
        }
    }

    fn take(&mut self, name: &str, value: &str) {
        if name.ends_with(".readOnly") {
            return path::set(&mut self.0, name, json!(value == "true"));
        }
        // Browsers send line breaks as the network has them.
        self.set(name, &value.replace("\r\n", "\n"));
        // An empty field is one that is left out; a row of texts is a row even so.
        if value.is_empty() && !is_row(name) {
            self.clear(name);
        }
    }

    /// What a probe tries, if there is to be one.
    fn take_kind(&mut self, probe: &str, kind: &str) {
        if !CHECKS.contains(&kind) {
            return self.clear(probe);
        }
        for other in CHECKS.into_iter().filter(|check| *check != kind) {
            self.clear(&format!("{probe}.{other}"));
        }
        let check = format!("{probe}.{kind}");
        if path::get(&self.0, &check).is_none() {
            path::set(&mut self.0, &check, json!({}));
        }
    }

    /// Which container starts after which, by their places in the form: names can change.
    fn take_dependencies(&mut self, fields: &[(String, String)]) {
        if !fields.iter().any(|(name, list)| name == ROWS && list == DEPENDENCIES) {
            return;
        }
        let names = self.names();
        let mut dependencies: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (index, name) in names.iter().enumerate() {
            let after = format!("{CONTAINERS}[{index}].after");
            let needed = fields.iter().filter(|(field, _)| *field == after);
            let needed = needed.filter_map(|(_, place)| names.get(place.parse::<usize>().ok()?));
            for needed in needed.filter(|needed| !needed.is_empty()) {
                dependencies.entry(name.clone()).or_default().push(needed.clone());
            }
        }
        self.set_dependencies(&dependencies);
    }

    /// Takes away rows that were begun and left empty.
    pub(super) fn without_empty_rows(mut self) -> Self {
        for index in 0..self.length(CONTAINERS) {
            let container = format!("{CONTAINERS}[{index}]");
            for list in ["command", "args"] {
                let list = format!("{container}.{list}");
                while let Some(last) = self.length(&list).checked_sub(1) {
                    let last = format!("{list}[{last}]");
                    if !self.text(&last).is_empty() {
                        break;
                    }
                    self.clear(&last);
                }
            }
            for row in (0..self.length(&format!("{container}.env"))).rev() {
                let row = format!("{container}.env[{row}]");
                if self.text(&format!("{row}.name")).is_empty() && self.text(&format!("{row}.value")).is_empty() {
                    self.clear(&row);
                }
            }
        }
        self
    }

    /// What the API would be sent.
    ///
    /// # Errors
    /// [`ParseError::Type`] where something else than a number was typed in a field for one.
    pub(super) fn service(&self) -> Result<run_v1::Service, ParseError> {
        let mut document = self.0.clone();
        for index in 0..path::length(&document, CONTAINERS) {
            let container = format!("{CONTAINERS}[{index}]");
            path::remove(&mut document, &format!("{container}.from"));
            let port = path::text(&document, &format!("{container}.ports[0].containerPort"));
            if port.is_empty() && path::text(&document, &format!("{container}.ports[0].name")) != "h2c" {
                path::remove(&mut document, &format!("{container}.ports"));
            }
        }
        for index in 0..path::length(&document, TRAFFIC) {
            let target = format!("{TRAFFIC}[{index}]");
            if path::text(&document, &format!("{target}.revisionName")).is_empty() {
                path::set(&mut document, &format!("{target}.latestRevision"), json!(true));
            }
        }
        parse_strict(document.to_string().as_bytes())
    }
}

/// Whether a field of the form is one of the service.
fn is_field(name: &str) -> bool {
    let part = [".kind", ".after"].iter().any(|end| name.ends_with(end)) || name.ends_with("].gpu");
    !part && (name.starts_with("spec.") || name.starts_with("metadata."))
}

/// Whether a path names an element of a list of texts.
fn is_row(path: &str) -> bool {
    let inside = path.strip_suffix(']').and_then(|path| path.rsplit_once('['));
    inside.is_some_and(|(_, index)| index.parse::<usize>().is_ok())
}

#[cfg(test)]
mod tests;
