//! Fields of a JSON document by the paths that violations name them by, such as
//! `spec.template.spec.containers[0].resources.limits[cpu]`.

use serde_json::{Map, Value};

/// Longest list that a path may reach into.
const LONGEST: usize = 1000;

#[derive(Debug, PartialEq, Eq)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// The steps of a path. What stands in brackets is an index if it is a number, else the key of a map.
fn steps(path: &str) -> Vec<Step<'_>> {
    let mut steps = Vec::new();
    let mut rest = path;
    while !rest.is_empty() {
        if let Some((inside, after)) = rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            steps.push(inside.parse().map_or(Step::Key(inside), Step::Index));
            rest = after.strip_prefix('.').unwrap_or(after);
            continue;
        }
        let end = rest.find(['.', '[']).unwrap_or(rest.len());
        steps.push(Step::Key(&rest[..end]));
        rest = rest[end..].strip_prefix('.').unwrap_or(&rest[end..]);
    }
    steps
}

/// The value at a path.
pub(super) fn get<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    steps(path).into_iter().try_fold(document, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

/// The value at a path as people read it; empty where there is none.
pub(super) fn text(document: &Value, path: &str) -> String {
    match get(document, path) {
        Some(Value::String(text)) => text.clone(),
        Some(value @ (Value::Number(_) | Value::Bool(_))) => value.to_string(),
        _ => String::new(),
    }
}

/// How many elements the list at a path has.
pub(super) fn length(document: &Value, path: &str) -> usize {
    get(document, path).and_then(Value::as_array).map_or(0, Vec::len)
}

/// Most steps of a path. The deepest field of a service has ten; what is much deeper would fill the stack of whoever
/// reads or drops it.
const DEEPEST: usize = 16;

/// Puts a value at a path, and makes the objects and lists on the way there. A path that would leave a hole in a list,
/// that leads through something else, or too deep, is ignored.
pub(super) fn set(document: &mut Value, path: &str, value: Value) {
    if let Some(place) = place(document, path) {
        *place = value;
    }
}

fn place<'a>(document: &'a mut Value, path: &str) -> Option<&'a mut Value> {
    let steps = steps(path);
    if steps.len() > DEEPEST {
        return None;
    }
    steps.into_iter().try_fold(document, |value, step| match step {
        Step::Key(key) => {
            if value.is_null() {
                *value = Value::Object(Map::new());
            }
            Some(value.as_object_mut()?.entry(key).or_insert(Value::Null))
        }
        Step::Index(index) => {
            if value.is_null() {
                *value = Value::Array(Vec::new());
            }
            let list = value.as_array_mut()?;
            if index == list.len() && index < LONGEST {
                list.push(Value::Null);
            }
            list.get_mut(index)
        }
    })
}

/// Takes away what is at a path.
pub(super) fn remove(document: &mut Value, path: &str) -> Option<Value> {
    let mut steps = steps(path);
    let last = steps.pop()?;
    let parent = steps.into_iter().try_fold(document, |value, step| match step {
        Step::Key(key) => value.get_mut(key),
        Step::Index(index) => value.get_mut(index),
    })?;
    match (last, parent) {
        (Step::Key(key), Value::Object(map)) => map.remove(key),
        (Step::Index(index), Value::Array(list)) if index < list.len() => Some(list.remove(index)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn g24_a_field_is_found_by_the_path_that_a_violation_names() {
        let document = json!({"a": {"b": [{"limits": {"nvidia.com/gpu": "1"}}]}, "n": 7});
        assert_eq!(text(&document, "a.b[0].limits[nvidia.com/gpu]"), "1");
        assert_eq!(text(&document, "n"), "7");
        assert_eq!((text(&document, "a.b[1].limits[cpu]"), length(&document, "a.b")), (String::new(), 1));
    }

    #[test]
    fn g24_what_is_on_the_way_to_a_field_is_made_and_no_list_gets_a_hole() {
        let mut document = json!({"text": "t"});
        set(&mut document, "m.annotations[x.dev/y]", json!("v"));
        set(&mut document, "list[0].name", json!("first"));
        set(&mut document, "list[7].name", json!("eighth"));
        set(&mut document, "text.below", json!("v"));
        let made = json!({"text": "t", "m": {"annotations": {"x.dev/y": "v"}}, "list": [{"name": "first"}]});
        assert_eq!(document, made);
        assert_eq!(remove(&mut document, "list[0]"), Some(json!({"name": "first"})));
        assert_eq!(remove(&mut document, "m.annotations[x.dev/y]"), Some(json!("v")));
        assert_eq!(remove(&mut document, "m.other.y"), None);
        assert_eq!(document, json!({"text": "t", "m": {"annotations": {}}, "list": []}));
    }
}
