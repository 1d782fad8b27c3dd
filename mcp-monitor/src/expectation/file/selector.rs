//! Which workload an expectation means, and which of several expectations means it best.

use std::path::PathBuf;

use globset::{GlobBuilder, GlobMatcher};

use super::{
    error::{Mistakes, nearest_of},
    format::{Document, Text},
};

/// Registries that packages come from.
pub const REGISTRIES: [&str; 7] = ["npm", "pypi", "jsr", "oci", "go", "nuget", "maven"];

/// What is known of a workload's instance when an expectation is looked for, and what its variables stand for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// Its name in the inventory.
    pub name: String,
    /// The client that declares or started it.
    pub client: Option<String>,
    /// The name of the workload that started it.
    pub parent: Option<String>,
    /// The command of its declaration, as given.
    pub command: Option<Vec<u8>>,
    /// Its packages, without version: `npm:@scope/name`.
    pub packages: Vec<String>,
    /// Its container's image, as given.
    pub image: Option<String>,
    /// Its container's labels.
    pub labels: Vec<(String, String)>,
    /// Its systemd unit.
    pub unit: Option<String>,
    /// The resolved path of its program.
    pub executable: Option<Vec<u8>>,
    /// The user that it runs as.
    pub user: Option<String>,
    /// What `${workspace}` stands for.
    pub workspaces: Vec<PathBuf>,
    /// What `${home}` stands for; every home when not known.
    pub home: Option<PathBuf>,
    /// What `${package}` stands for.
    pub package_directories: Vec<PathBuf>,
    /// What `${cache}` stands for.
    pub caches: Vec<PathBuf>,
}

/// What can be asked for, the weightiest first. The weights are powers of two, so that equal sums mean equal kinds.
#[derive(Clone, Debug)]
enum Criterion {
    Workload(String),
    Label(String, String),
    Unit(String),
    Image(GlobMatcher, bool),
    Package(String),
    Command(GlobMatcher, bool),
    Executable(GlobMatcher),
    Parent(String),
    User(String),
    Client(String),
}

impl Criterion {
    const fn weight(&self) -> u32 {
        match self {
            Self::Workload(_) => 1 << 9,
            Self::Label(..) => 1 << 8,
            Self::Unit(_) => 1 << 7,
            Self::Image(..) => 1 << 6,
            Self::Package(_) => 1 << 5,
            Self::Command(..) => 1 << 4,
            Self::Executable(_) => 1 << 3,
            Self::Parent(_) => 1 << 2,
            Self::User(_) => 1 << 1,
            Self::Client(_) => 1,
        }
    }

    /// The characters that are given and not left open.
    fn literal(&self) -> usize {
        let given = |text: &str| text.chars().filter(|character| !"*?[]{}".contains(*character)).count();
        match self {
            Self::Image(glob, _) | Self::Command(glob, _) | Self::Executable(glob) => {
                given(glob.glob().glob())
            }
            _ => 0,
        }
    }

    fn fits(&self, subject: &Subject) -> bool {
        match self {
            Self::Workload(name) => subject.name == *name,
            Self::Label(key, value) => subject.labels.iter().any(|(one, other)| one == key && other == value),
            Self::Unit(unit) => subject.unit.as_ref() == Some(unit),
            Self::Image(glob, whole) => subject
                .image
                .as_ref()
                .is_some_and(|image| glob.is_match(if *whole { image } else { without_tag(image) })),
            Self::Package(package) => subject.packages.contains(package),
            Self::Command(glob, whole) => subject.command.as_ref().is_some_and(|command| {
                glob.is_match(path(if *whole { command } else { last_name(command) }))
            }),
            Self::Executable(glob) => {
                subject.executable.as_ref().is_some_and(|executable| glob.is_match(path(executable)))
            }
            Self::Parent(parent) => subject.parent.as_ref() == Some(parent),
            Self::User(user) => subject.user.as_ref() == Some(user),
            Self::Client(client) => subject.client.as_ref() == Some(client),
        }
    }

    fn is_same(&self, other: &Self) -> bool {
        let text = |criterion: &Self| match criterion {
            Self::Workload(text)
            | Self::Unit(text)
            | Self::Package(text)
            | Self::Parent(text)
            | Self::User(text)
            | Self::Client(text) => text.clone(),
            Self::Label(key, value) => format!("{key}={value}"),
            Self::Image(glob, _) | Self::Command(glob, _) | Self::Executable(glob) => {
                glob.glob().glob().to_owned()
            }
        };
        self.weight() == other.weight() && text(self) == text(other)
    }
}

/// Whom an expectation means.
#[derive(Clone, Debug, Default)]
pub struct Selector {
    criteria: Vec<Criterion>,
}

impl Selector {
    /// True when the subject is meant.
    #[must_use]
    pub fn fits(&self, subject: &Subject) -> bool {
        !self.criteria.is_empty() && self.criteria.iter().all(|criterion| criterion.fits(subject))
    }

