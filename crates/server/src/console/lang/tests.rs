use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::*;

/// Message -> the variables in it.
fn catalogue(text: &str) -> BTreeMap<String, BTreeSet<String>> {
    let resource = FluentResource::try_new(text.to_owned()).expect("a catalogue without mistakes");
    let variable = regex::Regex::new(r"\{ *\$(\w+)").unwrap();
    let begins = regex::Regex::new(r"^([a-z][a-z0-9-]*) *=").unwrap();
    let mut found: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut current = String::new();
    for line in resource.source().lines() {
        if let Some(name) = begins.captures(line) {
            current = name[1].to_owned();
            assert!(found.insert(current.clone(), BTreeSet::new()).is_none(), "{current} is there twice");
        }
        let names = variable.captures_iter(line).map(|variable| variable[1].to_owned());
        found.entry(current.clone()).or_default().extend(names);
    }
    found.remove("");
    found
}

fn sources(dir: &Path, all: &mut String) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            all.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}

#[test]
fn g24_every_text_is_there_in_both_languages_and_is_used() {
    let english = catalogue(include_str!("../texts/en.ftl"));
    let japanese = catalogue(include_str!("../texts/ja.ftl"));
    assert_eq!(english, japanese, "the catalogues differ in their texts or in the variables of a text");
    let mut source = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src/console"), &mut source);
    let literal = regex::Regex::new(r#""([a-z][a-z0-9]*(?:-[a-z0-9]+)*)""#).unwrap();
    let named: BTreeSet<&str> = literal.captures_iter(&source).map(|name| name.get(1).unwrap().as_str()).collect();
    let unused: Vec<&String> = english.keys().filter(|id| !named.contains(id.as_str())).collect();
    assert!(unused.is_empty(), "no page has these texts: {unused:?}");
    let asked = regex::Regex::new(r#"(?:\.t|\.with)\(\s*"([^"]+)""#).unwrap();
    let missing: BTreeSet<&str> = asked.captures_iter(&source).map(|name| name.get(1).unwrap().as_str()).collect();
    let missing: Vec<&&str> = missing.iter().filter(|id| !english.contains_key(**id)).collect();
    assert!(missing.is_empty(), "no catalogue has these texts: {missing:?}");
}

#[test]
fn g24_the_browser_chooses_the_language_and_the_visitor_may_choose_another() {
    let of = |name: header::HeaderName, value: &str| {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        Lang::of(&headers)
    };
    assert_eq!(of(header::ACCEPT_LANGUAGE, "ja,en-US;q=0.9"), Lang::Ja);
    assert_eq!(of(header::ACCEPT_LANGUAGE, "ja-JP"), Lang::Ja);
    assert_eq!(of(header::ACCEPT_LANGUAGE, "de, en;q=0.8, ja;q=0.1"), Lang::En);
    assert_eq!(of(header::ACCEPT_LANGUAGE, "de"), Lang::En);
    assert_eq!(of(header::ACCEPT_LANGUAGE, ";;;"), Lang::En);
    assert_eq!(of(header::COOKIE, "a=b; homerun_language=ja"), Lang::Ja);
    assert_eq!(of(header::COOKIE, "homerun_language=xx"), Lang::En);
}
