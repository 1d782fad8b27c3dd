//! `expect promote`: a proposal becomes the expectation in force.

use super::DirectoryOption;
use crate::{
    cli::{exit_code::Exit, say},
    control::{
        api::{Done, Promotion},
        client::{Client, ClientError},
    },
    expectation::file::{Set, read, read::Source, set::SetError},
};
use anyhow::Context as _;
use clap::Args;
use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

/// Options of `promote`.
#[derive(Clone, Debug, Args)]
pub(super) struct Promote {
    /// The proposal.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Take it although what it was learnt from has gaps.
    #[arg(long)]
    accept_gaps: bool,
    /// The name under which it is kept [default: that of FILE]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    directory: DirectoryOption,
}

impl Promote {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let directory = &self.directory.directory;
        let target = directory.join(match self.target() {
            Ok(name) => name,
            Err(message) => {
                say(&message);
                return Ok(Exit::Usage);
            }
        });
        let proposal = match sources(&self.file, directory, &target) {
            Ok(sources) => sources,
            Err(mistakes) => {
                say(&mistakes);
                return Ok(Exit::Found);
            }
        };
        let (all, text) = proposal;
        let set = match Set::of_sources(&all) {
            Ok(set) => set,
            Err(SetError::Load(mistakes)) => {
                say(&format_args!("not promoted, the set would have mistakes:\n{mistakes}"));
                return Ok(Exit::Found);
            }
            Err(error @ SetError::Data(_)) => return Err(error.into()),
        };
        let gaps: Vec<_> =
            set.all().iter().filter(|one| one.file == target).flat_map(|one| &one.gaps).collect();
        if !gaps.is_empty() && !self.accept_gaps {
            say(&"not promoted, what it was learnt from has gaps; give --accept-gaps if that is enough:");
            for gap in &gaps {
                say(gap);
            }
            return Ok(Exit::Found);
        }
        write(directory, &target, &text)
            .with_context(|| format!("{} cannot be written", target.display()))?;
        writeln!(io::stdout(), "{}", target.display())?;
        self.tell(&target, &text);
        Ok(Exit::Ok)
    }

    /// Has it chained who did this: by the monitor that runs, if one does. One that starts later chains what is in force.
    fn tell(&self, target: &Path, text: &str) {
        use sha2::Digest as _;
        let digest = hex::encode(sha2::Sha256::digest(text));
        let gaps = if self.accept_gaps { ", gaps accepted" } else { "" };
        let promotion = Promotion {
            workload: target.file_stem().unwrap_or_default().to_string_lossy().into_owned(),
            what: format!("{} sha256 {digest}{gaps}", target.display()),
        };
        match Client::default().hasty().post::<Done>("/v1/expectations/promoted", &promotion) {
            Ok(_) | Err(ClientError::NoMonitor { .. }) => {}
            Err(error) => say(&format_args!("promoted, but who did it is not in the journal: {error}")),
        }
    }

    fn target(&self) -> Result<String, String> {
        let given = self.name.clone().or_else(|| Some(self.file.file_stem()?.to_str()?.to_owned()));
        let name = given.filter(|name| {
            !name.is_empty()
                && !name.starts_with('.')
                && name.chars().all(|one| one.is_ascii_alphanumeric() || matches!(one, '-' | '_' | '.' | '@'))
        });
        let name = name.ok_or("give a name of letters, digits, `-`, `_` and `.` with --name")?;
        Ok(format!("{}.yaml", name.trim_end_matches(".yaml")))
    }
}

/// The set as it would be, and the proposal's text.
fn sources(
    file: &Path,
    directory: &Path,
    target: &Path,
) -> Result<(Vec<Source>, String), crate::expectation::file::LoadError> {
    let mut all = read::directory(directory)?;
    all.retain(|source| source.path != target);
    let text: String = read::files(&[file.to_owned()])?.into_iter().map(|source| source.text).collect();
    all.push(Source { path: target.to_owned(), text: text.clone() });
    Ok((all, text))
}

/// Writes beside the target and moves it there: a reader sees the old text or the new one.
pub(super) fn write(directory: &Path, target: &Path, text: &str) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(directory)?;
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}", std::process::id()));
    let beside = directory.join(name);
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .open(&beside)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| fs::rename(&beside, target));
    if written.is_err() {
        // Nothing is left behind; that it could not be written is told already.
        let _ = fs::remove_file(&beside);
    }
    written
}
