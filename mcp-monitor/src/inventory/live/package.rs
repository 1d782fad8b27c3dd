//! Packages as launchers name them: registry, name, version.

use std::fmt;

use crate::event::{Bytes, escape};

/// Longest name and version that are kept.
const NAME_MAX_BYTES: usize = 256;

/// Something that a registry hands out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Package {
    /// `npm`, `pypi`, `jsr`, `oci`, `go`, `nuget`, `maven`, or `git`, `file`, `url` for what comes from elsewhere.
    pub registry: String,
    /// The name, without version; of foreign bytes, escaped.
    pub name: String,
    /// The version that was asked for, if one was; escaped.
    pub version: Option<String>,
}

impl fmt::Display for Package {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.registry, self.name)?;
        match &self.version {
            Some(version) if self.registry == "pypi" => write!(formatter, "=={version}"),
            Some(version) => write!(formatter, "@{version}"),
            None => Ok(()),
        }
    }
}

impl Package {
    /// Registry and name, which an upgrade does not change.
    #[must_use]
    pub fn key(&self) -> String {
        format!("{}:{}", self.registry, self.name)
    }

    /// What `text` means to a launcher whose packages come from `registry`.
    #[must_use]
    pub fn parse(registry: &str, text: &[u8]) -> Option<Self> {
        let text = text.get(..text.len().min(4 * NAME_MAX_BYTES)).unwrap_or(text);
        if text.is_empty() || text.starts_with(b"-") {
            return None;
        }
        let text = escape(text);
        if let Some(elsewhere) = elsewhere(&text) {
            return Some(elsewhere);
        }
        let (name, version) = match registry {
            "npm" | "jsr" => npm(&text),
            "pypi" => pypi(&text)?,
            "oci" => oci(&text),
            _ => split_at(&text, '@'),
        };
        Self::new(registry, &name, version.as_deref())
    }

    /// A package of known parts.
    #[must_use]
    pub fn new(registry: &str, name: &str, version: Option<&str>) -> Option<Self> {
        let name = if registry == "pypi" { normal_python_name(name) } else { name.to_owned() };
        let version = version.filter(|version| !version.is_empty() && version.len() <= NAME_MAX_BYTES);
        (!name.is_empty() && name.len() <= NAME_MAX_BYTES).then(|| Self {
            registry: registry.to_owned(),
            name,
            version: version.map(str::to_owned),
        })
    }

    /// The package in whose folder below `node_modules` a script lies. The version is known where the folders of a
    /// package manager tell it.
    #[must_use]
    pub fn of_node_script(path: &[u8]) -> Option<Self> {
        let names: Vec<&[u8]> = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        let at = names.iter().rposition(|name| *name == b"node_modules")?;
        let first = *names.get(at + 1)?;
        if first == b".bin" {
            // `.bunx-0/@scope/name@version/node_modules/.bin/x`: only bun says there whose program it is.
            let bun = names.iter().position(|name| name.starts_with(b".bunx-"))?;
            let spec = names.get(bun + 1..at)?.join(&b'/');
            return Self::parse("npm", &spec);
        }
        let name =
            if first.starts_with(b"@") { [first, *names.get(at + 2)?].join(&b'/') } else { first.to_vec() };
        let name = escape(&name);
        let store = at.checked_sub(1).and_then(|before| names.get(before)).map(|store| escape(store));
        let version = store.and_then(|store| {
            let (stored, rest) = store.rsplit_once(&format!("{}@", name.replace('/', "+")))?;
            let version = rest.split(['_', '(']).next()?;
            (stored.is_empty() && !version.is_empty()).then(|| version.to_owned())
        });
        Self::new("npm", &name, version.as_deref())
    }

    /// The last part of the name, which people know it by.
    #[must_use]
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or(&self.name)
    }
}

