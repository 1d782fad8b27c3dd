//! Plain observations of files and processes: no evasion, but every field must be right.

use std::{
    fs::{self, File},
    os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, symlink},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};
use mcp_monitor_tests::{act::Act, identity::Identity, world::MARKER};

use crate::{
    case::{Case, Context, case, not_run},
    process::{c_string, in_child, myself},
};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("see-exec", see_exec),
    case("see-exec-script", see_exec_script),
    case("see-exec-long-argv", see_exec_long_argv),
    case("see-open-read", |context| see_open(context, "read")),
    case("see-open-write", |context| see_open(context, "write")),
    case("see-open-failed", see_open_failed),
    case("see-rename", see_rename),
    case("see-link", see_link),
    case("see-symlink", see_symlink),
    case("see-unlink", see_unlink),
    case("see-truncate", see_truncate),
    case("see-chmod", see_chmod),
    case("see-map", see_map),
    case("see-exit", see_exit),
    case("mask-argv", mask_argv),
];

/// What `/proc` says of a process that waits for its standard input to end.
struct Seen {
    identity: Identity,
    stdin: u64,
    cgroup: Option<String>,
    namespaces: Vec<(&'static str, u64)>,
}

impl Seen {
    fn of(pid: u32) -> Result<Self> {
        let at = |name: &str| format!("/proc/{pid}/{name}");
        let number = |link: &str| -> Result<u64> {
            let text = fs::read_link(at(link))?.to_string_lossy().into_owned();
            let digits = text.split(['[', ']']).nth(1).with_context(|| format!("{link} is {text}"))?;
            Ok(digits.parse()?)
        };
        let cgroups = fs::read_to_string(at("cgroup")).unwrap_or_default();
        Ok(Self {
            identity: Identity::of(i32::try_from(pid)?)?,
            stdin: number("fd/0")?,
            cgroup: cgroups.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned),
            namespaces: vec![
                ("exec.mount_namespace", number("ns/mnt")?),
                ("exec.pid_namespace", number("ns/pid")?),
                ("exec.net_namespace", number("ns/net")?),
            ],
        })
    }
}

/// Starts a program that waits for its standard input, asks who it is, and lets it end.
fn look_at(command: &mut Command) -> Result<Seen> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let seen = Seen::of(child.id())?;
    drop(child.stdin.take());
    if !child.wait()?.success() {
        bail!("{command:?} failed");
    }
    Ok(seen)
}

fn exec_of(command: &mut Command) -> Result<Identity> {
    Ok(look_at(command)?.identity)
}

fn about(process: Identity, kind: &str) -> Result<Act> {
    let act = Act::mine()?.kind(kind);
    Ok(Act { process, ..act })
}

/// Requires an exec to have been of this very file.
fn of_program(act: Act, object: &str, program: &Path) -> Result<Act> {
    let file = fs::metadata(program)?;
    let device = format!("{}:{}", libc::major(file.dev()), libc::minor(file.dev()));
    let act = act.with(&format!("{object}.device"), device).with(&format!("{object}.inode"), file.ino());
    Ok(act.with(&format!("{object}.path"), program.to_string_lossy()))
}

fn see_exec(context: &Context) -> Result<Vec<Act>> {
    let program = myself()?;
    let seen = look_at(Command::new(&program).arg("idle").current_dir(context.desk()))?;
    let mut act = of_program(about(seen.identity, "exec")?, "exec.executable", &program)?
        .with("process.exe", program.to_string_lossy())
        .with("exec.args", vec![program.to_string_lossy().into_owned(), "idle".to_owned()])
        .with("exec.cwd", context.desk().to_string_lossy())
        .with("exec.stdin.kind", "pipe")
        .with("exec.stdin.inode", seen.stdin)
        .with("exec.stdout.kind", "character-device")
        .with("process.uid", 0);
    for (namespace, number) in seen.namespaces {
        act = act.with(namespace, number);
    }
    if let Some(cgroup) = seen.cgroup {
        act = act.with("process.cgroup", cgroup);
    }
    Ok(vec![act])
}

fn see_exec_script(context: &Context) -> Result<Vec<Act>> {
    let script = context.at("tool.sh");
    fs::write(&script, "#!/bin/sh\nread -r line\nexit 0\n")?;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
    let seen = match look_at(&mut Command::new(&script)) {
        Ok(seen) => seen,
        Err(error) => return not_run(format!("no shell: {error}")),
    };
    let shell = fs::canonicalize("/bin/sh")?;
    let act = of_program(about(seen.identity, "exec")?, "exec.executable", &shell)?;
    Ok(vec![of_program(act, "exec.script", &script)?])
}

fn see_exec_long_argv(_: &Context) -> Result<Vec<Act>> {
    let process = exec_of(Command::new(myself()?).arg("idle").arg("x ".repeat(60_000)))?;
    Ok(vec![about(process, "exec")?.with("exec.args_truncated", true)])
}

