//! The secrets catalogue: what is a secret to read and who owns it. Data: `mcp-monitor/data/secrets.yaml`.

use serde::Deserialize;

use super::{
    data::{DataError, parse},
    glob::{Homes, PathGlobs},
    program::{ProgramIndex, Programs},
};
use crate::event::Severity;

/// Index of an entry, in the order of the data file; the number that the kernel's marks carry.
pub type EntryIndex = u32;

/// How bad, as the data files write it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeverityText {
    /// Worth knowing.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth a look now.
    High,
    /// Worth waking somebody.
    Critical,
}

impl From<SeverityText> for Severity {
    fn from(text: SeverityText) -> Self {
        match text {
            SeverityText::Low => Self::Low,
            SeverityText::Medium => Self::Medium,
            SeverityText::High => Self::High,
            SeverityText::Critical => Self::Critical,
        }
    }
}

/// What the same thing means below an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BelowAgent {
    /// A finding.
    #[default]
    Found,
    /// Written down only.
    Recorded,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SecretFile {
    secrets: Vec<EntryText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryText {
    id: String,
    category: String,
    title: String,
    severity: Option<SeverityText>,
    patterns: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    owners: Vec<String>,
    #[serde(default)]
    agents: BelowAgent,
    #[serde(default = "yes")]
    watched: bool,
}

const fn yes() -> bool {
    true
}

/// One kind of secret.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Stable id, as `--secret` and expectations name it.
    pub id: String,
    /// The group it belongs to.
    pub category: String,
    /// For people: what it is.
    pub title: String,
    /// Severity of a finding, if not the rule's own.
    pub severity: Option<Severity>,
    /// Globs.
    pub patterns: Vec<String>,
    /// Programs that own it.
    pub owners: Vec<ProgramIndex>,
    /// What an open by somebody else means below an agent.
    pub agents: BelowAgent,
    /// Looked for beforehand, so that identities are known before the first open.
    pub watched: bool,
}

/// Every kind of secret.
#[derive(Debug)]
pub struct Catalogue {
    entries: Vec<Entry>,
    patterns: PathGlobs,
    exceptions: PathGlobs,
}

impl Catalogue {
    /// The catalogue of `secrets.yaml`.
    pub fn embedded(programs: &Programs) -> Result<Self, DataError> {
        Self::parse(include_str!("../../data/secrets.yaml"), programs)
    }

    fn parse(text: &str, programs: &Programs) -> Result<Self, DataError> {
        let file: SecretFile = parse("secrets.yaml", text)?;
        let numbered = || file.secrets.iter().zip(0_u32..);
        let patterns = PathGlobs::new(
            numbered()
                .flat_map(|(entry, index)| entry.patterns.iter().map(move |text| (text.as_str(), index))),
        )?;
        let exceptions = PathGlobs::new(
            numbered().flat_map(|(entry, index)| entry.except.iter().map(move |text| (text.as_str(), index))),
        )?;
        let entries = file.secrets.into_iter().map(|entry| {
            Ok(Entry {
                owners: programs.indices(&entry.owners, "secrets.yaml")?,
                id: entry.id,
                category: entry.category,
                title: entry.title,
                severity: entry.severity.map(Severity::from),
                patterns: entry.patterns,
                agents: entry.agents,
                watched: entry.watched,
            })
        });
        Ok(Self { entries: entries.collect::<Result<_, DataError>>()?, patterns, exceptions })
    }

    /// Every entry with its index.
    pub fn entries(&self) -> impl Iterator<Item = (EntryIndex, &Entry)> {
        (0..).zip(&self.entries)
    }

    /// The entry with this index.
    #[must_use]
    pub fn entry(&self, index: EntryIndex) -> Option<&Entry> {
        self.entries.get(index as usize)
    }

    /// The entry with this id.
    #[must_use]
    pub fn find(&self, id: &str) -> Option<EntryIndex> {
        self.entries().find(|(_, entry)| entry.id == id).map(|(index, _)| index)
    }

