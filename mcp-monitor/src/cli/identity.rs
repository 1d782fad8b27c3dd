//! Who COMMAND runs as: the person who called, not root, with that person's environment.

use nix::unistd::{Gid, Uid, User, geteuid, getgrouplist, getppid};
use std::{
    collections::BTreeMap,
    env,
    ffi::{CString, OsStr, OsString},
    fs,
    os::unix::ffi::{OsStrExt, OsStringExt},
    path::PathBuf,
};

/// How many processes of `sudo` may lie between the shell and us (`use_pty` makes two).
const SUDO_PROCESSES_MAX: usize = 4;

/// Who COMMAND runs as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunAs {
    /// As we run.
    Unchanged,
    /// As another user.
    User(Identity),
}

/// A user with what belongs to a session of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// User id.
    pub uid: Uid,
    /// Primary group.
    pub gid: Gid,
    /// All groups.
    pub groups: Vec<Gid>,
    /// The whole environment.
    pub environment: BTreeMap<OsString, OsString>,
}

impl RunAs {
    /// The `HOME` that COMMAND gets.
    pub fn home(&self) -> Option<PathBuf> {
        match self {
            Self::Unchanged => env::var_os("HOME"),
            Self::User(identity) => identity.environment.get(OsStr::new("HOME")).cloned(),
        }
        .map(PathBuf::from)
    }
}

/// Why it is not known who COMMAND should run as.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum RunAsError {
    /// Root without a caller.
    #[error(
        "you are root and it is not known for whom: COMMAND would run as root. Call it through sudo as the user, or \
         give --as-root if root is meant"
    )]
    Root,
    /// A variable that sudo sets has no number.
    #[error("{0} is not a number; is the environment as sudo set it?")]
    Garbled(&'static str),
    /// The user database fails.
    #[error("user {0} cannot be looked up: {1}")]
    Lookup(Uid, nix::Error),
}

/// Who COMMAND runs as, from this process's environment.
pub fn run_as(as_root: bool) -> Result<RunAs, RunAsError> {
    match caller(as_root, geteuid(), |name| env::var_os(name))? {
        None => Ok(RunAs::Unchanged),
        Some((uid, gid)) => identity(uid, gid).map(RunAs::User),
    }
}

/// The caller's ids; `None` when nothing is to be changed.
fn caller(
    as_root: bool,
    euid: Uid,
    variable: impl Fn(&str) -> Option<OsString>,
) -> Result<Option<(Uid, Option<Gid>)>, RunAsError> {
    if as_root || !euid.is_root() {
        return Ok(None);
    }
    let number = |name: &'static str| match variable(name) {
        None => Ok(None),
        Some(text) => match text.to_str().and_then(|text| text.parse::<u32>().ok()) {
            Some(number) => Ok(Some(number)),
            None => Err(RunAsError::Garbled(name)),
        },
    };
    for (uid_name, gid_name) in [("SUDO_UID", Some("SUDO_GID")), ("PKEXEC_UID", None)] {
        match number(uid_name)? {
            Some(0) | None => {}
            Some(uid) => {
                let gid = gid_name.map(&number).transpose()?.flatten().map(Gid::from_raw);
                return Ok(Some((Uid::from_raw(uid), gid)));
            }
        }
    }
    Err(RunAsError::Root)
}

fn identity(uid: Uid, gid: Option<Gid>) -> Result<Identity, RunAsError> {
    let lookup = |error| RunAsError::Lookup(uid, error);
    let user = User::from_uid(uid).map_err(lookup)?;
    let gid = gid.or(user.as_ref().map(|user| user.gid)).unwrap_or_else(|| Gid::from_raw(uid.as_raw()));
    let name = user.as_ref().and_then(|user| CString::new(user.name.as_bytes()).ok());
    let groups = match &name {
        Some(name) => getgrouplist(name, gid).map_err(lookup)?,
        None => vec![gid],
    };
    let root = User::from_uid(Uid::from_raw(0)).ok().flatten();
    let environment = environment(user.as_ref(), root.as_ref(), caller_environment(), env::vars_os());
    Ok(Identity { uid, gid, groups, environment })
}

/// COMMAND's environment. sudo replaces parts of the caller's, which come back: the caller's own environment (as
/// sudo itself was started with) is the base, what we have and sudo did not make up wins over it, and a user
/// whose environment is not known gets what a login would give.
fn environment(
    user: Option<&User>,
    root: Option<&User>,
    callers: Option<BTreeMap<OsString, OsString>>,
    ours: impl Iterator<Item = (OsString, OsString)>,
) -> BTreeMap<OsString, OsString> {
    let mut environment = callers.unwrap_or_default();
    let roots = root.map(login).unwrap_or_default();
    for (name, value) in ours {
        let is_sudos = name.as_bytes().starts_with(b"SUDO_") || name == "PKEXEC_UID" || name == "MAIL";
        let is_roots = roots.contains(&(&*name, value.clone()));
        let is_default_path =
            name == "PATH" && only_system_directories(&value) && environment.contains_key(&name);
        if !(is_sudos || is_roots || is_default_path) {
            environment.insert(name, value);
        }
    }
    for (name, value) in user.map(login).unwrap_or_default() {
        environment.entry(name.to_owned()).or_insert(value);
    }
    environment
}

