//! The configuration files themselves: secrets in plain text, who may write them, `.env` files that git would take.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use ignore::gitignore::GitignoreBuilder;

use super::{
    Problem,
    file::{entries, is_literal, is_secret_name, lines},
};
use crate::{
    event::Severity,
    inventory::declared::{Declarations, DeclaredServer, Sources},
    sensor::mask,
};

/// Lines of a server's entry that are looked at.
const ENTRY_LINES_MAX: u32 = 120;
/// Folders between a project and the root of its repository.
const DEPTH_MAX: usize = 32;

pub(super) fn check(sources: &Sources, declarations: &Declarations, keep: &mut impl FnMut(Problem)) {
    let mut by_file: BTreeMap<&Path, Vec<&DeclaredServer>> = BTreeMap::new();
    for server in declarations.servers.iter().filter(|server| server.mount_namespace.is_none()) {
        by_file.entry(&server.place.path).or_default().push(server);
    }
    for (path, servers) in &by_file {
        secrets(&below(&sources.root, path), path, servers, keep);
        let uids: BTreeSet<u32> = servers.iter().filter_map(|server| server.uid).collect();
        writable(&below(&sources.root, path), path, &uids, keep);
    }
    let projects: BTreeSet<&Path> = declarations
        .servers
        .iter()
        .filter(|server| server.mount_namespace.is_none())
        .filter_map(|server| server.project.as_deref())
        .chain(sources.working.iter().map(|folder| folder.path.as_path()))
        .collect();
    for project in projects {
        environment_files(&sources.root, project, keep);
    }
}

/// `path` on a host whose files begin at `root`; homes and what is declared in them lie there already.
pub(super) fn below(root: &Path, path: &Path) -> PathBuf {
    if path.starts_with(root) {
        return path.to_owned();
    }
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Secrets that stand in an entry themselves.
fn secrets(file: &Path, shown: &Path, servers: &[&DeclaredServer], keep: &mut impl FnMut(Problem)) {
    let lines = lines(file);
    let starts: BTreeSet<u32> = servers.iter().filter_map(|server| server.place.line).collect();
    for server in servers {
        let Some(start) = server.place.line else { continue };
        let next = starts.range(start + 1..).next().copied().unwrap_or(u32::MAX);
        let end = next.min(start.saturating_add(ENTRY_LINES_MAX));
        let region = (1_u32..).zip(&lines).filter(|(number, _)| (start..end).contains(number));
        for (number, line) in region {
            let Some(name) = secret_in(line) else { continue };
            keep(Problem {
                check: "plaintext-token",
                severity: Severity::High,
                path: shown.to_owned(),
                line: Some(number),
                key: Some(format!("{}: {name}", server.name)),
                what: String::from("a secret stands in the configuration in plain text"),
                fix: String::from(
                    "Replace it at its issuer, then let the client fill in a variable or keep it in a secret store",
                ),
            });
        }
    }
}

/// What the secret on a line is called, if there is one: the key before it, or `value`.
fn secret_in(line: &str) -> Option<String> {
    let texts = quoted(line);
    let unquoted = line.split_once([':', '=']).filter(|_| texts.is_empty());
    let pairs: Vec<(String, String)> = if let Some((key, value)) = unquoted {
        vec![(key.trim().to_owned(), value.trim().to_owned())]
    } else {
        let keys = std::iter::once(String::from("value")).chain(texts.iter().cloned());
        let toml = line.split_once('=').map(|(key, _)| key.trim().trim_matches(['"', '{']).to_owned());
        let mut pairs: Vec<_> = keys.zip(texts.iter().cloned()).collect();
        if let (Some(key), Some(first)) = (toml.filter(|key| !key.contains(['"', ' '])), texts.first()) {
            pairs.push((key, first.clone()));
        }
        pairs
    };
    let is_secret = |(key, value): &&(String, String)| {
        is_literal(value)
            && (is_secret_name(key) && !value.starts_with(['{', '['])
                || mask::text(value.as_bytes()).as_slice() != value.as_bytes())
    };
    pairs.iter().find(is_secret).map(|(key, _)| {
        let plain = key.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '_' | '-' | '.'));
        // What is no name might be a secret itself.
        if plain && mask::text(key.as_bytes()).as_slice() == key.as_bytes() {
            key.clone()
        } else {
            "value".into()
        }
    })
}

