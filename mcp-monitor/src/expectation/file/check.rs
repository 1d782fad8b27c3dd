//! From the text of a document to an expectation that can be relied on: every value is understood or refused.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    destination::{self, Destination},
    error::{Mistake, Mistakes, line, nearest_of},
    format::{Document, Text},
    selector::{REGISTRIES, Selector},
    times::Times,
};
use crate::expectation::{
    catalogue::{Catalogue, EntryIndex},
    glob::Globs,
    profile::{ProfileIndex, Profiles},
};
use serde_saphyr::Spanned;

/// Values of one list.
const VALUES_MAX: usize = 10_000;
/// Variables that a path may begin with.
pub const VARIABLES: [&str; 4] = ["workspace", "home", "package", "cache"];
/// Version of the format.
const API_VERSION: &str = "mcp-monitor/v1";

/// What comes of what is not expected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Not judged: it is learnt from. What is never learnt is found all the same.
    Learn,
    /// Judged and recorded, and no finding.
    Observe,
    /// A finding.
    #[default]
    Alert,
}

impl Mode {
    const WORDS: [(&'static str, Self); 3] =
        [("learn", Self::Learn), ("observe", Self::Observe), ("alert", Self::Alert)];

    /// The word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Learn => "learn",
            Self::Observe => "observe",
            Self::Alert => "alert",
        }
    }
}

/// A part of an expectation that has a mode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Section {
    /// `files.read`.
    Read,
    /// `files.write`.
    Write,
    /// `secrets`.
    Secrets,
    /// `exec`.
    Exec,
    /// `egress`.
    Egress,
    /// `listen`.
    Listen,
    /// `clients`.
    Clients,
    /// `unix`.
    Unix,
}

impl Section {
    /// The key.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "files.read",
            Self::Write => "files.write",
            Self::Secrets => "secrets",
            Self::Exec => "exec",
            Self::Egress => "egress",
            Self::Listen => "listen",
            Self::Clients => "clients",
            Self::Unix => "unix",
        }
    }
}

/// A list of an expectation: where it begins, and its values with their lines.
#[derive(Clone, Debug)]
pub struct List<T> {
    /// Line of the list.
    pub line: u32,
    /// Values and lines.
    pub values: Vec<(T, u32)>,
}

/// A program that may be run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Program {
    /// The glob of a path.
    Path(String),
    /// A name in the directories of programs.
    Name(String),
    /// What lies in the package: registry and name.
    Package(String, String),
}

/// A secret that may be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// An entry of the catalogue.
    Entry(EntryIndex),
    /// A path.
    Path(String),
}

/// Who may connect.
#[derive(Clone, Debug)]
pub enum Client {
    /// Whoever comes from there.
    Address(Destination),
    /// This host.
    Localhost,
    /// Through a socket in the file system.
    Unix,
}

/// An expectation that was understood.
#[derive(Clone, Debug)]
pub struct Expectation {
    /// Its name for people.
    pub name: String,
    /// Its file.
    pub file: PathBuf,
    /// The line on which it begins.
    pub line: u32,
    /// The column.
    pub column: u32,
    /// Which text of the file: the beginning of its SHA-256.
    pub revision: Arc<str>,
    /// Whom it means.
    pub selector: Selector,
    /// A profile beside the program's own.
    pub runtime: Option<ProfileIndex>,
    /// `files.read`.
    pub read: Option<List<String>>,
    /// `files.write`.
    pub write: Option<List<String>>,
    /// `secrets`.
    pub secrets: Option<List<Secret>>,
    /// `exec`.
    pub exec: Option<List<Program>>,
    /// `egress`.
    pub egress: Option<List<Destination>>,
    /// `listen`.
    pub listen: Option<List<Destination>>,
    /// `clients`.
    pub clients: Option<List<Client>>,
    /// `unix`.
    pub unix: Option<List<String>>,
    /// `times`; empty for always.
    pub times: Vec<Times>,
    /// `mode`.
    pub mode: Mode,
    /// `enforce`.
    pub enforce: Vec<(Section, Mode)>,
    /// `gaps`.
    pub gaps: Vec<String>,
}

