//! The chain: each row is tied to the one before it by SHA-256, and the ends are signed with ed25519.
//!
//! `link(n) = SHA-256(link(n-1) ‖ n as 8 bytes, little-endian ‖ SHA-256(line))`. A row that is not shown can thus be
//! stood for by the digest of its line, which is how evidence of a part of the rows is still proven to be complete.
//!
//! What is signed is `"mcp-monitor checkpoint v1\0" ‖ store id (16 bytes) ‖ 'e' or 'j' ‖ n (8) ‖ link(n) (32) ‖ time in
//! ns (8)`. Whoever has the key can sign: see `docs/integrity.md` for what that means.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{StoreError, columns::nanoseconds};

/// Schema of a checkpoint's JSON line.
pub const CHECKPOINT_SCHEMA: &str = "mcp-monitor/checkpoint/v1";

/// 32 bytes of SHA-256. Written in hexadecimal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    pub(super) fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(&*text, &mut bytes)
            .map_err(|_| serde::de::Error::custom("not 64 hexadecimal digits"))?;
        Ok(Self(bytes))
    }
}

/// The link of row `number` whose line has `digest`.
#[must_use]
pub fn link(previous: Digest, number: u64, digest: Digest) -> Digest {
    let mut hash = Sha256::new();
    hash.update(previous.0);
    hash.update(number.to_le_bytes());
    hash.update(digest.0);
    Digest(hash.finalize().into())
}

/// Which of the store's chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chain {
    /// Rows of the days' files.
    Events,
    /// Entries of the journal in `findings.db`.
    Journal,
}

impl Chain {
    /// Its word in the databases and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Events => "events",
            Self::Journal => "journal",
        }
    }
}

/// A signed end of a chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkpoint {
    /// [`CHECKPOINT_SCHEMA`].
    pub schema: std::borrow::Cow<'static, str>,
    /// The store, hexadecimal.
    pub store: String,
    /// Which chain.
    pub chain: Chain,
    /// The row.
    pub row: u64,
    /// Its link.
    pub hash: Digest,
    /// When it was signed.
    pub time: Timestamp,
    /// ed25519, hexadecimal.
    pub signature: String,
}

impl Checkpoint {
    fn message(&self) -> Vec<u8> {
        let mut message = b"mcp-monitor checkpoint v1\0".to_vec();
        // A store id that is no hexadecimal was never signed: its text makes another message.
        message.extend(hex::decode(&self.store).unwrap_or_else(|_| self.store.clone().into_bytes()));
        message.push(match self.chain {
            Chain::Events => b'e',
            Chain::Journal => b'j',
        });
        message.extend(self.row.to_le_bytes());
        message.extend(self.hash.0);
        message.extend(nanoseconds(self.time).to_le_bytes());
        message
    }

    /// True when the holder of `key` signed it.
    #[must_use]
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        let Ok(bytes) = hex::decode(&self.signature) else { return false };
        let Ok(signature) = Signature::from_slice(&bytes) else { return false };
        key.0.verify_strict(&self.message(), &signature).is_ok()
    }
}

/// What signatures are checked with. Written in hexadecimal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl std::fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&hex::encode(self.0.as_bytes()))
    }
}

impl std::str::FromStr for PublicKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut bytes = [0; 32];
        hex::decode_to_slice(text.trim(), &mut bytes)
            .map_err(|_| "a public key is 64 hexadecimal digits".to_owned())?;
        VerifyingKey::from_bytes(&bytes).map(Self).map_err(|_| "these digits are no ed25519 key".to_owned())
    }
}

/// The store's key.
#[derive(Debug)]
pub(super) struct Key {
    key: SigningKey,
    store: String,
}

/// Where the public key stands.
pub(super) fn public_key_path(directory: &Path) -> PathBuf {
    directory.join("signing.pub")
}

