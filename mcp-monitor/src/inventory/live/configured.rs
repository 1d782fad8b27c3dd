//! Workloads that an administrator names: services, cron jobs and containers that no client's configuration declares.
//! `/etc/mcp-monitor/workloads.d/*.yaml`, read strictly; one file with a mistake does not spoil the others.
//!
//! ```yaml
//! workloads:
//!   - {name: nightly-review, kind: agent, program: /usr/bin/node, script: /opt/review/main.js, cron: true}
//!   - {name: gateway, program: /usr/local/bin/mcp-gateway, unit: mcp-gateway.service}
//!   - {name: search, image: "ghcr.io/acme/search-mcp", label: "team=web"}
//! ```

use std::{
    fs, io,
    io::Read as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use globset::{Glob, GlobBuilder, GlobMatcher};
use serde::Deserialize;

use super::{package::last_name, program::Program};
use crate::{
    event::{Process, WorkloadKind},
    host::unit::service_of,
    inventory::containers::ContainerDetails,
};

/// Where the files are.
pub const DEFAULT_DIRECTORY: &str = "/etc/mcp-monitor/workloads.d";
/// Files that are read.
const FILES_MAX: usize = 256;
/// Bytes of a file that are read.
const FILE_MAX_BYTES: u64 = 256 * 1024;
/// Workloads that are kept.
const WORKLOADS_MAX: usize = 1024;
/// Bytes of a name.
const NAME_MAX_BYTES: usize = 128;
/// Programs that run jobs at their time, by their last names; believed below these folders alone.
const JOB_RUNNERS: [&[u8]; 5] = [b"cron", b"crond", b"anacron", b"atd", b"fcron"];
const JOB_RUNNERS_FOLDERS: [&[u8]; 4] = [b"/usr/sbin/", b"/usr/bin/", b"/sbin/", b"/bin/"];

/// A file that cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum ConfiguredError {
    /// It cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not the YAML that is expected.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// A workload in it says something that makes no sense.
    #[error("{}: workload `{name}`: {what}", path.display())]
    Workload {
        /// Which file.
        path: PathBuf,
        /// Which workload.
        name: String,
        /// What is wrong.
        what: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    workloads: Vec<WorkloadText>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindText {
    Server,
    Agent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WorkloadText {
    name: String,
    kind: Option<KindText>,
    program: Option<String>,
    script: Option<String>,
    unit: Option<String>,
    #[serde(default)]
    cron: bool,
    user: Option<String>,
    image: Option<String>,
    label: Option<String>,
}

/// A workload that an administrator named.
#[derive(Clone, Debug)]
pub struct ConfiguredWorkload {
    /// Name.
    pub name: String,
    /// How it is judged.
    pub kind: WorkloadKind,
    program: Option<GlobMatcher>,
    script: Option<GlobMatcher>,
    unit: Option<String>,
    cron: bool,
    user: Option<String>,
    image: Option<GlobMatcher>,
    label: Option<(String, String)>,
}

impl PartialEq for ConfiguredWorkload {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    all: Vec<Arc<ConfiguredWorkload>>,
}

impl Configured {
    /// What the files of `folder` name, in the order of the files' names, and what is wrong with the others.
    #[must_use]
    pub fn read(folder: &Path) -> (Self, Vec<ConfiguredError>) {
        let mut configured = Self::default();
        let mut errors = Vec::new();
        let failed = |path: &Path, source| ConfiguredError::Read { path: path.to_owned(), source };
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (configured, errors),
            Err(error) => return (configured, vec![failed(folder, error)]),
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml"));
        paths.sort();
        for path in paths.into_iter().take(FILES_MAX) {
            let mut text = String::new();
            let read = fs::File::open(&path)
                .and_then(|file| file.take(FILE_MAX_BYTES).read_to_string(&mut text))
                .map_err(|source| failed(&path, source));
            match read.and_then(|_| workloads(&path, &text)) {
                Ok(found) => configured.all.extend(found.into_iter().map(Arc::new)),
                Err(error) => errors.push(error),
            }
        }
        configured.all.truncate(WORKLOADS_MAX);
        (configured, errors)
    }

    /// The workload that an execution outside of every lineage is. `forebears` gives the executables above it, and is asked
    /// only where that decides.
    pub fn find(
        &self,
        process: &Process,
        program: &Program,
        mut forebears: impl FnMut() -> Vec<Vec<u8>>,
    ) -> Option<Arc<ConfiguredWorkload>> {
        let fits = |one: &&Arc<ConfiguredWorkload>| {
            let unit = || service_of(process.cgroup.as_slice());
            one.program.as_ref().is_some_and(|glob| glob.is_match(path(process.executable.as_slice())))
                && one.script.as_ref().is_none_or(|glob| {
                    program.script.as_ref().is_some_and(|script| glob.is_match(path(script.as_slice())))
                })
                && one.unit.as_ref().is_none_or(|wanted| unit().as_ref() == Some(wanted))
                && one.user.as_ref().is_none_or(|user| {
                    process.user.as_ref() == Some(user) || process.uid.to_string() == *user
                })
        };
        let found = self.all.iter().filter(fits);
        found
            .into_iter()
            .find(|one| !one.cron || forebears().iter().any(|executable| is_job_runner(executable)))
            .cloned()
    }

    /// The workload that a container is.
    #[must_use]
    pub fn container(&self, details: &ContainerDetails) -> Option<Arc<ConfiguredWorkload>> {
        let image = details.image.as_deref();
        let fits = |one: &&Arc<ConfiguredWorkload>| {
            let by_image = one.image.as_ref().is_none_or(|glob| {
                image.is_some_and(|image| glob.is_match(image) || glob.is_match(without_tag(image)))
            });
            let by_label = one.label.as_ref().is_none_or(|(name, value)| {
                details.labels.iter().any(|(one, other)| one == name && other == value)
            });
            (one.image.is_some() || one.label.is_some()) && by_image && by_label
        };
        self.all.iter().find(fits).cloned()
    }

    /// Last names of the programs, for the kernel to look out for.
    pub fn names(&self) -> impl Iterator<Item = &[u8]> {
        let globs = self.all.iter().filter_map(|one| one.program.as_ref());
        globs.map(|glob| last_name(glob.glob().glob().as_bytes()))
    }
}

fn workloads(path: &Path, text: &str) -> Result<Vec<ConfiguredWorkload>, ConfiguredError> {
    let file: FileText = serde_saphyr::from_str(text)
        .map_err(|error| ConfiguredError::Syntax { path: path.to_owned(), message: error.to_string() })?;
    let made = file.workloads.into_iter().map(|text| {
        let name = text.name.clone();
        workload(text).map_err(|what| ConfiguredError::Workload { path: path.to_owned(), name, what })
    });
    made.collect()
}

fn workload(text: WorkloadText) -> Result<ConfiguredWorkload, String> {
    if text.name.is_empty() || text.name.len() > NAME_MAX_BYTES {
        return Err(format!("a name has 1 to {NAME_MAX_BYTES} bytes"));
    }
    if text.program.is_none() && text.image.is_none() && text.label.is_none() {
        return Err("`program`, `image` or `label` must say what it is".into());
    }
    if text.program.is_none() && (text.script.is_some() || text.unit.is_some() || text.cron) {
        return Err("`script`, `unit` and `cron` need the `program` that is executed".into());
    }
    if let Some(program) = &text.program {
        let last = program.rsplit('/').next().unwrap_or_default();
        if !program.starts_with('/') || last.is_empty() || last.contains(['*', '?', '[', '{']) {
            return Err("`program` is an absolute path, and its last name has no wildcards".into());
        }
    }
    if text.unit.as_ref().is_some_and(|unit| !unit.ends_with(".service")) {
        return Err("`unit` is the name of a service, such as `gateway.service`".into());
    }
    let label = match text.label {
        None => None,
        Some(label) => {
            let (name, value) = label.split_once('=').ok_or("`label` is written NAME=VALUE")?;
            Some((name.to_owned(), value.to_owned()))
        }
    };
    Ok(ConfiguredWorkload {
        name: text.name,
        kind: match text.kind {
            Some(KindText::Agent) => WorkloadKind::Agent,
            Some(KindText::Server) | None => WorkloadKind::Server,
        },
        program: text.program.as_deref().map(glob).transpose()?,
        script: text.script.as_deref().map(glob).transpose()?,
        unit: text.unit,
        cron: text.cron,
        user: text.user,
        image: text.image.as_deref().map(glob).transpose()?,
        label,
    })
}

fn glob(pattern: &str) -> Result<GlobMatcher, String> {
    let built: Result<Glob, _> = GlobBuilder::new(pattern).literal_separator(true).build();
    built.map(|glob| glob.compile_matcher()).map_err(|error| format!("`{pattern}`: {}", error.kind()))
}

fn is_job_runner(executable: &[u8]) -> bool {
    JOB_RUNNERS.contains(&last_name(executable))
        && JOB_RUNNERS_FOLDERS.iter().any(|folder| executable.starts_with(folder))
}

/// An image without the tag or digest at its end.
fn without_tag(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rfind(':') {
        Some(colon) if !image.get(colon..).unwrap_or_default().contains('/') => {
            image.get(..colon).unwrap_or(image)
        }
        _ => image,
    }
}

fn path(bytes: &[u8]) -> &Path {
    use std::os::unix::ffi::OsStrExt as _;
    Path::new(std::ffi::OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> (Configured, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a.yaml"), text).unwrap();
        fs::write(folder.path().join("b.yaml"), "workloads: [{name: other, program: /usr/bin/other}]")
            .unwrap();
        let (configured, errors) = Configured::read(folder.path());
        (configured, errors.iter().map(ToString::to_string).collect())
    }

    fn found(configured: &Configured, process: &Process, above: &str) -> Option<String> {
        let found = configured.find(process, &Program::default(), || vec![above.as_bytes().to_vec()]);
        found.map(|one| one.name.clone())
    }

    #[test]
    fn services_and_jobs_are_known_by_unit_program_and_what_runs_them() {
        let (configured, errors) = read(
            "workloads:\n  - {name: gateway, program: /usr/local/bin/gateway, unit: gateway.service}\n  \
             - {name: nightly, kind: agent, program: '/opt/*/run', cron: true, user: deploy}\n",
        );
        assert_eq!(errors, [""; 0]);
        let process = |executable: &str, cgroup: &str| Process {
            executable: executable.into(),
            cgroup: cgroup.into(),
            user: Some("deploy".into()),
            ..Process::default()
        };
        let gateway = process("/usr/local/bin/gateway", "/system.slice/gateway.service");
        assert_eq!(found(&configured, &gateway, "").as_deref(), Some("gateway"));
        let by_hand = process("/usr/local/bin/gateway", "/user.slice/session-1.scope");
        assert_eq!(found(&configured, &by_hand, ""), None);
        let job = process("/opt/x/run", "/system.slice/cron.service");
        assert_eq!(found(&configured, &job, "/usr/sbin/cron").as_deref(), Some("nightly"));
        assert_eq!(found(&configured, &job, "/home/u/cron"), None);
        assert_eq!(found(&configured, &Process { user: None, ..job }, "/usr/sbin/cron"), None);
        let names: Vec<&[u8]> = configured.names().collect();
        assert_eq!(names, [&b"gateway"[..], b"run", b"other"]);
    }

    #[test]
    fn containers_are_known_by_image_and_label() {
        let (configured, _) = read(
            "workloads:\n  - {name: search, image: 'ghcr.io/acme/*', label: team=web}\n  - {name: any, label: mcp=yes}\n",
        );
        let of = |image: &str, label: (&str, &str)| {
            let details = ContainerDetails {
                image: Some(image.into()),
                labels: vec![(label.0.into(), label.1.into())],
                ..ContainerDetails::default()
            };
            configured.container(&details).map(|one| one.name.clone())
        };
        assert_eq!(of("ghcr.io/acme/search:1.2", ("team", "web")).as_deref(), Some("search"));
        assert_eq!(of("ghcr.io/acme/search:1.2", ("team", "db")), None);
        assert_eq!(of("x", ("mcp", "yes")).as_deref(), Some("any"));
    }

    #[test]
    fn a_mistake_is_told_with_its_place_and_the_rest_works() {
        for (text, part) in [
            ("workloads: [{name: a}]", "`program`, `image` or `label`"),
            ("workloads: [{name: a, program: run}]", "absolute path"),
            ("workloads: [{name: a, program: '/x/*'}]", "no wildcards"),
            ("workloads: [{name: a, program: /x, unit: a.timer}]", "a service"),
            ("workloads: [{name: a, image: x, cron: true}]", "need the `program`"),
            ("workloads: [{name: a, program: /x, unitt: a}]", "unitt"),
            ("workloads: 7", "a.yaml"),
        ] {
            let (configured, errors) = read(text);
            assert_eq!(configured.all.len(), 1, "{text}: the other file");
            assert!(errors.iter().any(|error| error.contains(part)), "{text}: {errors:?}");
        }
    }
}
