//! One entry of a configuration, in whatever words its client uses.
//!
//! Values of environment variables and headers are dropped here. Arguments and addresses are still raw: an entry
//! lives only as long as it is put together, and cannot be printed.

use std::path::PathBuf;

use super::{
    document::{Node, Pair, Value},
    table::EntryKeys,
};

/// Entries that are taken from one place.
pub(super) const ENTRIES_MAX: usize = 1000;
/// Arguments of one command.
const ARGUMENTS_MAX: usize = 512;
/// Bytes of one command with its arguments.
const COMMAND_MAX_BYTES: usize = 64 << 10;
/// Names of environment variables that are kept.
const ENVIRONMENT_MAX: usize = 256;
/// Bytes of a name.
const NAME_MAX_BYTES: usize = 512;

/// An entry as it stands in one file; what it leaves out may stand in a weaker one.
#[derive(Clone, Default)]
pub(super) struct Entry {
    pub(super) name: String,
    pub(super) line: u32,
    /// Keys to it.
    pub(super) key: String,
    /// The project that the keys name.
    pub(super) project: Option<PathBuf>,
    pub(super) command: Option<Vec<String>>,
    pub(super) arguments: Option<Vec<String>>,
    pub(super) directory: Option<String>,
    pub(super) url: Option<String>,
    pub(super) environment_names: Vec<String>,
    /// What switches it on or off: the key and whether it is on.
    pub(super) switch: Option<(String, bool)>,
    /// Known to start nothing.
    pub(super) silent: bool,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) line: u32,
    pub(super) key: String,
    pub(super) what: String,
    pub(super) advice: &'static str,
}

const FIX_FORM: &str = "correct it as the client's documentation says";

impl Entry {
    /// Fills what this leaves out from a weaker entry of the same name.
    pub(super) fn fill(&mut self, weaker: &Self) {
        if self.command.is_none() && self.url.is_none() {
            self.command.clone_from(&weaker.command);
            self.url.clone_from(&weaker.url);
            self.silent |= weaker.silent;
        }
        if self.arguments.is_none() {
            self.arguments.clone_from(&weaker.arguments);
        }
        if self.directory.is_none() {
            self.directory.clone_from(&weaker.directory);
        }
        if self.switch.is_none() {
            self.switch.clone_from(&weaker.switch);
        }
        for name in &weaker.environment_names {
            add_name(&mut self.environment_names, name);
        }
    }
}

/// The entries that stand in `servers`, a map by name or a list.
pub(super) fn entries(
    servers: &Node,
    key: &str,
    project: Option<&PathBuf>,
    keys: &EntryKeys,
    faults: &mut Vec<Fault>,
) -> Vec<Entry> {
    let named: Vec<(&str, u32, &Node)> = match &servers.value {
        Value::Map(pairs) => {
            pairs.iter().map(|Pair { key, line, node }| (key.as_str(), *line, node)).collect()
        }
        Value::List(list) => list
            .iter()
            .filter_map(|node| Some((node.get("name").and_then(Node::text)?, node.line, node)))
            .collect(),
        // A plugin may name a file instead; that file is a place of its own.
        Value::Null | Value::Text(_) => return Vec::new(),
        _ => {
            let what = format!("is {} where servers are expected", servers.kind());
            faults.push(Fault { line: servers.line, key: key.to_owned(), what, advice: FIX_FORM });
            return Vec::new();
        }
    };
    if named.len() > ENTRIES_MAX {
        let what = format!("names {} servers; the first {ENTRIES_MAX} are taken", named.len());
        let advice = "look at who wrote so many";
        faults.push(Fault { line: servers.line, key: key.to_owned(), what, advice });
    }
    named
        .into_iter()
        .take(ENTRIES_MAX)
        .filter_map(|(name, line, node)| {
            let key = format!("{key}{}{name}", if key.is_empty() { "" } else { "." });
            let fault = |node: &Node, key: String, what: String| Fault {
                line: node.line,
                key,
                what,
                advice: FIX_FORM,
            };
            if name.len() > NAME_MAX_BYTES {
                let key = key.chars().take(64).collect();
                faults.push(fault(node, key, "has a name that is too long".into()));
                return None;
            }
            if !matches!(node.value, Value::Map(_)) {
                faults.push(fault(node, key, format!("is {} where a server is expected", node.kind())));
                return None;
            }
            let mut entry =
                Entry { name: name.to_owned(), line, key, project: project.cloned(), ..Entry::default() };
            match read(&mut entry, node, keys) {
                Ok(()) => Some(entry),
                Err(wrong) => {
                    faults.push(wrong);
                    None
                }
            }
        })
        .collect()
}

