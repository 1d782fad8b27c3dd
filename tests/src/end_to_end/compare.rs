//! Comparing what the monitor said with what was really done, field by field.

use std::fmt::Write as _;

use mcp_monitor_tests::{act::Act, identity::TICK};
use serde_json::Value;

/// One field of one comparison.
pub(crate) struct Field {
    name: String,
    expected: String,
    found: String,
    agrees: bool,
}

/// Compares a record of the monitor with an act: the process first, then every field the act names.
pub(crate) fn fields(act: &Act, record: &Value, ignored: &[&str]) -> Vec<Field> {
    let found = |path: &str| at(record, path);
    let mut fields = vec![
        Field {
            name: "process.pid".to_owned(),
            expected: act.process.pid.to_string(),
            found: shown(found("process.pid")),
            agrees: number(found("process.pid")) == u64::try_from(act.process.pid).ok(),
        },
        Field {
            name: "process.start".to_owned(),
            expected: format!("{} ticks", act.process.start),
            found: shown(found("process.start")),
            agrees: number(found("process.start")).is_some_and(|start| start / TICK == act.process.start),
        },
    ];
    for (path, expected) in &act.fields {
        if !ignored.contains(&path.as_str()) {
            fields.push(Field {
                name: path.clone(),
                expected: shown(Some(expected)),
                found: shown(found(path)),
                agrees: found(path).is_some_and(|found| same(path, expected, found)),
            });
        }
    }
    fields
}

/// Whether all fields agree.
pub(crate) fn agrees(fields: &[Field]) -> bool {
    fields.iter().all(|field| field.agrees)
}

/// The record that comes nearest, with its comparison, for people.
pub(crate) fn nearest<'a>(act: &Act, records: impl Iterator<Item = &'a Value>, ignored: &[&str]) -> String {
    let best = records
        .map(|record| (record, fields(act, record, ignored)))
        // The process counts double: an event of somebody else is rarely the one that is missing.
        .max_by_key(|(_, fields)| {
            fields
                .iter()
                .enumerate()
                .map(|(at, field)| u32::from(field.agrees) * if at < 2 { 2 } else { 1 })
                .sum::<u32>()
        });
    let Some((record, fields)) = best else { return "  nothing of that kind was told\n".to_owned() };
    let mut text = format!(
        "  nearest: {} {} {}\n",
        shown(at(record, "kind")),
        shown(at(record, "rule")),
        shown(at(record, "id"))
    );
    for Field { name, expected, found, agrees } in &fields {
        let mark = if *agrees { '✓' } else { '✗' };
        let _ = writeln!(text, "    {mark} {name}: expected {expected}, found {found}");
    }
    text
}

/// The value at a dotted path.
pub(crate) fn at<'a>(record: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(record, |value, key| value.get(key))
}

/// A number, or the text of one: 64-bit numbers may be written as text.
pub(crate) fn number(value: Option<&Value>) -> Option<u64> {
    match value? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

fn shown(value: Option<&Value>) -> String {
    let text = value.map_or_else(|| "nothing".to_owned(), ToString::to_string);
    if text.chars().count() > 300 { text.chars().take(300).chain("…".chars()).collect() } else { text }
}

fn same(path: &str, expected: &Value, found: &Value) -> bool {
    match (expected, found) {
        _ if path.ends_with(".device") => device(expected).is_some() && device(expected) == device(found),
        (Value::String(expected), Value::String(found)) if path == "network.transport" => {
            found.starts_with(expected)
        }
        // An access is a set, written as a list or as words.
        (Value::String(expected), Value::Array(found)) => found.iter().any(|word| word == expected.as_str()),
        (Value::String(expected), Value::String(found)) if path == "file.access" => {
            found.split(|letter: char| !letter.is_alphanumeric()).any(|word| word == expected)
        }
        (Value::Number(_), _) => number(Some(expected)) == number(Some(found)),
        _ => expected == found,
    }
}

/// A device as major and minor number: `MAJOR:MINOR`, or the kernel's own number with 20 bits of minor.
fn device(value: &Value) -> Option<(u64, u64)> {
    match value {
        Value::String(text) if text.contains(':') => {
            let (major, minor) = text.split_once(':')?;
            Some((major.parse().ok()?, minor.parse().ok()?))
        }
        _ => number(Some(value)).map(|device| (device >> 20, device & 0xf_ffff)),
    }
}

#[cfg(test)]
mod tests {
    use mcp_monitor_tests::identity::Identity;
    use serde_json::json;

    use super::*;

    fn act() -> Act {
        Act { process: Identity { pid: 7, start: 12 }, kind: None, fields: std::collections::BTreeMap::new() }
            .with("file.device", "254:1")
            .with("file.inode", 99)
    }

    #[test]
    fn a_device_is_the_same_in_either_spelling() {
        let record = json!({"process": {"pid": 7, "start": 129_999_999}, "file": {"device": (254 << 20) | 1, "inode": "99"}});
        assert!(agrees(&fields(&act(), &record, &[])));
    }

    #[test]
    fn another_process_with_the_same_pid_is_told_apart_by_its_start() {
        let record =
            json!({"process": {"pid": 7, "start": 130_000_000}, "file": {"device": "254:1", "inode": 99}});
        assert!(!agrees(&fields(&act(), &record, &[])));
        assert!(nearest(&act(), [&record].into_iter(), &[]).contains("✗ process.start"));
    }

    #[test]
    fn a_field_that_is_missing_does_not_agree() {
        let record = json!({"process": {"pid": 7, "start": 120_000_000}, "file": {"device": "254:1"}});
        assert!(!agrees(&fields(&act(), &record, &[])));
    }
}
