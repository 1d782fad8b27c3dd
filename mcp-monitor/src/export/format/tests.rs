//! Formats against the published schemas and against parsers that are not ours.

use std::{env, fs, path::PathBuf};

use proptest::prelude::*;
use serde_json::Value;

use super::*;
use crate::render::{json, sample};

/// Events and findings of every kind, and events with hostile names.
pub(super) fn records() -> Vec<Record> {
    let origin = sample::origin();
    let mut lines = Vec::new();
    for event in sample::events() {
        json::event(&mut lines, &origin, &event);
    }
    for finding in sample::findings() {
        json::finding(&mut lines, &origin, &finding);
    }
    for name in sample::hostile_names() {
        json::event(&mut lines, &origin, &sample::open(&name));
    }
    let text = String::from_utf8(lines).unwrap();
    text.lines().map(|line| Record::parse(line).unwrap()).collect()
}

fn opened(name: &[u8]) -> Record {
    let mut line = Vec::new();
    json::event(&mut line, &sample::origin(), &sample::open(name));
    Record::parse(std::str::from_utf8(&line).unwrap()).unwrap()
}

/// Where published schemas lie: `MCP_MONITOR_SCHEMAS`, else a folder `schemas` beside the checkout. They are not ours to
/// ship.
fn published(name: &str) -> Option<PathBuf> {
    let place = env::var_os("MCP_MONITOR_SCHEMAS")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../schemas"), PathBuf::from);
    let path = place.join(name);
    if !path.exists() {
        eprintln!("not run: {name} is not in {}; set MCP_MONITOR_SCHEMAS", place.display());
        return None;
    }
    Some(path)
}

/// The validator of a class, generated from the compiled schema.
fn classes(names: &[&str]) -> Option<Vec<jsonschema::Validator>> {
    let compiled = published("ocsf-1.8.0.json.gz")?;
    let converter = published("ocsf_to_jsonschema.py")?;
    let place = tempfile::tempdir().unwrap();
    let plain = place.path().join("compiled.json");
    let mut source = flate2::read::GzDecoder::new(fs::File::open(compiled).unwrap());
    std::io::copy(&mut source, &mut fs::File::create(&plain).unwrap()).unwrap();
    let validators = names.iter().map(|class| {
        let status = std::process::Command::new("python3")
            .arg(&converter)
            .arg(&plain)
            .arg(class)
            .arg("container,host,linux/linux_users,linux_users,security_control")
            .current_dir(place.path())
            .stdout(std::process::Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{class}");
        let schema = fs::read(place.path().join(format!("ocsf-{class}.schema.json"))).unwrap();
        jsonschema::validator_for(&serde_json::from_slice::<Value>(&schema).unwrap()).unwrap()
    });
    Some(validators.collect())
}

#[test]
fn every_ocsf_event_follows_the_schema_of_its_class() {
    let names = [
        (2004, "detection_finding"),
        (1001, "file_activity"),
        (1007, "process_activity"),
        (4001, "network_activity"),
        (4003, "dns_activity"),
        (6002, "application_lifecycle"),
    ];
    let Some(validators) = classes(&names.map(|(_, name)| name)) else { return };
    let mut seen = std::collections::BTreeSet::new();
    for record in records() {
        let object = ocsf::object(&record);
        let class = object["class_uid"].as_u64().unwrap();
        let at = names.iter().position(|(uid, _)| *uid == class).unwrap();
        let errors: Vec<_> = validators[at]
            .iter_errors(&object)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{errors:#?}\n{object:#}");
        assert_eq!(
            object["type_uid"].as_u64().unwrap(),
            class * 100 + object["activity_id"].as_u64().unwrap()
        );
        seen.insert(class);
    }
    assert_eq!(seen.len(), names.len(), "{seen:?}");
}

/// The attributes of the object `ai_agent` as 1.9 has them.
const AGENT: [&str; 8] = ["uid", "instance_uid", "name", "type", "type_id", "ai_model", "version", "charter"];

#[test]
fn ocsf_1_9_is_1_8_and_the_agent() {
    let mut seen = 0;
    for record in records() {
        let mut line: Value = serde_json::from_str(record.line()).unwrap();
        line["workload"]["kind"] = "agent".into();
        let record = Record::parse(&line.to_string()).unwrap();
        let (before, mut after) = (ocsf::object(&record), ocsf::object_with_agent(&record));
        assert_eq!(after["metadata"]["version"], "1.9.0");
        after["metadata"]["version"] = before["metadata"]["version"].clone();
        let agent = if record.is_finding() {
            after["evidences"][0].as_object_mut().unwrap().remove("ai_agent")
        } else {
            after.as_object_mut().unwrap().remove("ai_agent")
        };
        if let Some(agent) = agent {
            seen += 1;
            assert_eq!(agent["uid"], record.parts().workload.id.to_string());
            assert!(agent.as_object().unwrap().keys().all(|key| AGENT.contains(&key.as_str())), "{agent}");
            if !record.is_finding() {
                let profiles = after["metadata"]["profiles"].as_array_mut().unwrap();
                assert_eq!(profiles.remove(0), "ai_operation");
            }
        }
        assert_eq!(before, after, "nothing else changes");
    }
    assert!(seen > 10, "{seen}");
}

/// Each key with its value, dotted; objects inside arrays under the array's name.
fn keys(prefix: &str, value: &Value, into: &mut Vec<(String, Value)>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                keys(&path, value, into);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                keys(prefix, item, into);
            }
        }
        other => into.push((prefix.to_owned(), other.clone())),
    }
}

