//! Reports have the fields of docs/report.schema.json.

use serde_json::Value;

use crate::support::{Record, run, tcptally};

/// What of `value` is not as `schema` says: the keywords type, properties, required,
/// additionalProperties, items and $ref.
fn check(value: &Value, schema: &Value, root: &Value, at: &str, wrong: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let target = root.pointer(name.trim_start_matches('#')).expect("a definition");
        return check(value, target, root, at, wrong);
    }
    let is = |name: &str| match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("{other}"),
    };
    let types = match &schema["type"] {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        name => Vec::from_iter(name.as_str()),
    };
    if !types.is_empty() && !types.into_iter().any(is) {
        wrong.push(format!("{at}: {value} is not {}", schema["type"]));
    }
    for name in schema["required"].as_array().into_iter().flatten() {
        if value.is_object() && value.get(name.as_str().unwrap()).is_none() {
            wrong.push(format!("{at}: {name} is missing"));
        }
    }
    for (name, member) in value.as_object().into_iter().flatten() {
        match schema["properties"].get(name) {
            Some(schema) => check(member, schema, root, &format!("{at}/{name}"), wrong),
            None if schema["additionalProperties"] == false => {
                wrong.push(format!("{at}: {name} is new"));
            }
            None => {}
        }
    }
    if let Some(schema) = schema.get("items") {
        for (n, item) in value.as_array().into_iter().flatten().enumerate() {
            check(item, schema, root, &format!("{at}/{n}"), wrong);
        }
    }
}

#[test]
fn reports_are_as_their_json_schema_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/report.schema.json");
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let record = Record::small();
    let events = record.beside("events");
    std::fs::write(
        &events,
        r#"{"time":"2026-11-22T11:30:05Z","local_port":443,"peer_ip":"192.0.2.7","duration":1.5,"bytes_in":3,"bytes_out":4,"rtt":0.1}"#,
    )
    .unwrap();
    for args in [
        &[][..],
        &["-i", "1m", "--top", "1"],
        &["--by", "ip,net,port,local,pid,comm,host,duration,rtt,bytes"],
        &["--columns", "bytes,duration,rtt", "-i", "1h"],
        &["--max-keys", "1"],
        &["--port", "1"],
        &["gone"],
    ] {
        let files = [&events, &record.path];
        let gave = run(tcptally(&["parse", "-q", "-F", "json"]).args(args).args(files));
        let report: Value = serde_json::from_str(&gave.out).unwrap();
        let mut wrong = Vec::new();
        check(&report, &schema, &schema, "", &mut wrong);
        assert!(wrong.is_empty(), "{args:?}: {wrong:#?}");
        // A schema that allows anything would find nothing.
        let mut other = report.clone();
        other["total"] = "5".into();
        other["new"] = 1.into();
        other.as_object_mut().unwrap().remove("complete");
        check(&other, &schema, &schema, "", &mut wrong);
        assert_eq!(wrong.len(), 3, "{wrong:#?}");
    }
}