/// The texts in double quotes.
fn quoted(line: &str) -> Vec<String> {
    let (mut texts, mut inside, mut text, mut escaped) = (Vec::new(), false, String::new(), false);
    for character in line.chars() {
        match character {
            '"' if !escaped => {
                if inside {
                    texts.push(std::mem::take(&mut text));
                }
                inside = !inside;
            }
            _ if inside => text.push(character),
            _ => {}
        }
        escaped = character == '\\' && !escaped;
    }
    texts
}

/// Who may write the configuration says which programs the client starts.
fn writable(file: &Path, shown: &Path, uids: &BTreeSet<u32>, keep: &mut impl FnMut(Problem)) {
    for (path, shown, kind) in
        [(Some(file), Some(shown), "file"), (file.parent(), shown.parent(), "directory")]
    {
        let (Some(path), Some(shown)) = (path, shown) else { continue };
        let Ok(metadata) = fs::symlink_metadata(path) else { continue };
        if metadata.file_type().is_symlink() {
            continue;
        }
        let sticky = metadata.is_dir() && metadata.mode() & 0o1000 != 0;
        let mut problem = |what: String, fix: String| {
            keep(Problem {
                check: "config-writable",
                severity: Severity::High,
                path: shown.to_owned(),
                line: None,
                key: None,
                what,
                fix,
            });
        };
        if metadata.mode() & 0o022 != 0 && !sticky {
            let mode = metadata.mode() & 0o7777;
            problem(
                format!(
                    "others may write this {kind} (mode {mode:04o}) and with it choose what the client starts"
                ),
                format!("Run `chmod go-w {}`", shown.display()),
            );
        }
        let owner = metadata.uid();
        if kind == "file" && owner != 0 && !uids.is_empty() && !uids.contains(&owner) {
            problem(
                format!("user {owner} owns this file and with it chooses what somebody else's client starts"),
                format!("Run `chown` on {}", shown.display()),
            );
        }
    }
}

/// `.env` files of a project that the next `git add` would take.
fn environment_files(root: &Path, project: &Path, keep: &mut impl FnMut(Problem)) {
    let folder = below(root, project);
    let Some(repository) = folder.ancestors().take(DEPTH_MAX).find(|folder| folder.join(".git").exists())
    else {
        return;
    };
    let mut builder = GitignoreBuilder::new(repository);
    let folders: Vec<_> = folder.ancestors().take_while(|one| one.starts_with(repository)).collect();
    // The nearest file counts most and is read last. What cannot be read ignores nothing.
    let _ = builder.add(repository.join(".git/info/exclude"));
    for folder in folders.into_iter().rev() {
        let _ = builder.add(folder.join(".gitignore"));
    }
    let Ok(ignored) = builder.build() else { return };
    for path in entries(&folder) {
        let Some(name) = path.file_name().and_then(|name| name.to_str()) else { continue };
        let harmless = ["example", "sample", "template", "dist"].iter().any(|ending| name.ends_with(ending));
        let is_one = name == ".env" || name.starts_with(".env.");
        if !is_one || harmless || !fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file()) {
            continue;
        }
        if !ignored.matched_path_or_any_parents(&path, false).is_ignore() {
            keep(Problem {
                check: "env-file-unignored",
                severity: Severity::Medium,
                path: project.join(name),
                line: None,
                key: None,
                what: String::from("git does not ignore this file of secrets"),
                fix: format!("Add `{name}` to .gitignore; if it was ever committed, replace what it holds"),
            });
        }
    }
}