fn see_open(context: &Context, access: &str) -> Result<Vec<Act>> {
    let path = context.at("seen.txt");
    fs::write(&path, "")?;
    in_child(|| {
        let file = File::options().read(access == "read").write(access == "write").open(&path)?;
        Ok(vec![
            Act::mine()?
                .kind("open")
                .about(&file.metadata()?)
                .with("file.path", path.to_string_lossy())
                .with("file.access", access),
        ])
    })
}

fn see_open_failed(context: &Context) -> Result<Vec<Act>> {
    let path = context.at("absent.txt");
    if File::open(&path).is_ok() {
        bail!("it is there");
    }
    let act = Act::mine()?.kind("open").with("file.path", path.to_string_lossy());
    Ok(vec![act.with("file.unresolved", true).with("result", "failed:ENOENT")])
}

fn see_rename(context: &Context) -> Result<Vec<Act>> {
    let (from, to) = (context.at("from.txt"), context.at("to.txt"));
    fs::write(&from, "")?;
    fs::rename(&from, &to)?;
    let act = Act::mine()?.kind("rename").with("file.path", from.to_string_lossy());
    Ok(vec![act.about_path(&to)?.with("file.target", to.to_string_lossy())])
}

fn see_link(context: &Context) -> Result<Vec<Act>> {
    let (from, to) = (context.at("one.txt"), context.at("two.txt"));
    fs::write(&from, "")?;
    fs::hard_link(&from, &to)?;
    let act = Act::mine()?.kind("link").with("file.path", from.to_string_lossy());
    Ok(vec![act.about_path(&from)?.with("file.target", to.to_string_lossy())])
}

fn see_symlink(context: &Context) -> Result<Vec<Act>> {
    let link = context.at("pointer");
    symlink("some/where", &link)?;
    let act = Act::mine()?.kind("symlink").with("file.path", link.to_string_lossy());
    Ok(vec![act.with("file.target", "some/where")])
}

fn see_unlink(context: &Context) -> Result<Vec<Act>> {
    let path = context.at("gone.txt");
    fs::write(&path, "")?;
    let act = Act::mine()?.kind("unlink").about_path(&path)?.with("file.path", path.to_string_lossy());
    fs::remove_file(&path)?;
    Ok(vec![act])
}

fn see_truncate(context: &Context) -> Result<Vec<Act>> {
    let path = context.at("short.txt");
    fs::write(&path, "long")?;
    // SAFETY: the path is a C string.
    mcp_monitor_tests::world::check(unsafe { libc::truncate(c_string(&path).as_ptr(), 1) })?;
    Ok(vec![Act::mine()?.kind("truncate").about_path(&path)?.with("file.path", path.to_string_lossy())])
}

fn see_chmod(context: &Context) -> Result<Vec<Act>> {
    let path = context.at("mode.txt");
    let file = File::options().create(true).append(true).mode(0o600).open(&path)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o4755))?;
    if file.metadata()?.mode() & 0o7777 != 0o4755 {
        bail!("the mode did not change");
    }
    Ok(vec![Act::mine()?.kind("chmod").about(&file.metadata()?).with("file.path", path.to_string_lossy())])
}

fn see_map(context: &Context) -> Result<Vec<Act>> {
    use std::os::fd::AsRawFd;
    let path = context.at("library.so");
    fs::copy(myself()?, &path)?;
    let file = File::open(&path)?;
    let protection = libc::PROT_READ | libc::PROT_EXEC;
    // SAFETY: a mapping of its own that nothing jumps into.
    let place =
        unsafe { libc::mmap(std::ptr::null_mut(), 4096, protection, libc::MAP_PRIVATE, file.as_raw_fd(), 0) };
    if place == libc::MAP_FAILED {
        bail!("mmap: {}", std::io::Error::last_os_error());
    }
    Ok(vec![Act::mine()?.kind("map").about(&file.metadata()?).with("file.path", path.to_string_lossy())])
}

fn see_exit(_: &Context) -> Result<Vec<Act>> {
    let process = exec_of(Command::new(myself()?).arg("idle"))?;
    Ok(vec![about(process, "exit")?.with("exit.code", 0)])
}

/// What an infostealer does with `curl -d "$(cat key)"`: the secret stands in the arguments of another program.
fn mask_argv(context: &Context) -> Result<Vec<Act>> {
    let key = fs::read_to_string(context.object()).context("the key")?;
    let mut acts = Vec::new();
    for arguments in [
        vec!["idle".to_owned(), "-d".to_owned(), key],
        vec!["idle".to_owned(), format!("--token={MARKER}")],
        vec!["idle".to_owned(), format!("Authorization: Bearer {MARKER}")],
        vec!["idle".to_owned(), format!("https://user:{MARKER}@host.example/")],
        vec!["idle".to_owned(), format!("AWS_SECRET_ACCESS_KEY={MARKER}")],
    ] {
        if !context.benign {
            acts.push(about(exec_of(Command::new(myself()?).args(arguments))?, "exec")?);
        }
    }
    if context.benign {
        acts.push(about(exec_of(Command::new(myself()?).args(["idle", "--verbose"]))?, "exec")?);
    }
    Ok(acts)
}
