//! Every place of the table in every home, project and container that is known, as servers and warnings.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Declarations, DeclaredServer, Warning,
    build::{self, Level, Levels},
    extract::{Extract, extract},
    place::{Base, Refused, Stamp},
    table::{Client, Clients},
    template::Root,
};

/// Projects of one home.
const PROJECTS_MAX: usize = 1024;
/// Warnings that are kept.
pub(super) const WARNINGS_MAX: usize = 256;
/// Files whose content is remembered.
const FILES_MAX: usize = 65_536;
/// Names that are waited for.
const WATCHED_MAX: usize = 65_536;

/// A home and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Home {
    /// The folder.
    pub path: PathBuf,
    /// Its owner. A folder that belongs to somebody else is no home.
    pub uid: u32,
}

/// A folder that somebody works in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct WorkingFolder {
    /// The folder.
    pub path: PathBuf,
    /// Who.
    pub uid: u32,
}

/// What to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sources {
    /// Root of the host's files; `/` but for tests.
    pub root: PathBuf,
    /// Homes on the host.
    pub homes: Vec<Home>,
    /// Working directories of running agents.
    pub working: Vec<WorkingFolder>,
    /// One process of each container whose homes are looked at, by its mount namespace.
    pub containers: BTreeMap<u64, u32>,
    /// Take variables such as `CODEX_HOME` for the home of this uid from the environment of this process.
    pub own_environment: Option<u32>,
}

impl Sources {
    /// The host's own files, and these homes.
    #[must_use]
    pub fn new(homes: Vec<Home>) -> Self {
        Self {
            root: "/".into(),
            homes,
            working: Vec::new(),
            containers: BTreeMap::new(),
            own_environment: None,
        }
    }
}

/// Reads what [`Sources`] name; remembers what it read, so that only changed files are parsed again.
pub struct Scanner {
    clients: Clients,
    files: HashMap<FileKey, Remembered>,
    round: u64,
    parsed: u64,
}

type FileKey = (usize, usize, u64, PathBuf);

struct Remembered {
    stamp: Stamp,
    extract: Arc<Extract>,
    round: u64,
}

/// Directories in which something may appear, each with the names that matter; none for any name.
pub(super) type Waited = BTreeMap<PathBuf, BTreeSet<std::ffi::OsString>>;

/// What a scan came to.
pub(super) struct Scanned {
    pub(super) declarations: Declarations,
    pub(super) waited: Waited,
}

impl Scanner {
    /// With this table.
    #[must_use]
    pub fn new(clients: Clients) -> Self {
        Self { clients, files: HashMap::new(), round: 0, parsed: 0 }
    }

    /// Files that were parsed since the begin; a file that did not change counts once.
    #[must_use]
    pub fn parsed(&self) -> u64 {
        self.parsed
    }

    /// Looks at everything.
    pub fn scan(&mut self, sources: &Sources) -> Declarations {
        self.scan_watched(sources).declarations
    }

    pub(super) fn scan_watched(&mut self, sources: &Sources) -> Scanned {
        self.round += 1;
        let clients = self.clients.0.clone();
        let mut pass = Pass {
            scanner: self,
            sources,
            clients: &clients,
            servers: Vec::new(),
            warnings: BTreeSet::new(),
            suppressed: 0,
            read: BTreeSet::new(),
            waited: Waited::new(),
            namespace: None,
        };
        pass.host();
        for (namespace, pid) in &sources.containers {
            pass.container(*namespace, *pid);
        }
        let Pass { mut servers, warnings, suppressed, read, waited, .. } = pass;
        build::mark_overridden(&clients, &mut servers);
        servers.sort_by(|a, b| {
            let key = |server: &DeclaredServer| {
                (
                    server.client.clone(),
                    server.uid,
                    server.scope.clone(),
                    server.name.clone(),
                    server.place.clone(),
                )
            };
            key(a).cmp(&key(b))
        });
        let round = self.round;
        self.files.retain(|_, file| file.round == round);
        Scanned {
            declarations: Declarations {
                servers,
                warnings: warnings.into_iter().collect(),
                warnings_suppressed: suppressed,
                places_read: read.into_iter().collect(),
            },
            waited,
        }
    }
}

/// One scan on its way.
struct Pass<'a> {
    scanner: &'a mut Scanner,
    sources: &'a Sources,
    clients: &'a Arc<[Client]>,
    servers: Vec<DeclaredServer>,
    warnings: BTreeSet<Warning>,
    suppressed: u64,
    read: BTreeSet<PathBuf>,
    waited: Waited,
    /// Of the container that is being looked at.
    namespace: Option<u64>,
}

