//! Reads what `strace -f -yy --columns=0 -o FILE` wrote: successful opens, execs and connects, by process.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

/// A destination of a connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Peer {
    /// Address and port.
    Internet(IpAddr, u16),
    /// Path of a unix socket; abstract ones begin with `@`.
    Unix(Vec<u8>),
}

/// What strace saw: how often, by process id and object.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// Opens, by resolved path.
    pub(super) opens: HashMap<(u32, Vec<u8>), u64>,
    /// Opens with `O_PATH`, which give no access to content and are no opens to the kernel's security hooks.
    pub(super) path_only: u64,
    /// Programs executed, as named to the kernel.
    pub(super) execs: HashMap<(u32, Vec<u8>), u64>,
    /// Connects that succeeded or were begun.
    pub(super) connects: HashMap<(u32, Peer), u64>,
    /// Lines that were not understood.
    pub(super) odd: Vec<String>,
}

/// The system calls to trace; clones tell which thread belongs to which process.
pub(super) const CALLS: &str = "open,openat,openat2,creat,execve,execveat,connect,clone,clone3,fork,vfork";

impl Trace {
    /// Reads a whole trace.
    pub(super) fn read(text: &str) -> Self {
        let mut unfinished: HashMap<u32, String> = HashMap::new();
        let mut threads: HashMap<u32, u32> = HashMap::new();
        let mut calls = Vec::new();
        let mut trace = Self::default();
        for line in text.lines() {
            let Some((thread, rest)) = line.split_once(' ') else { continue };
            let (Ok(thread), rest) = (thread.parse::<u32>(), rest.trim_start()) else {
                trace.odd.push(line.to_owned());
                continue;
            };
            // `???( <detached ...>`: strace let go of a thread that was ending.
            if rest.starts_with("+++") || rest.starts_with("---") || rest.starts_with("???(") {
                continue;
            }
            let whole = if let Some(begin) = rest.strip_suffix("<unfinished ...>") {
                unfinished.insert(thread, begin.to_owned());
                continue;
            } else if rest.starts_with("<... ") {
                // A call that had begun before strace attached has no first half.
                let Some(begin) = unfinished.remove(&thread) else { continue };
                let end = rest.split_once("resumed>").map_or("", |(_, end)| end);
                format!("{begin}{end}")
            } else {
                rest.to_owned()
            };
            let Some((call, result)) = whole.rsplit_once(") = ") else {
                trace.odd.push(line.to_owned());
                continue;
            };
            let Some((name, arguments)) = call.split_once('(') else {
                trace.odd.push(line.to_owned());
                continue;
            };
            if matches!(name, "clone" | "clone3") && arguments.contains("CLONE_THREAD") {
                if let Ok(child) = result.trim().parse() {
                    threads.insert(child, thread);
                }
                continue;
            }
            calls.push((thread, name.to_owned(), arguments.to_owned(), result.to_owned()));
        }
        for (thread, name, arguments, result) in calls {
            trace.take(process_of(thread, &threads), &name, &arguments, &result);
        }
        trace
    }

    fn take(&mut self, process: u32, name: &str, arguments: &str, result: &str) {
        let failed = result.starts_with("-1 ") || result.starts_with('?');
        match name {
            "connect" if !failed || result.contains("EINPROGRESS") => {
                if let Some(peer) = peer(arguments) {
                    *self.connects.entry((process, peer)).or_default() += 1;
                }
            }
            "execve" | "execveat" if !failed => {
                // The first quoted text is the name; `execveat(FD</path>, "", …)` names its file by the descriptor.
                let given = quoted(arguments).filter(|given| !given.is_empty());
                let given = given.or_else(|| described(arguments)).unwrap_or_default();
                *self.execs.entry((process, given)).or_default() += 1;
            }
            "open" | "openat" | "openat2" | "creat" if !failed => {
                if arguments.contains("O_PATH") {
                    self.path_only += 1;
                } else if let Some(path) = described(result) {
                    *self.opens.entry((process, path)).or_default() += 1;
                } else {
                    self.odd.push(format!("{name}({arguments}) = {result}"));
                }
            }
            _ => {}
        }
    }
}

