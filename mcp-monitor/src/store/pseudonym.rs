//! Names of people replaced by keyed hashes before anything is stored, when that is asked for.
//!
//! `/home/alice/x` becomes `/home/~3f1c…/x` and the user `alice` `~3f1c…`: the same name always the same, so that one
//! person's doings stay together, and none of them readable without the key. What else can tell who it was (a name
//! within an argument that is no path, uids, the workload's own name) stays: this is pseudonymous, not anonymous.

use std::{fs, io, os::unix::fs::OpenOptionsExt as _, path::Path};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::StoreError;

/// Bytes of the hash that are shown.
const SHOWN_BYTES: usize = 6;

/// See the module.
pub(super) struct Pseudonyms {
    key: [u8; 32],
}

impl Pseudonyms {
    /// The key of the store in `directory`, made if there is none.
    pub(super) fn open_or_make(directory: &Path) -> Result<Self, StoreError> {
        let path = directory.join("pseudonyms.key");
        let failed =
            |source| StoreError::File { what: "use the key of pseudonyms", path: path.clone(), source };
        match fs::read(&path) {
            Ok(bytes) => {
                let key =
                    bytes.try_into().map_err(|_| failed(io::Error::other("it does not hold 32 bytes")))?;
                Ok(Self { key })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                use io::Write as _;
                let mut key = [0; 32];
                getrandom::fill(&mut key).map_err(|error| failed(io::Error::other(error.to_string())))?;
                let mut file = fs::OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&path)
                    .map_err(failed)?;
                file.write_all(&key).map_err(failed)?;
                Ok(Self { key })
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn of(&self, name: &str) -> String {
        // HMAC takes keys of any length.
        let Ok(mut hash) = Hmac::<Sha256>::new_from_slice(&self.key) else { return "~".into() };
        hash.update(name.as_bytes());
        format!("~{}", hex::encode(&hash.finalize().into_bytes()[..SHOWN_BYTES]))
    }

    /// The JSON line with pseudonyms in it.
    pub(super) fn replace(&self, line: &str) -> String {
        let mut text = String::with_capacity(line.len() + 64);
        let mut rest = line;
        loop {
            let home = rest.find("/home/").map(|at| (at, "/home/".len()));
            let user = rest.find("\"user\":\"").map(|at| (at, "\"user\":\"".len()));
            let Some((at, length)) = [home, user].into_iter().flatten().min() else { break };
            let begin = at + length;
            let after = &rest[begin..];
            // A name ends where a path goes on, where the text ends, and at what no name holds.
            let end = after
                .find(|character: char| {
                    matches!(character, '/' | '"' | '\\' | ' ' | ':' | ';' | ',' | ']' | ')' | '\'')
                })
                .unwrap_or(after.len());
            let name = &after[..end];
            text.push_str(&rest[..begin]);
            // What is a pseudonym already stays: replacing twice is replacing once.
            if name.is_empty() || name.starts_with('~') {
                text.push_str(name);
            } else {
                text.push_str(&self.of(name));
            }
            rest = &after[end..];
        }
        text.push_str(rest);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        render::{json, sample},
        store::columns::Columns,
    };

    #[test]
    fn no_line_tells_the_name_and_each_is_still_an_event() {
        let pseudonyms = Pseudonyms { key: [7; 32] };
        for mut event in sample::events() {
            let process = crate::event::Process { user: Some("alice".into()), ..(*event.process).clone() };
            let process = crate::event::Process {
                arguments: vec!["cat".into(), "--file=/home/alice/.ssh/id_rsa".into()],
                working_directory: "/home/alice".into(),
                ..process
            };
            event.process = process.into();
            let mut line = Vec::new();
            json::event(&mut line, &sample::origin(), &event);
            let line = String::from_utf8(line).unwrap();
            let replaced = pseudonyms.replace(line.trim_end());
            assert!(!replaced.contains("alice"), "{replaced}");
            assert!(Columns::of(&replaced).is_some(), "{replaced}");
            assert_eq!(pseudonyms.replace(&replaced), replaced);
        }
    }

    #[test]
    fn one_name_is_one_pseudonym_for_one_key() {
        let (one, other) = (Pseudonyms { key: [1; 32] }, Pseudonyms { key: [2; 32] });
        assert_eq!(one.of("alice"), one.of("alice"));
        assert_ne!(one.of("alice"), one.of("bob"));
        assert_ne!(one.of("alice"), other.of("alice"));
        assert_eq!(one.replace("\"/home/\" /home//x"), "\"/home/\" /home//x");
    }
}
