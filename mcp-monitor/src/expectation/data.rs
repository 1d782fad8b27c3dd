//! Reading of the data files: strict, with the place of a mistake in the message.

use serde::de::DeserializeOwned;

/// A data file does not say what it should.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// Not the YAML that is expected.
    #[error("{file}: {message}")]
    Syntax {
        /// Name of the file.
        file: &'static str,
        /// What and where.
        message: String,
    },
    /// A glob that cannot be compiled.
    #[error("pattern `{pattern}`: {message}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// Why not.
        message: String,
    },
    /// Something names something that is not there.
    #[error("{file}: {what} `{name}` is not defined")]
    Undefined {
        /// Name of the file.
        file: &'static str,
        /// What kind of thing.
        what: &'static str,
        /// Its name.
        name: String,
    },
}

/// Reads the text of the data file `file`.
pub fn parse<T: DeserializeOwned>(file: &'static str, text: &str) -> Result<T, DataError> {
    serde_saphyr::from_str(text).map_err(|error| DataError::Syntax { file, message: error.to_string() })
}
