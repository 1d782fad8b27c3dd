//! A first expectation without watching: what follows from the declaration and from what is declared elsewhere.
//!
//! A section that nothing is known of is left out, since an empty list would forbid everything and a left-out one says
//! nothing. Whatever the checks refuse stands in the draft as a comment, so that every draft can be taken as it is.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

use super::propose::quoted;
use crate::{
    event::escape,
    expectation::file::{
        compile::escaped,
        read::Source,
        set::{Embedded, Set},
    },
    inventory::declared::grants::{Grant, Grants},
};

/// Rounds in which refused lines become comments.
const ROUNDS_MAX: usize = 64;
/// Arguments that are looked at.
const ARGUMENTS_MAX: usize = 256;

/// What is known of a workload that nobody has watched.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// Its name in the inventory.
    pub name: String,
    /// The client that declares it.
    pub client: Option<String>,
    /// Its package, with the registry and without version.
    pub package: Option<String>,
    /// What executes it.
    pub runtime: Option<String>,
    /// The image, where it is meant by that.
    pub image: Option<String>,
    /// What follows the program, as it was written.
    pub arguments: Vec<String>,
    /// Where it works.
    pub working_directory: Option<PathBuf>,
    /// The home of who declares it.
    pub home: Option<PathBuf>,
    /// Where the declaration stands.
    pub place: String,
    /// What is declared elsewhere.
    pub grants: Grants,
}

/// A line of a list.
#[derive(Clone, Debug)]
struct Entry {
    text: String,
    why: String,
}

/// Writes the draft.
pub fn draft(known: &Known) -> Result<String, crate::expectation::data::DataError> {
    let text = written(known);
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for _ in 0..ROUNDS_MAX {
        let text = lines.join("\n") + "\n";
        let source = Source { path: PathBuf::from("draft"), text: text.clone() };
        let mistakes = match Set::of_sources(&[source]) {
            Ok(_) => return Ok(text),
            Err(crate::expectation::file::set::SetError::Data(error)) => return Err(error),
            Err(crate::expectation::file::set::SetError::Load(error)) => error.0,
        };
        let mut changed = false;
        for mistake in mistakes {
            let at = mistake.place.and_then(|(line, _)| usize::try_from(line).ok()?.checked_sub(1));
            let Some(line) = at.and_then(|at| lines.get_mut(at)) else { continue };
            if !line.trim_start().starts_with('#') {
                *line = format!("# not taken ({}): {}", escape(mistake.message.as_bytes()), line.trim());
                changed = true;
            }
        }
        close_empty(&mut lines);
        if !changed {
            break;
        }
    }
    // Not reached by anything the writer makes; a draft that cannot be taken would still say so when it is checked.
    Ok(lines.join("\n") + "\n")
}

/// `key:` whose entries are all comments is an empty list.
fn close_empty(lines: &mut [String]) {
    for at in 0..lines.len() {
        let is_open = lines
            .get(at)
            .is_some_and(|line| line.ends_with(':') && line != "files:" && !line.starts_with('#'));
        if !is_open {
            continue;
        }
        let next = lines.iter().skip(at + 1).find(|line| !line.trim_start().starts_with('#'));
        if !next.is_some_and(|line| line.trim_start().starts_with("- "))
            && let Some(line) = lines.get_mut(at)
        {
            line.push_str(" []");
        }
    }
}

