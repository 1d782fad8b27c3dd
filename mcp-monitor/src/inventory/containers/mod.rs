//! What is known of a container beside its processes: name, image, labels, what it was asked to run.
//!
//! A service that runs containers is asked over its own API ([`engine`]); where none answers, the bundle that containerd
//! hands to the runtime says some of it ([`bundle`]). Both are asked on a thread of their own ([`Asker`]), so that one
//! that stalls delays no event; answers come after the first events of a container, and who waits for them is bounded.
//! Everything is bounded and foreign: labels are masked, of variables only the names are kept, and who tells counts
//! ([`ContainerDetails::told_by`]): a user's own service says nothing about another user's containers.

mod asker;
mod bundle;
mod engine;

pub use asker::{Asker, Question};

use serde::Deserialize;

use crate::{
    event::{BootNs, Bytes},
    expectation::{
        data::{DataError, parse},
        glob::Globs,
    },
    sensor::mask,
};

/// Labels that are kept of a container.
const LABELS_MAX: usize = 64;
/// Bytes of a label, of a name or of an image that are kept.
const TEXT_MAX_BYTES: usize = 512;
/// Words of a container's command, and names of variables, that are kept.
const WORDS_MAX: usize = 256;

/// What is known of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerDetails {
    /// The id, 64 hexadecimal digits.
    pub id: String,
    /// Who told: `docker`, `podman`, `bundle`.
    pub source: String,
    /// The user whose service told.
    pub told_by: u32,
    /// Name.
    pub name: Option<String>,
    /// The image as it was asked for.
    pub image: Option<String>,
    /// Labels, their values masked.
    pub labels: Vec<(String, String)>,
    /// What it was asked to run, masked; empty when the image says.
    pub arguments: Vec<Bytes>,
    /// Names of its variables.
    pub environment_names: Vec<String>,
    /// When it was made.
    pub created: Option<BootNs>,
}

impl ContainerDetails {
    /// The value of the first of `names` that is a label.
    #[must_use]
    pub fn label(&self, names: &[String]) -> Option<&str> {
        names
            .iter()
            .find_map(|name| self.labels.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()))
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContainerFile {
    programs: Vec<String>,
    runtimes: Vec<String>,
    engines: Vec<EngineText>,
    shims: Vec<String>,
    server_labels: Vec<String>,
    annotations: Annotations,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EngineText {
    name: String,
    programs: Vec<String>,
    sockets: Vec<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Annotations {
    name: Vec<String>,
    image: Vec<String>,
}

/// What `data/containers.yaml` says.
#[derive(Debug)]
pub struct ContainerData {
    runtimes: Globs,
    runtime_names: Vec<Vec<u8>>,
    engines: Vec<EngineText>,
    shims: Vec<String>,
    annotations: Annotations,
    /// Labels whose value is the name of an MCP server.
    pub server_labels: Vec<String>,
}

impl ContainerData {
    /// The embedded table.
    pub fn embedded() -> Result<Self, DataError> {
        let file: ContainerFile = parse("containers.yaml", include_str!("../../../data/containers.yaml"))?;
        let globs = |texts: &[String]| Globs::new(texts.iter().map(|text| (text.as_str(), 0)));
        Ok(Self {
            runtimes: globs(&file.runtimes)?,
            runtime_names: file.programs.into_iter().map(String::into_bytes).collect(),
            engines: file.engines,
            shims: file.shims,
            annotations: file.annotations,
            server_labels: file.server_labels,
        })
    }

    /// The program makes containers.
    #[must_use]
    pub fn is_runtime(&self, executable: &[u8]) -> bool {
        self.runtimes.is_match(executable)
    }

    /// Last names of the programs that make containers, for the kernel to look out for.
    pub fn runtime_names(&self) -> impl Iterator<Item = &[u8]> {
        self.runtime_names.iter().map(Vec::as_slice)
    }
}

/// `text`, cut to what is kept.
fn kept(text: &str) -> String {
    let mut end = text.len().min(TEXT_MAX_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default().to_owned()
}

/// Labels with masked values.
fn labels(all: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    let masked = all.into_iter().take(LABELS_MAX).map(|(key, value)| {
        // Masked together, since the name of a label says what its value is.
        let both = format!("{}={}", kept(&key), kept(&value)).replace('\0', " ");
        let both = mask::arguments(both.as_bytes(), false).first().map(Bytes::escaped).unwrap_or_default();
        let value = both.split_once('=').map_or("", |(_, value)| value).to_owned();
        (kept(&key), value)
    });
    let mut kept: Vec<(String, String)> = masked.collect();
    kept.sort();
    kept
}

/// Words of a command, masked.
fn words(all: &[String]) -> Vec<Bytes> {
    let raw = all.iter().take(WORDS_MAX).map(|word| word.replace('\0', " ")).collect::<Vec<_>>().join("\0");
    if raw.is_empty() { Vec::new() } else { mask::arguments(raw.as_bytes(), false) }
}

/// The names in `NAME=value`.
fn names(all: &[String]) -> Vec<String> {
    let name = |text: &String| kept(text.split('=').next().unwrap_or_default());
    all.iter().take(WORDS_MAX).map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_are_known_by_where_they_lie() {
        let data = ContainerData::embedded().unwrap();
        for path in ["/usr/sbin/runc", "/usr/bin/crun", "/var/lib/rancher/k3s/data/0a1b/bin/runc"] {
            assert!(data.is_runtime(path.as_bytes()), "{path}");
        }
        for path in ["/home/u/runc", "/tmp/usr/bin/runc", "runc", "/memfd:runc_cloned:/proc/self/exe"] {
            assert!(!data.is_runtime(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn secrets_in_labels_and_variables_are_not_kept() {
        let token = "ghp_0123456789abcdefghijklmnopqrstuvwxyz";
        let kept =
            labels([("api_token".to_owned(), token.to_owned()), ("team".to_owned(), "web".to_owned())]);
        assert_eq!(kept.last(), Some(&("team".to_owned(), "web".to_owned())));
        assert!(!format!("{kept:?}").contains(token), "{kept:?}");
        assert_eq!(names(&[format!("GITHUB_TOKEN={token}"), "PLAIN".to_owned()]), ["GITHUB_TOKEN", "PLAIN"]);
    }
}
