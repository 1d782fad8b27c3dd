//! `findings allow ID`: the narrowest change that would have allowed what was found, shown as a difference and replayed
//! over what was recorded before it is written.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    ops::ControlFlow,
    path::PathBuf,
    sync::Arc,
};

use clap::Args;
use similar::TextDiff;

use super::{
    DirectoryOption,
    check::loaded,
    learn::{replayed, subject, told},
    promote::write,
    recorded::Recorded,
};
use crate::{
    cli::{exit_code::Exit, query::QueryError, say},
    event::escape,
    expectation::{
        file::{Expectation, Set, Subject, read, read::Source, set::SetError},
        learn::{
            allow::{Entry, added, empty, narrowest},
            replay::Change,
        },
    },
    render::read::Finding,
};

/// Options of `findings allow`.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Allow {
    /// The finding, by its id or the begin of it.
    #[arg(value_name = "ID")]
    id: String,
    /// Write the change. Without it, it is only shown.
    #[arg(long)]
    write: bool,
    #[command(flatten)]
    directory: DirectoryOption,
    #[command(flatten)]
    recorded: Recorded,
}

/// A file as it is and as it would be.
struct Changed {
    path: PathBuf,
    before: String,
    after: String,
}

impl Allow {
    pub(in crate::cli) fn run(&self) -> anyhow::Result<Exit> {
        let finding = self.finding()?;
        let entry = match narrowest(&finding) {
            Ok(entry) => entry,
            Err(error) => {
                say(&error);
                return Ok(Exit::Found);
            }
        };
        let Some(set) = loaded(&self.directory)? else { return Ok(Exit::Found) };
        let workload = String::from_utf8_lossy(finding.workload.id.as_bytes()).into_owned();
        let subject = self.subject(&finding, &workload)?;
        let changed = match self.change(&finding, &entry, set.select(&subject)) {
            Ok(changed) => changed,
            Err(error) => {
                say(&format_args!("{error:#}"));
                return Ok(Exit::Found);
            }
        };
        let after = match self.set_with(&changed) {
            Ok(after) => after,
            Err(SetError::Load(mistakes)) => {
                say(&format_args!("no line can be written for it:\n{mistakes}"));
                return Ok(Exit::Found);
            }
            Err(error @ SetError::Data(_)) => return Err(error.into()),
        };
        let mut output = io::stdout().lock();
        show(&mut output, &changed)?;
        let before = self.found(&workload, &set)?;
        let now = self.found(&workload, &after)?;
        let gone: BTreeMap<_, _> = minus(&before, &now);
        let new: BTreeMap<_, _> = minus(&now, &before);
        told(&mut output, "would no longer be found", &gone)?;
        told(&mut output, "would be found from now on", &new)?;
        let of_finding: BTreeSet<Vec<u8>> = finding.events.iter().map(|id| id.as_bytes().to_vec()).collect();
        let silences = gone
            .keys()
            .any(|(rule, object)| rule.as_bytes() == finding.rule.as_bytes() && *object == finding.object())
            || gone.values().any(|change| of_finding.contains(change.event.as_bytes()));
        if !silences {
            say(&format_args!(
                "this is not shown to silence the finding: {}",
                if before.is_empty() {
                    "its events are not among what was recorded"
                } else {
                    "replayed, its events are still found"
                }
            ));
        }
        if !self.write {
            say(&"nothing was written; --write does");
            return Ok(Exit::Ok);
        }
        if !silences || !new.is_empty() {
            say(&"not written: it must silence the finding and bring no new ones");
            return Ok(Exit::Found);
        }
        write(&self.directory.directory, &changed.path, &changed.after)?;
        say(&format_args!("written: {}", changed.path.display()));
        Ok(Exit::Ok)
    }

