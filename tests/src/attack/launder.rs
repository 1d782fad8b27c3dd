//! Having somebody outside the lineage do the work: daemons that hand out root or keys, schedules, start-up files.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::net::UnixStream,
    path::Path,
};

use anyhow::{Context as _, Result};
use mcp_monitor_tests::{
    act::Act,
    world::{DOCKER_SOCKET, SYSTEMD_SOCKET},
};

use crate::case::{Case, Context, case, not_run};

/// The cases of this file.
pub(crate) const CASES: &[Case] = &[
    case("docker-socket", |context| daemon(context, Path::new(DOCKER_SOCKET))),
    case("ssh-agent", |context| daemon(context, &context.world.ssh_agent())),
    case("systemd-private", |context| daemon(context, Path::new(SYSTEMD_SOCKET))),
    case("cron-file", cron_file),
    case("shell-start-up-file", |context| persist(context, &context.world.home().join(".bashrc"))),
    case("user-unit", |context| {
        persist(context, &context.world.home().join(".config/systemd/user/helper.service"))
    }),
    case("authorized-keys", |context| persist(context, &context.world.home().join(".ssh/authorized_keys"))),
];

fn daemon(context: &Context, socket: &Path) -> Result<Vec<Act>> {
    let socket = if context.benign { context.world.stream() } else { socket.to_owned() };
    match UnixStream::connect(&socket) {
        Ok(_) => Ok(vec![Act::mine()?.kind("connect").with("network.path", socket.to_string_lossy())]),
        Err(error) => not_run(format!("{}: {error}", socket.display())),
    }
}

/// A cron file of one comment, gone at once.
fn cron_file(context: &Context) -> Result<Vec<Act>> {
    let directory = if context.benign { context.at("cron.d") } else { Path::new("/etc/cron.d").to_owned() };
    let made = !directory.exists();
    fs::create_dir_all(&directory)?;
    let path = directory.join("mcp-monitor-attack");
    let acts = append(&path);
    fs::remove_file(&path)?;
    if made {
        fs::remove_dir(&directory)?;
    }
    acts
}

fn persist(context: &Context, path: &Path) -> Result<Vec<Act>> {
    let path = if context.benign { context.at(".start-up") } else { path.to_owned() };
    fs::create_dir_all(path.parent().context("no parent")?)?;
    append(&path)
}

fn append(path: &Path) -> Result<Vec<Act>> {
    let mut file = File::options().create(true).append(true).open(path)?;
    writeln!(file, "# nothing")?;
    Ok(vec![Act::mine()?.about(&file.metadata()?)])
}