impl Expectation {
    /// The mode of a section.
    #[must_use]
    pub fn mode_of(&self, section: Section) -> Mode {
        self.enforce.iter().find(|(of, _)| *of == section).map_or(self.mode, |(_, mode)| *mode)
    }
}

/// What a document may refer to.
#[derive(Clone, Copy, Debug)]
pub struct Known<'all> {
    /// The secrets.
    pub catalogue: &'all Catalogue,
    /// The profiles.
    pub profiles: &'all Profiles,
}

/// Understands every document of a file.
pub fn file(
    path: &Path,
    text: &str,
    revision: &Arc<str>,
    known: Known,
) -> Result<Vec<Expectation>, Vec<Mistake>> {
    let mut mistakes = Mistakes::new(path);
    let documents: Vec<Spanned<Document>> = match serde_saphyr::from_multiple(text) {
        Ok(documents) => documents,
        Err(error) => {
            mistakes.syntax(&error);
            return Err(mistakes.found());
        }
    };
    if documents.is_empty() {
        mistakes.whole("says nothing; remove the file, or write an expectation");
    }
    let understood: Vec<_> = documents
        .iter()
        .map(|document| expectation(path, document, revision, known, &mut mistakes))
        .collect();
    let found = mistakes.found();
    if found.is_empty() { Ok(understood) } else { Err(found) }
}

fn expectation(
    path: &Path,
    spanned: &Spanned<Document>,
    revision: &Arc<str>,
    known: Known,
    mistakes: &mut Mistakes,
) -> Expectation {
    let document = &spanned.value;
    if document.api_version.value != API_VERSION {
        mistakes.at(
            &document.api_version,
            format!("`{}` is not understood; write `{API_VERSION}`", document.api_version.value),
        );
    }
    let selector = Selector::check(document, mistakes);
    let runtime = document.runtime.as_ref().and_then(|runtime| {
        let index = known.profiles.find(&runtime.value);
        if index.is_none() {
            let names: Vec<_> = known.profiles.names().collect();
            mistakes.at(
                runtime,
                format!("unknown runtime `{}`{}", runtime.value, nearest_of(&runtime.value, &names)),
            );
        }
        index
    });
    let files = document.files.as_ref();
    let mode = document.mode.as_ref().map_or(Mode::Alert, |text| mode(text, mistakes));
    let name = document.workload.as_ref().or_else(|| {
        let matching = &document.matching.as_ref()?.value;
        let all = [
            &matching.package,
            &matching.image,
            &matching.unit,
            &matching.command,
            &matching.exe,
            &matching.label,
        ];
        all.into_iter().flatten().next()
    });
    let mut gaps = Vec::new();
    gaps.extend(document.gaps.iter().flatten().map(|gap| gap.value.clone()));
    Expectation {
        name: name.map_or_else(String::new, |name| name.value.clone()),
        file: path.to_owned(),
        line: line(&document.api_version),
        column: super::error::place(document.api_version.referenced).map_or(1, |(_, column)| column),
        revision: Arc::clone(revision),
        selector,
        runtime,
        read: list(files.and_then(|files| files.read.as_ref()), mistakes, path_pattern),
        write: list(files.and_then(|files| files.write.as_ref()), mistakes, path_pattern),
        secrets: list(document.secrets.as_ref(), mistakes, |text| secret(text, known.catalogue)),
        exec: list(document.exec.as_ref(), mistakes, program),
        egress: list(document.egress.as_ref(), mistakes, destination::parse),
        listen: list(document.listen.as_ref(), mistakes, listener),
        clients: list(document.clients.as_ref(), mistakes, client),
        unix: list(document.unix.as_ref(), mistakes, socket),
        times: document.times.iter().flatten().map(|times| Times::check(times, mistakes)).collect(),
        mode,
        enforce: enforce(document, mistakes),
        gaps,
    }
}