fn read(entry: &mut Entry, node: &Node, keys: &EntryKeys) -> Result<(), Fault> {
    let key_of = |key: &str| format!("{}.{key}", entry.key);
    let fault = |node: &Node, key: &str, what: String| Fault {
        line: node.line,
        key: key_of(key),
        what,
        advice: FIX_FORM,
    };
    let find = |keys: &[String]| {
        keys.iter().find_map(|key| {
            let node = node.get(key)?;
            (!matches!(node.value, Value::Null)).then_some((key.clone(), node))
        })
    };
    let text = |keys: &[String]| match find(keys) {
        None => Ok(None),
        Some((key, node)) => match node.text() {
            Some(text) => Ok(Some(text.to_owned())),
            None => Err(fault(node, &key, format!("is {}, not text", node.kind()))),
        },
    };

    let mut within = node;
    entry.command = match find(&keys.command) {
        None => None,
        Some((key, command)) => match &command.value {
            Value::Text(text) => Some(vec![text.clone()]),
            Value::List(_) => Some(texts(command).map_err(|(node, what)| fault(node, &key, what))?),
            // Older Zed: {path, args, env}.
            Value::Map(_) => {
                within = command;
                command.get("path").and_then(Node::text).map(|path| vec![path.to_owned()])
            }
            _ => return Err(fault(command, &key, format!("is {}, not text", command.kind()))),
        },
    };
    entry.arguments = match keys.arguments.iter().find_map(|key| Some((key, within.get(key)?))) {
        None | Some((_, Node { value: Value::Null, .. })) => None,
        Some((key, node)) => Some(texts(node).map_err(|(node, what)| fault(node, key, what))?),
    };
    let all = || entry.command.iter().chain(&entry.arguments).flatten();
    if all().count() > ARGUMENTS_MAX || all().map(String::len).sum::<usize>() > COMMAND_MAX_BYTES {
        return Err(fault(node, "", "has too long a command line".into()));
    }
    entry.url = text(&keys.url)?;
    entry.directory = text(&keys.directory)?;
    entry.switch = find(&keys.disabled)
        .and_then(|(key, node)| Some((key, !node.truth()?)))
        .filter(|(_, on)| !on)
        .or_else(|| find(&keys.enabled).and_then(|(key, node)| Some((key, node.truth()?))));
    let kind = node.get("type").and_then(Node::text).unwrap_or_default();
    entry.silent = keys.silent_types.iter().any(|silent| silent == kind) || find(&keys.silent).is_some();

    let maps = keys.environment.iter().flat_map(|key| [node.get(key), within.get(key)]).flatten();
    let names: Vec<&str> = maps.flat_map(Node::pairs).map(|pair| pair.key.as_str()).collect();
    let listed = keys.environment_names.iter().filter_map(|key| node.get(key));
    let listed: Vec<&str> = listed
        .flat_map(|node| node.elements().iter().chain([node]))
        .filter_map(|node| node.text().or_else(|| node.get("name").and_then(Node::text)))
        .collect();
    for name in names.into_iter().chain(listed) {
        add_name(&mut entry.environment_names, name);
    }
    Ok(())
}

fn add_name(names: &mut Vec<String>, name: &str) {
    // Some write `NAME=value` where a name is expected.
    let name = name.split('=').next().unwrap_or_default();
    let fits = !name.is_empty() && name.len() <= NAME_MAX_BYTES && names.len() < ENVIRONMENT_MAX;
    if fits && !names.iter().any(|known| known == name) {
        names.push(name.to_owned());
    }
}

/// The texts of a list; numbers and truth values count as they are written.
fn texts(node: &Node) -> Result<Vec<String>, (&Node, String)> {
    if !matches!(node.value, Value::List(_)) {
        return Err((node, format!("is {}, not a list of texts", node.kind())));
    }
    node.elements()
        .iter()
        .map(|element| match element.word() {
            Some(word) => Ok(word.to_owned()),
            None => Err((element, format!("holds {}, not only texts", element.kind()))),
        })
        .collect()
}
