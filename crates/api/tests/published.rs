//! The wire types against the published definition (`api/run.v1.schemas.json`: schema -> property ->
//! shape).

use std::collections::{BTreeMap, BTreeSet};

use homerun_api::run_v1::{self, parse_strict};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

type Schemas = BTreeMap<String, BTreeMap<String, Value>>;

fn schemas() -> Schemas {
    serde_json::from_str(include_str!("../../../api/run.v1.schemas.json")).expect("the definition is JSON")
}

/// A value of a shape with every property set.
fn sample(shape: &Value, schemas: &Schemas) -> Value {
    match shape {
        Value::String(kind) => match kind.as_str() {
            "string" => json!("text"),
            "boolean" => json!(true),
            "integer" => json!(7),
            _ => json!({"any": 1}),
        },
        other if other.get("array").is_some() => json!([sample(&other["array"], schemas)]),
        other if other.get("object").is_some() => json!({"key": sample(&other["object"], schemas)}),
        other => whole(other["$ref"].as_str().expect("a reference"), schemas),
    }
}

/// An object of a schema with every property set.
fn whole(schema: &str, schemas: &Schemas) -> Value {
    let properties = schemas.get(schema).unwrap_or_else(|| panic!("{schema} is not in the definition"));
    Value::Object(properties.iter().map(|(name, shape)| (name.clone(), sample(shape, schemas))).collect::<Map<_, _>>())
}

fn same<T: DeserializeOwned + Serialize>(schema: &str) {
    let whole = whole(schema, &schemas());
    let text = serde_json::to_vec(&whole).expect("JSON");
    let parsed: T = parse_strict(&text).unwrap_or_else(|error| panic!("{schema}: {error}"));
    assert_eq!(serde_json::to_value(parsed).expect("JSON"), whole, "{schema}");
}

/// The schemas that a schema is made of, itself among them.
fn parts(schema: &str, schemas: &Schemas, found: &mut BTreeSet<String>) {
    if found.insert(schema.to_owned()) {
        for shape in schemas[schema].values() {
            let innermost =
                std::iter::successors(Some(shape), |shape| shape.get("array").or(shape.get("object"))).last();
            if let Some(next) = innermost.and_then(|shape| shape["$ref"].as_str()) {
                parts(next, schemas, found);
            }
        }
    }
}

/// A check of the type that stands for a schema.
type Check = (&'static str, fn(&str));

/// Every message that a client sends or is sent, and the type that stands for it.
const MESSAGES: [Check; 14] = [
    ("Service", same::<run_v1::Service>),
    ("Revision", same::<run_v1::Revision>),
    ("Configuration", same::<run_v1::Configuration>),
    ("Route", same::<run_v1::Route>),
    ("ListServicesResponse", same::<run_v1::ListServicesResponse>),
    ("ListRevisionsResponse", same::<run_v1::ListRevisionsResponse>),
    ("ListConfigurationsResponse", same::<run_v1::ListConfigurationsResponse>),
    ("ListRoutesResponse", same::<run_v1::ListRoutesResponse>),
    ("ListLocationsResponse", same::<run_v1::ListLocationsResponse>),
    ("Status", same::<run_v1::Status>),
    ("Policy", same::<run_v1::Policy>),
    ("SetIamPolicyRequest", same::<run_v1::SetIamPolicyRequest>),
    ("TestIamPermissionsRequest", same::<run_v1::TestIamPermissionsRequest>),
    ("TestIamPermissionsResponse", same::<run_v1::TestIamPermissionsResponse>),
];

#[test]
fn s01_every_published_field_is_read_and_written() {
    for (schema, check) in MESSAGES {
        check(schema);
    }
}

#[test]
fn s01_no_schema_of_the_definition_is_left_out() {
    let schemas = schemas();
    let mut found = BTreeSet::new();
    for (schema, _) in MESSAGES {
        parts(schema, &schemas, &mut found);
    }
    assert_eq!(found, schemas.keys().cloned().collect::<BTreeSet<_>>());
}

#[test]
fn s01_null_is_read_as_unset_in_every_field() {
    let schemas = schemas();
    let null = |schema: &str| {
        Value::Object(schemas[schema].keys().map(|name| (name.clone(), Value::Null)).collect::<Map<_, _>>()).to_string()
    };
    let read = |text: String| parse_strict::<run_v1::Service>(text.as_bytes());
    let inside = |schema: &str, before: &str, after: &str| format!("{before}{}{after}", null(schema));
    assert_eq!(read(null("Service")), Ok(run_v1::Service::default()));
    for (schema, before, after) in [
        ("ObjectMeta", r#"{"metadata": "#, "}"),
        ("RevisionSpec", r#"{"spec": {"template": {"spec": "#, "}}}"),
        ("Container", r#"{"spec": {"template": {"spec": {"containers": ["#, "]}}}}"),
        ("Probe", r#"{"spec": {"template": {"spec": {"containers": [{"startupProbe": "#, "}]}}}}"),
        ("Volume", r#"{"spec": {"template": {"spec": {"volumes": ["#, "]}}}}"),
        ("TrafficTarget", r#"{"spec": {"traffic": ["#, "]}}"),
        ("ServiceStatus", r#"{"status": "#, "}"),
    ] {
        assert_eq!(read(inside(schema, before, after)), read(format!("{before}{{}}{after}")), "{schema}");
    }
}
