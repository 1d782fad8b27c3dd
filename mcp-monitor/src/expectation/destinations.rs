//! Destinations that a name gives away: places to leave data, tunnels, collectors of requests. Data:
//! `mcp-monitor/data/destinations.yaml`.

use std::collections::HashMap;

use serde::Deserialize;

use super::{
    catalogue::SeverityText,
    data::{DataError, parse},
};
use crate::event::{Bytes, Severity};

const FILE: &str = "destinations.yaml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationFile {
    destinations: Vec<DestinationText>,
    unnamed: Vec<UnnamedText>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DestinationText {
    id: String,
    title: String,
    severity: SeverityText,
    names: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UnnamedText {
    id: String,
    severity: SeverityText,
}

/// A kind of destination.
#[derive(Clone, Debug)]
pub struct Destination {
    /// Stable id.
    pub id: String,
    /// For people.
    pub title: String,
    /// How bad it is to go there undeclared.
    pub severity: Severity,
}

/// The destinations.
#[derive(Debug)]
pub struct Destinations {
    kinds: Vec<Destination>,
    unnamed: Vec<(String, Severity)>,
    /// Kinds by name, lower case; a name stands for all names below it.
    names: HashMap<Vec<u8>, usize>,
}

impl Destinations {
    /// The destinations of `destinations.yaml`.
    pub fn embedded() -> Result<Self, DataError> {
        let file: DestinationFile = parse(FILE, include_str!("../../data/destinations.yaml"))?;
        let mut names = HashMap::new();
        let mut kinds = Vec::new();
        for (number, text) in file.destinations.into_iter().enumerate() {
            names.extend(text.names.iter().map(|name| (name.to_ascii_lowercase().into_bytes(), number)));
            kinds.push(Destination { id: text.id, title: text.title, severity: text.severity.into() });
        }
        let unnamed = file.unnamed.into_iter().map(|text| (text.id, text.severity.into())).collect();
        Ok(Self { kinds, unnamed, names })
    }

    /// The kind of the first of `names` that has one.
    #[must_use]
    pub fn find(&self, names: &[Bytes]) -> Option<&Destination> {
        names.iter().find_map(|name| self.find_name(&name.as_slice().to_ascii_lowercase()))
    }

    fn find_name(&self, name: &[u8]) -> Option<&Destination> {
        let mut rest = name;
        loop {
            if let Some(&kind) = self.names.get(rest) {
                return self.kinds.get(kind);
            }
            let dot = rest.iter().position(|&byte| byte == b'.')?;
            rest = rest.get(dot + 1..)?;
        }
    }

    /// Severities by the source of a decision.
    pub fn severities(&self) -> impl Iterator<Item = (String, Severity)> + '_ {
        let kinds = self.kinds.iter().map(|kind| (kind.id.as_str(), kind.severity));
        let unnamed = self.unnamed.iter().map(|(id, severity)| (id.as_str(), *severity));
        kinds.chain(unnamed).map(|(id, severity)| (format!("destination:{id}"), severity))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_all_below_it_and_for_nothing_beside_it() {
        let destinations = Destinations::embedded().unwrap();
        let kind = |name: &str| destinations.find(&[Bytes::from(name)]).map(|kind| kind.id.clone());
        assert_eq!(kind("webhook.site").as_deref(), Some("request-collector"));
        assert_eq!(kind("a1b2.webhook.site").as_deref(), Some("request-collector"));
        assert_eq!(kind("Abc.NGROK-free.app").as_deref(), Some("tunnel"));
        assert_eq!(kind("pastebin.com").as_deref(), Some("paste"));
        assert_eq!(kind("notwebhook.site"), None);
        assert_eq!(kind("github.com"), None);
        assert_eq!(kind(""), None);
    }
}
