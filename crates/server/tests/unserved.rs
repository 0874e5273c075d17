//! `api/unserved.txt` lists exactly the published methods that are not served.

mod common;

use std::collections::BTreeSet;
use std::path::Path;

use common::Stack;
use reqwest::Method;

/// `METHOD-ID VERB PATH` of every method that the run v1 API publishes, with sample names in the paths.
const PUBLISHED: &str = include_str!("../../../api/run.v1.methods.txt");

#[tokio::test(flavor = "multi_thread")]
async fn s01_the_list_of_unserved_methods_is_true() {
    let stack = Stack::start("none").await;
    let mut unserved = BTreeSet::new();
    for line in PUBLISHED.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let [id, verb, path] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("not `id verb path`: {line}") };
        let method: Method = verb.parse().expect("a verb");
        let url = format!("http://{}/{path}", stack.up.control);
        let answer =
            stack.client.request(method, url).bearer_auth(&stack.token).body("{}").send().await.expect("an answer");
        if answer.headers().contains_key("x-homerun-unserved") {
            unserved.insert(id.to_owned());
        }
    }
    stack.end().await;
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../api/unserved.txt");
    let listed: BTreeSet<String> = std::fs::read_to_string(file)
        .expect("the list is there")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::to_owned)
        .collect();
    let new: Vec<_> = unserved.difference(&listed).collect();
    let served: Vec<_> = listed.difference(&unserved).collect();
    assert!(new.is_empty(), "not served and not listed: {new:#?}");
    assert!(served.is_empty(), "listed and served: {served:#?}");
}
