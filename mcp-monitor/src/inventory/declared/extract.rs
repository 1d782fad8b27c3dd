//! What one file says to one client: servers, project folders, and what approval depends on.
//!
//! Made once from each version of a file and kept, so that only changed files are parsed again. The tree that the
//! parser made is gone by then, and with it every value that is not needed.

use std::{
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    document::{self, Node, Pair, Value},
    entry::{self, Entry, Fault},
    table::{Client, RuleRow, Test},
    template::Template,
};

/// Project folders that are taken from one file.
const PROJECTS_MAX: usize = 1024;
/// Values of one file that are kept for approval.
const FACTS_MAX: usize = 20_000;
/// Any key.
const ANY: &str = "*";

/// What one file says.
pub(super) struct Extract {
    /// Entries, each with the row of the client's places that it stands in.
    pub(super) entries: Vec<(usize, Arc<Entry>)>,
    pub(super) projects: Vec<PathBuf>,
    /// The part of the file that approval rules look at.
    pub(super) facts: Node,
    pub(super) faults: Vec<Fault>,
    /// There is no tree: where and why.
    pub(super) unreadable: Option<document::Unreadable>,
}

/// Reads `bytes` of a file of `template` for `client`.
pub(super) fn extract(client: &Client, template: &Template, bytes: &[u8]) -> Extract {
    let mut extract = Extract {
        entries: Vec::new(),
        projects: Vec::new(),
        facts: Node { line: 1, value: Value::Null },
        faults: Vec::new(),
        unreadable: None,
    };
    let rules = || client.approval.iter().flat_map(|row| &row.rules).filter(|rule| rule.path == *template);
    let places = || client.places.iter().enumerate().filter(|(_, place)| place.path == *template);
    let projects = || client.projects.iter().filter(|row| row.path == *template);
    let formats = places().map(|(_, place)| place.format).chain(projects().map(|row| row.format));
    let Some(format) = formats.chain(rules().map(|rule| rule.format)).next() else { return extract };
    let root = match document::parse(format, bytes) {
        Ok(root) => root,
        Err(unreadable) => {
            extract.unreadable = Some(unreadable);
            return extract;
        }
    };
    for (row, place) in places() {
        let mut found = Vec::new();
        descend(&root, &place.at, &mut Vec::new(), &mut found);
        if found.is_empty() && place.flat && is_flat(&root) {
            found.push((Vec::new(), &root));
        }
        for (keys, servers) in found {
            let named = place.at.iter().position(|key| key == ANY).and_then(|at| keys.get(at));
            let project = named.map(|name| PathBuf::from(*name));
            let faults = &mut extract.faults;
            let entries = entry::entries(servers, &keys.join("."), project.as_ref(), &client.entry, faults);
            extract.entries.extend(entries.into_iter().map(|entry| (row, Arc::new(entry))));
        }
    }
    for row in projects() {
        let mut found = Vec::new();
        descend(&root, &row.at, &mut Vec::new(), &mut found);
        for (_, node) in found {
            let keys = node.pairs().iter().map(|pair| pair.key.as_str()).filter(|_| row.keys);
            let texts =
                [node].into_iter().chain(node.elements()).filter_map(Node::text).filter(|_| !row.keys);
            extract.projects.extend(keys.chain(texts).filter_map(folder).take(PROJECTS_MAX));
        }
    }
    let wanted: Vec<&[String]> = rules().map(|rule| rule.at.as_slice()).collect();
    if !wanted.is_empty() {
        extract.facts = pruned(&root, &wanted, &mut FACTS_MAX.clone());
    }
    extract
}

/// The nodes that the keys `at` lead to, with the keys that were met on the way.
fn descend<'node>(
    node: &'node Node,
    at: &[String],
    keys: &mut Vec<&'node str>,
    found: &mut Vec<(Vec<&'node str>, &'node Node)>,
) {
    let Some((key, rest)) = at.split_first() else {
        found.push((keys.clone(), node));
        return;
    };
    for pair in node.pairs() {
        if key == ANY || pair.key == *key {
            keys.push(&pair.key);
            descend(&pair.node, rest, keys, found);
            keys.pop();
        }
    }
}

/// True for a map of servers without a key around it.
fn is_flat(root: &Node) -> bool {
    let looks_like_server =
        |node: &Node| ["command", "url", "type"].iter().any(|key| node.get(key).is_some());
    !root.pairs().is_empty() && root.pairs().iter().all(|pair| looks_like_server(&pair.node))
}

/// A folder, given as a path or as a `file:` address. Nothing of it is resolved.
fn folder(text: &str) -> Option<PathBuf> {
    let path = match text.strip_prefix("file://") {
        Some(_) => url::Url::parse(text).ok()?.to_file_path().ok()?,
        None => PathBuf::from(text),
    };
    let has_nul = path.clone().into_os_string().into_vec().contains(&0);
    (path.is_absolute() && !has_nul).then_some(path)
}