/// PEP 503: lower case, and one dash for any run of dashes, dots and underscores.
fn normal_python_name(name: &str) -> String {
    let mut normal = String::with_capacity(name.len());
    for character in name.chars() {
        if matches!(character, '-' | '_' | '.') {
            if !normal.ends_with('-') {
                normal.push('-');
            }
        } else {
            normal.extend(character.to_lowercase());
        }
    }
    normal
}

/// Git repositories, archives and folders.
fn elsewhere(text: &str) -> Option<Package> {
    let is_path = text.starts_with("./") || text.starts_with("../") || text.starts_with('/') || text == ".";
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let registry = match scheme {
        Some(scheme) if scheme.starts_with("git") || scheme == "ssh" => "git",
        Some("file") => "file",
        Some(_) => "url",
        None if is_path || text.starts_with("file:") => "file",
        None if ["github:", "gitlab:", "bitbucket:", "gist:"].iter().any(|host| text.starts_with(host)) => {
            "git"
        }
        None => return None,
    };
    let name = text
        .trim_start_matches("git+")
        .split_once("://")
        .map_or(text, |(_, rest)| rest)
        .trim_start_matches("file:");
    // What stands before an `@` may be a user with a password.
    let host_end = name.find('/').unwrap_or(name.len());
    let name = match name.get(..host_end).and_then(|host| host.rfind('@')) {
        Some(at) => name.get(at + 1..).unwrap_or(name),
        None => name,
    };
    let (name, version) = match name.split_once('#') {
        Some((name, version)) => (name, Some(version)),
        None => match name.rsplit_once('@').filter(|(_, version)| !version.contains('/')) {
            Some((name, version)) => (name, Some(version)),
            None => (name, None),
        },
    };
    Package::new(registry, name.trim_end_matches('/').trim_end_matches(".git"), version)
}

/// `@scope/name@version`, `name@npm:other@version`.
fn npm(text: &str) -> (String, Option<String>) {
    let text = text.trim_start_matches("npm:").trim_start_matches("jsr:").trim_start_matches('/');
    let scoped = usize::from(text.starts_with('@'));
    let at = text.get(scoped..).and_then(|rest| rest.find('@')).map(|at| at + scoped);
    let Some(at) = at else { return (subpath_off(text), None) };
    let (name, version) = (text.get(..at).unwrap_or(text), text.get(at + 1..).unwrap_or_default());
    if let Some(alias) = version.strip_prefix("npm:") {
        return npm(alias);
    }
    // deno: `npm:name@version/sub/path`.
    let version = version.split('/').next().unwrap_or(version);
    (name.to_owned(), Some(version.to_owned()))
}

/// `@scope/name/sub` and `name/sub` to the name; `user/repository` stays, since it cannot be told.
fn subpath_off(text: &str) -> String {
    if !text.starts_with('@') {
        return text.to_owned();
    }
    text.splitn(3, '/').take(2).collect::<Vec<_>>().join("/")
}

/// `name`, `name[extra]`, `name==1`, `name>=1,<2`, `name@1`, `name @ git+https://…`.
fn pypi(text: &str) -> Option<(String, Option<String>)> {
    let end = text
        .find(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')))
        .unwrap_or(text.len());
    let (name, mut rest) = text.split_at_checked(end)?;
    if name.is_empty() {
        return None;
    }
    if rest.starts_with('[') {
        rest = rest.split_once(']').map_or("", |(_, rest)| rest);
    }
    let rest = rest.trim();
    let version =
        rest.strip_prefix("===").or_else(|| rest.strip_prefix("==")).or_else(|| rest.strip_prefix('@'));
    let version = version.map(str::trim).filter(|version| !version.contains("://"));
    Some((name.to_owned(), version.map(str::to_owned)))
}

/// `registry:port/name:tag@digest`.
fn oci(text: &str) -> (String, Option<String>) {
    let (text, digest) = match text.split_once('@') {
        Some((text, digest)) => (text, Some(digest)),
        None => (text, None),
    };
    let text = text.trim_start_matches("docker://");
    let slash = text.rfind('/').map_or(0, |at| at + 1);
    let colon = text.get(slash..).and_then(|rest| rest.find(':')).map(|at| at + slash);
    let (name, tag) = match colon {
        Some(at) => (text.get(..at).unwrap_or(text), text.get(at + 1..)),
        None => (text, None),
    };
    (name.to_owned(), tag.or(digest).map(str::to_owned))
}

fn split_at(text: &str, mark: char) -> (String, Option<String>) {
    match text.rsplit_once(mark) {
        Some((name, version)) if !name.is_empty() => (name.to_owned(), Some(version.to_owned())),
        _ => (text.to_owned(), None),
    }
}

/// The bytes of a path's last name.
pub(super) fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or(path)
}

