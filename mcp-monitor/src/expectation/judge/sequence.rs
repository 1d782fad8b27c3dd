//! Rulings on what no single event shows: a secret and then an unexpected destination, many refusals, many removals,
//! what was fetched and then run. Each looks at an event and its ruling, remembers, and may give another ruling.

use super::{Case, Judge, Ruling, memory::SecretRead, plain, writes::changed_paths};
use crate::{
    event::{
        Action, Bytes, Endpoint, Event, ExecObject, FileObject, NetworkObject, Outcome, Rule, Transport,
        Verdict,
    },
    expectation::{
        commands::Passing,
        lineage::{Image, Lineage},
        names::Named,
        network::{fold, is_own_host, is_private},
    },
};

const SECOND_NS: u64 = 1_000_000_000;
/// How long after a secret was read a new destination is suspicious.
const SOON_NS: u64 = 10 * 60 * SECOND_NS;
/// Distinct refusals that are probing, and within what time.
const REFUSALS: usize = 24;
const REFUSALS_NS: u64 = 60 * SECOND_NS;
/// Distinct removals that are destruction, and within what time.
const REMOVALS: usize = 100;
const REMOVALS_NS: u64 = 30 * SECOND_NS;
/// `O_DIRECTORY`.
const DIRECTORY: u32 = libc::O_DIRECTORY.cast_unsigned();

/// Different kinds of secrets that make a sweep, within the span.
const SWEEP_SECRETS: usize = 4;
/// The span.
const SWEEP_NS: u64 = 600_000_000_000;
/// Source of the decision on the secret that makes it one.
const SWEEP: &str = "sweep:secrets";

impl Judge {
    /// The ruling in the light of what happened before; takes note of the event.
    pub(super) fn in_sequence(&mut self, case: &Case, ruling: Ruling, named: Option<&Named>) -> Ruling {
        match &case.event.action {
            Action::Connect(network) | Action::Send(network) => {
                let ruling = self.after_a_secret(case, network, ruling, named);
                self.refused_destination(case, network, ruling)
            }
            Action::Exec(exec) => self.fetched_or_decoded(case, exec, ruling),
            Action::Open(file) => {
                self.note_file(case, file, &ruling);
                let ruling = self.swept(case, ruling);
                self.refused_file(case, file, ruling)
            }
            Action::Receive(file) => {
                self.note_file(case, file, &ruling);
                self.swept(case, ruling)
            }
            Action::Chmod(file) | Action::Map(file) => {
                self.note_file(case, file, &ruling);
                ruling
            }
            Action::Dns(answer) => self.looked_up(case, answer, ruling),
            Action::Rename(file) => {
                self.note_file(case, file, &ruling);
                self.removed(case, file, ruling)
            }
            Action::Unlink(file) | Action::Truncate(file) => self.removed(case, file, ruling),
            _ => ruling,
        }
    }

    /// One secret may be a mistake; different ones one after the other are somebody who looks for what there is.
    fn swept(&mut self, case: &Case, ruling: Ruling) -> Ruling {
        if ruling.rule != Some(Rule::SecretRead) {
            return ruling;
        }
        let swept = &mut self.memory.of(&case.image.instance).swept;
        if !swept.note(case.event.boot_ns, SWEEP_NS, SWEEP_SECRETS, ruling.source.as_ref()) {
            return ruling;
        }
        let reason =
            format!("{}; {SWEEP_SECRETS} different secrets within ten minutes: a sweep", ruling.reason);
        Ruling { source: SWEEP.into(), reason: reason.into(), ..ruling }
    }

