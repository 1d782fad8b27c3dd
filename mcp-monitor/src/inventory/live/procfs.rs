//! The [`Host`] that the registry asks: `/proc`, and the folders of packages.
//!
//! Paths of a monitored process are its own affair and may lead anywhere: they are followed below its root alone,
//! without magic links, and only regular files of a bounded size are read.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File, OpenOptions},
    io::Read as _,
    os::{
        fd::AsRawFd as _,
        unix::{ffi::OsStrExt as _, fs::OpenOptionsExt as _},
    },
    path::{Path, PathBuf},
};

use nix::{
    fcntl::{OFlag, OpenHow, ResolveFlag, openat2},
    sys::stat::Mode,
};
use serde::Deserialize;

use super::{
    package::{Package, last_name},
    program::Program,
    registry::{FOREBEARS_MAX, Forebear, Host},
    tools::Runtime,
};
use crate::{
    event::{BootNs, Descriptor, DescriptorKind, ProcessId, ProcessKey, escape},
    host::{
        clock::Clock,
        procfs::{ProcessSource as _, Procfs},
    },
};

/// Bytes of a package's description that are read.
const DESCRIPTION_MAX_BYTES: u64 = 1024 * 1024;
/// Folders above a script in which its package is looked for.
const FOLDERS_MAX: usize = 6;
/// Entries of a folder of Python packages that are looked at.
const ENTRIES_MAX: usize = 4096;
/// Bytes of a file that holds a container's id.
const ID_MAX_BYTES: u64 = 128;
/// Descriptors of a client that are looked through for the ends of a server.
const DESCRIPTORS_MAX: usize = 16 * 1024;
/// Nanoseconds of a clock tick as `/proc` counts them.
const TICK_NS: u64 = 10_000_000;

/// The host itself.
#[derive(Clone, Debug, Default)]
pub struct HostProcfs {
    procfs: Procfs,
}

#[derive(Debug, Deserialize)]
struct Description {
    name: Option<String>,
    version: Option<String>,
}

impl Host for HostProcfs {
    fn forebears(&mut self, process: ProcessKey) -> Vec<Forebear> {
        let mut found = Vec::new();
        let mut at = process.pid;
        while found.len() < FOREBEARS_MAX {
            let Some((parent, _)) = parent_and_start(at) else { break };
            let Some((_, start)) = parent_and_start(parent) else { break };
            let key = ProcessKey { pid: parent, start, exec_id: 0 };
            let Some(process) = self.procfs.process(key) else { break };
            found.push(Forebear {
                key,
                executable: process.executable,
                arguments: process.arguments,
                working_directory: process.working_directory,
                uid: process.uid,
            });
            at = parent;
        }
        found
    }

    fn follow(&mut self, process: ProcessId, path: &[u8]) -> Option<Vec<u8>> {
        let file = open(process, path, OFlag::O_PATH)?;
        let link = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
        // The path as the process sees it: without its root in front.
        let root = fs::read_link(format!("/proc/{}/root", process.0)).ok()?;
        let link = link.strip_prefix(&root).map_or_else(|_| link.clone(), |below| Path::new("/").join(below));
        Some(link.into_os_string().as_bytes().to_vec())
    }

    fn package(&mut self, process: ProcessId, program: &Program) -> Option<Package> {
        let script = program.script.as_ref()?.as_slice();
        match program.runtime {
            Runtime::Node | Runtime::Bun => node_package(process, script, program.package.as_ref()),
            Runtime::Python => python_package(process, script),
            _ => None,
        }
    }

    fn lives(&mut self, process: ProcessKey) -> bool {
        parent_and_start(process.pid)
            .is_some_and(|(_, start)| start.0 / TICK_NS == process.start.0 / TICK_NS || process.start.0 == 0)
    }

    fn container_id_file(&mut self, process: ProcessId, path: &[u8]) -> Option<String> {
        let file = open(process, path, OFlag::O_RDONLY)?;
        let metadata = file.metadata().ok()?;
        if !metadata.is_file() || metadata.len() > ID_MAX_BYTES {
            return None;
        }
        let mut text = String::new();
        file.take(ID_MAX_BYTES).read_to_string(&mut text).ok()?;
        let id = text.trim();
        (id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| id.to_owned())
    }