/// The process that `thread` belongs to.
fn process_of(mut thread: u32, threads: &HashMap<u32, u32>) -> u32 {
    while let Some(parent) = threads.get(&thread) {
        thread = *parent;
    }
    thread
}

/// The path in `3</path>`: `<` and `>` in a path are escaped, so both marks are the first ones.
fn described(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once('<')?;
    let end = rest.find(['<', '>'])?;
    let path = unescaped(&rest[..end]);
    Some(path.strip_suffix(b" (deleted)").unwrap_or(&path).to_vec())
}

/// The first text in double quotes.
fn quoted(text: &str) -> Option<Vec<u8>> {
    let (_, rest) = text.split_once('"')?;
    let mut escaped = false;
    let end = rest.bytes().position(|byte| {
        let end = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        end
    })?;
    Some(unescaped(&rest[..end]))
}

/// The peer in a `struct sockaddr` as strace prints it; none for families that lead nowhere.
fn peer(arguments: &str) -> Option<Peer> {
    let value = |key: &str| {
        let (_, rest) = arguments.split_once(key)?;
        rest.split([')', ',', '}']).next()
    };
    if arguments.contains("sa_family=AF_UNIX") {
        let (_, rest) = arguments.split_once("sun_path=")?;
        let mut path = quoted(rest)?;
        if rest.starts_with('@') {
            path.insert(0, b'@');
        }
        return Some(Peer::Unix(path));
    }
    let port = value("_port=htons(")?.parse().ok()?;
    let text = if arguments.contains("sa_family=AF_INET6") {
        let (_, rest) = arguments.split_once("inet_pton(AF_INET6, \"")?;
        rest.split('"').next()?
    } else {
        value("inet_addr(\"")?.trim_matches('"')
    };
    let address: IpAddr = text.parse().ok()?;
    Some(Peer::Internet(folded(address), port))
}

/// IPv4-mapped IPv6 addresses as the IPv4 addresses that they are.
fn folded(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(six) => six.to_ipv4_mapped().map_or(address, |four: Ipv4Addr| IpAddr::V4(four)),
        IpAddr::V4(_) => address,
    }
}

/// Undoes the escapes of C strings.
fn unescaped(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes().peekable();
    let mut plain = Vec::with_capacity(text.len());
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            plain.push(byte);
            continue;
        }
        match bytes.next() {
            Some(digit @ b'0'..=b'7') => {
                let mut value = u32::from(digit - b'0');
                for _ in 0..2 {
                    let Some(digit) = bytes.next_if(|next| (b'0'..=b'7').contains(next)) else { break };
                    value = value * 8 + u32::from(digit - b'0');
                }
                plain.push(value.to_le_bytes()[0]);
            }
            Some(letter) => plain.push(match letter {
                b'n' => b'\n',
                b't' => b'\t',
                b'r' => b'\r',
                b'v' => 0x0b,
                b'f' => 0x0c,
                other => other,
            }),
            None => plain.push(b'\\'),
        }
    }
    plain
}

/// The file that the kernel runs for `given`: links followed, and of a script the interpreter. `given` itself if it
/// is not there any more.
pub(super) fn executable(given: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    let mut file = PathBuf::from(std::ffi::OsStr::from_bytes(given));
    if !file.exists() {
        // Gone since, as environments of `uv run` are.
        return file;
    }
    // The kernel follows five scripts at most.
    for _ in 0..5 {
        file = file.canonicalize().unwrap_or(file);
        match interpreter(&file) {
            Some(next) => file = next,
            None => break,
        }
    }
    file
}

fn interpreter(file: &Path) -> Option<PathBuf> {
    use std::io::Read;
    let mut head = Vec::new();
    std::fs::File::open(file).ok()?.take(256).read_to_end(&mut head).ok()?;
    let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let line = String::from_utf8_lossy(line).into_owned();
    line.split_whitespace().next().map(PathBuf::from)
}

