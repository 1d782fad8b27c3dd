//! The line of a declared server.

use super::{DECLARED_SERVER_SCHEMA, value::Text};
use crate::inventory::declared::{DeclaredServer, Place, Transport};
use schemars::JsonSchema;
use serde::Serialize;
use std::{os::unix::ffi::OsStrExt as _, path::Path};

/// One server that a client's configuration declares.
#[derive(Serialize, JsonSchema)]
#[schemars(title = "mcp-monitor declared server, version 1")]
pub(super) struct DeclaredServerLine<'a> {
    #[schemars(extend("const" = DECLARED_SERVER_SCHEMA))]
    schema: &'static str,
    /// The same client, scope, user, project and name have the same id, always and everywhere.
    id: String,
    /// The client's stable word, e.g. `claude-code`.
    client: &'a str,
    client_name: &'a str,
    #[schemars(extend("enum" = [
        "user", "local", "project", "workspace", "profile", "plugin", "extension", "system", "managed"
    ]))]
    scope: &'static str,
    /// The plugin, extension or profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    part: Option<Text<'a>>,
    /// The project's folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    project: Option<Text<'a>>,
    name: Text<'a>,
    transport: TransportValue<'a>,
    /// Names only, never values.
    environment_names: Vec<Text<'a>>,
    /// Owner of the home; none for everybody.
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    home: Option<Text<'a>>,
    approval: ApprovalValue<'a>,
    place: PlaceValue<'a>,
    /// What the client takes instead, everywhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    overridden_by: Option<PlaceValue<'a>>,
    /// Projects in which the client takes something else instead.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    overridden_in: Vec<Text<'a>>,
    /// Where the paths hold, if that is a container.
    #[serde(skip_serializing_if = "Option::is_none")]
    mount_namespace: Option<u64>,
}

/// How the client reaches the server.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Transport")]
#[serde(tag = "kind", rename_all = "lowercase")]
enum TransportValue<'a> {
    /// The client starts it. Secrets are masked, variables stand as they are written.
    Stdio {
        command: Text<'a>,
        #[schemars(with = "Vec<Text>")]
        args: Vec<Text<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cwd: Option<Text<'a>>,
    },
    /// It runs somewhere.
    Remote {
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<Text<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        port: Option<u16>,
        /// Masked.
        url: Text<'a>,
    },
}

/// Whether the client may start it.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Approval")]
struct ApprovalValue<'a> {
    #[schemars(extend("enum" = ["approved", "not-approved", "disabled", "unknown"]))]
    state: &'static str,
    why: Text<'a>,
}

/// Where something stands.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Place")]
struct PlaceValue<'a> {
    path: Text<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
    key: Text<'a>,
}

impl<'a> PlaceValue<'a> {
    fn new(place: &'a Place) -> Self {
        Self { path: path(&place.path), line: place.line, key: Text(place.key.as_bytes()) }
    }
}

impl<'a> DeclaredServerLine<'a> {
    pub(super) fn new(server: &'a DeclaredServer, user: Option<&'a str>) -> Self {
        Self {
            schema: DECLARED_SERVER_SCHEMA,
            id: server.id.to_string(),
            client: server.client.as_str(),
            client_name: &server.client_name,
            scope: server.scope.word(),
            part: server.scope.part().map(|part| Text(part.as_bytes())),
            project: server.project.as_deref().map(path),
            name: Text(server.name.as_bytes()),
            transport: transport(&server.transport),
            environment_names: server.environment_names.iter().map(|name| Text(name.as_bytes())).collect(),
            uid: server.uid,
            user,
            home: server.home.as_deref().map(path),
            approval: ApprovalValue {
                state: server.approval.state.name(),
                why: Text(server.approval.why.as_bytes()),
            },
            place: PlaceValue::new(&server.place),
            overridden_by: server.overridden_by.as_ref().map(PlaceValue::new),
            overridden_in: server.overridden_in.iter().map(|folder| path(folder)).collect(),
            mount_namespace: server.mount_namespace,
        }
    }
}

fn transport(transport: &Transport) -> TransportValue<'_> {
    match transport {
        Transport::Stdio { command, arguments, working_directory } => TransportValue::Stdio {
            command: Text::of(command.shown()),
            args: arguments.iter().map(|argument| Text::of(argument.shown())).collect(),
            cwd: working_directory.as_ref().map(|directory| Text::of(directory.shown())),
        },
        Transport::Remote { host, port, url } => TransportValue::Remote {
            host: host.as_ref().map(|host| Text(host.as_bytes())),
            port: *port,
            url: Text(url.as_bytes()),
        },
    }
}

fn path(path: &Path) -> Text<'_> {
    Text(path.as_os_str().as_bytes())
}