fn list<T>(
    texts: Option<&Spanned<Vec<Text>>>,
    mistakes: &mut Mistakes,
    understand: impl Fn(&str) -> Result<T, String>,
) -> Option<List<T>> {
    let texts = texts?;
    if texts.value.len() > VALUES_MAX {
        mistakes.at(texts, format!("more than {VALUES_MAX} values"));
        return None;
    }
    let mut values = Vec::new();
    for text in &texts.value {
        match understand(&text.value) {
            Ok(value) => values.push((value, line(text))),
            Err(message) => mistakes.at(text, format!("`{}`: {message}", text.value)),
        }
    }
    Some(List { line: line(texts), values })
}

fn mode(text: &Text, mistakes: &mut Mistakes) -> Mode {
    if let Some((_, mode)) = Mode::WORDS.iter().find(|(word, _)| *word == text.value) {
        return *mode;
    }
    if matches!(text.value.as_str(), "deny" | "kill") {
        mistakes.at(text, format!("mode `{}` is not enforced in this version; write `alert`", text.value));
    } else {
        let words = Mode::WORDS.map(|(word, _)| word);
        mistakes.at(text, format!("unknown mode `{}`{}", text.value, nearest_of(&text.value, &words)));
    }
    Mode::Alert
}

fn enforce(document: &Document, mistakes: &mut Mistakes) -> Vec<(Section, Mode)> {
    let Some(enforce) = &document.enforce else { return Vec::new() };
    let all = [
        (Section::Read, &enforce.files),
        (Section::Secrets, &enforce.secrets),
        (Section::Exec, &enforce.exec),
        (Section::Egress, &enforce.egress),
        (Section::Listen, &enforce.listen),
        (Section::Clients, &enforce.clients),
        (Section::Unix, &enforce.unix),
    ];
    let mut modes = Vec::new();
    for (section, text) in all {
        let Some(text) = text else { continue };
        let mode = mode(text, mistakes);
        modes.push((section, mode));
        if section == Section::Read {
            modes.push((Section::Write, mode));
        }
    }
    modes
}

/// A path that can be met: absolute or with a variable first, without parts that no resolved path has.
pub(super) fn path_pattern(text: &str) -> Result<String, String> {
    let text = text.strip_prefix("~/").map_or_else(|| text.to_owned(), |rest| format!("${{home}}/{rest}"));
    let rest = if let Some(after) = text.strip_prefix("${") {
        let (name, rest) = after.split_once('}').ok_or("`${` is not closed")?;
        if !VARIABLES.contains(&name) {
            return Err(format!("unknown variable `${{{name}}}`{}", nearest_of(name, &VARIABLES)));
        }
        if !rest.is_empty() && !rest.starts_with('/') {
            return Err(format!("a variable is a whole directory; did you mean `${{{name}}}/{rest}`?"));
        }
        if name == "home" && matches!(rest, "" | "/" | "/**" | "/*") {
            return Err(String::from(
                "this is a whole home, with everything that people keep there; name what is needed",
            ));
        }
        rest.to_owned()
    } else if text.starts_with('/') {
        if matches!(text.trim_end_matches('/'), "" | "/**" | "/*") {
            return Err(String::from(
                "this is every file; a monitor that expects everything has nothing to tell",
            ));
        }
        text.clone()
    } else if let Some(rest) = text.strip_prefix("**/") {
        if rest.trim_matches(['*', '/', '?']).is_empty() {
            return Err(String::from(
                "this is every file; a monitor that expects everything has nothing to tell",
            ));
        }
        format!("/{rest}")
    } else {
        return Err(format!(
            "a path begins with `/`, `**/` or a variable; did you mean `${{workspace}}/{}`?",
            text.trim_start_matches("./")
        ));
    };
    if rest.contains("${") {
        return Err(String::from("a variable stands at the beginning only"));
    }
    let trimmed = rest.strip_prefix('/').unwrap_or(&rest);
    if rest.ends_with('/') {
        return Err(format!("for everything in a directory write `{text}**`"));
    }
    for name in trimmed.split('/').filter(|_| !trimmed.is_empty()) {
        match name {
            "" => return Err(String::from("`//` stands in no resolved path")),
            "." | ".." => return Err(format!("`{name}` stands in no resolved path; write where it leads")),
            "**" => {}
            name if name.contains("**") => {
                return Err(String::from("`**` stands for whole directories only, as in `/a/**/b`"));
            }
            _ => {}
        }
    }
    Globs::new([(rest.as_str(), 0)]).map_err(|error| match error {
        crate::expectation::data::DataError::Pattern { message, .. } => message,
        other => other.to_string(),
    })?;
    Ok(text)
}

