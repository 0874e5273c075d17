//! The wire types against the published definition (`api/run.v1.schemas.json`: schema -> property ->
//! shape).

use std::collections::{BTreeMap, BTreeSet};

use homerun_api::run_v1::{self, ParseError, parse_strict};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

type Schemas = BTreeMap<String, BTreeMap<String, Value>>;

/// The key of every map in a sample; no field is called so.
const MAP_KEY: &str = "in a map";

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
            _ => json!({MAP_KEY: 1}),
        },
        other if other.get("array").is_some() => json!([sample(&other["array"], schemas)]),
        other if other.get("object").is_some() => json!({MAP_KEY: sample(&other["object"], schemas)}),
        other => whole(other["$ref"].as_str().expect("a reference"), schemas),
    }
}

/// An object of a schema with every property set.
fn whole(schema: &str, schemas: &Schemas) -> Value {
    let properties = schemas.get(schema).unwrap_or_else(|| panic!("{schema} is not in the definition"));
    Value::Object(properties.iter().map(|(name, shape)| (name.clone(), sample(shape, schemas))).collect::<Map<_, _>>())
}

/// JSON as a type reads it and writes it again.
fn through<T: DeserializeOwned + Serialize>(json: &Value) -> Result<Value, ParseError> {
    let parsed: T = parse_strict(json.to_string().as_bytes())?;
    Ok(serde_json::to_value(parsed).expect("JSON"))
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

/// A schema, and reading and writing it by the type that stands for it.
type Message = (&'static str, fn(&Value) -> Result<Value, ParseError>);

/// Every message that a client sends or is sent, and the type that stands for it.
const MESSAGES: [Message; 16] = [
    ("Service", through::<run_v1::Service>),
    ("Revision", through::<run_v1::Revision>),
    ("Configuration", through::<run_v1::Configuration>),
    ("Route", through::<run_v1::Route>),
    ("ListServicesResponse", through::<run_v1::ListServicesResponse>),
    ("ListRevisionsResponse", through::<run_v1::ListRevisionsResponse>),
    ("ListConfigurationsResponse", through::<run_v1::ListConfigurationsResponse>),
    ("ListRoutesResponse", through::<run_v1::ListRoutesResponse>),
    ("ListLocationsResponse", through::<run_v1::ListLocationsResponse>),
    ("DomainMapping", through::<run_v1::DomainMapping>),
    ("ListDomainMappingsResponse", through::<run_v1::ListDomainMappingsResponse>),
    ("Status", through::<run_v1::Status>),
    ("Policy", through::<run_v1::Policy>),
    ("SetIamPolicyRequest", through::<run_v1::SetIamPolicyRequest>),
    ("TestIamPermissionsRequest", through::<run_v1::TestIamPermissionsRequest>),
    ("TestIamPermissionsResponse", through::<run_v1::TestIamPermissionsResponse>),
];

#[test]
fn s01_every_published_field_is_read_and_written() {
    let schemas = schemas();
    for (schema, through) in MESSAGES {
        let whole = whole(schema, &schemas);
        assert_eq!(through(&whole), Ok(whole.clone()), "{schema}");
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

/// Pointers (RFC 6901) to every field at any depth; what stands in a map is no field.
fn fields(value: &Value, at: &str, found: &mut Vec<(String, String)>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                if name != MAP_KEY {
                    found.push((at.to_owned(), name.clone()));
                }
                fields(member, &format!("{at}/{name}"), found);
            }
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, item)| fields(item, &format!("{at}/{index}"), found))
        }
        _ => {}
    }
}

#[test]
fn s01_null_is_read_as_unset_in_every_field() {
    let schemas = schemas();
    for (schema, through) in MESSAGES {
        let whole = whole(schema, &schemas);
        let mut found = Vec::new();
        fields(&whole, "", &mut found);
        assert!(!found.is_empty(), "{schema}");
        for (object, name) in found {
            let (mut null, mut unset) = (whole.clone(), whole.clone());
            null.pointer_mut(&object).expect("an object")[&name] = Value::Null;
            unset.pointer_mut(&object).and_then(Value::as_object_mut).expect("an object").remove(&name);
            assert_eq!(through(&null), Ok(unset), "{schema}: {object}/{name}");
        }
    }
}

#[test]
fn s01_an_integer_may_stand_in_quotes_in_every_field() {
    let schemas = schemas();
    let mut integers = 0;
    for (schema, through) in MESSAGES {
        let whole = whole(schema, &schemas);
        let mut found = Vec::new();
        fields(&whole, "", &mut found);
        for (object, name) in found {
            let mut quoted = whole.clone();
            let field = &mut quoted.pointer_mut(&object).expect("an object")[&name];
            if let Some(number) = field.as_i64() {
                integers += 1;
                *field = json!(number.to_string());
                assert_eq!(through(&quoted).as_ref(), Ok(&whole), "{schema}: {object}/{name}");
            }
        }
    }
    assert!(integers > 0);
}