    /// More of it is more specific.
    #[must_use]
    pub fn specificity(&self) -> (u32, usize) {
        (
            self.criteria.iter().map(Criterion::weight).sum(),
            self.criteria.iter().map(Criterion::literal).sum(),
        )
    }

    /// Both mean the same workloads.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        self.criteria.len() == other.criteria.len()
            && self.criteria.iter().all(|one| other.criteria.iter().any(|other| one.is_same(other)))
    }

    pub(super) fn check(document: &Document, mistakes: &mut Mistakes) -> Self {
        let mut criteria = Vec::new();
        let mut add =
            |text: &Option<Text>, mistakes: &mut Mistakes, make: fn(&str) -> Result<Criterion, String>| {
                let Some(text) = text else { return };
                if text.value.is_empty() {
                    mistakes.at(text, "is empty");
                    return;
                }
                match make(&text.value) {
                    Ok(criterion) => criteria.push(criterion),
                    Err(message) => mistakes.at(text, message),
                }
            };
        add(&document.workload, mistakes, |text| Ok(Criterion::Workload(text.to_owned())));
        add(&document.client, mistakes, |text| Ok(Criterion::Client(text.to_owned())));
        if let Some(matching) = &document.matching {
            let matching = &matching.value;
            add(&matching.command, mistakes, |text| Ok(Criterion::Command(glob(text)?, text.contains('/'))));
            add(&matching.package, mistakes, package);
            add(&matching.image, mistakes, |text| {
                Ok(Criterion::Image(glob(text)?, without_tag(text).len() != text.len()))
            });
            add(&matching.label, mistakes, |text| match text.split_once('=') {
                Some((key, value)) if !key.is_empty() => {
                    Ok(Criterion::Label(key.to_owned(), value.to_owned()))
                }
                _ => Err(String::from("write a label as `KEY=VALUE`")),
            });
            add(&matching.unit, mistakes, |text| {
                if text.contains('.') {
                    Ok(Criterion::Unit(text.to_owned()))
                } else {
                    Err(format!("write the unit with its kind; did you mean `{text}.service`?"))
                }
            });
            add(&matching.exe, mistakes, |text| {
                if text.starts_with('/') || text.starts_with("**/") {
                    Ok(Criterion::Executable(glob(text)?))
                } else {
                    Err(String::from("the path of a program begins with `/` or `**/`"))
                }
            });
        }
        if let Some(when) = &document.when {
            if let (Some(client), Some(_)) = (&when.value.client, &document.client) {
                mistakes.at(client, "`client` is given above already");
            } else {
                add(&when.value.client, mistakes, |text| Ok(Criterion::Client(text.to_owned())));
            }
            add(&when.value.user, mistakes, |text| Ok(Criterion::User(text.to_owned())));
            add(&when.value.parent, mistakes, |text| Ok(Criterion::Parent(text.to_owned())));
        }
        match (&document.workload, &document.matching) {
            (Some(_), Some(matching)) => {
                mistakes.at(matching, "give either `workload` or `match`, not both");
            }
            (None, None) => {
                mistakes
                    .at(&document.api_version, "this document means no workload: give `workload` or `match`");
            }
            (None, Some(matching)) if criteria.is_empty() && mistakes.is_empty() => {
                mistakes.at(matching, "`match` is empty: give command, package, image, label, unit or exe");
            }
            _ => {}
        }
        Self { criteria }
    }
}

fn glob(text: &str) -> Result<GlobMatcher, String> {
    GlobBuilder::new(text)
        .literal_separator(true)
        .backslash_escape(true)
        .build()
        .map(|glob| glob.compile_matcher())
        .map_err(|error| error.kind().to_string())
}

fn package(text: &str) -> Result<Criterion, String> {
    let (registry, name) =
        text.split_once(':').ok_or_else(|| format!("write the registry, too; did you mean `npm:{text}`?"))?;
    if !REGISTRIES.contains(&registry) {
        return Err(format!("unknown registry `{registry}`{}", nearest_of(registry, &REGISTRIES)));
    }
    let version = name.get(1..).and_then(|rest| rest.find('@')).or_else(|| name.find("=="));
    if version.is_some() && registry != "oci" {
        return Err(String::from("leave the version out: an upgrade is the same workload"));
    }
    if name.is_empty() {
        return Err(String::from("the package has no name"));
    }
    Ok(Criterion::Package(text.to_owned()))
}

/// An image without `:TAG` and `@DIGEST`.
fn without_tag(image: &str) -> &str {
    let image = image.split('@').next().unwrap_or(image);
    match image.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => name,
        _ => image,
    }
}

fn last_name(path: &[u8]) -> &[u8] {
    path.rsplit(|&byte| byte == b'/').next().unwrap_or(path)
}

fn path(bytes: &[u8]) -> &std::path::Path {
    use std::os::unix::ffi::OsStrExt as _;
    std::path::Path::new(std::ffi::OsStr::from_bytes(bytes))
}
