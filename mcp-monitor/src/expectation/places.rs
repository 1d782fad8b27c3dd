//! Places with a meaning of their own: persistence, hidden programs, sockets that lead out of the lineage, files of
//! `/proc/PID`. Data: `places.yaml` and `escapes.yaml` of `mcp-monitor/data`.

use serde::Deserialize;

use super::{
    catalogue::{BelowAgent, SeverityText},
    data::{DataError, parse},
    glob::{Globs, Homes, PathGlobs},
    program::{ProgramIndex, Programs},
};
use crate::event::Severity;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceFile {
    persistence: Vec<PersistenceText>,
    system: Vec<SystemText>,
    rebuildable: Vec<String>,
    rebuilders: Vec<String>,
    monitor: Vec<String>,
    hidden_exec: HiddenText,
    process_files: Vec<String>,
    process_viewers: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PersistenceText {
    id: String,
    title: String,
    technique: String,
    paths: Vec<String>,
    #[serde(default)]
    agents: BelowAgent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SystemText {
    id: String,
    title: String,
    severity: Option<SeverityText>,
    paths: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    agents: BelowAgent,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct HiddenText {
    temporary: Vec<String>,
    hidden: Vec<String>,
    stores: Vec<String>,
    memory_files: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EscapeFile {
    escapes: Vec<EscapeText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EscapeText {
    id: String,
    title: String,
    severity: Option<SeverityText>,
    sockets: Vec<String>,
    #[serde(default)]
    owners: Vec<String>,
    #[serde(default)]
    agents: BelowAgent,
}

/// Index of an escape.
pub type EscapeIndex = u32;

/// Code that runs later.
#[derive(Clone, Debug)]
pub struct Persistence {
    /// Stable id.
    pub id: String,
    /// For people.
    pub title: String,
    /// MITRE ATT&CK technique.
    pub technique: String,
    /// Below an agent.
    pub agents: BelowAgent,
}

/// Directories of the system.
#[derive(Clone, Debug)]
pub struct SystemPlace {
    /// Stable id.
    pub id: String,
    /// For people.
    pub title: String,
    /// Severity of a finding, if not the rule's own.
    pub severity: Option<Severity>,
    /// Below an agent.
    pub agents: BelowAgent,
    except: PathGlobs,
}

/// A service that does work for others.
#[derive(Clone, Debug)]
pub struct Escape {
    /// Stable id.
    pub id: String,
    /// For people.
    pub title: String,
    /// Severity of a finding, if not the rule's own.
    pub severity: Option<Severity>,
    /// Programs that use it by their nature.
    pub owners: Vec<ProgramIndex>,
    /// Below an agent.
    pub agents: BelowAgent,
}

/// Why a program's place is odd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OddPlace {
    /// A directory for temporary files.
    Temporary,
    /// A hidden directory or name.
    Hidden,
}

/// The places.
#[derive(Debug)]
pub struct Places {
    persistence: Vec<Persistence>,
    persistence_paths: PathGlobs,
    system: Vec<SystemPlace>,
    system_paths: PathGlobs,
    rebuildable: PathGlobs,
    rebuilders: Vec<ProgramIndex>,
    monitor: PathGlobs,
    temporary: PathGlobs,
    hidden: PathGlobs,
    stores: PathGlobs,
    memory_files: Globs,
    process_files: Vec<Vec<u8>>,
    process_viewers: Vec<ProgramIndex>,
    escapes: Vec<Escape>,
    escape_sockets: PathGlobs,
}

impl Places {
    /// The places of the data files.
    pub fn embedded(programs: &Programs) -> Result<Self, DataError> {
        let file: PlaceFile = parse("places.yaml", include_str!("../../data/places.yaml"))?;
        let escapes: EscapeFile = parse("escapes.yaml", include_str!("../../data/escapes.yaml"))?;
        let persistence_paths = numbered(file.persistence.iter().map(|text| &text.paths))?;
        let escape_sockets = numbered(escapes.escapes.iter().map(|text| &text.sockets))?;
        let HiddenText { temporary, hidden, stores, memory_files } = file.hidden_exec;
        let escapes = escapes.escapes.into_iter().map(|text| {
            Ok(Escape {
                owners: programs.indices(&text.owners, "escapes.yaml")?,
                id: text.id,
                title: text.title,
                severity: text.severity.map(Severity::from),
                agents: text.agents,
            })
        });
        let system_paths = numbered(file.system.iter().map(|text| &text.paths))?;
        let system = file.system.into_iter().map(|text| {
            Ok(SystemPlace {
                except: numbered([&text.except])?,
                id: text.id,
                title: text.title,
                severity: text.severity.map(Severity::from),
                agents: text.agents,
            })
        });
        let persistence = file.persistence.into_iter().map(|text| Persistence {
            id: text.id,
            title: text.title,
            technique: text.technique,
            agents: text.agents,
        });
        Ok(Self {
            persistence: persistence.collect(),
            persistence_paths,
            system: system.collect::<Result<_, DataError>>()?,
            system_paths,
            rebuildable: numbered([&file.rebuildable])?,
            rebuilders: programs.indices(&file.rebuilders, "places.yaml")?,
            monitor: numbered([&file.monitor])?,
            temporary: numbered([&temporary])?,
            hidden: numbered([&hidden])?,
            stores: numbered([&stores])?,
            memory_files: Globs::new(memory_files.iter().map(|text| (text.as_str(), 0)))?,
            process_viewers: programs.indices(&file.process_viewers, "places.yaml")?,
            process_files: file.process_files.into_iter().map(String::into_bytes).collect(),
            escapes: escapes.collect::<Result<_, DataError>>()?,
            escape_sockets,
        })
    }

    /// The escape with this id.
    #[must_use]
    pub fn find_escape(&self, id: &str) -> Option<EscapeIndex> {
        (0..).zip(&self.escapes).find(|(_, escape)| escape.id == id).map(|(index, _)| index)
    }

    /// Every escape.
    #[must_use]
    pub fn escapes(&self) -> &[Escape] {
        &self.escapes
    }

    /// Every kind of persistence.
    #[must_use]
    pub fn persistences(&self) -> &[Persistence] {
        &self.persistence
    }

    /// What writing `path` would make run later.
    #[must_use]
    pub fn persistence(&self, path: &[u8], homes: &Homes) -> Option<&Persistence> {
        let index = *self.persistence_paths.matches(path, homes).first()?;
        self.persistence.get(index as usize)
    }

    /// Every kind of directory of the system.
    #[must_use]
    pub fn system_places(&self) -> &[SystemPlace] {
        &self.system
    }

    /// The directory of the system that `path` lies in.
    #[must_use]
    pub fn system(&self, path: &[u8], homes: &Homes) -> Option<&SystemPlace> {
        let index = *self.system_paths.matches(path, homes).first()?;
        self.system.get(index as usize).filter(|place| !place.except.is_match(path, homes))
    }

    /// What stands at `path` can be built or fetched again.
    #[must_use]
    pub fn is_rebuildable(&self, path: &[u8], homes: &Homes) -> bool {
        self.rebuildable.is_match(path, homes)
    }

    /// One of `programs` removes files by its nature and can bring them back.
    #[must_use]
    pub fn rebuilds(&self, programs: &[ProgramIndex]) -> bool {
        programs.iter().any(|program| self.rebuilders.contains(program))
    }

    /// The path is the monitor's own.
    #[must_use]
    pub fn is_of_monitor(&self, path: &[u8], homes: &Homes) -> bool {
        self.monitor.is_match(path, homes)
    }

    /// The service behind a socket; an abstract name begins with `@`.
    #[must_use]
    pub fn escape(&self, socket: &[u8], homes: &Homes) -> Option<(EscapeIndex, &Escape)> {
        let index = *self.escape_sockets.matches(socket, homes).first()?;
        self.escapes.get(index as usize).map(|escape| (index, escape))
    }

    /// Why the place of a program is odd, if it is.
    #[must_use]
    pub fn odd_place(&self, path: &[u8], homes: &Homes) -> Option<OddPlace> {
        let temporary = self.temporary.is_match(path, homes);
        if !temporary && !self.hidden.is_match(path, homes) || self.stores.is_match(path, homes) {
            return None;
        }
        // A home directory may itself lie in a temporary place; then only what is hidden in it is odd.
        let in_home = homes.remainders(path).next();
        match in_home {
            Some(rest) if temporary => self.hidden.is_match(rest, homes).then_some(OddPlace::Hidden),
            _ if temporary => Some(OddPlace::Temporary),
            _ => Some(OddPlace::Hidden),
        }
    }

    /// One of `programs` shows processes to people.
    #[must_use]
    pub fn shows_processes(&self, programs: &[ProgramIndex]) -> bool {
        programs.iter().any(|program| self.process_viewers.contains(program))
    }

    /// A memory file by which a container runtime protects itself.
    #[must_use]
    pub fn is_known_memory_file(&self, name: &[u8]) -> bool {
        self.memory_files.is_match(name)
    }

    /// The process that a path below a mounted `/proc` opens up: its id, and the file's name.
    #[must_use]
    pub fn process_file<'path>(&self, path: &'path [u8]) -> Option<(u32, &'path [u8])> {
        let mut names = path.rsplit(|&byte| byte == b'/');
        let name = names.next()?;
        if !self.process_files.iter().any(|known| known == name) {
            return None;
        }
        let first = number(names.next()?)?;
        // `PID/task/TID/name`
        match (names.next(), names.next()) {
            (Some(b"task"), Some(process)) => number(process).map(|process| (process, name)),
            _ => Some((first, name)),
        }
    }
}

fn number(name: &[u8]) -> Option<u32> {
    std::str::from_utf8(name).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?.parse().ok()
}

fn numbered<'text>(lists: impl IntoIterator<Item = &'text Vec<String>>) -> Result<PathGlobs, DataError> {
    PathGlobs::new(
        lists
            .into_iter()
            .zip(0_u32..)
            .flat_map(|(texts, index)| texts.iter().map(move |text| (text.as_str(), index))),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> Places {
        Places::embedded(&Programs::embedded().unwrap()).unwrap()
    }

    #[test]
    fn odd_places() {
        let (places, homes) = (places(), Homes::new(&["/tmp/demo"]));
        for path in
            ["/tmp/x", "/dev/shm/x", "/home/u/.x/run", "/home/u/.hidden", "/var/tmp/a/b", "/tmp/demo/.x/y"]
        {
            assert!(places.odd_place(path.as_bytes(), &homes).is_some(), "{path}");
        }
        for path in [
            "/usr/bin/node",
            "/home/u/.npm/_npx/ab/node_modules/.bin/x",
            "/tmp/demo/.npm/_npx/ab/node_modules/x/y",
            "/home/u/.cache/uv/archive-v0/ab/bin/python",
            "/home/u/w/.venv/bin/x",
            "/home/u/.local/bin/uv",
            "/tmp/pip-build-env-1/overlay/bin/cmake",
            "/tmp/demo/server",
            "/home/u/w/node_modules/.bin/x",
        ] {
            assert_eq!(places.odd_place(path.as_bytes(), &homes), None, "{path}");
        }
    }

    #[test]
    fn process_files() {
        let places = places();
        assert_eq!(places.process_file(b"/proc/12/environ"), Some((12, &b"environ"[..])));
        assert_eq!(places.process_file(b"/mnt/12/task/13/mem"), Some((12, &b"mem"[..])));
        assert_eq!(places.process_file(b"/proc/12/status"), None);
        assert_eq!(places.process_file(b"/proc/self/environ"), None);
        assert_eq!(places.process_file(b"environ"), None);
    }

    #[test]
    fn persistence_and_escapes() {
        let (places, homes) = (places(), Homes::new::<&str>(&[]));
        let persistence =
            |path: &str| places.persistence(path.as_bytes(), &homes).map(|place| place.id.clone());
        assert_eq!(persistence("/home/u/.bashrc").as_deref(), Some("shell-start"));
        assert_eq!(persistence("/home/u/.ssh/authorized_keys").as_deref(), Some("authorized-keys"));
        assert_eq!(persistence("/etc/cron.d/x").as_deref(), Some("cron"));
        assert_eq!(persistence("/home/u/.config/systemd/user/x.service").as_deref(), Some("systemd"));
        assert_eq!(persistence("/home/u/w/.bashrc").as_deref(), None);
        let escape = |path: &str| places.escape(path.as_bytes(), &homes).map(|(_, escape)| escape.id.clone());
        assert_eq!(escape("/run/docker.sock").as_deref(), Some("docker"));
        assert_eq!(escape("/tmp/ssh-Ab/agent.77").as_deref(), Some("ssh-agent"));
        assert_eq!(escape("@/containerd-shim/a/b").as_deref(), Some("containerd"));
        assert_eq!(escape("/run/postgresql/.s.PGSQL.5432"), None);
    }
}