fn secret(text: &str, catalogue: &Catalogue) -> Result<Secret, String> {
    if let Some(entry) = catalogue.find(text) {
        return Ok(Secret::Entry(entry));
    }
    if text.contains('/') {
        if text.contains(['*', '?', '[', '{']) && !text.starts_with("${") {
            return Err(String::from("a secret is named by itself, without wildcards"));
        }
        let pattern = path_pattern(text)?;
        if pattern.split_once('}').map_or(pattern.as_str(), |(_, rest)| rest).contains(['*', '?', '[', '{']) {
            return Err(String::from("a secret is named by itself, without wildcards"));
        }
        return Ok(Secret::Path(pattern));
    }
    let ids: Vec<_> = catalogue.entries().map(|(_, entry)| entry.id.as_str()).collect();
    Err(format!("is neither an entry of the secrets catalogue nor a path{}", nearest_of(text, &ids)))
}

fn program(text: &str) -> Result<Program, String> {
    if text.starts_with(['/', '$', '~']) || text.starts_with("**/") {
        return path_pattern(text).map(Program::Path);
    }
    if let Some((registry, name)) = text.split_once(':') {
        if !REGISTRIES.contains(&registry) {
            return Err(format!("unknown registry `{registry}`{}", nearest_of(registry, &REGISTRIES)));
        }
        if !matches!(registry, "npm" | "pypi") {
            return Err(format!("where packages of `{registry}` lie is not known; give the path"));
        }
        return Ok(Program::Package(registry.to_owned(), name.to_owned()));
    }
    if text.is_empty() || text.contains('/') {
        return Err(String::from("give a name, as in `git`, or a path that begins with `/`"));
    }
    if text.contains(['*', '?', '[', '{']) {
        return Err(String::from("a name has no wildcards; give a path, as in `/usr/bin/python3*`"));
    }
    Ok(Program::Name(text.to_owned()))
}

/// `*:PORT` is every address of this host.
fn listener(text: &str) -> Result<Destination, String> {
    let destination = match text.strip_prefix("*:") {
        Some(ports) => destination::parse(&format!("0.0.0.0:{ports}"))?,
        None => destination::parse(text)?,
    };
    match destination.host {
        crate::expectation::Egress::Address(..) => Ok(destination),
        _ => Err(String::from("write `ADDRESS:PORT` or `*:PORT`")),
    }
}

fn client(text: &str) -> Result<Client, String> {
    match text {
        "localhost" => Ok(Client::Localhost),
        "unix" => Ok(Client::Unix),
        _ => {
            let destination = destination::parse(text)?;
            if matches!(destination.host, crate::expectation::Egress::Name(..)) {
                let hint = nearest_of(text, &["localhost", "unix"]);
                return Err(format!("who connects is known by address only{hint}"));
            }
            Ok(Client::Address(destination))
        }
    }
}

fn socket(text: &str) -> Result<String, String> {
    if let Some(name) = text.strip_prefix('@') {
        Globs::new([(name, 0)]).map_err(|error| error.to_string())?;
        return Ok(text.to_owned());
    }
    path_pattern(text)
}
