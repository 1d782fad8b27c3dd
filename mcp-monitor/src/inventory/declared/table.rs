//! The table of clients: `data/clients.yaml`, and what an administrator adds in files of the same form.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;

use super::{
    document::Format,
    model::{ApprovalState, ClientId},
    pattern::Variable,
    template::Template,
};

/// Where administrators put files that add to the table.
pub const ADDITIONS: &str = "/etc/mcp-monitor/clients.d";
/// Bytes of such a file.
const ADDITION_MAX_BYTES: u64 = 1 << 20;
/// Such files.
const ADDITIONS_MAX: usize = 256;

/// The table says something wrong.
#[derive(Debug, thiserror::Error)]
pub enum ClientsError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not of the form.
    #[error("{}: {message}", path.display())]
    Syntax {
        /// Which.
        path: PathBuf,
        /// What and where.
        message: String,
    },
    /// A client says something that cannot be meant.
    #[error("{}: client `{client}`: {what}", path.display())]
    Client {
        /// Which file.
        path: PathBuf,
        /// Which client.
        client: String,
        /// What is wrong.
        what: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FileText {
    clients: Vec<ClientText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientText {
    id: String,
    name: Option<String>,
    #[serde(default)]
    traces: Vec<String>,
    #[serde(default)]
    variables: Vec<Variable>,
    #[serde(default)]
    order: Vec<ScopeKind>,
    #[serde(default)]
    merge: Merge,
    #[serde(default)]
    entry: EntryKeys,
    #[serde(default)]
    places: Vec<PlaceText>,
    #[serde(default)]
    projects: Vec<ProjectsText>,
    #[serde(default)]
    approval: Vec<ApprovalText>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlaceText {
    scope: ScopeKind,
    path: String,
    #[serde(default)]
    at: Vec<String>,
    #[serde(default)]
    flat: bool,
    format: Option<Format>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProjectsText {
    path: String,
    #[serde(default)]
    at: Vec<String>,
    #[serde(default)]
    keys: bool,
    format: Option<Format>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApprovalText {
    scopes: Vec<ScopeKind>,
    #[serde(default)]
    rules: Vec<RuleText>,
    otherwise: ApprovalState,
    why: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RuleText {
    path: String,
    #[serde(default)]
    at: Vec<String>,
    format: Option<Format>,
    lists: Option<ApprovalState>,
    lacks: Option<ApprovalState>,
    is: Option<String>,
    then: Option<ApprovalState>,
    folders: Option<BTreeMap<String, ApprovalState>>,
    parent: Option<String>,
}

/// A scope without what it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ScopeKind {
    User,
    Local,
    Project,
    Workspace,
    Profile,
    Plugin,
    Extension,
    System,
    Managed,
}

/// What happens to entries of one name in several scopes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Merge {
    #[default]
    Whole,
    Deep,
}

/// The keys of an entry.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct EntryKeys {
    pub(super) command: Vec<String>,
    pub(super) arguments: Vec<String>,
    pub(super) environment: Vec<String>,
    pub(super) environment_names: Vec<String>,
    pub(super) environment_file: Vec<String>,
    pub(super) url: Vec<String>,
    pub(super) directory: Vec<String>,
    pub(super) enabled: Vec<String>,
    pub(super) disabled: Vec<String>,
    pub(super) silent: Vec<String>,
    pub(super) silent_types: Vec<String>,
}

impl Default for EntryKeys {
    fn default() -> Self {
        let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        Self {
            command: keys(&["command"]),
            arguments: keys(&["args"]),
            environment: keys(&["env"]),
            environment_names: keys(&["env_vars", "bearer_token_env_var"]),
            environment_file: keys(&["envFile"]),
            url: keys(&["url", "serverUrl", "httpUrl"]),
            directory: keys(&["cwd"]),
            enabled: keys(&["enabled"]),
            disabled: keys(&["disabled"]),
            silent: Vec::new(),
            silent_types: keys(&["sdk"]),
        }
    }
}

/// One client.
#[derive(Clone, Debug)]
pub(super) struct Client {
    pub(super) id: ClientId,
    pub(super) name: Arc<str>,
    pub(super) traces: Vec<Template>,
    pub(super) variables: Vec<Variable>,
    order: Vec<ScopeKind>,
    pub(super) merge: Merge,
    pub(super) entry: EntryKeys,
    pub(super) places: Vec<PlaceRow>,
    pub(super) projects: Vec<ProjectsRow>,
    pub(super) approval: Vec<ApprovalRow>,
    /// The different files of all rows above.
    pub(super) sources: Vec<Template>,
}

impl Client {
    /// Less is stronger.
    pub(super) fn strength(&self, scope: ScopeKind) -> usize {
        self.order.iter().position(|one| *one == scope).unwrap_or(self.order.len())
    }
}

/// Where servers stand.
#[derive(Clone, Debug)]
pub(super) struct PlaceRow {
    pub(super) scope: ScopeKind,
    pub(super) path: Template,
    pub(super) format: Format,
    pub(super) at: Vec<String>,
    pub(super) flat: bool,
}

/// Where project folders stand.
#[derive(Clone, Debug)]
pub(super) struct ProjectsRow {
    pub(super) path: Template,
    pub(super) format: Format,
    pub(super) at: Vec<String>,
    pub(super) keys: bool,
}

/// What decides whether declarations of these scopes may run.
#[derive(Clone, Debug)]
pub(super) struct ApprovalRow {
    pub(super) scopes: Vec<ScopeKind>,
    pub(super) rules: Vec<RuleRow>,
    pub(super) otherwise: ApprovalState,
    pub(super) why: Arc<str>,
}

/// One look into one file.
#[derive(Clone, Debug)]
pub(super) struct RuleRow {
    pub(super) path: Template,
    pub(super) format: Format,
    pub(super) at: Vec<String>,
    pub(super) test: Test,
}

/// What is looked for.
#[derive(Clone, Debug)]
pub(super) enum Test {
    Lists(ApprovalState),
    Lacks(ApprovalState),
    Is(String, ApprovalState),
    Folders { words: BTreeMap<String, ApprovalState>, parent: Option<String> },
}

/// The table of clients.
#[derive(Clone, Debug)]
pub struct Clients(pub(super) Arc<[Client]>);

impl Clients {
    /// The table that the program carries.
    pub fn embedded() -> Result<Self, ClientsError> {
        let mut clients = Vec::new();
        add(&mut clients, Path::new("clients.yaml"), include_str!("../../../data/clients.yaml"))?;
        Ok(Self(clients.into()))
    }

    /// The table with the files of `folder`, in the order of their names. No folder adds nothing.
    pub fn with_additions(folder: &Path) -> Result<Self, ClientsError> {
        let mut clients = Self::embedded()?.0.to_vec();
        let read = |path: &Path, source| ClientsError::Read { path: path.to_owned(), source };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self(clients.into())),
            Err(error) => return Err(read(folder, error)),
        };
        let mut paths: Vec<PathBuf> =
            entries.flatten().take(ADDITIONS_MAX).map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml"));
        paths.sort();
        for path in paths {
            use std::io::Read as _;
            let file = std::fs::File::open(&path).map_err(|error| read(&path, error))?;
            let mut text = String::new();
            let taken = file.take(ADDITION_MAX_BYTES).read_to_string(&mut text);
            taken.map_err(|error| read(&path, error))?;
            add(&mut clients, &path, &text)?;
        }
        Ok(Self(clients.into()))
    }

    /// The clients' ids and names for people.
    pub fn names(&self) -> impl Iterator<Item = (&ClientId, &str)> {
        self.0.iter().map(|client| (&client.id, &*client.name))
    }
}

fn add(clients: &mut Vec<Client>, path: &Path, text: &str) -> Result<(), ClientsError> {
    let file: FileText = serde_saphyr::from_str(text)
        .map_err(|error| ClientsError::Syntax { path: path.to_owned(), message: error.to_string() })?;
    let mut seen = HashSet::new();
    for text in file.clients {
        let id = text.id.clone();
        let wrong = |what: String| ClientsError::Client { path: path.to_owned(), client: id.clone(), what };
        if !seen.insert(id.clone()) {
            return Err(wrong("stands twice in the file".into()));
        }
        let known = clients.iter().position(|client| client.id.as_str() == id);
        match known.and_then(|at| clients.get_mut(at)) {
            Some(client) => extend(client, text).map_err(wrong)?,
            None => clients.push(client(text).map_err(wrong)?),
        }
    }
    Ok(())
}

fn client(text: ClientText) -> Result<Client, String> {
    if text.id.is_empty()
        || !text.id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    {
        return Err("an id has lower case letters, digits and `-`".into());
    }
    let mut client = Client {
        id: ClientId::from(text.id.as_str()),
        name: text.name.as_deref().ok_or("a new client needs a name")?.into(),
        traces: Vec::new(),
        variables: text.variables.clone(),
        order: text.order.clone(),
        merge: text.merge,
        entry: text.entry.clone(),
        places: Vec::new(),
        projects: Vec::new(),
        approval: Vec::new(),
        sources: Vec::new(),
    };
    append(&mut client, text)?;
    Ok(client)
}

/// What a file may add to a client that is there already.
fn extend(client: &mut Client, text: ClientText) -> Result<(), String> {
    if text.name.is_some() || !text.order.is_empty() || !text.variables.is_empty() {
        return Err("is known already: only traces, places, projects and approval can be added".into());
    }
    append(client, text)
}

fn append(client: &mut Client, text: ClientText) -> Result<(), String> {
    for trace in &text.traces {
        client.traces.extend(Template::all(trace)?);
    }
    for place in text.places {
        for path in Template::all(&place.path)? {
            let about_project = matches!(place.scope, ScopeKind::Project | ScopeKind::Workspace);
            if about_project != path.is_in_project() {
                return Err(format!("`{}`: {:?} does not go with this place", place.path, place.scope));
            }
            let format = format_of(&place.path, place.format)?;
            let PlaceText { scope, at, flat, .. } = &place;
            client.places.push(PlaceRow { scope: *scope, path, format, at: at.clone(), flat: *flat });
        }
    }
    for projects in text.projects {
        for path in Template::all(&projects.path)? {
            let format = format_of(&projects.path, projects.format)?;
            client.projects.push(ProjectsRow { path, format, at: projects.at.clone(), keys: projects.keys });
        }
    }
    for approval in text.approval {
        let mut rules = Vec::new();
        for rule in approval.rules {
            let wanted = test_of(&rule)?;
            for path in Template::all(&rule.path)? {
                let format = format_of(&rule.path, rule.format)?;
                rules.push(RuleRow { path, format, at: rule.at.clone(), test: wanted.clone() });
            }
        }
        let ApprovalText { scopes, otherwise, why, .. } = approval;
        client.approval.push(ApprovalRow { scopes, rules, otherwise, why: why.into() });
    }
    client.sources = sources(client);
    Ok(())
}

/// The different files of a client's rows, in the order of the table.
fn sources(client: &Client) -> Vec<Template> {
    let mut sources: Vec<Template> = Vec::new();
    let places = client.places.iter().map(|row| &row.path);
    let rules = client.approval.iter().flat_map(|row| &row.rules).map(|rule| &rule.path);
    for template in places.chain(client.projects.iter().map(|row| &row.path)).chain(rules) {
        if !sources.contains(template) {
            sources.push(template.clone());
        }
    }
    sources
}

fn test_of(rule: &RuleText) -> Result<Test, String> {
    let RuleText { lists, lacks, is, then, folders, parent, path, .. } = rule;
    match (lists, lacks, is, then, folders) {
        (Some(state), None, None, None, None) => Ok(Test::Lists(*state)),
        (None, Some(state), None, None, None) => Ok(Test::Lacks(*state)),
        (None, None, Some(word), Some(state), None) => Ok(Test::Is(word.clone(), *state)),
        (None, None, None, None, Some(words)) => {
            Ok(Test::Folders { words: words.clone(), parent: parent.clone() })
        }
        _ => Err(format!("the rule on `{path}` needs one of lists, lacks, is with then, folders")),
    }
}

fn format_of(path: &str, given: Option<Format>) -> Result<Format, String> {
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    match (given, end) {
        (Some(format), _) => Ok(format),
        (None, "json" | "jsonc") => Ok(Format::Json),
        (None, "toml") => Ok(Format::Toml),
        (None, "yaml" | "yml") => Ok(Format::Yaml),
        _ => Err(format!("`{path}`: its ending does not tell the format; say `format`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_right_and_holds_every_client() {
        let clients = Clients::embedded().unwrap();
        let ids: Vec<&str> = clients.names().map(|(id, _)| id.as_str()).collect();
        for id in [
            "claude-code",
            "claude-desktop",
            "cursor",
            "vscode",
            "copilot-cli",
            "jetbrains-copilot",
            "junie",
            "windsurf",
            "codex",
            "gemini-cli",
            "antigravity",
            "zed",
            "goose",
            "continue",
            "cline",
            "roo-code",
            "opencode",
            "amazon-q",
            "kiro",
            "lm-studio",
            "crush",
            "sema4",
            "openclaw",
            "hermes",
        ] {
            assert!(ids.contains(&id), "{id}");
        }
        for client in clients.0.iter() {
            let scopes: HashSet<_> = client.places.iter().map(|place| place.scope).collect();
            for scope in &scopes {
                assert!(scopes.len() == 1 || client.order.contains(scope), "{}: {scope:?}", client.id);
            }
        }
    }

    #[test]
    fn an_administrator_adds_clients_and_places_and_is_told_of_mistakes() {
        let folder = tempfile::tempdir().unwrap();
        let write = |text: &str| std::fs::write(folder.path().join("own.yaml"), text).unwrap();
        write(
            "clients:\n  - id: own\n    name: Our own\n    places:\n      - {scope: user, path: \"${home}/.own.json\", at: [s]}\n  \
             - id: codex\n    places:\n      - {scope: system, path: /opt/codex.toml, at: [mcp_servers]}\n",
        );
        let clients = Clients::with_additions(folder.path()).unwrap();
        assert!(clients.names().any(|(id, _)| id.as_str() == "own"));
        let before = Clients::embedded().unwrap();
        let places = |clients: &Clients| {
            clients.0.iter().find(|client| client.id.as_str() == "codex").map(|client| client.places.len())
        };
        assert_eq!(places(&clients), places(&before).map(|number| number + 1));

        for (text, told) in [
            ("clients:\n  - id: own\n    nam: x\n", "line 3"),
            ("clients:\n  - id: own\n    name: x\n    places: [{scope: usr, path: /x.json}]\n", "line 4"),
            ("clients:\n  - id: own\n    places: []\n", "name"),
            ("clients:\n  - {id: own, name: x, places: [{scope: user, path: x.json}]}\n", "x.json"),
            ("clients:\n  - {id: own, name: x, places: [{scope: user, path: /x}]}\n", "format"),
            (
                "clients:\n  - {id: own, name: x, places: [{scope: user, path: \"${project}/x.json\"}]}\n",
                "place",
            ),
            ("clients:\n  - {id: codex, name: x}\n", "known"),
        ] {
            write(text);
            let error = Clients::with_additions(folder.path()).unwrap_err().to_string();
            assert!(error.contains(told) && error.contains("own.yaml"), "{error}");
        }
        assert!(Clients::with_additions(Path::new("/nonexistent")).is_ok());
    }
}
