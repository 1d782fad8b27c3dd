//! Real lines against the published schemas, and hostile names through JSON.

use super::*;
use crate::{event::unescape, render::sample};
use serde_json::Value;
use std::{env, fs, path::PathBuf};

fn schema_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../schema").join(name)
}

fn published(name: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(schema_path(name)).unwrap()).unwrap()
}

/// The schema with unknown fields refused, so that a field which is not published fails the test.
fn strict(name: &str) -> jsonschema::Validator {
    fn close(value: &mut Value) {
        match value {
            Value::Object(object) => {
                if object.contains_key("properties") {
                    object.insert("unevaluatedProperties".into(), false.into());
                }
                object.values_mut().for_each(close);
            }
            Value::Array(array) => array.iter_mut().for_each(close),
            _ => {}
        }
    }
    let mut schema = published(name);
    close(&mut schema);
    jsonschema::options().should_validate_formats(true).build(&schema).unwrap()
}

fn check(validator: &jsonschema::Validator, line: &[u8]) -> Value {
    let text = std::str::from_utf8(line).unwrap();
    assert_eq!(text.find('\n'), Some(text.len() - 1), "one line: {text}");
    let value: Value = serde_json::from_str(text).unwrap();
    let errors: Vec<_> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
    assert!(errors.is_empty(), "{errors:#?}\n{text}");
    value
}

fn line(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut line = Vec::new();
    write(&mut line);
    line
}

/// `MCP_MONITOR_WRITE_SCHEMA=1 cargo test schemas_are_published` writes them.
#[test]
fn schemas_are_published() {
    for (name, schema) in schemas() {
        let text = format!("{:#}\n", schema.as_value());
        if env::var_os("MCP_MONITOR_WRITE_SCHEMA").is_some() {
            fs::write(schema_path(name), &text).unwrap();
        }
        assert_eq!(fs::read_to_string(schema_path(name)).unwrap(), text, "{name} is stale");
    }
}

#[test]
fn lines_follow_the_schemas() {
    let origin = sample::origin();
    let events = strict("event.v1.json");
    for one in sample::events() {
        check(&events, &line(|line| event(line, &origin, &one)));
    }
    let findings = strict("finding.v1.json");
    for one in sample::findings() {
        check(&findings, &line(|line| finding(line, &origin, &one)));
    }
    check(&strict("summary.v1.json"), &line(|line| summary(line, &origin, &sample::summary())));
}

#[test]
fn declared_servers_follow_their_schema_and_their_names_survive() {
    let validator = strict("declared-server.v1.json");
    for mut server in sample::declared_servers() {
        for name in sample::hostile_names() {
            server.name = String::from_utf8_lossy(&name).into_owned();
            let value = check(&validator, &line(|line| declared_server(line, &server, Some("u"))));
            assert_eq!(unescape(value["name"].as_str().unwrap()), Some(server.name.clone().into_bytes()));
        }
    }
}

#[test]
fn hostile_names_survive_and_forge_nothing() {
    let validator = strict("event.v1.json");
    for name in sample::hostile_names() {
        let value = check(&validator, &line(|line| event(line, &sample::origin(), &sample::open(&name))));
        assert_eq!(unescape(value["file"]["path"].as_str().unwrap()), Some(name));
        assert_eq!(value["verdict"], "expected");
    }
}

#[test]
fn fields_of_the_contract() {
    let secret = sample::events().into_iter().find(|one| one.rule.is_some()).unwrap();
    let text = String::from_utf8(line(|line| event(line, &sample::origin(), &secret))).unwrap();
    insta::assert_snapshot!(text);
    let connect = sample::events().into_iter().find(|one| one.action.kind() == "connect").unwrap();
    let value: Value =
        serde_json::from_slice(&line(|line| event(line, &sample::origin(), &connect))).unwrap();
    assert_eq!(value["network"]["address"], "203.0.113.7");
    assert_eq!(value["network"]["port"], 443);
    assert_eq!(value["network"]["name_confidence"], "workload-dns");
    let results: Vec<_> = sample::events()
        .iter()
        .map(|one| {
            let value: Value =
                serde_json::from_slice(&line(|line| event(line, &sample::origin(), one))).unwrap();
            value["result"].as_str().unwrap().to_owned()
        })
        .collect();
    for word in ["ok", "permitted", "started", "denied", "failed:ENOENT", "failed:ECONNREFUSED", "failed:512"]
    {
        assert!(results.iter().any(|result| result == word), "{word} in {results:?}");
    }
}

/// Not a benchmark, a guard: a debug build on a busy machine must still render tens of thousands a second.
#[test]
fn rendering_is_fast_enough_to_be_forgotten() {
    let (origin, one) = (sample::origin(), sample::open(b"/home/user/project/src/main.rs"));
    let mut buffer = Vec::with_capacity(1 << 16);
    let start = std::time::Instant::now();
    for _ in 0..10_000 {
        buffer.clear();
        event(&mut buffer, &origin, &one);
    }
    let each = start.elapsed() / 10_000;
    eprintln!("{each:?} per line of {} bytes", buffer.len());
    assert!(each.as_micros() < 1000, "{each:?}");
}