    fn finding(&self) -> anyhow::Result<Finding> {
        let mut found: BTreeMap<Vec<u8>, Finding> = BTreeMap::new();
        self.recorded.each_finding(|finding| {
            if finding.id.as_bytes().starts_with(self.id.as_bytes()) {
                found.insert(finding.id.as_bytes().to_vec(), finding.clone());
            }
            ControlFlow::Continue(())
        })?;
        let count = found.len();
        let (Some((_, finding)), 1) = (found.pop_first(), count) else {
            return Err(QueryError::Unknown(format!(
                "{} the id {}; `mcp-monitor findings -o csv` shows ids",
                if count == 0 { "no finding has" } else { "several findings have" },
                escape(self.id.as_bytes())
            ))
            .into());
        };
        Ok(finding)
    }

    /// What is known of the instance: by its first recorded event, else by the finding itself.
    fn subject(&self, finding: &Finding, workload: &String) -> anyhow::Result<Subject> {
        let mut known = None;
        self.recorded.each(Some(workload), |event| {
            if known.is_none() && event.workload.instance.as_bytes() == finding.workload.instance.as_bytes() {
                known = Some(subject(event));
            }
        })?;
        let text = |text: &crate::render::read::Text| String::from_utf8_lossy(text.as_bytes()).into_owned();
        Ok(known.unwrap_or_else(|| Subject {
            name: text(&finding.workload.name),
            client: finding.workload.client.as_ref().map(text),
            ..Subject::default()
        }))
    }

    fn change(
        &self,
        finding: &Finding,
        entry: &Entry,
        expectation: Option<&Arc<Expectation>>,
    ) -> anyhow::Result<Changed> {
        let comment = format!("allowed for finding {}", finding.id.escaped());
        let Some(expectation) = expectation else {
            let name = String::from_utf8_lossy(finding.workload.name.as_bytes()).into_owned();
            let client = finding.workload.client.as_ref().map(|client| client.escaped().into_owned());
            let file: String =
                name.chars()
                    .map(|one| {
                        if one.is_ascii_alphanumeric() || matches!(one, '-' | '_' | '.') { one } else { '_' }
                    })
                    .collect();
            let path = self.directory.directory.join(format!("{}.yaml", file.trim_matches('.')));
            anyhow::ensure!(!path.exists(), "{} is there and means another workload", path.display());
            let after = added(&empty(&name, client.as_deref()), 1, entry, &comment)?;
            return Ok(Changed { path, before: String::new(), after });
        };
        let path = expectation.file.clone();
        let before: String =
            read::files(std::slice::from_ref(&path))?.into_iter().map(|source| source.text).collect();
        let begin = usize::try_from(expectation.line).unwrap_or(1);
        let after = added(&before, begin, entry, &comment)?;
        Ok(Changed { path, before, after })
    }

    fn set_with(&self, changed: &Changed) -> Result<Set, SetError> {
        let mut all = read::directory(&self.directory.directory)?;
        all.retain(|source| source.path != changed.path);
        all.push(Source { path: changed.path.clone(), text: changed.after.clone() });
        Set::of_sources(&all)
    }

    /// Everything that the set finds in what was recorded of the workload.
    fn found(&self, workload: &String, set: &Set) -> anyhow::Result<BTreeMap<(String, String), Change>> {
        let replay = replayed(&self.recorded, Some(workload), set, false, true)?;
        let mut all = replay.found;
        all.extend(replay.kept);
        Ok(all)
    }
}

fn minus(
    all: &BTreeMap<(String, String), Change>,
    others: &BTreeMap<(String, String), Change>,
) -> BTreeMap<(String, String), Change> {
    let rest = all.iter().filter(|(key, _)| !others.contains_key(*key));
    rest.map(|(key, change)| (key.clone(), change.clone())).collect()
}

fn show(output: &mut impl io::Write, changed: &Changed) -> io::Result<()> {
    let name = changed.path.display().to_string();
    let old = if changed.before.is_empty() { "/dev/null".to_owned() } else { name.clone() };
    let difference = TextDiff::from_lines(&changed.before, &changed.after);
    let text = difference.unified_diff().context_radius(2).header(&old, &name).to_string();
    for line in text.lines() {
        let line: String =
            line.chars().map(|one| if one.is_control() && one != '\t' { '?' } else { one }).collect();
        writeln!(output, "{line}")?;
    }
    Ok(())
}