    fn after_a_secret(
        &mut self,
        case: &Case,
        network: &NetworkObject,
        ruling: Ruling,
        named: Option<&Named>,
    ) -> Ruling {
        let Endpoint::Internet(address, _) = &network.remote else { return ruling };
        let address = fold(*address);
        let asks_the_way =
            network.transport == Transport::Udp && matches!(case.event.action, Action::Connect(_));
        if is_own_host(address) || asks_the_way {
            return ruling;
        }
        let now = case.event.boot_ns;
        let key = match named.and_then(|named| named.names.last()) {
            Some(name) => name.as_slice().to_vec(),
            None => address.to_string().into_bytes(),
        };
        let remembered = self.memory.of(&case.image.instance);
        let first_seen = remembered.first_seen(&key, now);
        let unexpected = ruling.rule == Some(Rule::UnknownEgress);
        let may_be_new = case.agent && ruling.verdict == Verdict::Unjudged && !is_private(address);
        if !unexpected && !may_be_new {
            return ruling;
        }
        let recent =
            remembered.secrets.iter().rev().filter(|read| now.0.saturating_sub(read.at.0) <= SOON_NS);
        let suspicious = recent.filter(|read| unexpected || first_seen >= read.at);
        let Some((read, how)) =
            suspicious.map(|read| (read, relation(read, &case.image))).max_by_key(|(_, how)| *how)
        else {
            return ruling;
        };
        let seconds = now.0.saturating_sub(read.at.0) / SECOND_NS;
        let what = format!(
            "{}, {seconds} s after a secret was read ({}) {}",
            if unexpected { ruling.reason.as_ref() } else { "went to a place where it had not been before" },
            read.title,
            how.words(),
        );
        Ruling::broken(Rule::Exfiltration, Verdict::Forbidden, how.source(), what)
    }

    fn refused_destination(&mut self, case: &Case, network: &NetworkObject, ruling: Ruling) -> Ruling {
        let Outcome::Failed(errno) = case.event.outcome else { return ruling };
        let Endpoint::Internet(address, port) = &network.remote else { return ruling };
        let refused = matches!(
            errno,
            libc::ECONNREFUSED
                | libc::EPERM
                | libc::EACCES
                | libc::EHOSTUNREACH
                | libc::ENETUNREACH
                | libc::ETIMEDOUT
        );
        // Tests and development servers try ports of their own host all day.
        if !refused || case.agent && is_own_host(fold(*address)) {
            return ruling;
        }
        let remembered = self.memory.of(&case.image.instance);
        let probing = remembered.refused_destinations.note(
            case.event.boot_ns,
            REFUSALS_NS,
            REFUSALS,
            (fold(*address), *port),
        );
        if !probing || ruling.rule.is_some_and(Rule::is_protected) {
            return ruling;
        }
        let what = format!("tried {REFUSALS} different destinations within a minute that refused");
        Ruling::broken(Rule::AccessProbing, Verdict::Unexpected, "probing:destinations", what)
    }

    fn refused_file(&mut self, case: &Case, file: &FileObject, ruling: Ruling) -> Ruling {
        let refused =
            matches!(case.event.outcome, Outcome::Failed(libc::EACCES | libc::EPERM) | Outcome::Denied);
        // `find /` meets many directories that it may not enter.
        if !refused || case.agent && file.flags & DIRECTORY != 0 {
            return ruling;
        }
        let path = plain(&file.path, case.event);
        let remembered = self.memory.of(&case.image.instance);
        let probing = remembered.refused_files.note(case.event.boot_ns, REFUSALS_NS, REFUSALS, path.as_ref());
        if !probing || ruling.rule.is_some() {
            return ruling;
        }
        let what = format!("tried {REFUSALS} different files within a minute that it may not open");
        Ruling::broken(Rule::AccessProbing, Verdict::Unexpected, "probing:files", what)
    }