    fn unchanged_since(&mut self, process: ProcessKey, script: Option<&[u8]>, moment: BootNs) -> bool {
        let executable = fs::metadata(format!("/proc/{}/exe", process.pid.0)).ok();
        let script = script.map(|path| open(process.pid, path, OFlag::O_PATH)?.metadata().ok());
        let files = [Some(executable), script];
        files.into_iter().flatten().all(|file| file.is_some_and(|file| changed(&file).0 < moment.0))
    }

    fn holds(&mut self, process: ProcessKey, ends: [Descriptor; 2]) -> Option<bool> {
        let wanted = ends.map(|end| match end.kind {
            DescriptorKind::Pipe => Some(format!("pipe:[{}]", end.inode)),
            DescriptorKind::Socket => end.peer_inode.map(|inode| format!("socket:[{inode}]")),
            _ => None,
        });
        let [Some(input), Some(output)] = wanted else { return None };
        let entries = fs::read_dir(format!("/proc/{}/fd", process.pid.0)).ok()?;
        let (mut has_input, mut has_output) = (false, false);
        for link in
            entries.flatten().take(DESCRIPTORS_MAX).filter_map(|entry| fs::read_link(entry.path()).ok())
        {
            has_input |= link.as_os_str() == input.as_str();
            has_output |= link.as_os_str() == output.as_str();
            if has_input && has_output {
                break;
            }
        }
        self.lives(process).then_some(has_input && has_output)
    }
}

/// When a file was written, moved or linked for the last time, on the clock of events. A process can set the time of
/// a file's content, and not this one.
fn changed(file: &fs::Metadata) -> BootNs {
    use std::os::unix::fs::MetadataExt as _;
    let changed = jiff::Timestamp::new(file.ctime(), i32::try_from(file.ctime_nsec()).unwrap_or(0));
    let age = changed.map_or(0, |changed| jiff::Timestamp::now().duration_since(changed).as_nanos());
    BootNs(Clock::now().0.saturating_sub(u64::try_from(age).unwrap_or(0)))
}

/// Parent and start of a process.
fn parent_and_start(process: ProcessId) -> Option<(ProcessId, BootNs)> {
    let stat = procfs::process::Process::new(i32::try_from(process.0).ok()?).ok()?.stat().ok()?;
    let parent = u32::try_from(stat.ppid).ok().filter(|parent| *parent > 0)?;
    Some((ProcessId(parent), BootNs(stat.starttime * TICK_NS)))
}

/// Standard input and output of a process as they are now.
#[must_use]
pub fn standard(process: ProcessId) -> (Descriptor, Descriptor) {
    let of = |number: u32| {
        let link = fs::read_link(format!("/proc/{}/fd/{number}", process.0)).unwrap_or_default();
        let text = link.to_string_lossy().into_owned();
        let inode = |prefix: &str| text.strip_prefix(prefix)?.strip_suffix(']')?.parse().ok();
        let (kind, inode) = match (inode("pipe:["), inode("socket:[")) {
            (Some(inode), _) => (DescriptorKind::Pipe, inode),
            (_, Some(inode)) => (DescriptorKind::Socket, inode),
            _ if text.starts_with("/dev/") => (DescriptorKind::CharacterDevice, 0),
            _ if text.is_empty() => (DescriptorKind::Closed, 0),
            _ => (DescriptorKind::File, 0),
        };
        Descriptor { kind, inode, ..Descriptor::default() }
    };
    (of(0), of(1))
}

/// A file as the process would find it, without ever leaving its root.
fn open(process: ProcessId, path: &[u8], flags: OFlag) -> Option<File> {
    let root = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH | libc::O_DIRECTORY)
        .open(format!("/proc/{}/root", process.0))
        .ok()?;
    // A path alone is never waited for, and no other flag may stand beside it.
    let path_only = flags.contains(OFlag::O_PATH);
    let flags = if path_only { flags } else { flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY };
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(Mode::empty())
        .resolve(ResolveFlag::RESOLVE_IN_ROOT | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    openat2(&root, OsStr::from_bytes(path), how).ok().map(File::from)
}

