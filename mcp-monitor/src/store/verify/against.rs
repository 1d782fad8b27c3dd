//! What a sink has received, against what the store says: the only witness that the store's own key cannot bribe.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

use serde::Deserialize;

use super::{
    super::{
        StoreError,
        chain::{CHECKPOINT_SCHEMA, Checkpoint, Digest, PublicKey},
        columns::Columns,
    },
    Verification,
};
use crate::render::json::FINDING_SCHEMA;

/// Bytes of a line at most; longer ones were not sent by us.
const LINE_MAX: u64 = 4 << 20;

/// What is remembered of a line: enough to see a change, little enough for millions.
type Print = [u8; 16];

/// See the module.
pub(super) struct Against {
    name: String,
    events: HashMap<u128, (Print, Print)>,
    findings: HashSet<String>,
    checkpoints: BTreeMap<u64, Digest>,
    expired: Vec<(u64, u64)>,
    changed: Vec<(u64, String)>,
    last_row: u64,
    found: u64,
    /// The smallest id in the store: ids grow with time.
    oldest: u128,
}

#[derive(Deserialize)]
struct Kind<'a> {
    schema: &'a str,
    id: Option<&'a str>,
    heartbeat: Option<Heartbeat>,
}

/// A sign of life, of which only the checkpoint matters here.
#[derive(Deserialize)]
struct Heartbeat {
    checkpoint: Option<Checkpoint>,
}

impl Against {
    /// Reads the JSON lines that a sink has received. Lines of other kinds are passed over.
    pub(super) fn read(
        path: &Path,
        key: &PublicKey,
        store: &str,
        result: &mut Verification,
    ) -> Result<Self, StoreError> {
        let failed = |source| StoreError::File { what: "read", path: path.into(), source };
        let name = path.display().to_string();
        let mut against = Self {
            name: name.clone(),
            events: HashMap::new(),
            findings: HashSet::new(),
            checkpoints: BTreeMap::new(),
            expired: Vec::new(),
            changed: Vec::new(),
            last_row: 0,
            found: 0,
            oldest: u128::MAX,
        };
        let mut file = BufReader::new(File::open(path).map_err(failed)?);
        let mut bytes = Vec::new();
        let mut number = 0_u64;
        loop {
            bytes.clear();
            if (&mut file).take(LINE_MAX).read_until(b'\n', &mut bytes).map_err(failed)? == 0 {
                break;
            }
            number += 1;
            let line = bytes.trim_ascii_end();
            let Ok(text) = std::str::from_utf8(line) else { continue };
            let Ok(kind) = serde_json::from_str::<Kind<'_>>(text) else { continue };
            if let Some(heartbeat) = kind.heartbeat {
                // Sent to sinks and not recorded: only what it carries is compared.
                if let Some(one) = heartbeat.checkpoint {
                    against.checkpoint(Some(one), key, store, number, result);
                }
                continue;
            }
            match (kind.schema, kind.id) {
                (CHECKPOINT_SCHEMA, _) => {
                    against.checkpoint(serde_json::from_str(text).ok(), key, store, number, result);
                }
                (FINDING_SCHEMA, Some(id)) => {
                    against.findings.insert(id.to_owned());
                }
                (_, Some(_)) => {
                    if let Some(columns) = Columns::of(text)
                        && let Ok(id) = uuid::Uuid::parse_str(&columns.id)
                    {
                        against.events.insert(id.as_u128(), (print(line), canonical(text)));
                    }
                }
                _ => {}
            }
        }
        Ok(against)
    }

    /// A signed end that was sent in line `number`.
    fn checkpoint(
        &mut self,
        sent: Option<Checkpoint>,
        key: &PublicKey,
        store: &str,
        number: u64,
        result: &mut Verification,
    ) {
        match sent {
            Some(one) if one.store == store && one.is_signed_by(key) => {
                if one.chain == super::super::chain::Chain::Events {
                    self.checkpoints.insert(one.row, one.hash);
                }
            }
            _ => result.problem(
                &self.name,
                None,
                format!("line {number} is a checkpoint of another store or key"),
            ),
        }
    }

    /// An event as the store has it.
    pub(super) fn event(&mut self, row: u64, id: &str, line: &[u8]) {
        let Ok(uuid) = uuid::Uuid::parse_str(id) else { return };
        self.oldest = self.oldest.min(uuid.as_u128());
        let Some((raw, value)) = self.events.remove(&uuid.as_u128()) else { return };
        // A sink may have put the fields in another order.
        let same = raw == print(line) || std::str::from_utf8(line).is_ok_and(|text| canonical(text) == value);
        if same {
            self.found += 1;
        } else {
            self.changed.push((row, id.to_owned()));
        }
    }

    /// A finding that the journal told.
    pub(super) fn finding(&mut self, id: &str) {
        self.found += u64::from(self.findings.remove(id));
    }

    /// The link of a row as the store has it.
    pub(super) fn link(&mut self, row: u64, hash: Digest, result: &mut Verification) {
        let Some(sent) = self.checkpoints.remove(&row) else { return };
        if sent == hash {
            self.found += 1;
        } else {
            result.problem(
                &self.name,
                Some(row),
                "was signed with another past than the store has: it was rewritten",
            );
        }
    }

    /// Rows that are not there since they are old.
    pub(super) fn expired(&mut self, first: u64, last: u64) {
        self.expired.push((first, last));
    }

    pub(super) fn end(&mut self, last_row: u64) {
        self.last_row = last_row;
    }

    /// What was sent and not found.
    pub(super) fn finish(mut self, result: &mut Verification) {
        result.sent = self.found;
        for (row, id) in &self.changed {
            result.problem(&self.name, Some(*row), format!("was sent as something else: event {id}"));
        }
        let expired = |row: &u64| self.expired.iter().any(|(first, last)| (first..=last).contains(&row));
        for row in self.checkpoints.keys().filter(|row| !expired(row)) {
            let what = if *row > self.last_row {
                format!(
                    "was signed and sent, and the store ends at row {}: its end was cut off",
                    self.last_row
                )
            } else {
                "was signed and sent, and is not in the store".to_owned()
            };
            result.problem(&self.name, Some(*row), what);
        }
        let mut missing: Vec<u128> = self.events.keys().copied().collect();
        missing.sort_unstable();
        if !self.expired.is_empty() {
            // What is older than anything that is still there went with the files that expired.
            let all = missing.len();
            missing.retain(|id| *id > self.oldest);
            if missing.len() < all {
                result.note(format!("{} events that were sent have expired here", all - missing.len()));
            }
        }
        for id in missing {
            let id = uuid::Uuid::from_u128(id);
            result.problem(&self.name, None, format!("event {id} was sent and is not in the store"));
        }
        let mut findings: Vec<String> = self.findings.drain().collect();
        findings.sort_unstable();
        for id in findings {
            result.problem(&self.name, None, format!("finding {id} was sent and is not in the store"));
        }
    }
}

fn print(bytes: &[u8]) -> Print {
    let mut print = [0; 16];
    print.copy_from_slice(&Digest::of(bytes).0[..16]);
    print
}

/// The same for the same object, however its fields are ordered.
fn canonical(text: &str) -> Print {
    // `Value` keeps its fields sorted.
    let value: serde_json::Value = serde_json::from_str(text).unwrap_or_default();
    print(value.to_string().as_bytes())
}