    fn removed(&mut self, case: &Case, file: &FileObject, ruling: Ruling) -> Ruling {
        if !matches!(case.event.outcome, Outcome::Ok | Outcome::Permitted) || ruling.rule.is_some() {
            return ruling;
        }
        let path = plain(&file.path, case.event);
        let destroys = match &case.event.action {
            Action::Unlink(_) => true,
            // Ransomware gives what it encrypted a longer name; a move keeps the file.
            Action::Rename(_) => {
                let target = file.target.as_ref().map(|target| plain(target, case.event));
                target.is_some_and(|target| target.len() > path.len() && target.starts_with(&path))
            }
            Action::Truncate(_) => file.links > 0,
            _ => false,
        };
        let homes = self.secrets.homes();
        if !destroys || self.places.is_rebuildable(&path, homes) || self.places.rebuilds(&case.image.programs)
        {
            return ruling;
        }
        let now = case.event.boot_ns;
        let remembered = self.memory.of(&case.image.instance);
        if !remembered.removed.note(now, REMOVALS_NS, REMOVALS, path.as_ref()) {
            return ruling;
        }
        let outside = !case.scope.is_in_workspace(&path);
        let (source, place) = if outside {
            ("destruction:outside", "outside its workspace")
        } else {
            ("destruction:workspace", "in its workspace")
        };
        let what = format!(
            "removed or renamed {REMOVALS} files {place} that cannot be built again, within half a minute"
        );
        Ruling::broken(Rule::DestructiveBurst, Verdict::Unexpected, source, what)
    }

    fn fetched_or_decoded(&mut self, case: &Case, exec: &ExecObject, ruling: Ruling) -> Ruling {
        let passing = self.commands.passing(exec);
        let program = crate::event::escape(exec.executable.path.bytes.as_slice());
        let [input, output] = case.image.pipes;
        let remembered = self.memory.of(&case.image.instance);
        let mut joined = None;
        match (passing, input, output) {
            (Some(feeds @ (Passing::Downloads | Passing::Decodes)), _, Some(pipe)) => {
                let pipe = remembered.pipe(pipe);
                pipe.fed_by = Some((feeds, program.clone()));
                joined = pipe.run_by.clone().map(|by| (feeds, program.clone(), by));
            }
            (Some(Passing::Runs), Some(pipe), _) if reads_its_program(exec) => {
                let pipe = remembered.pipe(pipe);
                pipe.run_by = Some(program.clone());
                joined = pipe.fed_by.clone().map(|(feeds, by)| (feeds, by, program.clone()));
            }
            _ => {}
        }
        if ruling.rule.is_some() {
            return ruling;
        }
        if let Some((feeds, from, to)) = joined {
            return match feeds {
                Passing::Decodes => {
                    let what = format!("{to} runs what {from} decodes");
                    Ruling::broken(Rule::EncodedExec, Verdict::Forbidden, "pipe:decoded", what)
                }
                Passing::Downloads | Passing::Runs => {
                    let what =
                        format!("{to} runs what {from} fetches from the network: a program without a file");
                    Ruling::broken(Rule::HiddenExec, Verdict::Unexpected, pipe_source(case), what)
                }
            };
        }
        let files = [Some(&exec.executable), exec.script.as_ref()];
        for file in files.into_iter().flatten() {
            let path = plain(&file.path, case.event);
            if let Some(by) = self.memory.of(&case.image.instance).fetched(&path) {
                let what = format!("ran a file that {by} fetched from the network before");
                let source = if case.agent { "fetched:agent" } else { "fetched" };
                return Ruling::broken(Rule::HiddenExec, Verdict::Unexpected, source, what);
            }
        }
        ruling
    }

    /// Remembers secrets that were read and files that were fetched or left behind.
    fn note_file(&mut self, case: &Case, file: &FileObject, ruling: &Ruling) {
        let Case { event, image, .. } = case;
        if !matches!(event.outcome, Outcome::Ok | Outcome::Permitted) {
            return;
        }
        if ruling.rule == Some(Rule::SecretRead) {
            if !self.takes_content(event, file) {
                return;
            }
            let title = ruling.reason.to_string();
            let read = SecretRead {
                at: event.boot_ns,
                process: event.process.key,
                pipes: image.pipes,
                forebears: image.forebears(),
                title,
            };
            self.memory.of(&image.instance).note_secret(read);
            return;
        }
        let path = plain(&file.path, event);
        let changed = changed_paths(event, file, &path);
        if changed.is_empty() {
            return;
        }
        if let (Action::Rename(_), [from, to]) = (&event.action, changed.as_slice()) {
            self.memory.of(&image.instance).move_fetched(from, to);
        } else if matches!(event.action, Action::Open(_)) && self.is_downloader(event) {
            let by = crate::event::escape(event.process.executable.as_slice());
            self.memory.of(&image.instance).note_fetched(&path, by);
        }
        self.note_left(case, file, &path);
    }

