//! What is read of the API's objects; everything else in them is skipped.

use std::collections::{BTreeMap, HashMap};

use serde::Deserialize;

use super::Pod;

/// Labels of a pod that are kept.
const LABELS_MAX: usize = 64;
/// Bytes of a text that are kept; the API's own limits are below that.
const TEXT_MAX_BYTES: usize = 512;
/// Containers of a pod that are kept.
const CONTAINERS_MAX: usize = 64;
/// The uid in the cgroup of a pod that comes from a file of the node; the API shows another one.
const FILE_HASH: &str = "kubernetes.io/config.hash";

/// A page of a list.
#[derive(Debug, Deserialize)]
pub(super) struct List {
    #[serde(default)]
    pub(super) metadata: ListMetadata,
    #[serde(default)]
    pub(super) items: Vec<Object>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ListMetadata {
    #[serde(default)]
    pub(super) resource_version: String,
    #[serde(default, rename = "continue")]
    pub(super) next: String,
}

/// One line of a watch.
#[derive(Debug, Deserialize)]
pub(super) struct Change {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) object: Object,
}

/// A pod; of a bookmark only the version is there, of an error only the code.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Object {
    #[serde(default)]
    pub(super) metadata: Metadata,
    #[serde(default)]
    status: Status,
    pub(super) code: Option<u16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    namespace: String,
    #[serde(default)]
    uid: String,
    #[serde(default)]
    pub(super) resource_version: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

/// An error's status is a word; a pod's an object.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Status {
    Pod(PodStatus),
    Other(serde::de::IgnoredAny),
}

impl Default for Status {
    fn default() -> Self {
        Self::Pod(PodStatus::default())
    }
}

#[derive(Debug, Default, Deserialize)]
struct PodStatus {
    #[serde(default, rename = "containerStatuses")]
    containers: Vec<ContainerStatus>,
    #[serde(default, rename = "initContainerStatuses")]
    init: Vec<ContainerStatus>,
    #[serde(default, rename = "ephemeralContainerStatuses")]
    ephemeral: Vec<ContainerStatus>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ContainerStatus {
    #[serde(default)]
    name: String,
    #[serde(default)]
    image: String,
    /// `containerd://ID`; absent until it has started.
    #[serde(rename = "containerID", default)]
    container_id: String,
}

impl Object {
    /// The uids that cgroups may have, and the pod. `None` for what is no pod.
    pub(super) fn into_pod(self) -> Option<(Vec<String>, Pod)> {
        let Metadata { name, namespace, uid, labels, annotations, .. } = self.metadata;
        if uid.is_empty() || name.is_empty() {
            return None;
        }
        let uids = std::iter::once(uid).chain(annotations.get(FILE_HASH).cloned()).collect();
        let labels =
            labels.into_iter().take(LABELS_MAX).map(|(key, value)| (kept(key), kept(value))).collect();
        let containers = match self.status {
            Status::Other(_) => HashMap::new(),
            Status::Pod(status) => {
                let all = status.containers.into_iter();
                let all = all.chain(status.init).chain(status.ephemeral);
                let started = all.filter_map(|one| {
                    let (_, id) = one.container_id.split_once("://")?;
                    Some((id.to_owned(), (kept(one.name), kept(one.image))))
                });
                started.take(CONTAINERS_MAX).collect()
            }
        };
        Some((uids, Pod { namespace: kept(namespace), name: kept(name), labels, containers }))
    }
}

fn kept(mut text: String) -> String {
    let mut end = text.len().min(TEXT_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}
