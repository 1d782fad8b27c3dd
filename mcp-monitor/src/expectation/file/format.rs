//! The text of an expectation, as it is written. Every value keeps its place, so that a mistake can be shown.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::Spanned;

/// A text with its place.
pub type Text = Spanned<String>;

/// What one workload may do.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "mcp-monitor expectation, version 1", rename = "Expectation")]
pub struct Document {
    /// Version of this format.
    #[serde(rename = "apiVersion")]
    #[schemars(with = "String", extend("const" = "mcp-monitor/v1"))]
    pub api_version: Text,
    /// The workload, as the inventory names it.
    #[schemars(with = "Option<String>")]
    pub workload: Option<Text>,
    /// The workload by what it is. All that is given must fit.
    #[serde(rename = "match")]
    #[schemars(with = "Option<Match>")]
    pub matching: Option<Spanned<Match>>,
    /// Only when this client declares or started it, such as `claude-code`.
    #[schemars(with = "Option<String>")]
    pub client: Option<Text>,
    /// The profile of what the runtime itself needs, such as `node`. Not needed where the program shows it.
    #[schemars(with = "Option<String>")]
    pub runtime: Option<Text>,
    /// Files. What is left out says nothing; an empty list allows nothing.
    pub files: Option<Files>,
    /// Secrets that may be read: entries of the secrets catalogue, or paths without wildcards.
    #[schemars(with = "Option<Vec<String>>")]
    pub secrets: Option<Spanned<Vec<Text>>>,
    /// Programs that may be run: by path, by name, or by package (`npm:NAME`, `pypi:NAME`). An interpreter is meant by
    /// the script that it runs.
    #[schemars(with = "Option<Vec<String>>")]
    pub exec: Option<Spanned<Vec<Text>>>,
    /// Destinations: `NAME`, `*.NAME`, `ADDRESS` or `NETWORK/BITS`, with `:PORT` or `:FIRST-LAST`, and `/tcp` or `/udp`.
    #[schemars(with = "Option<Vec<String>>")]
    pub egress: Option<Spanned<Vec<Text>>>,
    /// Addresses and ports on which it may listen for other hosts: `ADDRESS:PORT`, `*:PORT`.
    #[schemars(with = "Option<Vec<String>>")]
    pub listen: Option<Spanned<Vec<Text>>>,
    /// Who may connect to it: `ADDRESS`, `NETWORK/BITS`, `localhost` or `unix`.
    #[schemars(with = "Option<Vec<String>>")]
    pub clients: Option<Spanned<Vec<Text>>>,
    /// Sockets in the file system (or, with `@`, abstract ones) that it may connect to.
    #[schemars(with = "Option<Vec<String>>")]
    pub unix: Option<Spanned<Vec<Text>>>,
    /// Only at these times; at others nothing of this is expected.
    pub times: Option<Vec<Times>>,
    /// Only in this context; one document for each context.
    #[schemars(with = "Option<When>")]
    pub when: Option<Spanned<When>>,
    /// What comes of what is not expected.
    #[schemars(with = "Option<String>", extend("enum" = ["learn", "observe", "alert", null]))]
    pub mode: Option<Text>,
    /// Modes of single sections, in place of `mode`.
    pub enforce: Option<Enforce>,
    /// What the observation that this was learnt from did not see. `promote` asks for consent while there is any.
    #[schemars(with = "Option<Vec<String>>")]
    pub gaps: Option<Vec<Text>>,
}

/// A workload by what it is.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Match {
    /// The command of its declaration: a name or the glob of a path.
    #[schemars(with = "Option<String>")]
    pub command: Option<Text>,
    /// Its package without version: `npm:@scope/name`, `pypi:name`.
    #[schemars(with = "Option<String>")]
    pub package: Option<Text>,
    /// The container's image: a glob; without tag and digest it means all of them.
    #[schemars(with = "Option<String>")]
    pub image: Option<Text>,
    /// A label of the container: `KEY=VALUE`.
    #[schemars(with = "Option<String>")]
    pub label: Option<Text>,
    /// The systemd unit, such as `github-mcp.service`.
    #[schemars(with = "Option<String>")]
    pub unit: Option<Text>,
    /// The resolved path of its program: a glob.
    #[schemars(with = "Option<String>")]
    pub exe: Option<Text>,
}

/// Files, as globs: `*` and `?` stay within one name, `**` does not. They begin with `/`, `${workspace}`, `${home}`,
/// `${package}`, `${cache}` or `**/`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// May be read, in addition to what the runtime needs.
    #[schemars(with = "Option<Vec<String>>")]
    pub read: Option<Spanned<Vec<Text>>>,
    /// May be made, written, renamed and removed.
    #[schemars(with = "Option<Vec<String>>")]
    pub write: Option<Spanned<Vec<Text>>>,
}

/// Days and hours.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// `mon` … `sun`, or `mon-fri`; every day when left out.
    #[schemars(with = "Option<Vec<String>>")]
    pub days: Option<Vec<Text>>,
    /// From this time of day, `HH:MM`.
    #[schemars(with = "Option<String>")]
    pub from: Option<Text>,
    /// Until this time of day, `HH:MM`, itself excluded; before `from` it means the next day.
    #[schemars(with = "Option<String>")]
    pub to: Option<Text>,
    /// The time zone, such as `Europe/Berlin`; `UTC` when left out.
    #[schemars(with = "Option<String>")]
    pub zone: Option<Text>,
}

/// A context.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct When {
    /// The client that declares or started it.
    #[schemars(with = "Option<String>")]
    pub client: Option<Text>,
    /// The user that it runs as, by name.
    #[schemars(with = "Option<String>")]
    pub user: Option<Text>,
    /// The workload that started it, by name.
    #[schemars(with = "Option<String>")]
    pub parent: Option<Text>,
}

/// Modes of sections.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Enforce {
    /// Of `files`.
    #[schemars(with = "Option<String>")]
    pub files: Option<Text>,
    /// Of `secrets`.
    #[schemars(with = "Option<String>")]
    pub secrets: Option<Text>,
    /// Of `exec`.
    #[schemars(with = "Option<String>")]
    pub exec: Option<Text>,
    /// Of `egress`.
    #[schemars(with = "Option<String>")]
    pub egress: Option<Text>,
    /// Of `listen`.
    #[schemars(with = "Option<String>")]
    pub listen: Option<Text>,
    /// Of `clients`.
    #[schemars(with = "Option<String>")]
    pub clients: Option<Text>,
    /// Of `unix`.
    #[schemars(with = "Option<String>")]
    pub unix: Option<Text>,
}

/// The format's JSON Schema.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Document>()
}
