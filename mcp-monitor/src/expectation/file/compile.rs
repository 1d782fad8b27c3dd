//! One expectation for one instance, ready to be asked: variables filled in, patterns as automata, destinations as
//! tables. What was asked once is remembered, so that the cost of an event does not grow with the number of patterns.

use std::{
    collections::HashMap,
    ffi::OsStr,
    net::IpAddr,
    os::unix::ffi::OsStrExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

use super::{
    check::{Client, Expectation, List, Program, Secret},
    destination::{Destinations, Protocol},
    selector::Subject,
};
use crate::expectation::{
    catalogue::EntryIndex,
    data::DataError,
    glob::{HOME, Homes, PathGlobs},
    profile::ProfileIndex,
};

/// Answers that are remembered; when there are more, all are forgotten.
const REMEMBERED_MAX: usize = 16 * 1024;
/// Directories that a variable stands for at most.
const DIRECTORIES_MAX: usize = 32;
/// Directories in which programs that are named without a path are looked for.
const PROGRAM_DIRECTORIES: &str =
    "/{bin,sbin,usr/bin,usr/sbin,usr/local/bin,usr/local/sbin,usr/libexec,snap/bin}";

/// What an expectation says about something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Said {
    /// Nothing.
    Nothing,
    /// It is allowed, on this line.
    Allowed(u32),
    /// The list that begins on this line does not name it.
    Refused(u32),
}

/// Paths with their lines.
#[derive(Debug, Default)]
struct Paths {
    line: u32,
    all: PathGlobs,
    /// Those without wildcards: what they mean is meant by name.
    named: PathGlobs,
}

impl Paths {
    fn new(line: u32, patterns: &[(String, u32)]) -> Result<Self, DataError> {
        let texts = || patterns.iter().map(|(text, line)| (text.as_str(), *line));
        let named = texts().filter(|(text, _)| !text.trim_start_matches(HOME).contains(['*', '?', '[', '{']));
        Ok(Self { line, named: PathGlobs::new(named)?, all: PathGlobs::new(texts())? })
    }

    fn say(&self, path: &[u8], homes: &Homes) -> Said {
        self.all.matches(path, homes).first().map_or(Said::Refused(self.line), |line| Said::Allowed(*line))
    }
}

/// Answers by path, one table for each list.
type Remembered = [HashMap<Box<[u8]>, Said>; 4];

/// An expectation, ready to be asked.
#[derive(Debug)]
pub struct Compiled {
    /// What it was made from.
    pub expectation: Arc<Expectation>,
    /// The source of its decisions: `expectation:FILE`.
    pub source: Arc<str>,
    /// Patterns that mean nothing, since the directory behind their variable is not known.
    pub unbound: Vec<String>,
    read: Option<Paths>,
    write: Option<Paths>,
    secret_entries: HashMap<EntryIndex, u32>,
    secret_paths: Paths,
    exec: Option<Paths>,
    egress: Option<Destinations>,
    listen: Option<Destinations>,
    unix: Option<Paths>,
    clients: Option<(Destinations, Option<u32>, Option<u32>)>,
    remembered: Mutex<Remembered>,
}