impl Pass<'_> {
    fn host(&mut self) {
        let system = Base::system(&self.sources.root)
            .map_or_else(Level::default, |base| self.level(&base, None, Root::System, |_| None, |_| true));
        self.servers_of(&Levels { system: &system, home: None, project: None });
        let mut homes: Vec<&Home> = self.sources.homes.iter().collect();
        homes.sort_by_key(|home| (&home.path, home.uid));
        homes.dedup();
        for home in homes {
            let Some(base) = Base::home(&home.path, home.uid) else { continue };
            let working = self.sources.working.iter().filter(|folder| folder.uid == home.uid);
            let working: Vec<PathBuf> = working.map(|folder| folder.path.clone()).collect();
            self.home(&base, &system, working, |path| Base::folder(path, home.uid));
        }
    }

    /// The homes that a container's own passwd file names, and the working directories in them.
    fn container(&mut self, namespace: u64, pid: u32) {
        let Some(root) = Base::of_process(pid) else { return };
        self.namespace = Some(namespace);
        let system = self.level(&root, None, Root::System, |_| None, |_| true);
        self.servers_of(&Levels { system: &system, home: None, project: None });
        for path in super::homes::of_container(&root) {
            let Some(base) = root.below(&path) else { continue };
            let owner = base.owner();
            let project = |path: &Path| root.below(path).map(|base| base.owned_by(owner));
            self.home(&base, &system, Vec::new(), project);
        }
        self.namespace = None;
    }

    fn home(
        &mut self,
        base: &Base,
        system: &Level,
        working: Vec<PathBuf>,
        project_base: impl Fn(&Path) -> Option<Base>,
    ) {
        let is_own = self.namespace.is_none() && self.sources.own_environment == Some(base.owner());
        let environment = |name: &str| is_own.then(|| std::env::var_os(name).map(PathBuf::from)).flatten();
        let home = self.level(base, None, Root::Home, environment, |_| true);
        self.servers_of(&Levels { system, home: Some((base, &home)), project: None });

        let mut projects: BTreeSet<PathBuf> = home.projects().cloned().collect();
        projects.extend(working);
        if projects.len() > PROJECTS_MAX {
            self.warn(
                base.path.clone(),
                None,
                None,
                format!("knows {} projects; the first {PROJECTS_MAX} are looked at", projects.len()),
                "remove those that are not used any more",
            );
        }
        let traced: Vec<bool> = self
            .clients
            .iter()
            .map(|client| {
                let mut traces = client.traces.iter().map(|trace| trace.resolve(environment));
                client.traces.is_empty()
                    || traces.any(|trace| match &trace.folder {
                        Some(folder) => folder.exists(),
                        None => base.has(&trace.literal()),
                    })
            })
            .collect();
        for path in projects.into_iter().take(PROJECTS_MAX) {
            let Some(folder) = project_base(&path) else { continue };
            let traced = |client: usize| traced.get(client).copied().unwrap_or(true);
            let mut project = self.level(&folder, Some(base), Root::Project, |_| None, traced);
            // In a home that is a project, too, the files of the user are not those of a project.
            let already: HashSet<_> = home.files().collect();
            project.forget(&already);
            self.servers_of(&Levels { system, home: Some((base, &home)), project: Some((&path, &project)) });
        }
    }

    /// Reads every file of the table below `base`.
    fn level(
        &mut self,
        base: &Base,
        home: Option<&Base>,
        root: Root,
        environment: impl Fn(&str) -> Option<PathBuf>,
        counts: impl Fn(usize) -> bool,
    ) -> Level {
        let mut level = Level::default();
        let mut directories: HashMap<PathBuf, bool> = HashMap::new();
        let clients = self.clients.clone();
        for (number, client) in clients.iter().enumerate().filter(|(number, _)| counts(*number)) {
            for (source, template) in client.sources.iter().enumerate() {
                let pattern = template.resolve(&environment);
                if pattern.root != root {
                    continue;
                }
                let elsewhere = match &pattern.folder {
                    Some(folder) => match Base::folder(folder, base.owner()) {
                        Some(base) => Some(base),
                        None => continue,
                    },
                    None => None,
                };
                let base = elsewhere.as_ref().unwrap_or(base);
                let literal = pattern.literal();
                // Most clients are not there at all: their folder is asked for once.
                let parent = if literal.iter().count() == pattern.names.len() {
                    literal.parent().unwrap_or(Path::new("")).to_owned()
                } else {
                    literal.clone()
                };
                if elsewhere.is_none() && !self.is_there(base, &parent, &mut directories) {
                    continue;
                }
                let (paths, listed) = base.expand(&pattern.names);
                for directory in listed {
                    self.wait_any(base.path.join(directory));
                }
                for path in paths {
                    if let Some(extract) = self.file(base, home, (number, source), &path) {
                        let part = pattern.part(&path);
                        level.add((number, source), base.path.join(&path), part, extract);
                    }
                }
            }
        }
        level
    }

    /// True if the directory is there; else waits for the first part of it that is not.
    fn is_there(&mut self, base: &Base, path: &Path, known: &mut HashMap<PathBuf, bool>) -> bool {
        if let Some(there) = known.get(path) {
            return *there;
        }
        let there = base.has_directory(path)
            && path
                .parent()
                .is_none_or(|parent| path.as_os_str().is_empty() || self.is_there(base, parent, known));
        if !there
            && let (Some(parent), Some(name)) = (path.parent(), path.file_name())
            && self.is_there(base, parent, known)
        {
            self.wait(base.path.join(parent), name);
        }
        known.insert(path.to_owned(), there);
        there
    }

    fn wait(&mut self, directory: PathBuf, name: &std::ffi::OsStr) {
        if self.namespace.is_none()
            && (self.waited.len() < WATCHED_MAX || self.waited.contains_key(&directory))
        {
            match self.waited.get_mut(&directory) {
                // Already any name.
                Some(names) if names.is_empty() => {}
                Some(names) => {
                    names.insert(name.to_owned());
                }
                None => {
                    self.waited.insert(directory, BTreeSet::from([name.to_owned()]));
                }
            }
        }
    }

    fn wait_any(&mut self, directory: PathBuf) {
        if self.namespace.is_none()
            && (self.waited.len() < WATCHED_MAX || self.waited.contains_key(&directory))
        {
            self.waited.insert(directory, BTreeSet::new());
        }
    }

    fn file(
        &mut self,
        base: &Base,
        home: Option<&Base>,
        row: (usize, usize),
        path: &Path,
    ) -> Option<Arc<Extract>> {
        let shown = base.path.join(path);
        if let (Some(parent), Some(name)) = (shown.parent(), shown.file_name()) {
            self.wait(parent.to_owned(), name);
        }
        let refuse = |pass: &mut Self, Refused { what, advice }: Refused| {
            pass.warn(shown.clone(), None, None, what, advice);
            None
        };
        let found = match base.find(path, home) {
            Ok(found) => found?,
            Err(refused) => return refuse(self, refused),
        };
        let key = (row.0, row.1, self.namespace.unwrap_or(0), shown.clone());
        let round = self.scanner.round;
        let extract = match self.scanner.files.get_mut(&key) {
            Some(known) if known.stamp == found.stamp => {
                known.round = round;
                known.extract.clone()
            }
            _ => {
                let stamp = found.stamp;
                let bytes = match found.read() {
                    Ok(bytes) => bytes,
                    Err(refused) => return refuse(self, refused),
                };
                let client = self.clients.get(row.0)?;
                let extract = Arc::new(extract(client, client.sources.get(row.1)?, &bytes));
                self.scanner.parsed += 1;
                if self.scanner.files.len() < FILES_MAX {
                    self.scanner.files.insert(key, Remembered { stamp, extract: extract.clone(), round });
                }
                extract
            }
        };
        self.read.insert(shown.clone());
        if let Some(unreadable) = &extract.unreadable {
            let advice = "correct the file; nothing in it is known";
            self.warn(shown, unreadable.line, None, unreadable.what.clone(), advice);
            return None;
        }
        for fault in &extract.faults {
            let key = Some(fault.key.clone());
            self.warn(shown.clone(), Some(fault.line), key, fault.what.clone(), fault.advice);
        }
        Some(extract)
    }

    fn warn(
        &mut self,
        path: PathBuf,
        line: Option<u32>,
        key: Option<String>,
        what: String,
        advice: &'static str,
    ) {
        let warning = Warning { path, line, key, what, advice: advice.into() };
        if self.warnings.len() < WARNINGS_MAX {
            self.warnings.insert(warning);
        } else if !self.warnings.contains(&warning) {
            self.suppressed += 1;
        }
    }

    fn servers_of(&mut self, levels: &Levels<'_>) {
        let built = build::servers(self.clients, levels, self.namespace);
        self.servers.extend(built.servers);
        for (path, fault) in built.faults {
            self.warn(path, Some(fault.line), Some(fault.key), fault.what, fault.advice);
        }
    }
}