/// The name and version that a script's nearest `package.json` gives.
fn node_package(process: ProcessId, script: &[u8], known: Option<&Package>) -> Option<Package> {
    let by_folder = Package::of_node_script(script).or_else(|| known.cloned());
    let mut folder = Path::new(OsStr::from_bytes(script)).parent()?.to_path_buf();
    for _ in 0..FOLDERS_MAX {
        if let Some(found) = description(process, &folder.join("package.json")) {
            let named = found.name.as_deref().and_then(|name| {
                Package::new(
                    "npm",
                    &escape(name.as_bytes()),
                    found.version.as_deref().map(|version| escape(version.as_bytes())).as_deref(),
                )
            });
            // A description inside a package that only says how its modules are to be read has no name.
            if let Some(named) = named {
                let is_own = by_folder.as_ref().is_none_or(|package| package.key() == named.key());
                return if is_own { Some(named) } else { by_folder };
            }
        }
        if folder.file_name() == Some(OsStr::new("node_modules")) || !folder.pop() {
            break;
        }
    }
    by_folder
}

fn description(process: ProcessId, path: &Path) -> Option<Description> {
    let file = open(process, path.as_os_str().as_bytes(), OFlag::O_RDONLY)?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > DESCRIPTION_MAX_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(DESCRIPTION_MAX_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

/// The distribution that a script in an environment's `bin` is named after, by the names of folders alone.
fn python_package(process: ProcessId, script: &[u8]) -> Option<Package> {
    let name = last_name(script);
    let bin = Path::new(OsStr::from_bytes(script)).parent()?;
    if bin.file_name() != Some(OsStr::new("bin")) {
        return None;
    }
    let wanted = Package::new("pypi", &escape(name), None)?;
    let library = bin.parent()?.join("lib");
    for version in
        entries(process, &library).into_iter().filter(|name| name.as_bytes().starts_with(b"python"))
    {
        for entry in entries(process, &library.join(version).join("site-packages")) {
            let entry = escape(entry.as_bytes());
            let Some((name, version)) =
                entry.strip_suffix(".dist-info").and_then(|stem| stem.split_once('-'))
            else {
                continue;
            };
            let found = Package::new("pypi", name, Some(version))?;
            if found.key() == wanted.key() {
                return Some(found);
            }
        }
    }
    None
}

fn entries(process: ProcessId, folder: &Path) -> Vec<OsString> {
    let Some(opened) = open(process, folder.as_os_str().as_bytes(), OFlag::O_RDONLY | OFlag::O_DIRECTORY)
    else {
        return Vec::new();
    };
    let listed = fs::read_dir(PathBuf::from(format!("/proc/self/fd/{}", opened.as_raw_fd())));
    listed.into_iter().flatten().take(ENTRIES_MAX).flatten().map(|entry| entry.file_name()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Bytes;

    fn own() -> ProcessId {
        ProcessId(std::process::id())
    }

    #[test]
    fn a_packages_version_is_read_from_its_folder() {
        let root = tempfile::tempdir().unwrap();
        let package = root.path().join("node_modules/@s/n");
        fs::create_dir_all(package.join("dist")).unwrap();
        fs::write(package.join("package.json"), r#"{"name": "@s/n", "version": "1.2.3", "bin": {}}"#)
            .unwrap();
        fs::write(package.join("dist/package.json"), r#"{"type": "module"}"#).unwrap();
        fs::write(package.join("dist/index.js"), "").unwrap();
        fs::create_dir_all(root.path().join("node_modules/.bin")).unwrap();
        let bin = root.path().join("node_modules/.bin/n");
        std::os::unix::fs::symlink("../@s/n/dist/index.js", &bin).unwrap();
        let mut host = HostProcfs::default();
        let script = host.follow(own(), bin.as_os_str().as_bytes()).unwrap();
        assert_eq!(script, package.join("dist/index.js").as_os_str().as_bytes());
        let program =
            Program { runtime: Runtime::Node, script: Some(Bytes(script.into())), ..Program::default() };
        assert_eq!(host.package(own(), &program).unwrap().to_string(), "npm:@s/n@1.2.3");
    }

    #[test]
    fn a_hostile_description_is_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let package = root.path().join("node_modules/n");
        fs::create_dir_all(&package).unwrap();
        let script = Bytes::new(package.join("x.js").as_os_str().as_bytes());
        let program = Program { runtime: Runtime::Node, script: Some(script), ..Program::default() };
        let file = package.join("package.json");
        nix::unistd::mkfifo(&file, Mode::S_IRWXU).unwrap();
        let mut host = HostProcfs::default();
        assert_eq!(host.package(own(), &program).unwrap().to_string(), "npm:n", "a pipe");
        fs::remove_file(&file).unwrap();
        File::create(&file).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(host.package(own(), &program).unwrap().to_string(), "npm:n", "a terabyte");
        fs::remove_file(&file).unwrap();
        fs::write(&file, r#"{"name": "other", "version": "1"}"#).unwrap();
        assert_eq!(host.package(own(), &program).unwrap().to_string(), "npm:n", "somebody else's name");
        fs::remove_file(&file).unwrap();
        std::os::unix::fs::symlink("/proc/self/root/etc/passwd", &file).unwrap();
        assert_eq!(host.package(own(), &program).unwrap().to_string(), "npm:n", "a magic link");
    }

    #[test]
    fn a_python_script_is_named_after_its_distribution() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("bin")).unwrap();
        let site = root.path().join("lib/python3.11/site-packages");
        fs::create_dir_all(site.join("mcp_server_time-2026.10.19.dist-info")).unwrap();
        fs::create_dir_all(site.join("other-1.dist-info")).unwrap();
        let script = Bytes::new(root.path().join("bin/mcp-server-time").as_os_str().as_bytes());
        let program = Program { runtime: Runtime::Python, script: Some(script), ..Program::default() };
        let found = HostProcfs::default().package(own(), &program).unwrap();
        assert_eq!(found.to_string(), "pypi:mcp-server-time==2026.10.19");
    }

    #[test]
    fn who_holds_the_other_ends_is_seen() {
        let mut host = HostProcfs::default();
        let (_, start) = parent_and_start(own()).unwrap();
        let key = ProcessKey { pid: own(), start, exec_id: 0 };
        let end = |stream: &std::os::unix::net::UnixStream| {
            let link = fs::read_link(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap();
            let text = link.to_str().unwrap().to_owned();
            text.strip_prefix("socket:[").unwrap().strip_suffix(']').unwrap().parse().unwrap()
        };
        let (one, other) = std::os::unix::net::UnixStream::pair().unwrap();
        let of = |peer| Descriptor {
            kind: DescriptorKind::Socket,
            peer_inode: Some(peer),
            ..Descriptor::default()
        };
        let ends = [of(end(&one)), of(end(&other))];
        assert_eq!(host.holds(key, ends), Some(true));
        drop((one, other));
        assert_eq!(host.holds(key, ends), Some(false));
        assert_eq!(host.holds(key, [Descriptor::default(); 2]), None, "neither pipe nor socket");
    }

    #[test]
    fn the_file_with_a_containers_id_is_read_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let mut host = HostProcfs::default();
        let path = folder.path().join("cid");
        let id = "0a".repeat(32);
        fs::write(&path, format!("{id}\n")).unwrap();
        let mut read = |path: &Path| host.container_id_file(own(), path.as_os_str().as_bytes());
        assert_eq!(read(&path), Some(id));
        fs::write(&path, "root:x:0:0").unwrap();
        assert_eq!(read(&path), None);
        fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, Mode::S_IRWXU).unwrap();
        assert_eq!(read(&path), None, "a pipe");
    }

    #[test]
    fn this_process_has_forebears_and_lives() {
        let mut host = HostProcfs::default();
        let (parent, start) = parent_and_start(own()).unwrap();
        let key = ProcessKey { pid: own(), start, exec_id: 0 };
        assert!(host.lives(key));
        assert!(!host.lives(ProcessKey { start: BootNs(start.0 + 50 * TICK_NS), ..key }));
        assert_eq!(host.forebears(key).first().map(|forebear| forebear.key.pid), Some(parent));
    }
}