impl Compiled {
    /// Fills in what the variables stand for.
    pub fn new(expectation: &Arc<Expectation>, subject: &Subject) -> Result<Self, DataError> {
        let mut unbound = Vec::new();
        let mut paths = |list: Option<&List<String>>, trees: bool| {
            list.map(|list| {
                let patterns: Vec<_> = list
                    .values
                    .iter()
                    .flat_map(|(text, line)| with_line(bind(text, subject, trees, &mut unbound), *line))
                    .collect();
                Paths::new(list.line, &patterns)
            })
            .transpose()
        };
        let read = paths(expectation.read.as_ref(), true)?;
        let write = paths(expectation.write.as_ref(), true)?;
        let unix = paths(expectation.unix.as_ref(), false)?;
        let secrets = expectation.secrets.iter().flat_map(|list| &list.values);
        let (mut secret_entries, mut secret_paths) = (HashMap::new(), Vec::new());
        for (secret, line) in secrets {
            match secret {
                Secret::Entry(entry) => {
                    secret_entries.entry(*entry).or_insert(*line);
                }
                Secret::Path(path) => {
                    secret_paths.extend(with_line(bind(path, subject, false, &mut unbound), *line));
                }
            }
        }
        let exec = expectation.exec.as_ref().map(|list| {
            let patterns: Vec<_> = list
                .values
                .iter()
                .flat_map(|(program, line)| with_line(programs(program, subject, &mut unbound), *line))
                .collect();
            Paths::new(list.line, &patterns)
        });
        let destinations = |list: Option<&List<_>>| {
            list.map(|list: &List<_>| Destinations::new(list.values.iter().map(|(one, line)| (one, *line))))
        };
        let clients = expectation.clients.as_ref().map(|list| {
            let line_of = |wanted: fn(&Client) -> bool| {
                list.values.iter().find(|(client, _)| wanted(client)).map(|(_, line)| *line)
            };
            let addresses = list.values.iter().filter_map(|(client, line)| match client {
                Client::Address(address) => Some((address, *line)),
                Client::Localhost | Client::Unix => None,
            });
            let localhost = line_of(|client| matches!(client, Client::Localhost));
            (Destinations::new(addresses), localhost, line_of(|client| matches!(client, Client::Unix)))
        });
        Ok(Self {
            source: format!("expectation:{}", expectation.file.display()).into(),
            read,
            write,
            unix,
            secret_entries,
            secret_paths: Paths::new(
                expectation.secrets.as_ref().map_or(0, |list| list.line),
                &secret_paths,
            )?,
            exec: exec.transpose()?,
            egress: destinations(expectation.egress.as_ref()),
            listen: destinations(expectation.listen.as_ref()),
            clients,
            unbound,
            expectation: Arc::clone(expectation),
            remembered: Mutex::default(),
        })
    }

    /// The profile that is given beside the program's own.
    #[must_use]
    pub fn runtime(&self) -> Option<ProfileIndex> {
        self.expectation.runtime
    }

    /// It holds at this time.
    #[must_use]
    pub fn holds(&self, now: impl Fn() -> Timestamp) -> bool {
        let times = &self.expectation.times;
        times.is_empty() || {
            let now = now();
            times.iter().any(|times| times.contain(now))
        }
    }

    /// About reading a path.
    #[must_use]
    pub fn reads(&self, path: &[u8], homes: &Homes) -> Said {
        self.paths(0, self.read.as_ref(), path, homes)
    }

    /// About changing what stands at a path.
    #[must_use]
    pub fn writes(&self, path: &[u8], homes: &Homes) -> Said {
        self.paths(1, self.write.as_ref(), path, homes)
    }

    /// About running what lies at a path.
    #[must_use]
    pub fn runs(&self, path: &[u8], homes: &Homes) -> Said {
        self.paths(2, self.exec.as_ref(), path, homes)
    }

    /// About a socket in the file system, or with `@` an abstract one.
    #[must_use]
    pub fn sockets(&self, path: &[u8], homes: &Homes) -> Said {
        self.paths(3, self.unix.as_ref(), path, homes)
    }

    /// The line that allows changing this path by naming it, without wildcards.
    #[must_use]
    pub fn names_write(&self, path: &[u8], homes: &Homes) -> Option<u32> {
        self.write.as_ref()?.named.matches(path, homes).first().copied()
    }

    /// The line that allows this socket by naming it, without wildcards.
    #[must_use]
    pub fn names_socket(&self, path: &[u8], homes: &Homes) -> Option<u32> {
        self.unix.as_ref()?.named.matches(path, homes).first().copied()
    }

    /// The line that names a secret.
    #[must_use]
    pub fn names_secret(&self, entry: EntryIndex, path: &[u8], homes: &Homes) -> Option<u32> {
        let by_entry = self.secret_entries.get(&entry).copied();
        by_entry.or_else(|| self.secret_paths.named.matches(path, homes).first().copied())
    }

    /// About a destination known by name.
    #[must_use]
    pub fn name(&self, name: &[u8], port: Option<u16>, protocol: Option<Protocol>) -> Option<u32> {
        self.egress.as_ref()?.name(name, port, protocol)
    }

    /// About a destination known by address; `exact` when a network is not enough.
    #[must_use]
    pub fn address(
        &self,
        address: IpAddr,
        port: Option<u16>,
        protocol: Option<Protocol>,
        exact: bool,
    ) -> Option<u32> {
        let egress = self.egress.as_ref()?;
        if exact { egress.exact(address, port, protocol) } else { egress.address(address, port, protocol) }
    }