#[test]
fn every_ecs_key_is_published_with_that_type() {
    let Some(path) = published("ecs-9.4.0-fields.json") else { return };
    let fields: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    for record in records() {
        let mut found = Vec::new();
        keys("", &ecs::object(&record), &mut found);
        for (key, value) in found {
            if key.starts_with("labels.") {
                assert!(value.is_string(), "{key} is a keyword");
                continue;
            }
            let field = &fields[&key];
            assert!(field.is_object(), "{key} is no field of ECS");
            let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
            for value in &values {
                let fits = match field["type"].as_str().unwrap() {
                    "long" | "integer" => value.is_u64(),
                    "float" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "date" => value.as_str().is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
                    "ip" => value.as_str().is_some_and(|text| text.parse::<std::net::IpAddr>().is_ok()),
                    _ => value.is_string(),
                };
                assert!(fits, "{key} = {value} is not of type {}", field["type"]);
                let allowed = field["allowed"].as_array().unwrap();
                assert!(allowed.is_empty() || allowed.contains(value), "{key} = {value} is not allowed");
            }
        }
    }
}

/// A reader of CEF written from its specification: seven bars that are not escaped, then `key=value` pairs, where a key
/// begins behind a space and ends at the first `=` that is not escaped.
fn read_cef(line: &str) -> (Vec<String>, Vec<(String, String)>) {
    let mut header = vec![String::new()];
    let mut rest = line.chars();
    while header.len() < 8 {
        match rest.next().expect("seven bars") {
            '\\' => header.last_mut().unwrap().push(rest.next().unwrap()),
            '|' => header.push(String::new()),
            other => header.last_mut().unwrap().push(other),
        }
    }
    let text: Vec<char> = rest.collect();
    let mut starts = Vec::new();
    for at in 0..text.len() {
        let escaped = text[..at].iter().rev().take_while(|character| **character == '\\').count() % 2 == 1;
        if text[at] == '=' && !escaped {
            let begin =
                text[..at].iter().rposition(|character| *character == ' ').map_or(0, |space| space + 1);
            starts.push((begin, at));
        }
    }
    let mut pairs = Vec::new();
    for (index, &(begin, equals)) in starts.iter().enumerate() {
        let end = starts.get(index + 1).map_or(text.len(), |next| next.0 - 1);
        let mut value = String::new();
        let mut characters = text[equals + 1..end].iter();
        while let Some(&character) = characters.next() {
            match character {
                '\\' => match characters.next() {
                    Some('n') => value.push('\n'),
                    Some('r') => value.push('\r'),
                    Some(other) => value.push(*other),
                    None => panic!("a backslash at the end"),
                },
                other => value.push(other),
            }
        }
        pairs.push((text[begin..equals].iter().collect(), value));
    }
    header.pop();
    (header, pairs)
}

#[test]
fn cef_of_every_record_reads_back() {
    for record in records() {
        let line = cef::line(&record);
        assert!(!line.chars().any(char::is_control), "{line:?}");
        let (header, pairs) = read_cef(&line);
        assert_eq!(header[..3], ["CEF:0", "mcp-monitor", "mcp-monitor"]);
        let mut names: Vec<_> = pairs.iter().map(|(key, _)| key.clone()).collect();
        assert!(names.iter().all(|name| name.chars().all(|one| one.is_ascii_alphanumeric())), "{names:?}");
        names.sort();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all, "a key stands twice: {line}");
    }
}