/// A word, if it is no option.
pub(super) fn plain(word: &Bytes) -> Option<&[u8]> {
    let text = word.as_slice();
    (!text.is_empty() && !text.starts_with(b"-")).then_some(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(registry: &str, text: &str) -> String {
        Package::parse(registry, text.as_bytes()).map_or_else(|| "-".into(), |package| package.to_string())
    }

    #[test]
    fn what_launchers_are_given() {
        for (registry, text, expected) in [
            ("npm", "@s/n@1.2.3", "npm:@s/n@1.2.3"),
            ("npm", "n@latest", "npm:n@latest"),
            ("npm", "@s/n", "npm:@s/n"),
            ("npm", "alias@npm:@s/n@2", "npm:@s/n@2"),
            ("npm", "npm:@s/n@2/sub", "npm:@s/n@2"),
            ("npm", "github:user/repo#v1", "git:github:user/repo@v1"),
            ("npm", "git+https://user:word@host.org/a/b.git#main", "git:host.org/a/b@main"),
            ("npm", "./dist", "file:./dist"),
            ("npm", "https://host/x.tgz", "url:host/x.tgz"),
            ("pypi", "mcp-server-git==2026.1", "pypi:mcp-server-git==2026.1"),
            ("pypi", "Mcp_Server.Git[all]@1", "pypi:mcp-server-git==1"),
            ("pypi", "mcp-server-git>=1,<2", "pypi:mcp-server-git"),
            ("pypi", "git+https://github.com/oraios/serena", "git:github.com/oraios/serena"),
            ("oci", "ghcr.io/github/github-mcp-server", "oci:ghcr.io/github/github-mcp-server"),
            ("oci", "localhost:5000/a/b:1.2@sha256:ff", "oci:localhost:5000/a/b@1.2"),
            ("oci", "mcp/time@sha256:ff", "oci:mcp/time@sha256:ff"),
            ("go", "example.org/cmd/x@v1", "go:example.org/cmd/x@v1"),
            ("npm", "", "-"),
            ("npm", "-y", "-"),
        ] {
            assert_eq!(shown(registry, text), expected, "{text}");
        }
    }

    #[test]
    fn folders_tell_the_package() {
        for (path, expected) in [
            ("/u/.npm/_npx/68b5/node_modules/@s/n/dist/index.js", Some("npm:@s/n")),
            ("/u/node_modules/a/node_modules/b/cli.js", Some("npm:b")),
            ("/u/.pnpm/@s+n@2026.8.31_zod@4.6.7/node_modules/@s/n/dist/index.js", Some("npm:@s/n@2026.8.31")),
            ("/u/.bunx-0/@s/n@1.2/node_modules/.bin/n", Some("npm:@s/n@1.2")),
            ("/u/.npm/_npx/68b5/node_modules/.bin/n", None),
            ("/u/project/index.js", None),
            ("/u/node_modules", None),
            ("/u/node_modules/@s", None),
        ] {
            let found = Package::of_node_script(path.as_bytes()).map(|package| package.to_string());
            assert_eq!(found.as_deref(), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for registry in ["npm", "pypi", "oci", "go", "jsr"] {
                let _ = Package::parse(registry, &bytes);
            }
            let _ = Package::of_node_script(&bytes);
        }
    }
}
