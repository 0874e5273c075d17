//! The buttons that add rows to a form and take them away.

use serde_json::json;

use super::draft::{CONTAINERS, Draft};
use super::{gpu, path};

/// Adds a row to a list.
pub(super) const ADD: &str = "add:";
/// Takes a row away.
pub(super) const REMOVE: &str = "remove:";

/// Does what a button says. `port` is what a container without a port would listen on.
pub(super) fn act(draft: &mut Draft, action: &str, port: &str) {
    let within = |path: &str| path.starts_with("spec.");
    if let Some(list) = action.strip_prefix(ADD).filter(|list| within(list)) {
        add(draft, list, port);
    } else if let Some(row) = action.strip_prefix(REMOVE).filter(|row| within(row)) {
        draft.clear(row);
        let names = draft.names();
        let mut dependencies = draft.dependencies();
        dependencies.retain(|name, _| names.contains(name));
        for needed in dependencies.values_mut() {
            needed.retain(|name| names.contains(name));
        }
        dependencies.retain(|_, needed| !needed.is_empty());
        draft.set_dependencies(&dependencies);
        if row.starts_with(CONTAINERS) && gpu::owner(draft).is_none() {
            gpu::switch(draft, row, false);
        }
    }
}

fn add(draft: &mut Draft, list: &str, port: &str) {
    let texts = [".args", ".command"].iter().any(|end| list.ends_with(end));
    let row = if texts { json!("") } else { json!({}) };
    let end = draft.length(list);
    path::set(&mut draft.0, &format!("{list}[{end}]"), row);
    // Of several containers, one must say that it takes the requests.
    if list == CONTAINERS && !(0..end).any(|index| !draft.text(&port_path(index)).is_empty()) {
        draft.set(&port_path(0), port);
    }
}

fn port_path(index: usize) -> String {
    format!("{CONTAINERS}[{index}].ports[0].containerPort")
}

#[cfg(test)]
mod tests {
    use super::super::draft::DEPENDENCIES;
    use super::*;

    #[test]
    fn g24_s06_of_several_containers_the_first_takes_the_requests() {
        let mut draft = Draft::empty();
        act(&mut draft, "add:spec.template.spec.containers", "8080");
        assert_eq!((draft.length(CONTAINERS), draft.text(&port_path(0)).as_str()), (2, "8080"));
        assert_eq!(draft.text(&port_path(1)), "");
    }

    #[test]
    fn g24_s06_with_a_container_goes_what_waits_for_it_and_its_gpu() {
        let mut draft = Draft::empty();
        act(&mut draft, "add:spec.template.spec.containers", "8080");
        for (index, name) in ["app", "db"].into_iter().enumerate() {
            draft.set(&format!("{CONTAINERS}[{index}].name"), name);
        }
        draft.set(DEPENDENCIES, r#"{"app":["db"]}"#);
        gpu::switch(&mut draft, &format!("{CONTAINERS}[1]"), true);
        draft.set(&gpu::type_path(), "nvidia-l4");
        act(&mut draft, "remove:spec.template.spec.containers[1]", "8080");
        assert_eq!((draft.text(DEPENDENCIES), draft.text(&gpu::type_path())), (String::new(), String::new()));
        assert_eq!(draft.names(), ["app"]);
    }
}
