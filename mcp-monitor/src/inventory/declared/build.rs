//! From entries to servers: what weaker files fill in, whether a server may run, and which of one name counts.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    Approval, ApprovalState, ArgumentPattern, DeclaredId, DeclaredServer, Place, Scope, Transport, address,
    entry::{Entry, Fault},
    extract::{Extract, Question},
    place::Base,
    table::{Client, Merge, PlaceRow, ScopeKind},
    template::Root,
};

/// What was read below one folder, by client and file of the table.
#[derive(Default)]
pub(super) struct Level {
    files: HashMap<(usize, usize), Vec<Found>>,
}

struct Found {
    path: PathBuf,
    /// The plugin, extension or profile.
    part: Option<String>,
    extract: Arc<Extract>,
}

impl Level {
    pub(super) fn add(
        &mut self,
        row: (usize, usize),
        path: PathBuf,
        part: Option<String>,
        extract: Arc<Extract>,
    ) {
        self.files.entry(row).or_default().push(Found { path, part, extract });
    }

    /// Project folders that the files name.
    pub(super) fn projects(&self) -> impl Iterator<Item = &PathBuf> {
        self.files.values().flatten().flat_map(|found| &found.extract.projects)
    }

    /// Every file, with its client.
    pub(super) fn files(&self) -> impl Iterator<Item = (usize, PathBuf)> {
        self.files.iter().flat_map(|(row, found)| found.iter().map(|found| (row.0, found.path.clone())))
    }

    /// Drops these files.
    pub(super) fn forget(&mut self, files: &HashSet<(usize, PathBuf)>) {
        for (row, found) in &mut self.files {
            found.retain(|found| !files.contains(&(row.0, found.path.clone())));
        }
    }

    fn of(&self, client: usize, source: usize) -> &[Found] {
        self.files.get(&(client, source)).map_or(&[], Vec::as_slice)
    }

    /// The entries of a client with where they stand, in the order of the table.
    fn entries<'a>(
        &'a self,
        number: usize,
        client: &'a Client,
    ) -> impl Iterator<Item = (&'a PlaceRow, &'a Found, &'a Arc<Entry>)> {
        (0..client.sources.len()).flat_map(move |source| self.of(number, source)).flat_map(move |found| {
            let entries = found.extract.entries.iter();
            entries.filter_map(move |(row, entry)| Some((client.places.get(*row)?, found, entry)))
        })
    }
}

/// The folders that matter for one declaration, from the widest to the narrowest.
pub(super) struct Levels<'a> {
    pub(super) system: &'a Level,
    pub(super) home: Option<(&'a Base, &'a Level)>,
    pub(super) project: Option<(&'a Path, &'a Level)>,
}

impl Levels<'_> {
    fn narrowest(&self) -> &Level {
        match (&self.project, &self.home) {
            (Some((_, level)), _) | (None, Some((_, level))) => level,
            (None, None) => self.system,
        }
    }

    fn by_root(&self, root: Root) -> Option<&Level> {
        match root {
            Root::System => Some(self.system),
            Root::Home => self.home.map(|(_, level)| level),
            Root::Project => self.project.map(|(_, level)| level),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Level> {
        [Some(self.system), self.home.map(|(_, level)| level), self.project.map(|(_, level)| level)]
            .into_iter()
            .flatten()
    }
}

/// Servers and faults.
#[derive(Default)]
pub(super) struct Built {
    pub(super) servers: Vec<DeclaredServer>,
    pub(super) faults: Vec<(PathBuf, Fault)>,
}

/// The servers of the narrowest of `levels`.
pub(super) fn servers(clients: &[Client], levels: &Levels<'_>, mount_namespace: Option<u64>) -> Built {
    let mut built = Built::default();
    for (number, client) in clients.iter().enumerate() {
        let weaker = weaker_entries(number, client, levels);
        for (row, found, entry) in levels.narrowest().entries(number, client) {
            let mut entry = Entry::clone(entry);
            let stronger_than = |other: &(usize, &Arc<Entry>)| other.0 > client.strength(row.scope);
            let fills = weaker.get(entry.name.as_str()).into_iter().flatten();
            for (_, other) in fills.filter(|other| stronger_than(other)) {
                entry.fill(other);
            }
            let subject = Subject { client, number, row, found, entry: &entry, levels };
            match subject.server(mount_namespace) {
                Some(Ok(server)) => built.servers.push(server),
                Some(Err(fault)) => built.faults.push((found.path.clone(), fault)),
                None => {}
            }
        }
    }
    built
}

/// Where entries are merged: those of all levels by name, strongest first.
fn weaker_entries<'a>(
    number: usize,
    client: &'a Client,
    levels: &'a Levels<'_>,
) -> HashMap<&'a str, Vec<(usize, &'a Arc<Entry>)>> {
    let mut weaker: HashMap<&str, Vec<(usize, &Arc<Entry>)>> = HashMap::new();
    if client.merge == Merge::Deep && levels.narrowest().entries(number, client).next().is_some() {
        for (row, _, entry) in levels.all().flat_map(|level| level.entries(number, client)) {
            weaker.entry(&entry.name).or_default().push((client.strength(row.scope), entry));
        }
        for entries in weaker.values_mut() {
            entries.sort_by_key(|(strength, _)| *strength);
        }
    }
    weaker
}