/// Only what lies on the way of `wanted`, whose placeholders stand for any key.
fn pruned(node: &Node, wanted: &[&[String]], left: &mut usize) -> Node {
    let Some(after) = left.checked_sub(1) else { return Node { line: node.line, value: Value::Null } };
    *left = after;
    let value = match &node.value {
        _ if !wanted.iter().any(|at| at.is_empty()) => {
            let mut pairs = Vec::new();
            for pair in node.pairs() {
                let fitting = |at: &&[String]| {
                    at.split_first().is_some_and(|(key, _)| *key == pair.key || key.starts_with("${"))
                };
                let rest: Vec<&[String]> =
                    wanted.iter().copied().filter(fitting).filter_map(|at| at.get(1..)).collect();
                if !rest.is_empty() {
                    let node = pruned(&pair.node, &rest, left);
                    pairs.push(Pair { key: pair.key.clone(), line: pair.line, node });
                }
            }
            Value::Map(pairs)
        }
        Value::List(list) => Value::List(list.iter().map(|node| pruned(node, &[&[]], left)).collect()),
        Value::Map(pairs) => Value::Map(
            pairs
                .iter()
                .map(|Pair { key, line, node }| {
                    // Of what lies deeper only the words are asked for.
                    let node = match node.value {
                        Value::Map(_) | Value::List(_) => Node { line: node.line, value: Value::Null },
                        _ => pruned(node, &[&[]], left),
                    };
                    Pair { key: key.clone(), line: *line, node }
                })
                .collect(),
        ),
        other => other.clone(),
    };
    Node { line: node.line, value }
}

/// What a rule says about a server.
pub(super) struct Question<'a> {
    pub(super) name: &'a str,
    pub(super) project: Option<&'a Path>,
    pub(super) part: Option<&'a str>,
}

impl Question<'_> {
    /// The state that `rule` gives by `facts`, with the line that says so.
    pub(super) fn ask(&self, rule: &RuleRow, facts: &Node) -> Option<(super::ApprovalState, u32)> {
        let mut node = facts;
        for key in &rule.at {
            node = match key.as_str() {
                "${project}" => self.nearest(node, &|_| true)?.0,
                "${part}" => node
                    .pairs()
                    .iter()
                    .find(|pair| self.part.is_some_and(|part| is_part(&pair.key, part)))
                    .map(|pair| &pair.node)?,
                key => node.get(key)?,
            };
        }
        let names = |node: &Node| {
            node.elements()
                .iter()
                .any(|one| one.text().or_else(|| one.get("serverName")?.text()) == Some(self.name))
                || node.pairs().iter().any(|pair| pair.key == self.name)
        };
        match &rule.test {
            Test::Lists(state) => names(node).then_some((*state, node.line)),
            Test::Lacks(state) => {
                let is_list = matches!(node.value, Value::List(_));
                (is_list && !names(node)).then_some((*state, node.line))
            }
            Test::Is(word, state) => (node.word() == Some(word)).then_some((*state, node.line)),
            Test::Folders { words, parent } => {
                let known = |pair: &Pair| pair.node.text().is_some_and(|word| words.contains_key(word));
                let up = |pair: &Pair| parent.as_deref() == pair.node.text();
                let (node, line) = self.nearest_with(node, &known, &up)?;
                words.get(node.text()?).map(|state| (*state, line))
            }
        }
    }

    fn nearest<'n>(&self, node: &'n Node, known: &dyn Fn(&Pair) -> bool) -> Option<(&'n Node, u32)> {
        let project = self.project?;
        let pair = node.pairs().iter().find(|pair| known(pair) && Path::new(&pair.key) == project)?;
        Some((&pair.node, pair.line))
    }

    fn nearest_with<'n>(
        &self,
        node: &'n Node,
        known: &dyn Fn(&Pair) -> bool,
        up: &dyn Fn(&Pair) -> bool,
    ) -> Option<(&'n Node, u32)> {
        let project = self.project?;
        let meant = |pair: &'n Pair| {
            let path = Path::new(&pair.key);
            if up(pair) { path.parent().unwrap_or(path) } else { path }
        };
        let fitting = node.pairs().iter().filter(|pair| known(pair) && project.starts_with(meant(pair)));
        let pair = fitting.max_by_key(|pair| meant(pair).components().count())?;
        Some((&pair.node, pair.line))
    }
}

/// True when the key of a plugin, `plugin@marketplace`, means the folder `marketplace/plugin/…`.
fn is_part(key: &str, part: &str) -> bool {
    match key.split_once('@') {
        Some((plugin, marketplace)) => {
            let mut names = part.split('/');
            names.next() == Some(marketplace) && names.next() == Some(plugin)
        }
        None => key == part,
    }
}
