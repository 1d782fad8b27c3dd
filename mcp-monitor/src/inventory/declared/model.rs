//! What a declaration says, in the words that all clients share.

use std::{
    borrow::Cow,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::Deserialize;
use uuid::Uuid;

use super::pattern::ArgumentPattern;

/// Names the space of ids: a version 5 UUID of `mcp-monitor/declared-server` in the URL name space.
const SPACE: Uuid = Uuid::from_u128(0xae0e_e729_0d0b_550a_8a28_4873_b05b_7883);

/// A client, as `data/clients.yaml` names it, e.g. `claude-code`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientId(pub Arc<str>);

impl ClientId {
    /// The word.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for ClientId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for ClientId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A declaration's stable id: the same client, scope, user, project and name have the same id whenever and wherever
/// the file is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeclaredId(pub Uuid);

impl DeclaredId {
    /// The id of a declaration.
    #[must_use]
    pub fn new(
        client: &ClientId,
        scope: &Scope,
        uid: Option<u32>,
        project: Option<&Path>,
        name: &str,
    ) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        let uid = uid.map(|uid| uid.to_string()).unwrap_or_default();
        let project = project.map(|path| path.as_os_str().as_bytes()).unwrap_or_default();
        let part = scope.part().unwrap_or_default();
        // No part holds a NUL byte, except a name that somebody made up, and that comes last.
        let key =
            [client.as_str().as_bytes(), scope.word().as_bytes(), part.as_bytes(), uid.as_bytes(), project]
                .join(&0);
        Self(Uuid::new_v5(&SPACE, &[key.as_slice(), name.as_bytes()].join(&0)))
    }
}

impl fmt::Display for DeclaredId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// For whom a client takes a declaration into account.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// One user, everywhere.
    User,
    /// One user in one project; written down with the user.
    Local {
        /// The project's folder.
        project: PathBuf,
    },
    /// Everybody who works in the project; written down in its folder.
    Project {
        /// The project's folder.
        path: PathBuf,
    },
    /// One workspace of an editor.
    Workspace {
        /// The workspace's folder.
        path: PathBuf,
    },
    /// One profile or agent of a user's client.
    Profile {
        /// Its name.
        name: String,
    },
    /// A plugin of the client.
    Plugin {
        /// Its name.
        name: String,
    },
    /// An extension of the client.
    Extension {
        /// Its name.
        name: String,
    },
    /// Everybody on the host, as a default.
    System,
    /// Everybody on the host, by the administrator's order.
    Managed,
}

impl Scope {
    /// The scope's name without what it belongs to.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Local { .. } => "local",
            Self::Project { .. } => "project",
            Self::Workspace { .. } => "workspace",
            Self::Profile { .. } => "profile",
            Self::Plugin { .. } => "plugin",
            Self::Extension { .. } => "extension",
            Self::System => "system",
            Self::Managed => "managed",
        }
    }

    /// The profile, plugin or extension.
    #[must_use]
    pub fn part(&self) -> Option<&str> {
        match self {
            Self::Profile { name } | Self::Plugin { name } | Self::Extension { name } => Some(name),
            _ => None,
        }
    }

    /// The folder that a declaration is limited to.
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        match self {
            Self::Local { project: path } | Self::Project { path } | Self::Workspace { path } => Some(path),
            _ => None,
        }
    }
}

/// How the client reaches the server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// It starts the server and talks to it over standard input and output.
    Stdio {
        /// The program.
        command: ArgumentPattern,
        /// What follows it.
        arguments: Vec<ArgumentPattern>,
        /// Where it is started, if the declaration says so.
        working_directory: Option<ArgumentPattern>,
    },
    /// It connects to a server that runs somewhere.
    Remote {
        /// Host name or address; `None` when a variable stands for it.
        host: Option<String>,
        /// Port, also when the scheme implies it.
        port: Option<u16>,
        /// The address without user, password, query values and what else looks like a secret.
        url: String,
    },
}

