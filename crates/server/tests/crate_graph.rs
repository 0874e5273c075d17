//! Pins the crate graph, which is what lets the compiler keep the house in order: rules without IO,
//! a data plane without a store, client commands that speak only the API.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

/// Each crate and the crates of the workspace that it may depend on. `server` depends on `cli` because
/// one binary carries both; nothing depends on `server`.
const GRAPH: [(&str, &[&str]); 6] = [
    ("homerun-model", &[]),
    ("homerun-api", &["homerun-model"]),
    ("homerun-backend", &["homerun-model"]),
    ("homerun-ingress", &["homerun-model"]),
    ("homerun-cli", &["homerun-api"]),
    ("homerun-server", &["homerun-api", "homerun-backend", "homerun-cli", "homerun-ingress", "homerun-model"]),
];

/// All that the rules need: time as a value, serialisation, errors.
const MODEL_NEEDS: [&str; 3] = ["chrono", "serde", "thiserror"];

/// Crates that do what `model` must not, directly or through others: wait, or reach outside the process.
const OUTSIDE: [&str; 12] = [
    "tokio",
    "mio",
    "async-io",
    "futures-util",
    "hyper",
    "reqwest",
    "rusqlite",
    "nix",
    "rustix",
    "socket2",
    "tempfile",
    "walkdir",
];

/// The names of each workspace crate's ordinary dependencies.
fn dependencies() -> BTreeMap<String, BTreeSet<String>> {
    let output = cargo(&["metadata", "--no-deps", "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&output).expect("cargo prints JSON");
    let packages = metadata["packages"].as_array().expect("packages");
    let name = |value: &Value| value["name"].as_str().expect("a name").to_owned();
    packages
        .iter()
        .map(|package| {
            let all = package["dependencies"].as_array().expect("dependencies");
            // Kind null is an ordinary dependency; dev and build have a name.
            (name(package), all.iter().filter(|dependency| dependency["kind"].is_null()).map(name).collect())
        })
        .collect()
}

fn cargo(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg("--offline")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("cargo prints UTF-8")
}

#[test]
fn the_crates_depend_on_each_other_as_the_architecture_says() {
    let wanted: BTreeMap<String, BTreeSet<String>> = GRAPH
        .iter()
        .map(|(name, needs)| ((*name).to_owned(), needs.iter().map(ToString::to_string).collect()))
        .collect();
    let found: BTreeMap<String, BTreeSet<String>> = dependencies()
        .into_iter()
        .map(|(name, needs)| (name, needs.into_iter().filter(|need| wanted.contains_key(need)).collect()))
        .collect();
    assert_eq!(found, wanted);
}

#[test]
fn the_rules_can_neither_wait_nor_reach_outside() {
    let direct = &dependencies()["homerun-model"];
    assert_eq!(*direct, MODEL_NEEDS.iter().map(ToString::to_string).collect());
    let tree =
        cargo(&["tree", "--package", "homerun-model", "--edges", "normal", "--prefix", "none", "--format", "{lib}"]);
    let all: BTreeSet<&str> = tree.lines().map(|line| line.trim_end_matches(" (*)")).collect();
    assert!(all.contains("chrono"), "cargo tree prints library names: {tree}");
    let outside: Vec<_> =
        OUTSIDE.iter().map(|name| name.replace('-', "_")).filter(|name| all.contains(name.as_str())).collect();
    assert!(outside.is_empty(), "model depends, through others, on {outside:?}:\n{tree}");
}

#[test]
fn only_the_store_speaks_to_the_database() {
    let using: Vec<String> =
        dependencies().into_iter().filter(|(_, needs)| needs.contains("rusqlite")).map(|(name, _)| name).collect();
    assert_eq!(using, ["homerun-server"]);
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let outside: Vec<_> = rust_files(&sources)
        .into_iter()
        .filter(|path| !path.starts_with(sources.join("store")))
        .filter(|path| std::fs::read_to_string(path).expect("a source file").contains("rusqlite"))
        .collect();
    assert!(outside.is_empty(), "rusqlite outside store/: {outside:?}");
}

fn rust_files(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}
