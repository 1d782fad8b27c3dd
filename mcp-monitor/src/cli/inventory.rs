//! `mcp-monitor inventory`: which MCP servers the configurations of clients declare, for whom, and where that stands.
//!
//! Reads files alone: no monitor has to run, and without root it shows the caller's own home.

use super::{
    arguments::{ColourOption, FormatOption},
    exit_code::Exit,
    say,
};
use crate::{
    host::users::Users,
    inventory::declared::{
        ADDITIONS, Clients, Declarations, Home, Scanner, Sources, Warning, WorkingFolder, homes,
    },
    render::{
        Format,
        inventory::declared_for_people,
        json,
        stream::{Colour, Destination},
    },
};
use clap::Args;
use nix::unistd::{Uid, geteuid};
use std::{
    io::{self, Write as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

/// Options of `inventory`.
#[derive(Clone, Debug, Args)]
pub(super) struct Inventory {
    /// table on a terminal, json elsewhere, if not given.
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<FormatOption>,
    /// Colour, for people.
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: ColourOption,
    /// Only this home instead of those of all users. May be given several times.
    #[arg(long, value_name = "DIR")]
    home: Vec<PathBuf>,
    /// A project folder beside those that the clients know. May be given several times.
    #[arg(long, value_name = "DIR")]
    project: Vec<PathBuf>,
    /// Files that add to the table of clients.
    #[arg(long, value_name = "DIR", default_value = ADDITIONS)]
    clients: PathBuf,
    /// Where the host's files lie, for tests.
    #[arg(long, value_name = "DIR", default_value = "/", hide = true)]
    root: PathBuf,
}

impl Inventory {
    /// Reads and shows.
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let clients = Clients::with_additions(&self.clients)?;
        let mut users = Users::default();
        let declarations = Scanner::new(clients).scan(&self.sources(&mut users)?);
        self.show(&declarations, &mut users)?;
        for warning in &declarations.warnings {
            say(&warned(warning));
        }
        if declarations.warnings_suppressed > 0 {
            say(&format_args!("warning: and {} more", declarations.warnings_suppressed));
        }
        Ok(Exit::Ok)
    }

    fn sources(&self, users: &mut Users) -> anyhow::Result<Sources> {
        let me = geteuid();
        let mut found = if self.home.is_empty() {
            homes_of(me, users)
        } else {
            self.home.iter().map(|home| given(home)).collect::<anyhow::Result<_>>()?
        };
        found.sort_by(|a, b| a.path.cmp(&b.path));
        let mut sources = Sources::new(found);
        sources.root.clone_from(&self.root);
        sources.own_environment = self.home.is_empty().then_some(me.as_raw());
        let here = std::env::current_dir().ok().filter(|_| self.home.is_empty());
        for path in self.project.iter().filter_map(|path| path.canonicalize().ok()).chain(here) {
            let owners = sources.homes.iter().map(|home| home.uid);
            let owners: Vec<u32> = if self.home.is_empty() { vec![me.as_raw()] } else { owners.collect() };
            sources.working.extend(owners.into_iter().map(|uid| WorkingFolder { path: path.clone(), uid }));
        }
        Ok(sources)
    }

    fn show(&self, declarations: &Declarations, users: &mut Users) -> anyhow::Result<()> {
        let destination = Destination::standard_output()?;
        let format = self.output.map_or_else(|| destination.natural_format(), Format::from);
        let mut name = |uid| users.name(uid).map(str::to_owned);
        let mut text = Vec::new();
        match format {
            Format::Table => {
                let look = destination.look(Colour::from(self.color));
                text = declared_for_people(&declarations.servers, name, &look).into_bytes();
            }
            Format::Json => {
                for server in &declarations.servers {
                    json::declared_server(&mut text, server, server.uid.and_then(&mut name).as_deref());
                }
            }
        }
        match io::stdout().write_all(&text) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// All homes for root, the own one for anybody else.
fn homes_of(me: Uid, users: &mut Users) -> Vec<Home> {
    let own = std::env::var_os("HOME").map(PathBuf::from).filter(|home| home.is_absolute());
    let own = own.map(|path| Home { path, uid: me.as_raw() });
    let mut found = homes::of_host(users);
    if !me.is_root() {
        say(&"only your own home is read: call `sudo mcp-monitor inventory` for those of all users");
        found.retain(|home| home.uid == me.as_raw());
    }
    if let Some(own) = own
        && !found.contains(&own)
    {
        found.push(own);
    }
    found
}

fn given(home: &Path) -> anyhow::Result<Home> {
    let failed = |error: io::Error| anyhow::anyhow!("cannot read the home {}: {error}", home.display());
    let path = home.canonicalize().map_err(failed)?;
    let uid = path.metadata().map_err(failed)?.uid();
    Ok(Home { path, uid })
}

fn warned(warning: &Warning) -> String {
    let Warning { path, line, key, what, advice } = warning;
    let line = line.map(|line| format!(":{line}")).unwrap_or_default();
    let key = key.as_ref().map(|key| format!(" `{key}`")).unwrap_or_default();
    format!("warning: {}{line}{key} {what}: {advice}", path.display())
}