/// What a login sets.
fn login(user: &User) -> [(&'static OsStr, OsString); 4] {
    [
        (OsStr::new("HOME"), user.dir.clone().into()),
        (OsStr::new("USER"), user.name.clone().into()),
        (OsStr::new("LOGNAME"), user.name.clone().into()),
        (OsStr::new("SHELL"), user.shell.clone().into()),
    ]
}

/// True for a search path such as sudo's `secure_path`, that nobody chose for this call.
fn only_system_directories(path: &OsStr) -> bool {
    const SYSTEM: [&[u8]; 7] =
        [b"/usr/local/sbin", b"/usr/local/bin", b"/usr/sbin", b"/usr/bin", b"/sbin", b"/bin", b"/snap/bin"];
    path.as_bytes().split(|byte| *byte == b':').all(|directory| SYSTEM.contains(&directory))
}

/// The environment with which the caller started sudo: that of the farthest sudo among our nearest forebears.
/// It is the caller's own data and goes to a process of the caller; it is never shown.
fn caller_environment() -> Option<BTreeMap<OsString, OsString>> {
    let mut pid = u32::try_from(getppid().as_raw()).ok()?;
    let mut sudo = None;
    for _ in 0..SUDO_PROCESSES_MAX {
        let exe: PathBuf = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        if !exe.file_name().is_some_and(|name| name == "sudo" || name == "sudo-rs") {
            break;
        }
        sudo = Some(pid);
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        pid = status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()?;
    }
    Some(parse_environment(&fs::read(format!("/proc/{}/environ", sudo?)).ok()?))
}

fn parse_environment(bytes: &[u8]) -> BTreeMap<OsString, OsString> {
    let pairs = bytes.split(|byte| *byte == 0).filter_map(|entry| {
        let at = entry.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
        Some((OsString::from_vec(entry[..at].to_vec()), OsString::from_vec(entry[at + 1..].to_vec())))
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(pairs: &[(&'static str, &'static str)]) -> impl Fn(&str) -> Option<OsString> {
        move |name| pairs.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into())
    }

    fn ask(
        as_root: bool,
        euid: u32,
        pairs: &[(&'static str, &'static str)],
    ) -> Result<Option<u32>, RunAsError> {
        let found = caller(as_root, Uid::from_raw(euid), variables(pairs))?;
        Ok(found.map(|(uid, _)| uid.as_raw()))
    }

    #[test]
    fn root_needs_a_caller_or_the_word() {
        let sudo = [("SUDO_UID", "1000"), ("SUDO_GID", "1001")];
        assert_eq!(ask(false, 0, &sudo), Ok(Some(1000)));
        assert_eq!(
            caller(false, Uid::from_raw(0), variables(&sudo)).unwrap().unwrap().1,
            Some(Gid::from_raw(1001))
        );
        assert_eq!(ask(false, 0, &[("PKEXEC_UID", "1000")]), Ok(Some(1000)));
        assert_eq!(ask(true, 0, &sudo), Ok(None));
        assert_eq!(ask(false, 1000, &[]), Ok(None));
        assert_eq!(ask(false, 0, &[]), Err(RunAsError::Root));
        assert_eq!(ask(false, 0, &[("SUDO_UID", "0")]), Err(RunAsError::Root));
        assert_eq!(ask(false, 0, &[("SUDO_UID", "me")]), Err(RunAsError::Garbled("SUDO_UID")));
    }

    fn user(name: &str, home: &str) -> User {
        let root = User::from_uid(Uid::from_raw(0)).unwrap().unwrap();
        User { name: name.into(), dir: home.into(), shell: format!("/bin/{name}sh").into(), ..root }
    }

    /// The environment as lines, when sudo was started with `callers` and we with `ours`.
    fn merged(callers: Option<&[u8]>, ours: &[(&str, &str)]) -> Vec<String> {
        let ours = ours.iter().map(|(name, value)| (name.into(), value.into()));
        let callers = callers.map(parse_environment);
        let all = environment(Some(&user("me", "/home/me")), Some(&user("root", "/root")), callers, ours);
        all.iter().map(|(name, value)| format!("{}={}", name.display(), value.display())).collect()
    }

    const SUDOS: [(&str, &str); 7] = [
        ("HOME", "/root"),
        ("LOGNAME", "root"),
        ("MAIL", "/var/mail/root"),
        ("PATH", "/usr/sbin:/usr/bin"),
        ("SHELL", "/bin/rootsh"),
        ("SUDO_UID", "1000"),
        ("USER", "root"),
    ];

    #[test]
    fn what_sudo_replaced_comes_back() {
        let callers = b"PATH=/home/me/bin:/bin\0HOME=/scratch\0SHELL=/bin/fish\0=odd\0nothing\0TOKEN=\0";
        assert_eq!(
            merged(Some(callers), &SUDOS),
            ["HOME=/scratch", "LOGNAME=me", "PATH=/home/me/bin:/bin", "SHELL=/bin/fish", "TOKEN=", "USER=me"]
        );
    }

    #[test]
    fn what_was_given_to_us_on_purpose_wins() {
        let ours =
            [SUDOS.as_slice(), &[("HOME", "/given"), ("PATH", "/opt/node/bin:/bin"), ("X", "1")]].concat();
        assert_eq!(
            merged(Some(b"PATH=/home/me/bin\0HOME=/scratch\0X=0\0SHELL=/bin/fish"), &ours),
            ["HOME=/given", "LOGNAME=me", "PATH=/opt/node/bin:/bin", "SHELL=/bin/fish", "USER=me", "X=1"]
        );
    }

    #[test]
    fn an_unknown_caller_gets_what_a_login_gives() {
        assert_eq!(
            merged(None, &SUDOS),
            ["HOME=/home/me", "LOGNAME=me", "PATH=/usr/sbin:/usr/bin", "SHELL=/bin/mesh", "USER=me"]
        );
    }
}