fn written(known: &Known) -> String {
    let Known { name, client, package, runtime, image, place, grants, .. } = known;
    let mut text = String::new();
    let _ = writeln!(text, "# Drafted from {}; nothing was watched.", escape(place.as_bytes()));
    text.push_str("# What is not listed here is judged as without an expectation. `mcp-monitor expect learn` finds the rest.\n");
    for note in &grants.notes {
        let _ = writeln!(text, "# {}", escape(note.as_bytes()));
    }
    text.push_str("apiVersion: mcp-monitor/v1\n");
    match image {
        Some(image) => {
            let _ = writeln!(text, "match: {{image: {}}}", quoted(without_digest(image)));
        }
        None => {
            let _ = writeln!(text, "workload: {}", quoted(name));
        }
    }
    if let Some(client) = client {
        let _ = writeln!(text, "client: {}", quoted(client));
    }
    if let Some(package) = package {
        let _ = writeln!(text, "# package: {}", escape(package.as_bytes()));
    }
    if let Some(runtime) = runtime.as_ref().filter(|runtime| is_profile(runtime)) {
        let _ = writeln!(text, "runtime: {runtime}");
    }
    let roots = roots(known);
    let read: Vec<Entry> = roots.iter().cloned().chain(known.paths(&grants.read)).collect();
    let write: Option<Vec<Entry>> = match &grants.write {
        Some(write) => Some(known.paths(write).collect()),
        None if roots.is_empty() => None,
        None => Some(
            roots
                .iter()
                .map(|entry| Entry {
                    text: entry.text.clone(),
                    why: format!("{}; review: take it out if the server only reads", entry.why),
                })
                .collect(),
        ),
    };
    if !read.is_empty() || write.is_some() {
        text.push_str("files:\n");
        if !read.is_empty() {
            list(&mut text, "  read", &read, "  ");
        }
        if let Some(write) = &write {
            list(&mut text, "  write", write, "  ");
        }
    }
    text.push_str("secrets: []\n");
    if let Some(egress) = &grants.egress {
        list(&mut text, "egress", &plain(egress), "");
    }
    if !grants.listen.is_empty() {
        list(&mut text, "listen", &plain(&grants.listen), "");
    }
    text.push_str("mode: alert\n");
    text.push_str(
        "# `promote` asks for --accept-gaps while there is any.\ngaps:\n  - \"nothing was watched\"\n",
    );
    text
}

impl Known {
    fn paths<'all>(&'all self, grants: &'all [Grant]) -> impl Iterator<Item = Entry> + 'all {
        grants
            .iter()
            .filter_map(|grant| Some(Entry { text: self.pattern(&grant.what)?, why: grant.source.clone() }))
    }

    /// A path as an expectation writes it; a directory stands for all it holds.
    fn pattern(&self, given: &str) -> Option<String> {
        let home = self.home.as_deref();
        let project = self.working_directory.as_deref();
        let variables = ["${workspaceFolder}", "${workspaceRoot}", "${PWD}", "$PWD", "."];
        let homes = ["~", "$HOME", "${HOME}", "${userHome}", "${env:HOME}"];
        let rest_of = |variable: &str| {
            let rest = given.strip_prefix(variable)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| rest.trim_matches('/').to_owned())
        };
        let (begin, rest, real) = if let Some(rest) = variables.into_iter().find_map(rest_of) {
            ("${workspace}", rest.clone(), project.map(|project| project.join(rest)))
        } else if let Some(rest) = homes.into_iter().find_map(rest_of) {
            ("${home}", rest.clone(), home.map(|home| home.join(rest)))
        } else if given.starts_with('/') {
            let path = Path::new(given);
            let below = |folder: Option<&Path>| Some(path.strip_prefix(folder?).ok()?.to_str()?.to_owned());
            match (below(project), below(home)) {
                (Some(rest), _) => ("${workspace}", rest, Some(path.to_owned())),
                (None, Some(rest)) => ("${home}", rest, Some(path.to_owned())),
                (None, None) => ("", given.trim_start_matches('/').to_owned(), Some(path.to_owned())),
            }
        } else if given.contains('/')
            && !given.contains("://")
            && !given.starts_with('@')
            && !given.contains(['$', ' '])
        {
            ("${workspace}", given.trim_matches('/').to_owned(), project.map(|project| project.join(given)))
        } else {
            return None;
        };
        let is_glob = rest.contains('*');
        let rest = if is_glob { rest } else { escaped(&rest) };
        let slash = if rest.is_empty() { "" } else { "/" };
        let is_file = is_glob || real.as_deref().is_some_and(is_file);
        Some(format!("{begin}{slash}{rest}{}", if is_file { "" } else { "/**" }))
    }
}

