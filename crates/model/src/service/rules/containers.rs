//! Containers, their environment, volumes and order of start: rows S04 and S06.

use std::collections::{BTreeMap, BTreeSet};

use super::{check_range, container_path, is_dns_label, template_annotation};
use crate::container::{Container, Volume};
use crate::revision::RevisionTemplate;
use crate::violation::Violation;

/// Most containers of an instance.
const CONTAINERS_MAX: usize = 10;
/// Most environment variables of a container, and most arguments.
const LIST_MAX: usize = 1000;
/// Longest value of an environment variable, in bytes.
const ENV_VALUE_MAX: usize = 32_768;
/// What the container contract sets. PORT is the ingress container's alone.
const RESERVED_ENV: [&str; 3] = ["K_SERVICE", "K_REVISION", "K_CONFIGURATION"];
const PORT_ENV: &str = "PORT";
/// A prefix that Cloud Run keeps for itself.
const RESERVED_ENV_PREFIX: &str = "X_GOOGLE_";
/// Folders that belong to the sandbox.
const SYSTEM_FOLDERS: [&str; 3] = ["/dev", "/proc", "/sys"];
/// A volume name that the API keeps for Cloud SQL.
const RESERVED_VOLUME: &str = "cloudsql";

pub(super) fn check(template: &RevisionTemplate, found: &mut Vec<Violation>) {
    let containers = &template.containers;
    let all = "spec.template.spec.containers";
    if containers.is_empty() {
        found.push(Violation::new(all, "The revision template must have at least one container."));
    }
    if containers.len() > CONTAINERS_MAX {
        let message = format!("There may be at most {CONTAINERS_MAX} containers; there are {}.", containers.len());
        found.push(Violation::new(all, message));
    }
    let ports = containers.iter().filter(|container| container.port.is_some()).count();
    if containers.len() > 1 && ports != 1 {
        let message =
            format!("Revision template should contain exactly one container with an exposed port; {ports} have one.");
        found.push(Violation::new(all, message));
    }
    let ingress = template.ingress_container();
    let mut names = BTreeSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = container_path(index);
        name(&path, container, containers.len(), &mut names, found);
        image(&path, &container.image, found);
        let number = container.port.as_ref().map(|port| port.number);
        check_range(&format!("{path}.ports[0].containerPort"), "A port", number, 1..=65535, found);
        environment(&path, container, ingress == Some(index), found);
        if container.args.len() + container.command.len() > LIST_MAX {
            found.push(Violation::new(
                format!("{path}.args"),
                format!("A container may have at most {LIST_MAX} arguments."),
            ));
        }
        if let Some(folder) = container.working_dir.as_ref().filter(|folder| !folder.starts_with('/')) {
            let message = format!("The working directory '{folder}' must be an absolute path.");
            found.push(Violation::new(format!("{path}.workingDir"), message));
        }
        mounts(&path, container, &template.volumes, found);
    }
    volumes(&template.volumes, found);
    dependencies(template, found);
}

fn name<'a>(
    path: &str,
    container: &'a Container,
    count: usize,
    names: &mut BTreeSet<&'a str>,
    found: &mut Vec<Violation>,
) {
    let name = container.name.as_str();
    if name.is_empty() && count < 2 {
        return;
    }
    let field = format!("{path}.name");
    if !is_dns_label(name) {
        let message = format!(
            "Invalid container name '{name}'. It must have only lowercase letters, digits and hyphens, begin and end with a letter \
             or digit and be less than 64 characters."
        );
        found.push(Violation::new(&field, message));
    }
    if !names.insert(name) {
        found.push(Violation::new(field, format!("Container names must be unique; '{name}' is there more than once.")));
    }
}

fn image(path: &str, image: &str, found: &mut Vec<Violation>) {
    if image.is_empty() || image.contains(|letter: char| letter.is_whitespace() || letter.is_control()) {
        let message =
            format!("An image is required, for instance us-docker.pkg.dev/cloudrun/container/hello; it is '{image}'.");
        found.push(Violation::new(format!("{path}.image"), message));
    }
}

fn environment(path: &str, container: &Container, ingress: bool, found: &mut Vec<Violation>) {
    let field = format!("{path}.env");
    if container.env.len() > LIST_MAX {
        let message =
            format!("A container may have at most {LIST_MAX} environment variables; it has {}.", container.env.len());
        found.push(Violation::new(&field, message));
    }
    let reserved = |name: &str| {
        RESERVED_ENV.contains(&name) || name.starts_with(RESERVED_ENV_PREFIX) || (ingress && name == PORT_ENV)
    };
    let names: BTreeSet<&str> =
        container.env.iter().map(|var| var.name.as_str()).filter(|name| reserved(name)).collect();
    if !names.is_empty() {
        let names: Vec<&str> = names.into_iter().collect();
        let message = format!(
            "The following reserved env names were provided: {}. These values are automatically set by the system.",
            names.join(", ")
        );
        found.push(Violation::new(&field, message));
    }
    for (index, var) in container.env.iter().enumerate() {
        if var.name.is_empty() || var.name.contains(['=', '\0']) {
            let message =
                format!("The name of an environment variable must not be empty or contain '='; it is '{}'.", var.name);
            found.push(Violation::new(format!("{field}[{index}].name"), message));
        }
        if var.value.len() > ENV_VALUE_MAX || var.value.contains('\0') {
            let message = format!(
                "The value of '{}' must have at most {ENV_VALUE_MAX} bytes, none of them zero; it has {}.",
                var.name,
                var.value.len()
            );
            found.push(Violation::new(format!("{field}[{index}].value"), message));
        }
    }
}

