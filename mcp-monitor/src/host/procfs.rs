//! What `/proc` says about a process that no record told about: it ran before the monitor, or its exec was lost.
//!
//! Checked against the start of the process, before and after, so that a pid that was given to somebody else in
//! between never answers. Read byte by byte here rather than by the procfs crate: its text is lossy, and names and
//! arguments need not be UTF-8. Arguments are masked. The environment is never read.

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
};

use super::{container, read};
use crate::{
    event::{Bytes, Process, ProcessKey},
    sensor::mask,
};

/// Bytes of arguments that are kept, as for records.
const ARGUMENTS_MAX_BYTES: u64 = mcp_monitor_common::limits::ARGV_MAX_BYTES as u64;
/// Bytes of the other files.
const FILE_MAX_BYTES: u64 = 64 * 1024;
/// Nanoseconds of a clock tick as `/proc` counts them, whatever `CONFIG_HZ` is.
const TICK_NS: u64 = 10_000_000;

/// Where processes are looked up that no record told about.
pub trait ProcessSource: Send {
    /// The process as it is now; `None` if it is gone or somebody else has its pid. The user's name is not filled.
    fn process(&self, key: ProcessKey) -> Option<Process>;
}

/// A mounted procfs.
#[derive(Clone, Debug)]
pub struct Procfs {
    root: PathBuf,
}

impl Default for Procfs {
    fn default() -> Self {
        Self { root: "/proc".into() }
    }
}

impl ProcessSource for Procfs {
    fn process(&self, key: ProcessKey) -> Option<Process> {
        let directory = self.root.join(key.pid.0.to_string());
        let stat = is_same(&directory, key)?;
        let process = read_process(&directory, key, &stat)?;
        is_same(&directory, key)?;
        Some(process)
    }
}

/// Fields of `/proc/PID/stat` that are used.
struct Stat {
    terminal: u32,
    start_ticks: u64,
}

fn is_same(directory: &Path, key: ProcessKey) -> Option<Stat> {
    let stat = parse_stat(&read::bounded(&directory.join("stat"), FILE_MAX_BYTES)?)?;
    (key.start.0 == 0 || stat.start_ticks == key.start.0 / TICK_NS).then_some(stat)
}

/// The name in parentheses may hold anything, parentheses and newlines included; what follows the last one does not.
fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    let close = bytes.iter().rposition(|byte| *byte == b')')?;
    let fields: Vec<&str> =
        std::str::from_utf8(bytes.get(close + 1..)?).ok()?.split_ascii_whitespace().collect();
    let terminal: i32 = fields.get(4)?.parse().ok()?;
    Some(Stat { terminal: terminal.cast_unsigned(), start_ticks: fields.get(19)?.parse().ok()? })
}

fn read_process(directory: &Path, key: ProcessKey, stat: &Stat) -> Option<Process> {
    let (uid, euid) = parse_uids(&read::bounded(&directory.join("status"), FILE_MAX_BYTES)?)?;
    let raw = read::bounded(&directory.join("cmdline"), ARGUMENTS_MAX_BYTES + 1).unwrap_or_default();
    let kept = usize::try_from(ARGUMENTS_MAX_BYTES).unwrap_or(usize::MAX).min(raw.len());
    let truncated = kept < raw.len();
    let cgroup = parse_cgroup(&read::bounded(&directory.join("cgroup"), FILE_MAX_BYTES).unwrap_or_default());
    let executable = link(&directory.join("exe")).unwrap_or_default();
    // Follows the link to the file itself and only asks how many names it has.
    let links = fs::metadata(directory.join("exe")).map(|metadata| metadata.nlink()).ok();
    let deleted = links == Some(0);
    let executable = match executable.strip_suffix(b" (deleted)") {
        Some(name) if deleted => name.to_vec(),
        _ => executable,
    };
    Some(Process {
        key,
        executable: Bytes(executable.into()),
        executable_deleted: deleted,
        arguments: mask::arguments(raw.get(..kept).unwrap_or_default(), truncated),
        arguments_truncated: truncated,
        working_directory: Bytes(link(&directory.join("cwd")).unwrap_or_default().into()),
        uid,
        euid,
        login_uid: number(&directory.join("loginuid")),
        session: number(&directory.join("sessionid")),
        tty: terminal(stat.terminal),
        container: container::container_id(&cgroup),
        cgroup: Bytes(cgroup.into()),
        mount_namespace: namespace(&directory.join("ns/mnt")),
        pid_namespace: namespace(&directory.join("ns/pid")),
        net_namespace: namespace(&directory.join("ns/net")),
        bootstrap: true,
        ..Process::default()
    })
}