    /// About listening at an address. `*:PORT` stands for every address.
    #[must_use]
    pub fn listens(&self, address: IpAddr, port: u16, protocol: Option<Protocol>) -> Said {
        let Some(listen) = &self.listen else { return Said::Nothing };
        let everywhere = IpAddr::from([0, 0, 0, 0]);
        let unspecified = if address.is_unspecified() { everywhere } else { address };
        let line = listen
            .exact(unspecified, Some(port), protocol)
            .or_else(|| listen.exact(everywhere, Some(port), protocol));
        line.map_or(
            Said::Refused(self.expectation.listen.as_ref().map_or(0, |list| list.line)),
            Said::Allowed,
        )
    }

    /// About being connected to, from an address or over a socket in the file system.
    #[must_use]
    pub fn accepts(&self, from: Option<IpAddr>) -> Said {
        let Some((addresses, localhost, unix)) = &self.clients else { return Said::Nothing };
        let line = match from {
            None => *unix,
            Some(address) => {
                let local = localhost.filter(|_| crate::expectation::network::is_own_host(address));
                local.or_else(|| addresses.address(address, None, None))
            }
        };
        line.map_or(
            Said::Refused(self.expectation.clients.as_ref().map_or(0, |list| list.line)),
            Said::Allowed,
        )
    }

    fn paths(&self, which: usize, paths: Option<&Paths>, path: &[u8], homes: &Homes) -> Said {
        let Some(paths) = paths else { return Said::Nothing };
        let mut all = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(remembered) = all.get_mut(which) else { return paths.say(path, homes) };
        if let Some(said) = remembered.get(path) {
            return *said;
        }
        let said = paths.say(path, homes);
        if remembered.len() >= REMEMBERED_MAX {
            remembered.clear();
        }
        remembered.insert(Box::from(path), said);
        said
    }
}

fn with_line(patterns: Vec<String>, line: u32) -> impl Iterator<Item = (String, u32)> {
    patterns.into_iter().map(move |pattern| (pattern, line))
}

/// The patterns that `text` stands for. With `trees`, `DIRECTORY/**` means the directory itself, too.
fn bind(text: &str, subject: &Subject, trees: bool, unbound: &mut Vec<String>) -> Vec<String> {
    let mut bound = match text.strip_prefix("${").and_then(|after| after.split_once('}')) {
        None => vec![text.to_owned()],
        Some(("home", rest)) => match &subject.home {
            Some(home) => below(std::slice::from_ref(home), rest),
            None => vec![format!("{HOME}{}", rest.trim_start_matches('/'))],
        },
        Some((name, rest)) => below(
            match name {
                "workspace" => &subject.workspaces,
                "package" => &subject.package_directories,
                "cache" => &subject.caches,
                _ => &[],
            },
            rest,
        ),
    };
    if bound.is_empty() {
        unbound.push(text.to_owned());
    }
    if trees {
        let itself: Vec<_> =
            bound.iter().filter_map(|pattern| pattern.strip_suffix("/**")).map(str::to_owned).collect();
        bound.extend(itself.into_iter().filter(|pattern| pattern.len() > 1 && !pattern.ends_with("/**")));
    }
    bound
}

/// `rest` below each directory, which means itself whatever characters it has.
fn below(directories: &[PathBuf], rest: &str) -> Vec<String> {
    let usable =
        directories.iter().filter(|directory| directory.is_absolute() && directory.parent().is_some());
    let texts = usable.take(DIRECTORIES_MAX).filter_map(|directory| directory.as_os_str().to_str());
    texts.map(|directory| format!("{}{rest}", escaped(directory.trim_end_matches('/')))).collect()
}

/// The pattern that means `text` and nothing else.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '{' | '}' | '\\' | ',' | '!') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern
}

fn programs(program: &Program, subject: &Subject, unbound: &mut Vec<String>) -> Vec<String> {
    match program {
        Program::Path(path) => bind(path, subject, false, unbound),
        Program::Name(name) => {
            let name = escaped(name);
            let mut patterns =
                vec![format!("{PROGRAM_DIRECTORIES}/{name}"), format!("/usr/lib/git-core/{name}")];
            patterns.extend(below(&subject.package_directories, &format!("/node_modules/.bin/{name}")));
            patterns
        }
        Program::Package(registry, name) => {
            let name = escaped(name);
            if registry == "npm" {
                vec![format!("**/node_modules/{name}/**")]
            } else {
                let module = name.replace('-', "_");
                vec![
                    format!("**/site-packages/{module}/**"),
                    format!("**/dist-packages/{module}/**"),
                    format!("**/bin/{name}"),
                ]
            }
        }
    }
}

/// A path as the file system has it.
#[must_use]
pub fn as_path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}
