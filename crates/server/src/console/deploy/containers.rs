//! The containers of the form.

use homerun_model::gpu::GpuTypeInfo;
use homerun_model::names::GpuType;
use homerun_model::quota::QuotaKey;
use maud::{Markup, html};

use super::draft::{CONTAINERS, DEPENDENCIES, ROWS, VOLUMES};
use super::form::{Form, id, named};
use super::{Around, gpu, probes};

/// Protocols of a port: its name in the API, and its text.
const PROTOCOLS: [(&str, &str); 2] = [("http1", "protocol-http1"), ("h2c", "protocol-h2c")];

/// Every container, and the button for another.
pub(super) fn all(form: &Form<'_>, around: &Around<'_>) -> Markup {
    let lang = form.lang;
    let count = form.draft.length(CONTAINERS);
    html! {
        input type="hidden" name=(ROWS) value=(CONTAINERS);
        input type="hidden" name=(ROWS) value=(DEPENDENCIES);
        input type="hidden" name=(super::GPU_WAS) value=(gpu::mark(form.draft));
        (form.wrong(CONTAINERS))
        (form.wrong(DEPENDENCIES))
        @for index in 0..count {
            @let path = format!("{CONTAINERS}[{index}]");
            fieldset .container id=(id(&path)) {
                legend { (title(form, index)) }
                (one(form, around, index, &path))
                @if count > 1 {
                    (form.remover(&path, &lang.with("container-remove", [("name", title(form, index))])))
                }
            }
        }
        (form.adder(CONTAINERS, "container-add"))
    }
}

fn title(form: &Form<'_>, index: usize) -> String {
    let name = form.draft.text(&format!("{CONTAINERS}[{index}].name"));
    if name.is_empty() { form.lang.with("container-number", [("number", index + 1)]) } else { name }
}

fn one(form: &Form<'_>, around: &Around<'_>, index: usize, path: &str) -> Markup {
    let lang = form.lang;
    let several = form.draft.length(CONTAINERS) > 1;
    let protocols = PROTOCOLS.map(|(value, text)| (value.to_owned(), lang.t(text).into_owned()));
    let port_hint = several.then(|| lang.t("port-hint"));
    html! {
        input type="hidden" name={ (path) ".from" } value=(form.draft.text(&format!("{path}.from")));
        // A new service's first image stands at the top of the page.
        @if around.stored || index > 0 { (super::page::image(form, around, index)) }
        div .columns {
            (form.text(&format!("{path}.name"), "container-name", None))
            (form.number(&format!("{path}.ports[0].containerPort"), "container-port", port_hint.as_deref()))
            (form.menu(named(&format!("{path}.ports[0].name"), "protocol"), &protocols, false))
        }
        h3 { (lang.t("resources")) }
        (resources(form, around, path))
        details id={ (id(path)) "-settings" } open[is_set(form, path)] {
            summary { (lang.t("container-settings")) }
            (form.rows(&format!("{path}.command"), "command", "row-add-command", |row, number| form.cell(row, "command", number)))
            (form.rows(&format!("{path}.args"), "args", "row-add-arg", |row, number| form.cell(row, "args", number)))
            (form.text(&format!("{path}.workingDir"), "working-dir", None))
            (form.rows(&format!("{path}.env"), "env", "row-add-env", |row, number| html! {
                (form.cell(&format!("{row}.name"), "name", number))
                (form.cell(&format!("{row}.value"), "value", number))
            }))
            p .hint { (lang.t("secrets-hint")) }
        }
        h3 { (lang.t("probes")) }
        @for (probe, name) in probes::KINDS { (probes::one(form, &format!("{path}.{probe}"), name)) }
        @if several { (dependencies(form, index, path)) }
        (mounts(form, path))
    }
}

/// Whether something of what is folded away is set or wrong.
fn is_set(form: &Form<'_>, path: &str) -> bool {
    ["command", "args", "env", "workingDir"].iter().any(|part| {
        let part = format!("{path}.{part}");
        form.draft.length(&part) > 0 || !form.draft.text(&part).is_empty() || form.is_wrong(&part)
    })
}

fn resources(form: &Form<'_>, around: &Around<'_>, path: &str) -> Markup {
    let lang = form.lang;
    let has = gpu::has(form.draft, path);
    let info = gpu::info(form.draft, around.inventory).filter(|_| has);
    let needs = info.map(|info| needs(form, info));
    html! {
        div .columns {
            (form.text(&format!("{path}.resources.limits[memory]"), "memory", needs.as_deref()))
            (form.text(&format!("{path}.resources.limits[cpu]"), "cpu", needs.as_deref()))
        }
        (form.tick(named(&format!("{path}.gpu"), "gpu").hint(Some(&lang.t("gpu-hint"))), has, true))
        @if has {
            div .columns .gpu {
                @if gpu::owner(form.draft).as_deref() == Some(path) {
                    (form.menu(named(&gpu::type_path(), "gpu-type"), &types(form, around), true))
                }
                (form.menu(named(&gpu::count_path(path), "gpu-count"), &[("1".to_owned(), "1".to_owned())], false))
                @if gpu::owner(form.draft).as_deref() == Some(path) {
                    (form.menu(named(gpu::NO_REDUNDANCY, "gpu-redundancy"), &redundancy(form), false))
                    (form.tick(named(gpu::COMPAT, "cuda-compat"), form.draft.text(gpu::COMPAT) == "true", false))
                }
            }
        }
    }
}

