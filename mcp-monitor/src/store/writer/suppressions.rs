//! What is not to be told, for those who tell: the table of the store, kept in memory, so that a finding says where it
//! stands when it is told and not only when it is asked for.

use std::{
    collections::HashMap,
    sync::{Arc, RwLock},
};

use jiff::Timestamp;

use super::{
    super::{StoreError, columns, journal::Journal, pseudonym::Pseudonyms, schema::database},
    likeness::{likeness_of, may_be_suppressed, scopes},
};
use crate::{
    event::Finding,
    render::{Origin, json},
};

/// Findings of which it is remembered what they are like.
const REMEMBERED_MAX: usize = 4096;

#[derive(Default)]
struct Held {
    /// Likenesses and scopes, each with its end.
    until: HashMap<String, Timestamp>,
    likenesses: HashMap<String, String>,
}

/// See the module.
pub(super) struct Suppressions {
    held: RwLock<Held>,
    origin: Origin,
    pseudonyms: Option<Arc<Pseudonyms>>,
}

impl Suppressions {
    pub(super) fn new(origin: Origin, pseudonyms: Option<Arc<Pseudonyms>>) -> Self {
        Self { held: RwLock::default(), origin, pseudonyms }
    }

    /// Takes the table as it is now.
    pub(super) fn load(&self, journal: &Journal) -> Result<(), StoreError> {
        let failed = database("read what is suppressed", &journal.path);
        let mut statement =
            journal.connection.prepare_cached("SELECT likeness, until FROM suppressions").map_err(&failed)?;
        let rows = statement
            .query_map([], |row| Ok((row.get(0)?, columns::timestamp(row.get(1)?))))
            .map_err(&failed)?;
        let until = rows.collect::<Result<_, _>>().map_err(&failed)?;
        // Replaced as a whole: nothing is half done where a thread panicked.
        self.held.write().unwrap_or_else(std::sync::PoisonError::into_inner).until = until;
        Ok(())
    }

    /// True when `finding` is not to be told now.
    pub(super) fn hold(&self, finding: &Finding) -> bool {
        let held = || self.held.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if held().until.is_empty() || !may_be_suppressed(finding.rule.id()) {
            return false;
        }
        let now = Timestamp::now();
        let workload = &finding.workload;
        let by_scope = scopes(finding.rule.id(), &workload.id, &workload.name);
        if by_scope.iter().any(|scope| held().until.get(scope).is_some_and(|until| *until > now)) {
            return true;
        }
        let known = held().likenesses.get(&finding.id).cloned();
        let likeness = known.unwrap_or_else(|| self.remember(finding));
        held().until.get(&likeness).is_some_and(|until| *until > now)
    }

    /// What `finding` is like, by its line: it does not change while the finding grows.
    fn remember(&self, finding: &Finding) -> String {
        let mut line = Vec::with_capacity(4096);
        json::finding(&mut line, &self.origin, finding);
        let line = String::from_utf8_lossy(&line);
        let line = match &self.pseudonyms {
            Some(pseudonyms) => pseudonyms.replace(&line),
            None => line.into_owned(),
        };
        let likeness = likeness_of(&line);
        let mut held = self.held.write().unwrap_or_else(std::sync::PoisonError::into_inner);
        if held.likenesses.len() >= REMEMBERED_MAX {
            held.likenesses.clear();
        }
        held.likenesses.insert(finding.id.clone(), likeness.clone());
        likeness
    }
}
