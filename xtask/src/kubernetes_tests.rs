//! The manifests are what a Kubernetes API understands: strict YAML, and not one key that its types do not know.

use std::{fs, path::PathBuf, process::Command};

use k8s_openapi::{
    api::{
        apps::v1::DaemonSet,
        core::v1::{ConfigMap, Namespace, ServiceAccount},
        rbac::v1::{ClusterRole, ClusterRoleBinding},
    },
    serde::{Serialize, de::DeserializeOwned},
};
use serde_json::{Value, json};

use crate::command;

fn folder() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/kubernetes"))
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

fn file(name: &str) -> Vec<Value> {
    documents(&fs::read_to_string(folder().join(name)).unwrap())
}

/// Read as its type and written again it is the same: a key that the type does not know would be missing.
fn understood<T: DeserializeOwned + Serialize>(document: &Value) {
    let object: T =
        serde_json::from_value(document.clone()).unwrap_or_else(|error| panic!("{error}: {document}"));
    assert_eq!(&serde_json::to_value(object).unwrap(), document);
}

fn check(document: &Value) {
    match document["kind"].as_str().unwrap() {
        "DaemonSet" => understood::<DaemonSet>(document),
        "ConfigMap" => understood::<ConfigMap>(document),
        "Namespace" => understood::<Namespace>(document),
        "ServiceAccount" => understood::<ServiceAccount>(document),
        "ClusterRole" => understood::<ClusterRole>(document),
        "ClusterRoleBinding" => understood::<ClusterRoleBinding>(document),
        other => panic!("nobody checks a {other}"),
    }
}

#[test]
fn every_manifest_is_understood_and_part_of_the_whole() {
    let whole = &file("kustomization.yaml")[0]["resources"];
    let whole: Vec<&str> = whole.as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(whole, ["namespace.yaml", "rbac.yaml", "configmap.yaml", "daemonset.yaml"]);
    for name in whole.into_iter().chain(["daemonset-privileged.yaml"]) {
        file(name).iter().for_each(check);
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn a_key_that_no_type_knows_is_seen() {
    let mut document = file("daemonset.yaml").remove(0);
    document["spec"]["template"]["spec"]["hostPid"] = json!(true);
    check(&document);
}

#[test]
fn the_daemon_set_asks_for_no_more_than_it_needs() {
    let least = file("daemonset.yaml").remove(0);
    let container = &least["spec"]["template"]["spec"]["containers"][0];
    let context = &container["securityContext"];
    assert_eq!(context["capabilities"]["drop"], json!(["ALL"]));
    let added =
        json!(["BPF", "PERFMON", "NET_ADMIN", "SYS_PTRACE", "DAC_READ_SEARCH", "SYS_RESOURCE", "KILL"]);
    assert_eq!(context["capabilities"]["add"], added);
    assert_eq!(
        (&context["privileged"], &context["allowPrivilegeEscalation"]),
        (&json!(false), &json!(false))
    );
    let writable = container["volumeMounts"].as_array().unwrap().iter();
    let writable: Vec<_> =
        writable.filter(|mount| mount["readOnly"] != true).map(|mount| &mount["mountPath"]).collect();
    assert_eq!(writable, ["/var/lib/mcp-monitor", "/run/mcp-monitor"]);

    let mut privileged = file("daemonset-privileged.yaml").remove(0);
    let place = "/spec/template/spec/containers/0/securityContext";
    *privileged.pointer_mut(place).unwrap() = context.clone();
    assert_eq!(privileged, least, "the two differ in nothing else");
}

#[test]
fn the_role_lets_it_see_pods_and_nothing_else() {
    let role = file("rbac.yaml").remove(1);
    assert_eq!(
        role["rules"],
        json!([{"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch"]}])
    );
}

/// By helm itself, where there is one.
#[test]
fn the_chart_makes_the_same_objects() {
    let chart = folder().join("chart");
    let values = &documents(&fs::read_to_string(chart.join("values.yaml")).unwrap())[0];
    let schema: Value = serde_json::from_slice(&fs::read(chart.join("values.schema.json")).unwrap()).unwrap();
    let known = schema["properties"].as_object().unwrap();
    for name in values.as_object().unwrap().keys() {
        assert!(known.contains_key(name), "the schema does not know {name}");
    }
    let Some(helm) = command::find("helm") else {
        println!("not run: rendering the chart: no helm on this host");
        return;
    };
    let rendered = command::capture(Command::new(helm).args(["template", "mcp-monitor"]).arg(chart)).unwrap();
    let rendered = documents(&rendered);
    rendered.iter().for_each(check);
    let kinds: Vec<_> = rendered.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    for kind in ["DaemonSet", "ConfigMap", "ServiceAccount", "ClusterRole", "ClusterRoleBinding"] {
        assert!(kinds.contains(&kind), "{kinds:?}");
    }
}
