use super::{watch::Watch, *};
use serde_json::{Value, json};
use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    sync::Mutex,
};

const UID: &str = "0305e82c-3301-4f2b-9d3a-aa17c1d0beef";
const OTHER: &str = "11111111-2222-4333-8444-555555555555";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// An API that answers one request after the other as it was told, and keeps what it was asked.
struct Api {
    cluster: Cluster,
    asked: Arc<Mutex<Vec<String>>>,
    _token: tempfile::NamedTempFile,
}

fn api(answers: Vec<(u16, String)>) -> Api {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let asked = Arc::<Mutex<Vec<String>>>::default();
    let heard = Arc::clone(&asked);
    thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
            let mut request = lines.next().unwrap_or_default();
            for line in lines.take_while(|line| !line.is_empty()) {
                if line.to_lowercase().starts_with("authorization:") {
                    request = format!("{request} | {line}");
                }
            }
            heard.lock().unwrap().push(request);
            // The end of the connection is the end of the answer, as when the API closes a watch.
            let _ = write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n{body}"
            );
        }
    });
    let mut token = tempfile::NamedTempFile::new().unwrap();
    writeln!(token, "first-token").unwrap();
    let cluster =
        Cluster { url, node: "node 1".into(), token: Some(token.path().to_owned()), authorities: None };
    Api { cluster, asked, _token: token }
}

fn pod(name: &str, uid: &str, version: &str, containers: &Value) -> Value {
    json!({
        "metadata": {"name": name, "namespace": "tools", "uid": uid, "resourceVersion": version,
                     "labels": {"app": name}, "managedFields": [{"anything": {}}]},
        "spec": {"nodeName": "node 1"},
        "status": {"phase": "Running", "containerStatuses": containers}
    })
}

fn running() -> Value {
    json!([{"name": "server", "image": "ghcr.io/x/mcp:1", "containerID": format!("containerd://{ID}")}])
}

fn change(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn list(version: &str, next: &str, items: &[Value]) -> String {
    json!({"kind": "PodList", "metadata": {"resourceVersion": version, "continue": next}, "items": items})
        .to_string()
}

fn cgroup_of(uid: &str) -> Vec<u8> {
    format!("/kubepods.slice/kubepods-pod{}.slice/cri-containerd-{ID}.scope", uid.replace('-', "_"))
        .into_bytes()
}

#[test]
fn pods_are_listed_in_pages_and_watched_through_bookmarks_closes_and_410() {
    let api = api(vec![
        (200, list("10", "page/2", &[pod("one", UID, "7", &json!([]))])),
        (200, list("11", "", &[pod("two", OTHER, "8", &json!([]))])),
        // The container's id comes later than its first events; then a bookmark, and the API closes.
        (
            200,
            change("MODIFIED", &pod("one", UID, "12", &running()))
                + &change("BOOKMARK", &json!({"kind": "Pod", "metadata": {"resourceVersion": "40"}})),
        ),
        // It goes on from the bookmark, which is too old by now.
        (200, change("ERROR", &json!({"kind": "Status", "status": "Failure", "code": 410}))),
        (410, String::new()),
        // A new list, in which one is missing.
        (200, list("50", "", &[pod("two", OTHER, "8", &json!([]))])),
        (200, change("DELETED", &pod("two", OTHER, "51", &json!([])))),
    ]);
    let pods = Pods::default();
    let watch = Watch::new(api.cluster.clone(), pods.clone(), |_: &str| {});
    let mut version = None;

    assert_eq!(pods.of(&cgroup_of(UID)), None);
    watch.once(&mut version).unwrap();
    assert_eq!(version.as_deref(), Some("40"));
    let one = pods.of(&cgroup_of(UID)).unwrap();
    assert_eq!((one.name.as_str(), one.namespace.as_str()), ("one", "tools"));
    assert_eq!(one.containers[ID], ("server".to_owned(), "ghcr.io/x/mcp:1".to_owned()));
    assert!(pods.of(&cgroup_of(OTHER)).unwrap().containers.is_empty(), "known before its containers are");

    assert!(watch.once(&mut version).unwrap_err().to_string().contains("too old"));
    assert!(watch.once(&mut version).unwrap_err().to_string().contains("too old"));
    version = None;
    watch.once(&mut version).unwrap();
    assert_eq!(version.as_deref(), Some("51"));
    assert!(pods.of(&cgroup_of(UID)).is_some(), "what it did last is still to come");

    let asked = api.asked.lock().unwrap().clone();
    let node = "fieldSelector=spec.nodeName%3Dnode+1";
    assert!(asked.iter().all(|one| one.contains(node) && one.ends_with("Bearer first-token")), "{asked:#?}");
    assert!(asked[1].contains("continue=page%2F2"), "{asked:#?}");
    assert!(asked[2].contains("watch=1&allowWatchBookmarks=true") && asked[2].contains("resourceVersion=11"));
    assert!(asked[3].contains("resourceVersion=40") && asked[4].contains("resourceVersion=40"), "{asked:#?}");
    assert!(!asked[5].contains("watch=1") && asked[6].contains("resourceVersion=50"), "{asked:#?}");
}

#[test]
fn what_the_api_says_wrongly_ends_nothing() {
    let api = api(vec![
        (403, String::new()),
        (200, "{\"items\": [{}, {\"metadata\": 7}]}".to_owned()),
        (200, list("1", "", &[json!({}), pod("one", UID, "1", &json!([{"name": "x"}]))])),
        (
            200,
            "{\"type\":\"ADDED\",\"object\":{}}\n{\"type\":\"NEW\",\"object\":{\"metadata\":{}}}\n{\"typ"
                .to_owned(),
        ),
    ]);
    let pods = Pods::default();
    let watch = Watch::new(api.cluster.clone(), pods.clone(), |_: &str| {});
    let refused = watch.once(&mut None).unwrap_err().to_string();
    assert!(refused.contains("403") && refused.contains("rbac.yaml"), "{refused}");
    assert!(watch.once(&mut None).is_err());
    let broken = watch.once(&mut None).unwrap_err().to_string();
    assert!(broken.contains("within a line"), "{broken}");
    assert_eq!(pods.of(&cgroup_of(UID)).unwrap().name, "one");
}

#[test]
fn a_pod_from_a_file_of_the_node_is_known_by_its_hash() {
    let hash = "0123456789abcdef0123456789abcdef";
    let mut mirror = pod("kube-proxy", UID, "1", &json!([]));
    mirror["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": hash});
    let api = api(vec![(200, list("1", "", &[mirror])), (200, String::new())]);
    let pods = Pods::default();
    Watch::new(api.cluster.clone(), pods.clone(), |_: &str| {}).once(&mut None).unwrap();
    let found = pods.of(format!("/kubepods/burstable/pod{hash}/{ID}").as_bytes()).unwrap();
    assert_eq!(found.name, "kube-proxy");
}

#[test]
fn the_table_is_bounded() {
    let pods = Pods::default();
    let uid = |number: usize| format!("00000000-0000-4000-8000-{number:012}");
    for number in 0..PODS_MAX + 10 {
        pods.put(&uid(number), Pod::default());
    }
    pods.end_all_but(&[]);
    let table = pods.0.read().unwrap();
    assert_eq!((table.pods.len(), table.ended.len()), (ENDED_MAX, ENDED_MAX));
}
