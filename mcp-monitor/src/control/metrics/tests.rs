use super::*;
use crate::{
    control::publish::Pulse,
    render::{Origin, sample},
};
use mcp_monitor_common::mechanism::Tier;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

fn deployed(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/monitoring").join(name)
}

/// The names of all metrics, as the registry has them.
fn names() -> HashSet<String> {
    let descriptions = Fields::new();
    // A metric with labels is gathered only when a label has been seen; its description stands here, always.
    let source = include_str!("fields.rs");
    let names: HashSet<String> = source
        .split('"')
        .filter(|text| {
            text.starts_with("mcp_monitor_") || text.starts_with("process_") && !text.contains(' ')
        })
        .map(str::to_owned)
        .collect();
    for family in descriptions.registry.gather() {
        assert!(names.contains(family.name()), "{}", family.name());
    }
    names
}

/// Names of metrics in an expression.
fn named(expression: &str) -> Vec<String> {
    expression
        .split(|one: char| !(one.is_ascii_alphanumeric() || one == '_' || one == ':'))
        .filter(|word| word.starts_with("mcp_monitor_") || word.starts_with("process_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn labels_of_workloads_are_bounded() {
    let metrics = Metrics::new();
    for number in 0..WORKLOADS_MAX + 50 {
        let mut event = sample::open(b"/x");
        let mut workload = (*event.workload).clone();
        workload.name = format!("w{number}\n\"}} forged 1");
        event.workload = Arc::new(workload);
        metrics.event(&event, 1);
    }
    let mut text = Vec::new();
    TextEncoder::new().encode(&metrics.fields.registry.gather(), &mut text).unwrap();
    let text = String::from_utf8(text).unwrap();
    let rows = text.lines().filter(|line| line.starts_with("mcp_monitor_workload_events_total{"));
    assert_eq!(rows.clone().count(), WORKLOADS_MAX + 1);
    assert!(rows.clone().any(|row| row.contains(r#"workload="other"} 50"#)), "{text}");
    assert!(!text.lines().any(|line| line.starts_with("forged")), "no name makes a line");
}

#[test]
fn asking_twice_counts_nothing_twice() {
    let pulse = Arc::<Pulse>::default();
    pulse.lost("ring-full", "open", 3);
    pulse.reloaded("expectations", false);
    let hub = Hub::new(pulse, Origin::of_this_host(Tier::Lsm), String::new());
    let text = hub.metrics.text(&hub);
    let again = hub.metrics.text(&hub);
    for text in [text, again] {
        assert!(
            text.contains("mcp_monitor_lost_records_total{cause=\"ring-full\",mechanism=\"open\"} 3"),
            "{text}"
        );
        assert!(
            text.contains("mcp_monitor_reloads_total{result=\"refused\",what=\"expectations\"} 1"),
            "{text}"
        );
        assert!(text.contains("tier=\"lsm\""), "{text}");
    }
}

#[test]
fn every_metric_of_the_dashboard_and_the_alerts_exists_and_is_documented() {
    let names = names();
    let dashboard: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(deployed("dashboard.json")).unwrap()).unwrap();
    let mut expressions = Vec::new();
    let mut collect = |value: &serde_json::Value| {
        fn walk(value: &serde_json::Value, into: &mut Vec<String>) {
            match value {
                serde_json::Value::Object(fields) => {
                    for (key, value) in fields {
                        match (key.as_str(), value.as_str()) {
                            ("expr" | "query" | "definition", Some(text)) => into.push(text.to_owned()),
                            _ => walk(value, into),
                        }
                    }
                }
                serde_json::Value::Array(items) => items.iter().for_each(|item| walk(item, into)),
                _ => {}
            }
        }
        walk(value, &mut expressions);
    };
    collect(&dashboard);
    assert!(expressions.len() >= 10, "{expressions:?}");
    let alerts = fs::read_to_string(deployed("alerts.yaml")).unwrap();
    expressions.push(alerts);
    for name in expressions.iter().flat_map(|expression| named(expression)) {
        assert!(names.contains(&name), "{name} is no metric of the monitor");
    }
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/metrics.md")).unwrap();
    for name in &names {
        assert!(page.contains(name.as_str()), "docs/metrics.md does not tell of {name}");
    }
}