    /// The event gives somebody the content of a file; writing over it does not.
    fn takes_content(&self, event: &Event, file: &FileObject) -> bool {
        match &event.action {
            Action::Open(_) => file.access.read || file.access.execute || !file.access.write,
            Action::Rename(_) | Action::Link(_) => {
                self.secrets.match_file(file, &plain(&file.path, event)).is_some()
            }
            Action::Receive(_) | Action::Map(_) => true,
            _ => false,
        }
    }

    fn is_downloader(&self, event: &Event) -> bool {
        let process = &event.process;
        self.commands.is_downloader(process.executable.as_slice())
    }
}

/// A shell or interpreter without a script and without code in its arguments reads its program from its input.
fn reads_its_program(exec: &ExecObject) -> bool {
    let mut arguments = exec.arguments.iter().skip(1).map(Bytes::as_slice);
    let no_file = exec.script.is_none();
    no_file
        && arguments.all(|argument| {
            // `-s` and what follows it belong to the program that is read.
            argument.starts_with(b"-")
                && !argument.starts_with(b"-c")
                && argument != b"-e"
                && argument != b"-m"
        })
        || exec
            .arguments
            .get(1)
            .is_some_and(|argument| matches!(argument.as_slice(), b"-s" | b"-" | b"/dev/stdin"))
}

fn pipe_source(case: &Case) -> &'static str {
    if case.agent { "pipe:fetched-agent" } else { "pipe:fetched" }
}

/// How a process that goes somewhere is related to one that read a secret; the nearer, the greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Relation {
    Instance,
    Ancestor,
    Descendant,
    Pipe,
    Same,
}

impl Relation {
    const fn words(self) -> &'static str {
        match self {
            Self::Same => "by the same process",
            Self::Pipe => "by the process at the other end of its pipe",
            Self::Descendant => "by a process that it descends from",
            Self::Ancestor => "by a process that it started",
            Self::Instance => "by another process of the same workload",
        }
    }

    const fn source(self) -> &'static str {
        match self {
            Self::Same | Self::Pipe | Self::Descendant | Self::Ancestor => "sequence:related",
            Self::Instance => "sequence:workload",
        }
    }
}

fn relation(read: &SecretRead, image: &Image) -> Relation {
    let same = read.process.pid == image.key.pid && read.process.start == image.key.start;
    let started = read.forebears.iter().any(|key| key.pid == image.key.pid && key.start == image.key.start);
    let pipe =
        read.pipes.iter().flatten().any(|pipe| image.pipes.iter().flatten().any(|other| other == pipe));
    if same {
        Relation::Same
    } else if Lineage::is_or_descends(image, read.process) {
        Relation::Descendant
    } else if pipe {
        Relation::Pipe
    } else if started {
        Relation::Ancestor
    } else {
        Relation::Instance
    }
}

/// Severities by the source of a decision.
pub(super) fn severities() -> impl Iterator<Item = (String, crate::event::Severity)> {
    use crate::event::Severity::{Critical, High, Medium};
    [
        (SWEEP, Critical),
        ("sequence:workload", High),
        ("destruction:workload", Medium),
        ("pipe:fetched-agent", Medium),
        ("fetched:agent", Medium),
    ]
    .into_iter()
    .map(|(source, severity)| (source.to_owned(), severity))
}