impl Key {
    /// The key of the store in `directory`, made if there is none. `store` is the store's id, hexadecimal.
    pub(super) fn open_or_make(directory: &Path, store: String) -> Result<Self, StoreError> {
        let path = directory.join("signing.key");
        let failed = |what: &'static str| {
            let path = path.clone();
            move |source: io::Error| StoreError::File { what, path, source }
        };
        let mut seed = [0; 32];
        match fs::read(&path) {
            Ok(bytes) => {
                seed = bytes.try_into().map_err(|_| {
                    failed("use it as the signing key")(io::Error::new(
                        io::ErrorKind::InvalidData,
                        "it does not hold 32 bytes. Move it away to begin with a new key; old signatures then need \
                         the old public key",
                    ))
                })?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                getrandom::fill(&mut seed)
                    .map_err(|error| failed("make the signing key")(io::Error::other(error.to_string())))?;
                // Through a name of its own: a key cut short by a full disk would be no key for ever.
                let fresh = directory.join("signing.key.new");
                let _ = fs::remove_file(&fresh);
                OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .mode(0o600)
                    .open(&fresh)
                    .and_then(|mut file| file.write_all(&seed).and_then(|()| file.sync_all()))
                    .and_then(|()| fs::rename(&fresh, &path))
                    .map_err(failed("make the signing key"))?;
            }
            Err(error) => return Err(failed("read the signing key")(error)),
        }
        let key = Self { key: SigningKey::from_bytes(&seed), store };
        let public = format!("{}\n", key.public());
        let public_path = public_key_path(directory);
        if fs::read_to_string(&public_path).ok().as_deref() != Some(&public) {
            fs::write(&public_path, &public).map_err(|source| StoreError::File {
                what: "write the public key",
                path: public_path,
                source,
            })?;
        }
        Ok(key)
    }

    pub(super) fn public(&self) -> PublicKey {
        PublicKey(self.key.verifying_key())
    }

    pub(super) fn sign(&self, chain: Chain, row: u64, hash: Digest, time: Timestamp) -> Checkpoint {
        let mut checkpoint = Checkpoint {
            schema: CHECKPOINT_SCHEMA.into(),
            store: self.store.clone(),
            chain,
            row,
            hash,
            time,
            signature: String::new(),
        };
        checkpoint.signature = hex::encode(self.key.sign(&checkpoint.message()).to_bytes());
        checkpoint
    }
}

/// The public key of the store in `directory`.
pub fn public_key(directory: &Path) -> Result<PublicKey, StoreError> {
    let path = public_key_path(directory);
    let text = fs::read_to_string(&path).map_err(|source| StoreError::File {
        what: "read the public key",
        path: path.clone(),
        source,
    })?;
    text.parse().map_err(|error: String| StoreError::Usage(format!("{}: {error}", path.display())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_made_once_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let first = Key::open_or_make(directory.path(), "00".repeat(16)).unwrap().public();
        let again = Key::open_or_make(directory.path(), "00".repeat(16)).unwrap().public();
        assert_eq!(first, again);
        assert_eq!(public_key(directory.path()).unwrap(), first);
        let mode = fs::metadata(directory.path().join("signing.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn each_part_of_a_checkpoint_is_signed() {
        let directory = tempfile::tempdir().unwrap();
        let key = Key::open_or_make(directory.path(), "ab".repeat(16)).unwrap();
        let time = Timestamp::from_second(1_800_000_000).unwrap();
        let good = key.sign(Chain::Events, 7, Digest::of(b"x"), time);
        assert!(good.is_signed_by(&key.public()));
        let line = serde_json::to_string(&good).unwrap();
        let back: Checkpoint = serde_json::from_str(&line).unwrap();
        assert_eq!(back, good);
        for bad in [
            Checkpoint { row: 8, ..good.clone() },
            Checkpoint { chain: Chain::Journal, ..good.clone() },
            Checkpoint { hash: Digest::of(b"y"), ..good.clone() },
            Checkpoint { store: "ac".repeat(16), ..good.clone() },
            Checkpoint { time: Timestamp::from_second(1_800_000_001).unwrap(), ..good.clone() },
            Checkpoint { signature: good.signature.replace(|_| true, "0"), ..good.clone() },
            Checkpoint { signature: String::new(), ..good },
        ] {
            assert!(!bad.is_signed_by(&key.public()), "{bad:?}");
        }
    }

    #[test]
    fn a_link_depends_on_place_and_past() {
        let digest = Digest::of(b"line");
        let one = link(Digest::default(), 1, digest);
        assert_ne!(one, link(Digest::default(), 2, digest));
        assert_ne!(one, link(Digest::of(b"past"), 1, digest));
        assert_ne!(one, link(Digest::default(), 1, Digest::of(b"other")));
    }
}