/// One entry with all that says something about it.
struct Subject<'a> {
    client: &'a Client,
    number: usize,
    row: &'a PlaceRow,
    found: &'a Found,
    entry: &'a Entry,
    levels: &'a Levels<'a>,
}

impl Subject<'_> {
    fn server(&self, mount_namespace: Option<u64>) -> Option<Result<DeclaredServer, Fault>> {
        let Self { client, found, entry, levels, .. } = self;
        let home = levels.home.map(|(base, _)| base);
        let uid = home.map(Base::owner);
        let scope = self.scope()?;
        let project = scope.folder().map(Path::to_owned);
        let transport = match self.transport(project.as_deref())? {
            Ok(transport) => transport,
            Err(fault) => return Some(Err(fault)),
        };
        Some(Ok(DeclaredServer {
            id: DeclaredId::new(&client.id, &scope, uid, project.as_deref(), &entry.name),
            client: client.id.clone(),
            client_name: client.name.clone(),
            approval: self.approval(project.as_deref()),
            scope,
            name: entry.name.clone(),
            transport,
            environment_names: entry.environment_names.clone(),
            uid,
            home: home.map(|base| base.path.clone()),
            project,
            place: Place { path: found.path.clone(), line: Some(entry.line), key: entry.key.clone() },
            overridden_by: None,
            overridden_in: Vec::new(),
            mount_namespace,
        }))
    }

    fn scope(&self) -> Option<Scope> {
        let part = || self.found.part.clone().unwrap_or_default();
        let folder = || self.levels.project.map(|(path, _)| path.to_owned());
        Some(match self.row.scope {
            ScopeKind::User => Scope::User,
            ScopeKind::Local => Scope::Local { project: self.entry.project.clone()? },
            ScopeKind::Project => Scope::Project { path: folder()? },
            ScopeKind::Workspace => Scope::Workspace { path: folder()? },
            ScopeKind::Profile => Scope::Profile { name: part() },
            ScopeKind::Plugin => Scope::Plugin { name: part() },
            ScopeKind::Extension => Scope::Extension { name: part() },
            ScopeKind::System => Scope::System,
            ScopeKind::Managed => Scope::Managed,
        })
    }

    fn transport(&self, project: Option<&Path>) -> Option<Result<Transport, Fault>> {
        let Self { client, found, entry, levels, .. } = self;
        let home = levels.home.and_then(|(base, _)| base.path.to_str());
        let own_folder = found.path.parent().map(|folder| {
            let hidden = folder.file_name().is_some_and(|name| name.to_string_lossy().ends_with("-plugin"));
            if hidden { folder.parent().unwrap_or(folder) } else { folder }
        });
        let known = |name: &str| match name {
            "userHome" | "HOME" | "env:HOME" => home,
            "workspaceFolder" | "workspacePath" | "CLAUDE_PROJECT_DIR" => project.and_then(Path::to_str),
            "CLAUDE_PLUGIN_ROOT" | "extensionPath" => own_folder.and_then(Path::to_str),
            "/" | "pathSeparator" => Some("/"),
            _ => None,
        };
        match (&entry.command, &entry.url) {
            (Some(command), _) if command.first().is_some_and(|program| !program.is_empty()) => {
                let all: Vec<String> =
                    command.iter().chain(entry.arguments.iter().flatten()).cloned().collect();
                let mut patterns = ArgumentPattern::list(&all, &client.variables, known).into_iter();
                let directory = entry.directory.clone().into_iter().collect::<Vec<_>>();
                let mut directory = ArgumentPattern::list(&directory, &client.variables, known).into_iter();
                Some(Ok(Transport::Stdio {
                    command: patterns.next()?,
                    arguments: patterns.collect(),
                    working_directory: directory.next(),
                }))
            }
            (_, Some(url)) => Some(Ok(address::remote(url))),
            _ if entry.silent => None,
            // A switch alone says something about a server that stands elsewhere.
            _ if entry.switch.is_some() && client.merge == Merge::Deep => None,
            _ => Some(Err(Fault {
                line: entry.line,
                key: entry.key.clone(),
                what: "has neither a command nor an address".into(),
                advice: "complete or remove it",
            })),
        }
    }

    fn approval(&self, project: Option<&Path>) -> Approval {
        let Self { client, number, row, found, entry, levels } = self;
        if let Some((key, false)) = &entry.switch {
            return Approval { state: ApprovalState::Disabled, why: Cow::Owned(format!("`{key}` says so")) };
        }
        let Some(approval) = client.approval.iter().find(|one| one.scopes.contains(&row.scope)) else {
            return Approval {
                state: ApprovalState::Approved,
                why: Cow::Borrowed("stands in the client's configuration"),
            };
        };
        let question = Question { name: &entry.name, project, part: found.part.as_deref() };
        for rule in &approval.rules {
            let Some(source) = client.sources.iter().position(|template| *template == rule.path) else {
                continue;
            };
            let Some(level) = levels.by_root(rule.path.root()) else { continue };
            for file in level.of(*number, source) {
                if let Some((state, line)) = question.ask(rule, &file.extract.facts) {
                    let key = rule.at.iter().rev().find(|key| !key.starts_with("${"));
                    let key = key.map(|key| format!(" `{key}`")).unwrap_or_default();
                    let why = format!("{}:{line}{key}", file.path.display());
                    return Approval { state, why: Cow::Owned(why) };
                }
            }
        }
        Approval { state: approval.otherwise, why: Cow::Owned(approval.why.to_string()) }
    }
}

