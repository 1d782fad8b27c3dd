//! Users of the host, from its passwd file alone: no name service is asked, since that could wait for a network or
//! run foreign code in the monitor.

use std::{
    collections::HashMap,
    path::PathBuf,
    time::{Duration, Instant, SystemTime},
};

use super::read;

/// Bytes of a passwd file that are read.
const FILE_MAX_BYTES: u64 = 4 * 1024 * 1024;
/// Users that are kept.
const USERS_MAX: usize = 64 * 1024;
/// How often the file is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// Name.
    pub name: String,
    /// Home directory.
    pub home: PathBuf,
}

/// The users as the file last said.
#[derive(Debug)]
pub struct Users {
    path: PathBuf,
    by_uid: HashMap<u32, User>,
    modified: Option<SystemTime>,
    looked: Option<Instant>,
}

impl Default for Users {
    fn default() -> Self {
        Self::new("/etc/passwd")
    }
}

impl Users {
    /// Users of this passwd file; a missing one has none.
    #[must_use]
    pub fn new(path: impl Into<PathBuf>) -> Self {
        let mut users = Self { path: path.into(), by_uid: HashMap::new(), modified: None, looked: None };
        users.refresh();
        users
    }

    /// The name of a user.
    pub fn name(&mut self, uid: u32) -> Option<&str> {
        self.refresh();
        self.by_uid.get(&uid).map(|user| user.name.as_str())
    }

    /// All users, by uid.
    pub fn all(&mut self) -> Vec<&User> {
        self.refresh();
        let mut users: Vec<&User> = self.by_uid.values().collect();
        users.sort_by_key(|user| user.uid);
        users
    }

    /// Reads the file again if it changed; looks at most every two seconds.
    fn refresh(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        let modified = std::fs::metadata(&self.path).and_then(|metadata| metadata.modified()).ok();
        if modified.is_none() || modified == self.modified {
            return;
        }
        if let Some(bytes) = read::bounded(&self.path, FILE_MAX_BYTES) {
            self.modified = modified;
            self.by_uid = parse(&bytes);
        }
    }
}

/// The id of a group, from the host's group file alone.
#[must_use]
pub fn group(name: &str) -> Option<u32> {
    group_in(&read::bounded(std::path::Path::new("/etc/group"), FILE_MAX_BYTES)?, name)
}

fn group_in(bytes: &[u8], name: &str) -> Option<u32> {
    String::from_utf8_lossy(bytes).lines().find_map(|line| {
        let mut fields = line.split(':');
        let (of, _, gid) = (fields.next()?, fields.next()?, fields.next()?);
        if of == name { gid.parse().ok() } else { None }
    })
}

/// The homes that the text of a passwd file names, e.g. that of a container.
#[must_use]
pub fn homes(passwd: &[u8]) -> Vec<PathBuf> {
    let mut homes: Vec<PathBuf> = parse(passwd).into_values().map(|user| user.home).collect();
    homes.sort();
    homes.dedup();
    homes
}

/// Lines that are not of the form are skipped; of several names of one uid the first counts, as in the C library.
fn parse(bytes: &[u8]) -> HashMap<u32, User> {
    let mut users = HashMap::new();
    for line in String::from_utf8_lossy(bytes).lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(_), Some(uid), Some(gid), Some(_), Some(home)) =
            (fields.next(), fields.next(), fields.next(), fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse()) else { continue };
        if name.is_empty() || name.starts_with(['#', '+', '-']) || users.len() >= USERS_MAX {
            continue;
        }
        users.entry(uid).or_insert_with(|| User { uid, gid, name: name.to_owned(), home: home.into() });
    }
    users
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lines_that_are_none_are_skipped() {
        let users = parse(
            b"root:x:0:0:root:/root:/bin/bash\n#c:x:1:1:::\n+nis::::::\nbroken\nme:x:1000:1000::/home/me:\n\
              twin:x:1000:1:a:/b:c\nno:x:many:1:::\n\xff\xfe:x:7:7::/h:\n",
        );
        assert_eq!(users[&0].name, "root");
        assert_eq!(
            (users[&1000].name.as_str(), users[&1000].home.clone()),
            ("me", PathBuf::from("/home/me"))
        );
        assert_eq!(users.len(), 3);
    }

    #[test]
    fn a_group_is_found_by_its_whole_name() {
        let file = b"mcp-monitor-x:x:5:\n#mcp-monitor:x:6:\nmcp-monitor:x:990:ann,bob\nmcp-monitor:x:7:\n";
        assert_eq!(group_in(file, "mcp-monitor"), Some(990));
        assert_eq!(group_in(file, "mcp"), None);
        assert_eq!(group_in(b"mcp-monitor:x\n", "mcp-monitor"), None);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "a:x:5:5::/a:\n").unwrap();
        let mut users = Users::new(file.path());
        assert_eq!(users.name(5), Some("a"));
        std::fs::write(file.path(), "b:x:5:5::/b:\n").unwrap();
        let later = SystemTime::now() + Duration::from_secs(5);
        std::fs::File::options().write(true).open(file.path()).unwrap().set_modified(later).unwrap();
        users.looked = None;
        assert_eq!(users.name(5), Some("b"));
        assert_eq!(users.all().len(), 1);
    }

    proptest! {
        #[test]
        fn any_file_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = parse(&bytes);
        }
    }
}