/// Real and effective user id.
fn parse_uids(status: &[u8]) -> Option<(u32, u32)> {
    let line = status.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Uid:"))?;
    let mut ids = std::str::from_utf8(line).ok()?.split_ascii_whitespace();
    Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?))
}

/// The path in the unified hierarchy; on version 1 the one of the pids or systemd controller, or the longest.
fn parse_cgroup(bytes: &[u8]) -> Vec<u8> {
    let mut best: (u8, &[u8]) = (0, b"");
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut fields = line.splitn(3, |byte| *byte == b':');
        let (Some(id), Some(controllers), Some(path)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let named = |name: &[u8]| controllers.split(|byte| *byte == b',').any(|one| one == name);
        let rank = match (id, controllers) {
            _ if named(b"pids") => 4,
            (b"0", b"") if path != b"/" => 3,
            (_, b"name=systemd") => 2,
            _ => 1,
        };
        if rank > best.0 || (rank == best.0 && path.len() > best.1.len()) {
            best = (rank, path);
        }
    }
    best.1.to_vec()
}

fn link(path: &Path) -> Option<Vec<u8>> {
    Some(fs::read_link(path).ok()?.as_os_str().as_bytes().to_vec())
}

/// The number in `mnt:[4026531841]`, 0 if unknown.
fn namespace(path: &Path) -> u32 {
    let text = link(path).unwrap_or_default();
    let digits: Vec<u8> = text.into_iter().filter(u8::is_ascii_digit).collect();
    std::str::from_utf8(&digits).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}

fn number(path: &Path) -> Option<u32> {
    let bytes = read::bounded(path, 32)?;
    let number: u32 = std::str::from_utf8(&bytes).ok()?.trim().parse().ok()?;
    (number != u32::MAX).then_some(number)
}

/// Name of a terminal by its device number in the encoding of `stat`.
fn terminal(device: u32) -> Option<Bytes> {
    let (major, minor) = ((device >> 8) & 0xfff, (device & 0xff) | ((device >> 12) & 0xf_ff00));
    let name = match major {
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        136..=143 => format!("pts{}", (major - 136) * 256 + minor),
        _ => return None,
    };
    Some(name.as_str().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::event::{BootNs, ProcessId};

    fn own_key() -> ProcessKey {
        let stat = parse_stat(&fs::read("/proc/self/stat").unwrap()).unwrap();
        ProcessKey {
            pid: ProcessId(std::process::id()),
            start: BootNs(stat.start_ticks * TICK_NS + 5),
            exec_id: 9,
        }
    }

    #[test]
    fn this_process_is_found() {
        let process = Procfs::default().process(own_key()).unwrap();
        assert_eq!(process.executable.as_slice(), std::env::current_exe().unwrap().as_os_str().as_bytes());
        assert_eq!(
            process.working_directory.as_slice(),
            std::env::current_dir().unwrap().as_os_str().as_bytes()
        );
        assert!(process.bootstrap && !process.arguments.is_empty() && process.mount_namespace > 0);
        assert!(!process.executable_deleted);
    }

    #[test]
    fn somebody_else_with_the_pid_is_not_taken() {
        let mut key = own_key();
        key.start.0 += 2 * TICK_NS;
        assert_eq!(Procfs::default().process(key), None);
        key.pid.0 = u32::MAX;
        assert_eq!(Procfs::default().process(key), None);
    }

    #[test]
    fn a_hostile_name_does_not_move_the_fields() {
        let line = format!("7 (a) S 1 (b\n) R 1 7 7 34817 {}", "1 ".repeat(14) + "4711 0");
        let stat = parse_stat(line.as_bytes()).unwrap();
        assert_eq!((stat.terminal, stat.start_ticks), (34817, 4711));
        assert_eq!(terminal(34817), Some("pts1".into()));
    }

    #[test]
    fn cgroups_of_both_versions() {
        assert_eq!(parse_cgroup(b"0::/user.slice/a:b\n"), b"/user.slice/a:b");
        let hybrid = b"12:cpu:/docker/x\n5:foo,pids:/docker/x/y\n1:name=systemd:/docker/x/yz\n0::/\n";
        assert_eq!(parse_cgroup(hybrid), b"/docker/x/y");
        assert_eq!(parse_cgroup(b""), b"");
    }

    proptest! {
        #[test]
        fn any_file_is_survived(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = (parse_stat(&bytes), parse_uids(&bytes), parse_cgroup(&bytes));
        }
    }
}
