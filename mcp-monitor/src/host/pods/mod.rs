//! Which pod a process belongs to, where the monitor runs in a Kubernetes cluster: the pods of its own node, listed and
//! watched on a thread of its own ([`watch`]).
//!
//! A pod is found by its uid, which stands in the cgroup's path ([`cgroup`]), so that it is known before the runtime has
//! told the API of any container; name and image of the container are added when it has. Pods that are gone are kept for
//! their last events. Everything is bounded; what the API tells is text to be escaped, as all names are.

mod cgroup;
mod object;
mod watch;

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    env, fs, io,
    path::PathBuf,
    sync::{Arc, PoisonError, RwLock},
    thread,
};

pub use cgroup::pod_uid;

/// Pods that are kept; a node has a few hundred at most.
const PODS_MAX: usize = 4096;
/// Pods that are kept after they are gone.
const ENDED_MAX: usize = 256;

/// Where a pod finds how to talk to its cluster.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// The API of the cluster, as a pod sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// `https://ADDRESS:PORT`.
    pub url: String,
    /// The node whose pods are wanted.
    pub node: String,
    /// File of the token; read for each request, since it is replaced every hour.
    pub token: Option<PathBuf>,
    /// File of the authorities to trust.
    pub authorities: Option<PathBuf>,
}

impl Cluster {
    /// The cluster that this process runs in as a pod that was told its node; `None` elsewhere.
    #[must_use]
    pub fn of_this_pod() -> Option<Self> {
        let host = env::var("KUBERNETES_SERVICE_HOST").ok()?;
        let port = env::var("KUBERNETES_SERVICE_PORT").unwrap_or_else(|_| "443".to_owned());
        let node = env::var("NODE_NAME").ok()?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let file = |name: &str| Some(PathBuf::from(ACCOUNT).join(name));
        fs::metadata(file("token")?).ok()?;
        Some(Self {
            url: format!("https://{host}:{port}"),
            node,
            token: file("token"),
            authorities: file("ca.crt"),
        })
    }
}

/// A pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Containers that the runtime has told of: name and image by id.
    pub containers: HashMap<String, (String, String)>,
}

#[derive(Debug, Default)]
struct Table {
    pods: HashMap<String, Arc<Pod>>,
    ended: VecDeque<String>,
}

/// The pods of this node; empty outside of a cluster. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Pods(Arc<RwLock<Table>>);

impl PartialEq for Pods {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Pods {}

impl Pods {
    /// Begins to watch the pods of `cluster`'s node. `talk` is told when that fails and when it works again.
    pub fn watch(cluster: Cluster, talk: impl Fn(&str) + Send + 'static) -> io::Result<Self> {
        let pods = Self::default();
        let table = pods.clone();
        thread::Builder::new()
            .name("pods".to_owned())
            .spawn(move || watch::Watch::new(cluster, table, talk).run())?;
        Ok(pods)
    }

    /// The pod whose cgroup this is.
    #[must_use]
    pub fn of(&self, cgroup: &[u8]) -> Option<Arc<Pod>> {
        // Outside of a cluster nothing is looked for.
        let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if table.pods.is_empty() {
            return None;
        }
        table.pods.get(&pod_uid(cgroup)?).map(Arc::clone)
    }

    /// A pod is there, or has changed.
    fn put(&self, uid: &str, pod: Pod) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if table.pods.len() < PODS_MAX || table.pods.contains_key(uid) {
            table.ended.retain(|ended| ended != uid);
            table.pods.insert(uid.to_owned(), Arc::new(pod));
        }
    }

    /// A pod is gone; what it did last is still to come.
    fn end(&self, uid: &str) {
        let mut table = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if !table.pods.contains_key(uid) || table.ended.iter().any(|ended| ended == uid) {
            return;
        }
        table.ended.push_back(uid.to_owned());
        while table.ended.len() > ENDED_MAX {
            if let Some(oldest) = table.ended.pop_front() {
                table.pods.remove(&oldest);
            }
        }
    }

    /// After a list: all that are not in it are gone.
    fn end_all_but(&self, there: &[String]) {
        let known: Vec<String> = {
            let table = self.0.read().unwrap_or_else(PoisonError::into_inner);
            table.pods.keys().filter(|uid| !there.contains(uid)).cloned().collect()
        };
        for uid in &known {
            self.end(uid);
        }
    }
}

#[cfg(test)]
mod tests;
