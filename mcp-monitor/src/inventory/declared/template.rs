//! Paths as the table of clients writes them: a root, names, and wildcards.

use std::path::{Path, PathBuf};

/// What a path is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Root {
    /// A user's home.
    Home,
    /// A project's folder.
    Project,
    /// The host.
    System,
}

/// A path of the table.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Template {
    /// The variable that replaces the begin, where it is set.
    variable: Option<String>,
    /// How many of `names` it replaces.
    replaced: usize,
    root: Root,
    names: Vec<String>,
}

/// A template with its root and variable resolved: the names below the root, or below a folder that a variable names.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Pattern {
    pub(super) root: Root,
    /// Names a folder outside the root when the caller's environment does.
    pub(super) folder: Option<PathBuf>,
    pub(super) names: Vec<String>,
}

impl Template {
    /// The templates that `text` stands for: several with `{a,b}`.
    pub(super) fn all(text: &str) -> Result<Vec<Self>, String> {
        alternatives(text).iter().map(|one| Self::new(one)).collect()
    }

    fn new(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}`: a path begins with ${{home}}/, ${{project}}/ or /");
        let (variable, default, rest) = match text.strip_prefix("${").filter(|text| text.contains(":-")) {
            None => (None, text, ""),
            Some(inner) => {
                let (name, rest) = inner.split_once(":-").ok_or_else(wrong)?;
                let (default, rest) = closed(rest).ok_or_else(wrong)?;
                (Some(name.to_owned()), default, rest)
            }
        };
        let (root, below) = if let Some(below) = default.strip_prefix("${home}") {
            (Root::Home, below)
        } else if let Some(below) = default.strip_prefix("${project}") {
            (Root::Project, below)
        } else if default.starts_with('/') {
            (Root::System, default)
        } else {
            return Err(wrong());
        };
        let names = |text: &str| -> Vec<String> {
            text.split('/').filter(|name| !name.is_empty()).map(str::to_owned).collect()
        };
        let mut all = names(below);
        let replaced = all.len();
        all.extend(names(rest));
        let is_path = below.is_empty() || below.starts_with('/');
        if !is_path || all.iter().any(|name| name == ".." || name.contains("${")) {
            return Err(wrong());
        }
        Ok(Self { variable, replaced, root, names: all })
    }

    pub(super) fn is_in_project(&self) -> bool {
        self.root == Root::Project
    }

    pub(super) fn root(&self) -> Root {
        self.root
    }

    /// The pattern, with what the environment says; `environment` answers only for the caller's own home.
    pub(super) fn resolve(&self, environment: impl Fn(&str) -> Option<PathBuf>) -> Pattern {
        let given = self.variable.as_deref().and_then(environment).filter(|path| path.is_absolute());
        match given {
            Some(folder) => Pattern {
                root: self.root,
                folder: Some(folder),
                names: self.names.get(self.replaced..).unwrap_or_default().to_vec(),
            },
            None => Pattern { root: self.root, folder: None, names: self.names.clone() },
        }
    }
}

impl Pattern {
    /// The names before the first wildcard.
    pub(super) fn literal(&self) -> PathBuf {
        self.names.iter().take_while(|name| !is_wild(name)).collect()
    }

    /// What the wildcards of `path` (below the root) matched, which names a plugin, an extension or a profile.
    pub(super) fn part(&self, path: &Path) -> Option<String> {
        let first = self.names.iter().position(|name| is_wild(name))?;
        let tail = self.names.iter().rev().take_while(|name| !is_wild(name)).count();
        let names: Vec<_> = path.iter().map(|name| name.to_string_lossy()).collect();
        let part = names.get(first..names.len().saturating_sub(tail))?.join("/");
        // A name such as `*.config.toml` tells its wildcard alone.
        let part = match self.names.get(first).and_then(|name| name.strip_prefix('*')) {
            Some(end) if tail == 0 => part.strip_suffix(end).unwrap_or(&part).to_owned(),
            _ => part,
        };
        Some(part)
    }
}

/// True for a name that stands for several.
pub(super) fn is_wild(name: &str) -> bool {
    name.contains('*')
}

/// True when `name` fits `pattern`, in which `*` stands for any text.
pub(super) fn fits(pattern: &str, name: &[u8]) -> bool {
    let mut parts = pattern.split('*').map(str::as_bytes);
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts: Vec<&[u8]> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        if part.is_empty() {
            continue;
        }
        let Some(at) = rest.windows(part.len()).position(|window| window == part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.ends_with(last)
}

/// The text before the brace that closes, and what follows it.
fn closed(text: &str) -> Option<(&str, &str)> {
    let mut depth = 1;
    for (at, character) in text.char_indices() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((text.get(..at)?, text.get(at + 1..)?));
        }
    }
    None
}

/// `{a,b}` written out; the braces of `${x}` are none of these.
fn alternatives(text: &str) -> Vec<String> {
    let opens = text.match_indices('{').map(|(at, _)| at);
    let mut plain = opens.filter(|at| !text.get(..*at).is_some_and(|before| before.ends_with('$')));
    let found = plain.find_map(|open| {
        let (before, after) = text.split_at(open);
        let (inner, rest) = closed(after.strip_prefix('{')?)?;
        inner.contains(',').then(|| (before.to_owned(), inner.to_owned(), rest.to_owned()))
    });
    let Some((before, inner, rest)) = found else { return vec![text.to_owned()] };
    inner.split(',').flat_map(|choice| alternatives(&format!("{before}{choice}{rest}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Template {
        Template::all(text).unwrap().remove(0)
    }

    #[test]
    fn paths_have_roots_variables_and_alternatives() {
        let plain = one("${home}/.cursor/mcp.json").resolve(|_| None);
        assert_eq!((plain.root, plain.names.join("/")), (Root::Home, ".cursor/mcp.json".into()));
        let template = one("${CODEX_HOME:-${home}/.codex}/config.toml");
        assert_eq!(template.resolve(|_| None).names.join("/"), ".codex/config.toml");
        let moved = template.resolve(|name| (name == "CODEX_HOME").then(|| "/srv/codex".into()));
        assert_eq!((moved.folder, moved.names), (Some("/srv/codex".into()), vec!["config.toml".into()]));
        assert_eq!(one("/etc/x.json").resolve(|_| None).root, Root::System);
        let several = Template::all("${A:-${home}/x}/{b,c d}/{e,f}.json").unwrap();
        assert_eq!(several.len(), 4);
        assert_eq!(several[3].resolve(|_| None).names.join("/"), "x/c d/f.json");
        for wrong in ["x", "${home}x/y", "${home}/../y", "${A:-x}/y", "${home}/${x}"] {
            assert!(Template::all(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn wildcards_name_parts() {
        let part = |template: &str, path: &str| one(template).resolve(|_| None).part(Path::new(path));
        assert_eq!(part("${home}/e/*/x.json", "e/git/x.json").as_deref(), Some("git"));
        assert_eq!(part("${home}/p/**/.x/y.json", "p/a/b/.x/y.json").as_deref(), Some("a/b"));
        assert_eq!(part("${home}/c/*.config.toml", "c/work.config.toml").as_deref(), Some("work"));
        assert_eq!(part("${home}/c/x.toml", "c/x.toml"), None);
        assert!(fits("*.json", b"a.json") && !fits("*.json", b"a.jso") && fits("a*b*c", b"axxbc"));
        assert!(fits("x", b"x") && !fits("x", b"xy") && !fits("a*a", b"a"));
    }
}
