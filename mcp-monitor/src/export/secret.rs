//! Secrets of sinks: from a file, a systemd credential or the environment; never from a command line, never shown.

use std::{
    env, fmt, fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

/// Longest secret.
const BYTES_MAX: u64 = 64 * 1024;
/// The directory of systemd's credentials.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// Where a secret stands. Exactly one of the three.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Secret {
    /// A file that others may not read.
    pub file: Option<PathBuf>,
    /// The name of a systemd credential (`LoadCredential=`).
    pub credential: Option<String>,
    /// An environment variable.
    pub env: Option<String>,
}

/// Why a secret cannot be had. Says where it should stand and never what stands there.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// None or several places.
    #[error("a secret needs exactly one of `file`, `credential` and `env`")]
    Place,
    /// The file.
    #[error("{}: cannot be read: {source}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// Others may read it.
    #[error("{}: others may read it (mode {mode:o}); `chmod 600` it", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Not text, empty, too long, or of several lines.
    #[error("{0}: holds no secret of one line")]
    Form(String),
    /// No such credential.
    #[error("the systemd credential {0:?} is not there: add `LoadCredential={0}:PATH` to the unit")]
    Credential(String),
    /// No such variable.
    #[error("the environment variable {0:?} is not set")]
    Variable(String),
}

/// A secret that was read. Shows nothing of itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Revealed(String);

impl Revealed {
    /// The secret itself, for the request that needs it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `begin` and the secret, as headers have it.
    pub(crate) fn prefixed(begin: &str, secret: &Self) -> Self {
        Self(format!("{begin}{}", secret.0))
    }

    /// `USER:PASSWORD` as a header of basic authentication.
    pub(crate) fn basic(&self) -> Self {
        Self(format!("Basic {}", STANDARD.encode(&self.0)))
    }
}

impl fmt::Debug for Revealed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(secret)")
    }
}

impl Secret {
    /// Reads it anew: it may have been replaced since.
    pub fn read(&self) -> Result<Revealed, SecretError> {
        let (place, text) = match (&self.file, &self.credential, &self.env) {
            (Some(path), None, None) => (path.display().to_string(), read_file(path.clone(), true)?),
            (None, Some(name), None) => {
                let missing = || SecretError::Credential(name.clone());
                let plain = !name.is_empty() && !name.contains('/') && name != "..";
                let directory = env::var_os(CREDENTIALS).filter(|_| plain).ok_or_else(missing)?;
                let path = PathBuf::from(directory).join(name);
                // systemd gives them to this service alone.
                (format!("credential {name}"), read_file(path, false).map_err(|_| missing())?)
            }
            (None, None, Some(name)) => {
                let value = env::var(name).map_err(|_| SecretError::Variable(name.clone()))?;
                (format!("environment variable {name}"), value)
            }
            _ => return Err(SecretError::Place),
        };
        let secret = text.trim_end_matches(['\r', '\n']);
        if secret.is_empty() || secret.chars().any(char::is_control) {
            return Err(SecretError::Form(place));
        }
        Ok(Revealed(secret.to_owned()))
    }
}

/// A secret of several lines, such as a file of credentials, which others may not read either.
pub(crate) fn read_lines(path: &Path) -> Result<String, SecretError> {
    read_file(path.to_owned(), true)
}

fn read_file(path: PathBuf, private: bool) -> Result<String, SecretError> {
    let failed = |source| SecretError::File { path: path.clone(), source };
    let metadata = fs::metadata(&path).map_err(failed)?;
    if !metadata.is_file() || metadata.len() > BYTES_MAX {
        return Err(SecretError::Form(path.display().to_string()));
    }
    if private && metadata.mode() & 0o007 != 0 {
        return Err(SecretError::Open { mode: metadata.mode() & 0o777, path });
    }
    fs::read_to_string(&path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn in_file(text: &str, mode: u32) -> (tempfile::NamedTempFile, Secret) {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        let secret = Secret { file: Some(file.path().into()), ..Secret::default() };
        (file, secret)
    }

    #[test]
    fn a_file_is_read_without_its_line_end_and_never_shown() {
        let (_file, secret) = in_file("hunter2\n", 0o600);
        let read = secret.read().unwrap();
        assert_eq!(read.expose(), "hunter2");
        assert_eq!(format!("{read:?}"), "(secret)");
    }

    #[test]
    fn a_file_that_others_may_read_is_refused_without_telling_it() {
        let (_file, secret) = in_file("hunter2", 0o604);
        let error = secret.read().unwrap_err().to_string();
        assert!(error.contains("chmod 600") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn lines_that_would_forge_a_header_are_refused() {
        let (_file, secret) = in_file("a\r\nX-Evil: 1", 0o600);
        assert!(matches!(secret.read(), Err(SecretError::Form(_))));
        let both = Secret { env: Some("HOME".into()), credential: Some("x".into()), ..Secret::default() };
        assert!(matches!(both.read(), Err(SecretError::Place)));
        let outside = Secret { credential: Some("../etc/passwd".into()), ..Secret::default() };
        assert!(matches!(outside.read(), Err(SecretError::Credential(_))));
    }
}