fn mounts(path: &str, container: &Container, volumes: &[Volume], found: &mut Vec<Violation>) {
    let mut places = BTreeSet::new();
    for (index, mount) in container.volume_mounts.iter().enumerate() {
        let field = format!("{path}.volumeMounts[{index}]");
        if !volumes.iter().any(|volume| volume.name == mount.name) {
            let message = format!("There is no volume '{}'; name one of the volumes of the template.", mount.name);
            found.push(Violation::new(format!("{field}.name"), message));
        }
        let place = mount.mount_path.as_str();
        let climbs = |path: &str| path.split('/').any(|part| part == "..");
        if !place.starts_with('/')
            || place.trim_end_matches('/').is_empty()
            || place.contains([':', '\0'])
            || climbs(place)
        {
            let message = format!("The mount path '{place}' must be an absolute path below '/', without ':' and '..'.");
            found.push(Violation::new(format!("{field}.mountPath"), message));
        }
        if SYSTEM_FOLDERS
            .iter()
            .any(|folder| place.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/')))
        {
            let message =
                format!("Nothing can be mounted at '{place}': {} belong to the system.", SYSTEM_FOLDERS.join(", "));
            found.push(Violation::new(format!("{field}.mountPath"), message));
        }
        if !places.insert(place.trim_end_matches('/')) {
            found.push(Violation::new(
                format!("{field}.mountPath"),
                format!("Another volume is mounted at '{place}' already."),
            ));
        }
        if let Some(sub) =
            mount.sub_path.as_ref().filter(|sub| sub.starts_with('/') || sub.contains('\0') || climbs(sub))
        {
            let message = format!("The sub path '{sub}' must be a relative path without '..'.");
            found.push(Violation::new(format!("{field}.subPath"), message));
        }
    }
}

fn volumes(volumes: &[Volume], found: &mut Vec<Violation>) {
    let mut names = BTreeSet::new();
    for (index, volume) in volumes.iter().enumerate() {
        let field = format!("spec.template.spec.volumes[{index}].name");
        if !is_dns_label(&volume.name) || volume.name == RESERVED_VOLUME {
            let message = format!(
                "Volume name '{}' must have only lowercase letters, digits and hyphens, begin and end with a letter or digit, and \
                 not be '{RESERVED_VOLUME}'.",
                volume.name
            );
            found.push(Violation::new(&field, message));
        }
        if !names.insert(&volume.name) {
            let message = format!("Volume names must be unique; '{}' is there more than once.", volume.name);
            found.push(Violation::new(field, message));
        }
    }
}

fn dependencies(template: &RevisionTemplate, found: &mut Vec<Violation>) {
    let field = template_annotation("run.googleapis.com/container-dependencies");
    let by_name: BTreeMap<&str, &Container> =
        template.containers.iter().map(|container| (container.name.as_str(), container)).collect();
    let needed: BTreeSet<&str> = template.container_dependencies.values().flatten().map(String::as_str).collect();
    let waiting = template.container_dependencies.keys().map(String::as_str);
    for name in waiting.chain(needed.iter().copied()).collect::<BTreeSet<_>>() {
        match by_name.get(name) {
            None => found.push(Violation::new(&field, format!("Container '{name}' does not exist."))),
            Some(container) if needed.contains(name) && container.startup_probe.is_none() => {
                let message = format!("Dependent container '{name}' must have startup probe specified.");
                found.push(Violation::new(&field, message));
            }
            Some(_) => {}
        }
    }
    if let Some(cycle) = cycle(&template.container_dependencies) {
        found.push(Violation::new(field, format!("Container dependency cycle detected: {}.", cycle.join(" -> "))));
    }
}

/// A way from a container back to itself, if there is one.
fn cycle(dependencies: &BTreeMap<String, Vec<String>>) -> Option<Vec<&str>> {
    // Containers from which no way leads back: those whose needs have all been cleared.
    let mut cleared = BTreeSet::new();
    loop {
        let next = dependencies.iter().filter(|(name, _)| !cleared.contains(name.as_str())).find(|(_, needed)| {
            needed.iter().all(|one| cleared.contains(one.as_str()) || !dependencies.contains_key(one))
        });
        match next {
            Some((name, _)) => cleared.insert(name.as_str()),
            None => break,
        };
    }
    // Every container that is left needs another that is left, so following them must come round.
    let left = |name: &&str| dependencies.contains_key(*name) && !cleared.contains(name);
    let mut way: Vec<&str> = vec![dependencies.keys().map(String::as_str).find(left)?];
    loop {
        let last = *way.last()?;
        let next = dependencies.get(last)?.iter().map(String::as_str).find(left)?;
        let seen = way.iter().position(|name| *name == next);
        way.push(next);
        if let Some(start) = seen {
            return Some(way.split_off(start));
        }
    }
}