#[test]
fn syslog_of_every_record_reads_back() {
    for record in records() {
        for message in
            [syslog::Message::Text, syslog::Message::Native, syslog::Message::Cef, syslog::Message::Ocsf]
        {
            let text = syslog::message(&record, &syslog::Layout { message, ..syslog::Layout::default() });
            read_syslog(&text, &record);
        }
    }
}

/// Reads with a parser that is not ours and compares what must survive.
fn read_syslog(text: &str, record: &Record) {
    assert!(!text.contains(['\n', '\r', '\0']), "{text:?}");
    let read = syslog_loose::parse_message(text, syslog_loose::Variant::RFC5424);
    assert_eq!(read.appname, Some("mcp-monitor"));
    assert_eq!(read.hostname, Some("example"));
    assert_eq!(read.structured_data.len(), 1, "{text}");
    assert_eq!(read.structured_data[0].id, "mcp-monitor@32473");
    let parameters: std::collections::HashMap<_, _> =
        read.structured_data[0].params().map(|(name, value)| (name.to_owned(), value)).collect();
    assert_eq!(parameters["id"], record.parts().id.to_string());
    assert_eq!(parameters.get("object").cloned().unwrap_or_default(), record.parts().object());
}

#[test]
fn native_lines_are_the_contract() {
    for record in records() {
        assert_eq!(Format::Native.line(&record), record.line());
    }
}

#[test]
fn a_finding_of_each_format_reads_so() {
    let record = records().into_iter().rfind(Record::is_finding).unwrap();
    insta::assert_snapshot!("cef", cef::line(&record));
    let text = syslog::message(&record, &syslog::Layout::default());
    insta::assert_snapshot!("syslog", text.replace(&format!(" {} ", std::process::id()), " PID "));
    insta::assert_snapshot!("ocsf", format!("{:#}", ocsf::object(&record)));
    insta::assert_snapshot!("ecs", format!("{:#}", ecs::object(&record)));
}

#[test]
fn another_state_of_a_finding_is_another_delivery() {
    let record = records().into_iter().find(Record::is_finding).unwrap();
    let again = Record::parse(record.line()).unwrap();
    assert_eq!(record.delivery_id(), again.delivery_id());
    let later = Record::parse(&record.line().replace("\"count\":2", "\"count\":3")).unwrap();
    assert_ne!(record.delivery_id(), later.delivery_id());
}

proptest! {
    #[test]
    fn any_name_survives_every_format(name in proptest::collection::vec(any::<u8>(), 0..200)) {
        let record = opened(&name);
        let path = record.parts().object();
        let (_, pairs) = read_cef(&cef::line(&record));
        let read = pairs.iter().find(|(key, _)| key == "filePath").map_or("", |(_, value)| value.as_str());
        prop_assert_eq!(read, path.trim_end_matches(' '));
        prop_assert!(pairs.iter().filter(|(key, _)| key == "act").count() == 1);
        read_syslog(&syslog::message(&record, &syslog::Layout::default()), &record);
        let ecs = ecs::object(&record);
        prop_assert_eq!(ecs["file"]["path"].as_str().unwrap_or_default(), &path);
        let ocsf = ocsf::object(&record);
        prop_assert_eq!(ocsf["file"]["path"].as_str().unwrap_or_default(), &path);
    }

    #[test]
    fn any_text_is_survived(text: String) {
        let _ = Record::parse(&text);
    }

    #[test]
    fn forged_lines_forge_no_field(value in ".{0,80}") {
        let mut object: Value = serde_json::from_str(records()[0].line()).unwrap();
        object["workload"]["name"] = value.clone().into();
        object["decision"]["reason"] = value.into();
        let record = Record::parse(&object.to_string()).unwrap();
        let line = cef::line(&record);
        prop_assert!(!line.chars().any(char::is_control));
        let (header, pairs) = read_cef(&line);
        prop_assert_eq!(header.len(), 7);
        prop_assert!(pairs.iter().all(|(key, _)| key.chars().all(|one| one.is_ascii_alphanumeric())));
        read_syslog(&syslog::message(&record, &syslog::Layout::default()), &record);
    }
}
