//! What somebody declared: destinations, files, secrets, programs. The command line is one such declaration, an
//! instance's [`Context`](super::Context) may carry more, and each is asked under its own name, so that a verdict
//! says who allowed it.

use super::JudgeError;
use crate::expectation::{
    catalogue::{Catalogue, EntryIndex},
    glob::{HOME, Homes, PathGlobs},
    network::Egress,
};

/// What somebody declared.
#[derive(Clone, Debug, Default)]
pub struct Declared {
    /// Who did: becomes the source of the decisions, such as `command-line` or `expectation:github.yaml:12`.
    pub source: String,
    /// Destinations.
    pub egress: Vec<Egress>,
    /// Globs of files that may be read; a directory stands for everything in it.
    pub read: Vec<String>,
    /// Globs of files that may be written; a directory stands for everything in it.
    pub write: Vec<String>,
    /// Secrets that may be read: ids of the catalogue, or paths.
    pub secrets: Vec<String>,
    /// Programs that may be executed: paths, or names for a program of that name in the system's directories. `None`
    /// says nothing about programs, an empty list allows none.
    pub exec: Option<Vec<String>>,
}

/// Directories in which a program that is named without a path is looked for.
const PROGRAM_DIRECTORIES: [&str; 6] =
    ["/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"];

/// A [`Declared`] made ready for judging.
#[derive(Debug, Default)]
pub(super) struct Allowed {
    pub(super) source: String,
    pub(super) egress: Vec<Egress>,
    read: PathGlobs,
    write: PathGlobs,
    secret_paths: PathGlobs,
    secret_entries: Vec<EntryIndex>,
    exec: Option<PathGlobs>,
}

impl Allowed {
    pub(super) fn new(declared: Declared, catalogue: &Catalogue) -> Result<Self, JudgeError> {
        let Declared { source, egress, read, write, secrets, exec } = declared;
        let mut paths = Vec::new();
        let mut secret_entries = Vec::new();
        for secret in secrets {
            match (catalogue.find(&secret), pattern(&secret)) {
                (Some(entry), _) => secret_entries.push(entry),
                (None, Some(path)) => paths.push(path),
                (None, None) => {
                    let ids: Vec<_> = catalogue.entries().map(|(_, entry)| entry.id.as_str()).collect();
                    return Err(JudgeError::UnknownSecret(secret, ids.join(", ")));
                }
            }
        }
        let exec = exec.map(|programs| {
            let patterns: Vec<String> =
                programs.iter().flat_map(|program| program_patterns(program)).collect();
            globs(&patterns)
        });
        Ok(Self {
            source,
            egress,
            read: trees(read)?,
            write: trees(write)?,
            secret_paths: globs(&paths)?,
            secret_entries,
            exec: exec.transpose()?,
        })
    }

    /// Files at `path` may be read.
    pub(super) fn reads(&self, path: &[u8], homes: &Homes) -> bool {
        self.read.is_match(path, homes)
    }

    /// Files at `path` may be written.
    pub(super) fn writes(&self, path: &[u8], homes: &Homes) -> bool {
        self.write.is_match(path, homes)
    }

    /// The secret is allowed by name.
    pub(super) fn names_secret(&self, entry: EntryIndex, path: &[u8], homes: &Homes) -> bool {
        self.secret_entries.contains(&entry) || self.secret_paths.is_match(path, homes)
    }

    /// Whether the program at `path` may be executed; `None` when nothing is said about programs.
    pub(super) fn runs(&self, path: &[u8], homes: &Homes) -> Option<bool> {
        self.exec.as_ref().map(|programs| programs.is_match(path, homes))
    }
}

fn globs(patterns: &[String]) -> Result<PathGlobs, JudgeError> {
    Ok(PathGlobs::new(patterns.iter().map(|text| (text.as_str(), 0)))?)
}

fn trees(texts: Vec<String>) -> Result<PathGlobs, JudgeError> {
    let mut patterns = Vec::new();
    for text in texts {
        let path = pattern(&text).ok_or(JudgeError::RelativePath(text))?;
        patterns.push(format!("{}/**", path.trim_end_matches('/')));
        patterns.push(path);
    }
    globs(&patterns)
}

fn program_patterns(program: &str) -> Vec<String> {
    match pattern(program) {
        Some(path) => vec![path],
        None => PROGRAM_DIRECTORIES.iter().map(|directory| format!("{directory}/{program}")).collect(),
    }
}

/// `~/x`, `${home}/x`, `/x` and `**/x` as patterns.
fn pattern(text: &str) -> Option<String> {
    if let Some(rest) = text.strip_prefix("~/") {
        return Some(format!("{HOME}{rest}"));
    }
    (text.starts_with(['/']) || text.starts_with("**/") || text.starts_with(HOME)).then(|| text.to_owned())
}
