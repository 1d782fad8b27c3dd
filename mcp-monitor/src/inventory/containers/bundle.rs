//! The bundle of a container: `config.json` of the OCI runtime specification, in the working directory of the shim that
//! containerd puts above a container's first process.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Read as _,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
};

use serde::Deserialize;

use super::{ContainerData, ContainerDetails, kept, labels, names, words};
use crate::event::ProcessId;

/// Bytes of a bundle's description that are read.
const DESCRIPTION_MAX_BYTES: u64 = 1024 * 1024;

/// The part of the description that is used.
#[derive(Debug, Default, Deserialize)]
struct Description {
    #[serde(default)]
    process: ProcessPart,
    #[serde(default)]
    annotations: BTreeMap<String, String>,
}

#[derive(Debug, Default, Deserialize)]
struct ProcessPart {
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
}

/// What the bundle of the container says whose first process is `process`.
pub(super) fn read(data: &ContainerData, id: &str, process: ProcessId) -> Option<ContainerDetails> {
    let stat = procfs::process::Process::new(i32::try_from(process.0).ok()?).ok()?.stat().ok()?;
    let shim = format!("/proc/{}", stat.ppid);
    let told_by = fs::metadata(&shim).ok()?.uid();
    let executable = fs::read_link(format!("{shim}/exe")).ok()?;
    let name = executable.file_name()?.to_str()?;
    // Only the shim of the system's containerd: anybody may call a program so.
    if told_by != 0 || !data.shims.iter().any(|known| known == name) {
        return None;
    }
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("{shim}/cwd/config.json"))
        .ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > DESCRIPTION_MAX_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(DESCRIPTION_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    details(data, id, &bytes)
}

fn details(data: &ContainerData, id: &str, bytes: &[u8]) -> Option<ContainerDetails> {
    let description: Description = serde_json::from_slice(bytes).ok()?;
    let annotation = |names: &[String]| {
        names.iter().find_map(|name| description.annotations.get(name)).map(|value| kept(value))
    };
    Some(ContainerDetails {
        id: id.to_owned(),
        source: "bundle".to_owned(),
        told_by: 0,
        name: annotation(&data.annotations.name),
        image: annotation(&data.annotations.image),
        arguments: words(&description.process.args),
        environment_names: names(&description.process.env),
        labels: labels(description.annotations),
        created: None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_bundle_says_what_a_pods_container_is() {
        let data = ContainerData::embedded().unwrap();
        let text = r#"{"ociVersion": "1.0.2", "process": {"args": ["/server", "--stdio"], "env": ["TOKEN=x"]},
            "annotations": {"io.kubernetes.cri.container-name": "mcp", "io.kubernetes.cri.image-name": "ghcr.io/a/b:1"}}"#;
        let found = details(&data, "x", text.as_bytes()).unwrap();
        assert_eq!((found.name.as_deref(), found.image.as_deref()), (Some("mcp"), Some("ghcr.io/a/b:1")));
        assert_eq!((found.arguments.len(), found.environment_names), (2, vec!["TOKEN".to_owned()]));
    }

    #[test]
    fn what_is_below_no_shim_has_no_bundle() {
        let data = ContainerData::embedded().unwrap();
        assert_eq!(read(&data, "x", ProcessId(std::process::id())), None);
    }

    proptest! {
        #[test]
        fn any_description_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = details(&ContainerData::embedded().unwrap(), "x", &bytes);
        }
    }
}