/// Folders and files among the arguments.
fn roots(known: &Known) -> Vec<Entry> {
    let mut roots: Vec<Entry> = Vec::new();
    for argument in known.arguments.iter().take(ARGUMENTS_MAX) {
        // Both `/data` and `--root=/data`.
        let given = argument.split_once('=').map_or(argument.as_str(), |(_, value)| value);
        let is_path = given.starts_with('/')
            || given.starts_with('~')
            || ["${workspaceFolder}", "${workspaceRoot}", "$HOME", "${HOME}", "${userHome}", "${PWD}", "./"]
                .iter()
                .any(|begin| given.starts_with(begin))
            || given == ".";
        if let Some(text) = known.pattern(given).filter(|_| is_path)
            && !roots.iter().any(|entry| entry.text == text)
            && !matches!(text.as_str(), "/**" | "${home}/**")
        {
            roots.push(Entry { text, why: String::from("given in its arguments") });
        }
    }
    roots
}

/// A file and no folder; of what is not there the name decides.
fn is_file(path: &Path) -> bool {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => {
            !metadata.is_dir() && !metadata.is_symlink() || metadata.is_symlink() && path.is_file()
        }
        Err(_) => path.extension().is_some(),
    }
}

fn is_profile(runtime: &str) -> bool {
    Embedded::new().is_ok_and(|embedded| embedded.profiles.find(runtime).is_some())
}

fn without_digest(image: &str) -> &str {
    image.split('@').next().unwrap_or(image)
}

fn plain(grants: &[Grant]) -> Vec<Entry> {
    grants.iter().map(|grant| Entry { text: grant.what.clone(), why: grant.source.clone() }).collect()
}

fn list(text: &mut String, key: &str, entries: &[Entry], indent: &str) {
    if entries.is_empty() {
        let _ = writeln!(text, "{key}: []");
        return;
    }
    let _ = writeln!(text, "{key}:");
    let mut seen = std::collections::BTreeSet::new();
    for Entry { text: value, why } in entries.iter().filter(|entry| seen.insert(entry.text.as_str())) {
        let _ = writeln!(text, "{indent}  - {}  # {}", quoted(value), escape(why.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(what: &str) -> Grant {
        Grant { what: what.into(), source: "somewhere".into() }
    }

    #[test]
    fn a_draft_says_what_is_declared_and_can_be_taken_as_it_is() {
        let known = Known {
            name: "files".into(),
            client: Some("claude-code".into()),
            package: Some("npm:@modelcontextprotocol/server-filesystem".into()),
            runtime: Some("node".into()),
            arguments: vec![
                "/home/ann/shop".into(),
                "~/notes".into(),
                "--log=/var/log/x.log".into(),
                "--fast".into(),
            ],
            working_directory: Some("/home/ann/shop".into()),
            home: Some("/home/ann".into()),
            place: "/home/ann/.claude.json:3".into(),
            grants: Grants {
                egress: Some(vec![grant("api.github.com:443"), grant("*.com")]),
                ..Grants::default()
            },
            ..Known::default()
        };
        let text = draft(&known).unwrap();
        let taken = Set::of_sources(&[Source { path: "d.yaml".into(), text: text.clone() }]);
        assert!(taken.is_ok(), "{text}");
        insta::assert_snapshot!(text);
    }

    #[test]
    fn nothing_known_forbids_nothing_but_secrets() {
        let text = draft(&Known { name: "x".into(), place: "y".into(), ..Known::default() }).unwrap();
        assert!(!text.contains("exec") && !text.contains("files:") && !text.contains("egress"), "{text}");
        let none = Grants { egress: Some(vec![grant("*.com")]), ..Grants::default() };
        let text =
            draft(&Known { name: "x".into(), place: "y".into(), grants: none, ..Known::default() }).unwrap();
        assert!(text.contains("egress: []"), "{text}");
    }
}
