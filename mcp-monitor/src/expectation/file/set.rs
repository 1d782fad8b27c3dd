//! All expectations of a host, taken together or not at all.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

use super::{
    check::{self, Expectation, Known},
    error::{LoadError, Mistake},
    read::{self, Source},
    selector::Subject,
};
use crate::expectation::{
    catalogue::Catalogue, data::DataError, places::Places, profile::Profiles, program::Programs,
};

/// Hexadecimal digits of a revision.
const REVISION_DIGITS: usize = 12;

/// Why there is no set.
#[derive(Debug, thiserror::Error)]
pub enum SetError {
    /// Mistakes in its files.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The embedded data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
}

/// What the embedded data define.
#[derive(Debug)]
pub struct Embedded {
    /// The secrets.
    pub catalogue: Catalogue,
    /// The runtimes.
    pub profiles: Profiles,
}

impl Embedded {
    /// Reads it.
    pub fn new() -> Result<Self, DataError> {
        let programs = Programs::embedded()?;
        let catalogue = Catalogue::embedded(&programs)?;
        let places = Places::embedded(&programs)?;
        Ok(Self { profiles: Profiles::embedded(&programs, &catalogue, &places)?, catalogue })
    }
}

/// Expectations.
#[derive(Clone, Debug, Default)]
pub struct Set {
    expectations: Vec<Arc<Expectation>>,
}

impl Set {
    /// The expectations of a directory.
    pub fn load(directory: &Path) -> Result<Self, SetError> {
        Self::of_sources(&read::directory(directory)?)
    }

    /// The expectations of these files.
    pub fn of_files(paths: &[PathBuf]) -> Result<Self, SetError> {
        Self::of_sources(&read::files(paths)?)
    }

    /// The expectations of texts.
    pub fn of_sources(sources: &[Source]) -> Result<Self, SetError> {
        let Embedded { catalogue, profiles } = Embedded::new()?;
        let known = Known { catalogue: &catalogue, profiles: &profiles };
        Self::with_known(sources, known).map_err(SetError::from)
    }

    /// The expectations of texts, which may refer to what is known.
    pub fn with_known(sources: &[Source], known: Known) -> Result<Self, LoadError> {
        let (mut expectations, mut mistakes) = (Vec::new(), Vec::new());
        for Source { path, text } in sources {
            let revision: Arc<str> = revision(text).into();
            match check::file(path, text, &revision, known) {
                Ok(understood) => expectations.extend(understood.into_iter().map(Arc::new)),
                Err(found) => mistakes.extend(found),
            }
        }
        mistakes.extend(ties(&expectations));
        if mistakes.is_empty() { Ok(Self { expectations }) } else { Err(LoadError(mistakes)) }
    }

    /// All of them, in the order of files and documents.
    #[must_use]
    pub fn all(&self) -> &[Arc<Expectation>] {
        &self.expectations
    }

    /// The most specific expectation that means the subject. Of two that are equally specific, which only overlapping
    /// globs can be, the first counts.
    #[must_use]
    pub fn select(&self, subject: &Subject) -> Option<&Arc<Expectation>> {
        let meant = self.expectations.iter().filter(|expectation| expectation.selector.fits(subject));
        // `max_by_key` takes the last of equals.
        meant.rev().max_by_key(|expectation| expectation.selector.specificity())
    }
}

/// The beginning of a text's SHA-256.
#[must_use]
pub fn revision(text: &str) -> String {
    let mut digest = hex::encode(Sha256::digest(text.as_bytes()));
    digest.truncate(REVISION_DIGITS);
    digest
}

/// Two expectations that mean the same workloads in the same context: neither could win.
fn ties(expectations: &[Arc<Expectation>]) -> Vec<Mistake> {
    let mut mistakes = Vec::new();
    for (index, one) in expectations.iter().enumerate() {
        let earlier = expectations.iter().take(index).find(|other| other.selector.is_same(&one.selector));
        if let Some(other) = earlier {
            let message = format!(
                "means the same workload in the same context as {}:{}; put both into one document, or tell them apart \
                 by `client` or `when`",
                other.file.display(),
                other.line
            );
            mistakes.push(Mistake { file: one.file.clone(), place: Some((one.line, one.column)), message });
        }
    }
    mistakes
}
