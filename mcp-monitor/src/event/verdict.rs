//! What judging came to: verdict, decision, rule, severity.

use std::sync::Arc;

/// The result of judging.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Allowed by expectation, profile, owner or declaration.
    Expected,
    /// Not allowed.
    Unexpected,
    /// Wrong unless expected by name.
    Forbidden,
    /// Not judged.
    Unjudged,
}

impl Verdict {
    /// The word in the JSON contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Expected => "expected",
            Self::Unexpected => "unexpected",
            Self::Forbidden => "forbidden",
            Self::Unjudged => "unjudged",
        }
    }
}

/// Why the verdict is what it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    /// Where the deciding line stands: `profile:node`, `command-line`, `catalogue`, `owner`, `default`,
    /// `expectation:FILE` …
    pub source: String,
    /// In words.
    pub reason: String,
    /// The deciding line of an expectation's file, counted from 1.
    pub line: Option<u32>,
    /// Which text of that file: the beginning of its SHA-256.
    pub revision: Option<Arc<str>>,
}

/// A judged event's rule, when it broke one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Rule {
    /// A secret was opened by somebody who does not own it.
    SecretRead,
    /// A destination that is not expected.
    UnknownEgress,
    /// A cloud metadata service.
    MetadataEgress,
    /// Another process's environment or memory.
    ProcessSnoop,
    /// A place that makes code run later.
    PersistenceWrite,
    /// The meaning of an MCP client's or agent's settings was changed.
    ConfigTamper,
    /// Work handed to something outside the lineage.
    LineageEscape,
    /// A program without a file, or in a hidden or temporary place.
    HiddenExec,
    /// A command that hands out secrets.
    SecretHelper,
    /// Code that was decoded to be run.
    EncodedExec,
    /// A program that goes by the name of another.
    Masquerade,
    /// Somebody became root, or a program was made to.
    PrivilegeChange,
    /// A program that nobody declared.
    UnexpectedExec,
    /// A file that the expectation does not name.
    UnexpectedRead,
    /// Somebody connected who is not expected to.
    UnexpectedClient,
    /// Something was written that no expectation names, or that belongs to the system.
    UnexpectedWrite,
    /// A secret was read, and then somebody went to a place that is not expected.
    Exfiltration,
    /// Much was tried that was refused.
    AccessProbing,
    /// Much was removed that cannot be built again.
    DestructiveBurst,
    /// A listener on all interfaces.
    ExposedListener,
    /// A server is another than it was.
    ServerChanged,
    /// The monitor itself was reached for.
    MonitorTamper,
    /// Something could not be seen.
    CoverageLoss,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 23] = [
        Self::SecretRead,
        Self::UnknownEgress,
        Self::MetadataEgress,
        Self::ProcessSnoop,
        Self::PersistenceWrite,
        Self::ConfigTamper,
        Self::LineageEscape,
        Self::HiddenExec,
        Self::SecretHelper,
        Self::EncodedExec,
        Self::Masquerade,
        Self::PrivilegeChange,
        Self::UnexpectedExec,
        Self::UnexpectedRead,
        Self::UnexpectedClient,
        Self::UnexpectedWrite,
        Self::Exfiltration,
        Self::AccessProbing,
        Self::DestructiveBurst,
        Self::ExposedListener,
        Self::ServerChanged,
        Self::MonitorTamper,
        Self::CoverageLoss,
    ];

    /// Findings of this rule have a quota of their own: no flood of others keeps them from being told.
    #[must_use]
    pub const fn is_protected(self) -> bool {
        matches!(
            self,
            Self::SecretRead
                | Self::MetadataEgress
                | Self::Exfiltration
                | Self::MonitorTamper
                | Self::CoverageLoss
        )
    }

    /// The stable id.
    #[must_use]
    pub const fn id(self) -> &'static str {
        match self {
            Self::SecretRead => "secret-read",
            Self::UnknownEgress => "unknown-egress",
            Self::MetadataEgress => "metadata-egress",
            Self::ProcessSnoop => "process-snoop",
            Self::PersistenceWrite => "persistence-write",
            Self::ConfigTamper => "config-tamper",
            Self::LineageEscape => "lineage-escape",
            Self::HiddenExec => "hidden-exec",
            Self::SecretHelper => "secret-helper",
            Self::EncodedExec => "encoded-exec",
            Self::Masquerade => "masquerade",
            Self::PrivilegeChange => "privilege-change",
            Self::UnexpectedExec => "unexpected-exec",
            Self::UnexpectedRead => "unexpected-read",
            Self::UnexpectedClient => "unexpected-client",
            Self::UnexpectedWrite => "unexpected-write",
            Self::Exfiltration => "exfiltration",
            Self::AccessProbing => "access-probing",
            Self::DestructiveBurst => "destructive-burst",
            Self::ExposedListener => "exposed-listener",
            Self::ServerChanged => "server-changed",
            Self::MonitorTamper => "monitor-tamper",
            Self::CoverageLoss => "coverage-loss",
        }
    }
}

/// How bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Low,
    /// Worth a look today.
    Medium,
    /// Worth a look now.
    High,
    /// Worth waking somebody.
    Critical,
}

impl Severity {
    /// The word in the JSON contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}
