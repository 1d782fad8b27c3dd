//! Runtime profiles: what a runtime itself needs. Data: `mcp-monitor/data/profiles.yaml`.

use serde::Deserialize;

use super::{
    catalogue::{Catalogue, EntryIndex},
    data::{DataError, parse},
    glob::{Globs, Homes, PathGlobs},
    network::Egress,
    places::{EscapeIndex, Places},
    program::{ProgramIndex, Programs},
};

const FILE: &str = "profiles.yaml";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileFile {
    generic: GenericText,
    profiles: Vec<ProfileText>,
    launch: Vec<LaunchText>,
    exec: Vec<ExecText>,
    sockets: Vec<String>,
    name_services: Vec<String>,
    harmless_families: Vec<u16>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct GenericText {
    read: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ProfileText {
    name: String,
    executables: Vec<String>,
    read: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LaunchText {
    program: String,
    #[serde(default)]
    secrets: Vec<String>,
    #[serde(default)]
    egress: Vec<String>,
    #[serde(default)]
    escapes: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExecText {
    program: String,
    why: String,
    allow: Vec<String>,
}

/// Index of a runtime.
pub type ProfileIndex = u32;

#[derive(Debug)]
struct Profile {
    source: String,
    read: PathGlobs,
}

#[derive(Debug)]
struct Launch {
    program: ProgramIndex,
    source: String,
    secrets: Vec<EntryIndex>,
    egress: Vec<Egress>,
    escapes: Vec<EscapeIndex>,
}

/// Which programs a program starts by its nature, and no others.
#[derive(Debug)]
struct ExecLimit {
    program: ProgramIndex,
    source: String,
    why: String,
    allow: PathGlobs,
}

/// Every runtime profile.
#[derive(Debug)]
pub struct Profiles {
    generic: PathGlobs,
    executables: Globs,
    runtimes: Vec<Profile>,
    launch: Vec<Launch>,
    exec: Vec<ExecLimit>,
    sockets: Globs,
    name_services: Globs,
    harmless_families: Vec<u16>,
}

impl Profiles {
    /// The profiles of `profiles.yaml`.
    pub fn embedded(programs: &Programs, catalogue: &Catalogue, places: &Places) -> Result<Self, DataError> {
        let file: ProfileFile = parse(FILE, include_str!("../../data/profiles.yaml"))?;
        let undefined = |what, name: &str| DataError::Undefined { file: FILE, what, name: name.to_owned() };
        let launch = file.launch.iter().map(|text| {
            let secret = |id: &String| catalogue.find(id).ok_or_else(|| undefined("secret", id));
            let escape = |id: &String| places.find_escape(id).ok_or_else(|| undefined("escape", id));
            let egress = |text: &String| {
                text.parse().map_err(|error: super::EgressError| DataError::Syntax {
                    file: FILE,
                    message: error.to_string(),
                })
            };
            Ok(Launch {
                program: programs.index(&text.program, FILE)?,
                source: format!("profile:launch/{}", text.program),
                secrets: text.secrets.iter().map(secret).collect::<Result<_, DataError>>()?,
                egress: text.egress.iter().map(egress).collect::<Result<_, DataError>>()?,
                escapes: text.escapes.iter().map(escape).collect::<Result<_, DataError>>()?,
            })
        });
        let launch = launch.collect::<Result<_, DataError>>()?;
        let exec = file.exec.iter().map(|text| {
            Ok(ExecLimit {
                program: programs.index(&text.program, FILE)?,
                source: format!("profile:exec/{}", text.program),
                why: text.why.clone(),
                allow: all(&text.allow)?,
            })
        });
        let exec = exec.collect::<Result<_, DataError>>()?;
        let executables = Globs::new(file.profiles.iter().zip(0_u32..).flat_map(|(profile, index)| {
            profile.executables.iter().map(move |text| (text.as_str(), index))
        }))?;
        let profiles = file.profiles.iter().map(|profile| {
            Ok(Profile { source: format!("profile:{}", profile.name), read: all(&profile.read)? })
        });
        Ok(Self {
            generic: all(&file.generic.read)?,
            executables,
            runtimes: profiles.collect::<Result<_, DataError>>()?,
            launch,
            exec,
            sockets: Globs::new(file.sockets.iter().map(|text| (text.as_str(), 0)))?,
            name_services: Globs::new(file.name_services.iter().map(|text| (text.as_str(), 0)))?,
            harmless_families: file.harmless_families,
        })
    }

    /// The runtime of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<ProfileIndex> {
        self.names().zip(0..).find(|(known, _)| *known == name).map(|(_, index)| index)
    }

    /// The names of all runtimes.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.runtimes.iter().map(|profile| profile.source.trim_start_matches("profile:"))
    }

    /// The runtime that an executable is, by the last name of its resolved path.
    #[must_use]
    pub fn runtime(&self, executable: &[u8]) -> Option<ProfileIndex> {
        let mut found = Vec::new();
        self.executables.collect(executable.rsplit(|&byte| byte == b'/').next()?, &mut found);
        found.into_iter().min()
    }

    /// The profile that lets a program of this runtime read `path`.
    #[must_use]
    pub fn reads(&self, runtime: Option<ProfileIndex>, path: &[u8], homes: &Homes) -> Option<&str> {
        if self.generic.is_match(path, homes) {
            return Some("profile:generic");
        }
        let profile = self.runtimes.get(runtime? as usize)?;
        profile.read.is_match(path, homes).then_some(profile.source.as_str())
    }

    /// The launch pair that lets one of `programs` read the secret `entry`.
    #[must_use]
    pub fn launch_secret(&self, programs: &[ProgramIndex], entry: EntryIndex) -> Option<&str> {
        let mut pairs = self.launch.iter().filter(|launch| programs.contains(&launch.program));
        pairs.find(|launch| launch.secrets.contains(&entry)).map(|launch| launch.source.as_str())
    }

    /// The launch pair that lets one of `programs` use the socket of `escape`.
    #[must_use]
    pub fn launch_escape(&self, programs: &[ProgramIndex], escape: EscapeIndex) -> Option<&str> {
        let mut pairs = self.launch.iter().filter(|launch| programs.contains(&launch.program));
        pairs.find(|launch| launch.escapes.contains(&escape)).map(|launch| launch.source.as_str())
    }

    /// Source and reason why one of `starters` does not start the program at `path` by its nature.
    #[must_use]
    pub fn refuses_exec(
        &self,
        starters: &[ProgramIndex],
        path: &[u8],
        homes: &Homes,
    ) -> Option<(&str, &str)> {
        let limit = self.exec.iter().find(|limit| starters.contains(&limit.program))?;
        (!limit.allow.is_match(path, homes)).then_some((limit.source.as_str(), limit.why.as_str()))
    }

    /// The destinations that `programs` need to launch, each with its source.
    pub fn launch_egress<'profiles>(
        &'profiles self,
        programs: &'profiles [ProgramIndex],
    ) -> impl Iterator<Item = (&'profiles Egress, &'profiles str)> {
        let pairs = self.launch.iter().filter(|launch| programs.contains(&launch.program));
        pairs.flat_map(|launch| launch.egress.iter().map(|egress| (egress, launch.source.as_str())))
    }

    /// A libc or runtime talks to this `AF_UNIX` socket by itself.
    #[must_use]
    pub fn is_harmless_socket(&self, path: &[u8]) -> bool {
        self.sockets.is_match(path)
    }

    /// A service that resolves names, behind this socket, whose answers are not seen.
    #[must_use]
    pub fn is_name_service(&self, path: &[u8]) -> bool {
        self.name_services.is_match(path)
    }

    /// Sockets of this address family reach nobody.
    #[must_use]
    pub fn is_harmless_family(&self, family: u16) -> bool {
        self.harmless_families.contains(&family)
    }
}

fn all(patterns: &[String]) -> Result<PathGlobs, DataError> {
    PathGlobs::new(patterns.iter().map(|text| (text.as_str(), 0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runtimes_by_resolved_path() {
        let programs = Programs::embedded().unwrap();
        let catalogue = Catalogue::embedded(&programs).unwrap();
        let places = Places::embedded(&programs).unwrap();
        let profiles = Profiles::embedded(&programs, &catalogue, &places).unwrap();
        let homes = Homes::new::<&str>(&[]);
        let python = profiles.runtime(b"/usr/bin/python3.12");
        assert!(python.is_some());
        assert_eq!(profiles.runtime(b"/usr/bin/true"), None);
        let module = b"/home/u/v/lib/python3.12/site-packages/mcp/server.py";
        assert_eq!(profiles.reads(python, module, &homes), Some("profile:python"));
        assert_eq!(profiles.reads(profiles.runtime(b"/usr/bin/node"), module, &homes), None);
        assert_eq!(profiles.reads(None, b"/etc/ld.so.cache", &homes), Some("profile:generic"));
        assert_eq!(profiles.reads(None, b"/lib/x86_64-linux-gnu/libc.so.6", &homes), Some("profile:generic"));
        assert_eq!(profiles.reads(python, b"/home/u/notes.txt", &homes), None);
    }
}