    /// The first entry that means `path`.
    #[must_use]
    pub fn match_path(&self, path: &[u8], homes: &Homes) -> Option<EntryIndex> {
        let matched = self.patterns.matches(path, homes);
        if matched.is_empty() {
            return None;
        }
        let except = self.exceptions.matches(path, homes);
        matched.into_iter().find(|index| !except.contains(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(path: &str) -> Option<String> {
        let catalogue = Catalogue::embedded(&Programs::embedded().unwrap()).unwrap();
        let homes = Homes::new(&["/tmp/demo"]);
        let index = catalogue.match_path(path.as_bytes(), &homes)?;
        catalogue.entry(index).map(|entry| entry.id.clone())
    }

    #[test]
    fn secrets_are_known() {
        for (path, entry) in [
            ("/home/u/.ssh/id_rsa", "ssh-private-key"),
            ("/root/.ssh/id_ed25519", "ssh-private-key"),
            ("/tmp/demo/.ssh/id_rsa", "ssh-private-key"),
            ("/home/u/.aws/credentials", "aws"),
            ("/home/u/.aws/sso/cache/x.json", "aws"),
            ("/home/u/.npmrc", "npmrc"),
            ("/home/u/.config/gcloud/legacy_credentials/a/adc.json", "gcloud"),
            ("/home/u/.config/google-chrome/Default/Login Data", "browser"),
            ("/home/u/.mozilla/firefox/ab.default/key4.db", "browser"),
            ("/home/u/.bash_history", "shell-history"),
            ("/work/project/.env", "environment-file"),
            ("/work/project/.env.production", "environment-file"),
            ("/run/secrets/kubernetes.io/serviceaccount/token", "service-account-token"),
            ("/var/run/secrets/kubernetes.io/serviceaccount/..2026/token", "service-account-token"),
            ("/etc/secrets/db/password", "service-secrets"),
            ("/run/credentials/x.service/key", "service-secrets"),
            ("/home/u/.mcp-auth/mcp-remote-0.1/x_tokens.json", "mcp-auth"),
            ("/etc/shadow", "system-passwords"),
            ("/etc/shadow-", "system-passwords"),
            ("/dev/sda1", "raw-disk"),
            ("/home/u/.cargo/credentials.toml", "package-registries"),
            ("/home/u/.config/gh/hosts.yml", "github-cli"),
            ("/home/u/.claude/.credentials.json", "claude"),
        ] {
            assert_eq!(id(path).as_deref(), Some(entry), "{path}");
        }
    }

    #[test]
    fn public_things_are_none() {
        for path in [
            "/home/u/.ssh/id_rsa.pub",
            "/home/u/.ssh/known_hosts",
            "/home/u/.ssh/config",
            "/home/u/.ssh/authorized_keys",
            "/work/project/.env.example",
            "/work/project/node_modules/x/.env",
            "/run/secrets/kubernetes.io/serviceaccount/ca.crt",
            "/usr/share/doc/x/id_rsa",
            "/home/u/project/credentials",
            "/dev/null",
            "/dev/shm/x",
            "/etc/passwd",
            "/home/u/.gnupg/pubring.kbx",
        ] {
            assert_eq!(id(path), None, "{path}");
        }
    }

    #[test]
    fn ids_are_unique_and_mistakes_are_named() {
        let programs = Programs::embedded().unwrap();
        let catalogue = Catalogue::embedded(&programs).unwrap();
        for (index, entry) in catalogue.entries() {
            assert_eq!(catalogue.find(&entry.id), Some(index));
        }
        let bad = "secrets:\n  - {id: a, category: b, title: c, pattern: []}\n";
        assert!(Catalogue::parse(bad, &programs).unwrap_err().to_string().contains("pattern"));
        let unknown = "secrets:\n  - {id: a, category: b, title: c, patterns: [/x], owners: [nobody]}\n";
        assert!(Catalogue::parse(unknown, &programs).unwrap_err().to_string().contains("nobody"));
    }
}