#[cfg(test)]
mod tests {
    use super::{Peer, Trace, executable};

    const TRACE: &str = r#"10 execve("/usr/bin/npx", ["npx", "-y"], 0x7f /* 42 vars */) = 0
10 openat(AT_FDCWD</home/me>, "a\tb", O_RDONLY|O_CLOEXEC) = 3</home/me/a\tb>
10 openat(AT_FDCWD</home/me>, "missing", O_RDONLY) = -1 ENOENT (No such file or directory)
10 clone3({flags=CLONE_VM|CLONE_THREAD, child_tid=0x7f} => {parent_tid=[11]}, 88) = 11
11 openat(AT_FDCWD</home/me>, "/etc/hosts", O_RDONLY <unfinished ...>
10 clone(child_stack=NULL, flags=CLONE_CHILD_CLEARTID|SIGCHLD, child_tidptr=0x7f) = 12
11 <... openat resumed>) = 4</etc/hosts>
12 openat(AT_FDCWD</>, "/home", O_RDONLY|O_PATH) = 5</home>
12 openat(AT_FDCWD</>, "/dev/null", O_RDWR) = 5</dev/null<char 1:3>>
12 openat(AT_FDCWD</>, "/tmp", O_RDWR|O_TMPFILE, 0600) = 6</tmp/#7>(deleted)
11 connect(19<UDP:[1234]>, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.53")}, 16) = 0
12 connect(19<TCPv6:[1]>, {sa_family=AF_INET6, sin6_port=htons(443), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, "::ffff:1.2.3.4", &sin6_addr), sin6_scope_id=0}, 28) = -1 EINPROGRESS (Operation now in progress)
12 connect(3<UNIX-STREAM:[5]>, {sa_family=AF_UNIX, sun_path=@"bus"}, 6) = 0
12 connect(3<UNIX-STREAM:[5]>, {sa_family=AF_UNIX, sun_path="/run/nscd/socket"}, 110) = -1 ENOENT (No such file or directory)
12 execve("/no/such", ["such"], 0x7f /* 1 var */) = -1 ENOENT (No such file or directory)
12 --- SIGCHLD {si_signo=SIGCHLD} ---
12 +++ exited with 0 +++
"#;

    #[test]
    fn reads_what_succeeded_by_process() {
        let trace = Trace::read(TRACE);
        assert!(trace.odd.is_empty(), "{:?}", trace.odd);
        let opens = |pid: u32, path: &str| trace.opens.get(&(pid, path.into())).copied();
        assert_eq!(opens(10, "/home/me/a\tb"), Some(1));
        assert_eq!(opens(10, "/etc/hosts"), Some(1), "opened by a thread of 10, in two halves");
        assert_eq!(opens(12, "/dev/null"), Some(1));
        assert_eq!(opens(12, "/tmp/#7"), Some(1));
        assert_eq!((trace.opens.len(), trace.path_only), (4, 1));
        assert_eq!(trace.execs, [((10, b"/usr/bin/npx".to_vec()), 1)].into());
        let connects = |pid: u32, peer: Peer| trace.connects.get(&(pid, peer)).copied();
        assert_eq!(connects(10, Peer::Internet([10, 0, 0, 53].into(), 53)), Some(1));
        assert_eq!(connects(12, Peer::Internet([1, 2, 3, 4].into(), 443)), Some(1), "begun, and mapped");
        assert_eq!(connects(12, Peer::Unix(b"@bus".to_vec())), Some(1));
        assert_eq!(trace.connects.len(), 3);
    }

    #[test]
    fn follows_scripts_to_their_interpreter() {
        let folder = std::env::temp_dir().join(format!("strace-test-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let script = folder.join("script");
        std::fs::write(&script, "#!/bin/sh -e\ntrue\n").unwrap();
        let shell = std::path::Path::new("/bin/sh").canonicalize().unwrap();
        assert_eq!(executable(script.to_str().unwrap().as_bytes()), shell);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