/// What a container with the GPU needs, and what is recommended.
fn needs(form: &Form<'_>, info: &GpuTypeInfo) -> String {
    let words = [
        ("type", info.name.to_string()),
        ("cpu", info.min_cpu.to_string()),
        ("memory", info.min_memory.to_string()),
        ("more-cpu", info.recommended_cpu.to_string()),
        ("more-memory", info.recommended_memory.to_string()),
    ];
    form.lang.with("gpu-needs", words)
}

/// The types that there are, and how many of them are in the region.
fn types(form: &Form<'_>, around: &Around<'_>) -> Vec<(String, String)> {
    let text = |info: &GpuTypeInfo| {
        let words = [
            ("product", info.product.clone()),
            ("type", info.name.to_string()),
            ("memory", info.memory.to_string()),
            ("region", around.region.to_string()),
            ("count", around.inventory.count(&around.region, &info.name).to_string()),
        ];
        let text = match around.inventory.count(&around.region, &info.name) {
            0 => "gpu-type-elsewhere",
            _ if around.simulated => "gpu-type-simulated",
            _ => "gpu-type-here",
        };
        (info.name.to_string(), form.lang.with(text, words))
    };
    around.inventory.types.iter().map(text).collect()
}

fn redundancy(form: &Form<'_>) -> Vec<(String, String)> {
    let choices = [("", "gpu-redundancy-unset"), ("true", "gpu-redundancy-off"), ("false", "gpu-redundancy-on")];
    choices.map(|(value, text)| (value.to_owned(), form.lang.t(text).into_owned())).to_vec()
}

/// What the GPU quota allows, if there is a GPU.
pub(super) fn quota(form: &Form<'_>, around: &Around<'_>) -> Option<String> {
    gpu::owner(form.draft)?;
    let key = QuotaKey {
        project: around.project.clone(),
        region: around.region.clone(),
        gpu: GpuType::new(form.draft.text(&gpu::type_path())),
        zonal_redundancy: form.draft.text(gpu::NO_REDUNDANCY) == "false",
    };
    let words = [("limit", around.quotas.limit(&key).to_string()), ("region", around.region.to_string())];
    Some(form.lang.with("gpu-quota-hint", words))
}

fn dependencies(form: &Form<'_>, index: usize, path: &str) -> Markup {
    let names = form.draft.names();
    let all = form.draft.dependencies();
    let needed = all.get(&names[index]);
    let others = || names.iter().enumerate().filter(|(other, name)| *other != index && !name.is_empty());
    html! {
        fieldset .choice {
            legend { (form.lang.t("starts-after")) }
            @for (other, name) in others() {
                @let id = format!("{}-after-{other}", id(path));
                div .inline {
                    input id=(id) type="checkbox" name={ (path) ".after" } value=(other)
                        checked[needed.is_some_and(|needed| needed.contains(name))];
                    label for=(id) { (name) }
                }
            }
            @if others().next().is_none() { p .hint { (form.lang.t("starts-after-hint")) } }
        }
    }
}

fn mounts(form: &Form<'_>, path: &str) -> Markup {
    let lang = form.lang;
    let volumes = (0..form.draft.length(VOLUMES)).map(|index| form.draft.text(&format!("{VOLUMES}[{index}].name")));
    let volumes: Vec<(String, String)> = volumes.map(|name| (name.clone(), name)).collect();
    let list = format!("{path}.volumeMounts");
    html! {
        @if volumes.is_empty() && form.draft.length(&list) == 0 {
            input type="hidden" name=(ROWS) value=(list);
            h3 { (lang.t("mounts")) }
            p .hint { (lang.t("mounts-hint")) " " a href="#volumes" { (lang.t("tab-volumes")) } }
        } @else {
            (form.rows(&list, "mounts", "row-add-mount", |row, _| html! {
                (form.menu(named(&format!("{row}.name"), "volume"), &volumes, false))
                (form.text(&format!("{row}.mountPath"), "mount-path", None))
                (form.text(&format!("{row}.subPath"), "sub-path", None))
                (form.tick(named(&format!("{row}.readOnly"), "read-only"), form.draft.text(&format!("{row}.readOnly")) == "true", false))
            }))
        }
    }
}