/// Marks declarations that the client does not take since a stronger scope has one of the same name.
pub(super) fn mark_overridden(clients: &[Client], servers: &mut [DeclaredServer]) {
    type Best = (usize, Place);
    #[derive(Default)]
    struct Group {
        anywhere: Option<Best>,
        folders: HashMap<PathBuf, Best>,
    }
    let of_client: HashMap<&str, &Client> =
        clients.iter().map(|client| (client.id.as_str(), client)).collect();
    let strength = |server: &DeclaredServer| {
        of_client.get(server.client.as_str()).map_or(0, |client| client.strength(kind_of(&server.scope)))
    };
    // What nobody agreed to is not taken, and does not stand in the way of another; what is switched off stands
    // in the way only where entries are merged.
    // What a profile says counts only where that profile is used.
    let counts = |server: &DeclaredServer| match server.approval.state {
        _ if matches!(server.scope, Scope::Profile { .. }) => false,
        ApprovalState::Approved | ApprovalState::Unknown => true,
        ApprovalState::NotApproved => false,
        ApprovalState::Disabled => {
            of_client.get(server.client.as_str()).is_some_and(|client| client.merge == Merge::Deep)
        }
    };
    let key = |server: &DeclaredServer, uid: Option<u32>| {
        (server.client.clone(), server.mount_namespace, uid, server.name.clone())
    };
    let mut groups: HashMap<_, Group> = HashMap::new();
    for server in servers.iter().filter(|server| counts(server)) {
        let group = groups.entry(key(server, server.uid)).or_default();
        let best = (strength(server), server.place.clone());
        let known = match &server.project {
            Some(folder) => group.folders.get(folder),
            None => group.anywhere.as_ref(),
        };
        if known.is_none_or(|known| best.0 < known.0) {
            match &server.project {
                Some(folder) => {
                    group.folders.insert(folder.clone(), best);
                }
                None => group.anywhere = Some(best),
            }
        }
    }
    for server in servers {
        let own = strength(server);
        let everybody = groups.get(&key(server, None)).and_then(|group| group.anywhere.as_ref());
        let group = groups.get(&key(server, server.uid));
        let anywhere = group.and_then(|group| group.anywhere.as_ref());
        let here = server.project.as_ref().zip(group).and_then(|(folder, group)| group.folders.get(folder));
        let stronger = [everybody, anywhere, here].into_iter().flatten().filter(|best| best.0 < own);
        server.overridden_by = stronger.min_by_key(|best| best.0).map(|(_, place)| place.clone());
        if server.project.is_none()
            && let Some(group) = group
        {
            let folders = group.folders.iter().filter(|(_, best)| best.0 < own);
            server.overridden_in = folders.map(|(folder, _)| folder.clone()).collect();
            server.overridden_in.sort();
        }
    }
}

fn kind_of(scope: &Scope) -> ScopeKind {
    match scope {
        Scope::User => ScopeKind::User,
        Scope::Local { .. } => ScopeKind::Local,
        Scope::Project { .. } => ScopeKind::Project,
        Scope::Workspace { .. } => ScopeKind::Workspace,
        Scope::Profile { .. } => ScopeKind::Profile,
        Scope::Plugin { .. } => ScopeKind::Plugin,
        Scope::Extension { .. } => ScopeKind::Extension,
        Scope::System => ScopeKind::System,
        Scope::Managed => ScopeKind::Managed,
    }
}