/// Whether the client may start the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ApprovalState {
    /// It will.
    Approved,
    /// Somebody has to agree first, or has refused.
    NotApproved,
    /// Switched off.
    Disabled,
    /// The files do not tell.
    Unknown,
}

impl ApprovalState {
    /// The word that people and programs read.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Approved => "approved",
            Self::NotApproved => "not-approved",
            Self::Disabled => "disabled",
            Self::Unknown => "unknown",
        }
    }
}

/// Whether the client may start the server, and what says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Whether.
    pub state: ApprovalState,
    /// Why, e.g. `listed under disabledMcpjsonServers`.
    pub why: Cow<'static, str>,
}

/// Where something stands in a file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The file.
    pub path: PathBuf,
    /// Its line, counted from 1, where the parser tells it.
    pub line: Option<u32>,
    /// The key path, e.g. `mcpServers.github`.
    pub key: String,
}

/// One server that a client's configuration declares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclaredServer {
    /// Stable.
    pub id: DeclaredId,
    /// Which client.
    pub client: ClientId,
    /// The client's name for people.
    pub client_name: Arc<str>,
    /// For whom.
    pub scope: Scope,
    /// The name in the configuration: foreign text.
    pub name: String,
    /// How it is reached.
    pub transport: Transport,
    /// Names of the environment variables that the declaration sets or passes on. Never their values.
    pub environment_names: Vec<String>,
    /// Owner of the home in which, or for whom, this was found; `None` for everybody.
    pub uid: Option<u32>,
    /// That home.
    pub home: Option<PathBuf>,
    /// The project's folder, for scopes that have one.
    pub project: Option<PathBuf>,
    /// Whether it may run.
    pub approval: Approval,
    /// Where it stands.
    pub place: Place,
    /// The declaration of the same name that the client takes instead, everywhere where this one would count.
    pub overridden_by: Option<Place>,
    /// Projects in which the client takes another declaration of the same name instead.
    pub overridden_in: Vec<PathBuf>,
    /// The mount namespace in which the paths above hold; `None` for the host's own.
    pub mount_namespace: Option<u64>,
}

/// Something about a file that a person should know. Names path, line and key, never a value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Warning {
    /// The file.
    pub path: PathBuf,
    /// Its line, counted from 1.
    pub line: Option<u32>,
    /// The key path.
    pub key: Option<String>,
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub advice: Cow<'static, str>,
}

/// All that the configurations say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Declarations {
    /// In the order of client, user, project and name.
    pub servers: Vec<DeclaredServer>,
    /// What could not be read, in the order of paths.
    pub warnings: Vec<Warning>,
    /// Warnings that were left out since there were too many.
    pub warnings_suppressed: u64,
    /// The files that were read.
    pub places_read: Vec<PathBuf>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_tells_everything_apart_and_nothing_else() {
        let client = ClientId::from("claude-code");
        let id = |scope: &Scope, uid, project: Option<&str>, name| {
            DeclaredId::new(&client, scope, uid, project.map(Path::new), name)
        };
        let plugin = |name: &str| Scope::Plugin { name: name.into() };
        let all = [
            id(&Scope::User, Some(0), None, "a"),
            id(&Scope::User, Some(1), None, "a"),
            id(&Scope::User, None, None, "a"),
            id(&Scope::User, Some(0), None, "b"),
            id(&Scope::Managed, Some(0), None, "a"),
            id(&Scope::Local { project: "/p".into() }, Some(0), Some("/p"), "a"),
            id(&Scope::Local { project: "/q".into() }, Some(0), Some("/q"), "a"),
            id(&plugin("x"), Some(0), None, "a"),
            id(&plugin("y"), Some(0), None, "a"),
        ];
        let different: std::collections::HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        assert_eq!(id(&Scope::User, Some(0), None, "a"), all[0]);
        assert_eq!(all[0].to_string(), "ade2d054-9651-5303-9f39-54b6022f8607");
    }
}
