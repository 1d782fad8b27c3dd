//! The cases by name, and what each is given: an object to act on, a desk to write on, an outside world to talk to.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use mcp_monitor_tests::{
    act::Act,
    world::{self, MARKER, ORDINARY, PUBLIC4, PUBLIC6, World},
};

use crate::{
    disguise, egress, exec, files, flood, handed, launder, lineage, links, memory, names, observe,
    observe_net, outside, replace, sockets, unix, uring,
};

/// One evasion.
pub(crate) struct Case {
    /// Its name, as in `evasion.toml`.
    pub(crate) name: &'static str,
    run: fn(&Context) -> Result<Vec<Act>>,
}

/// Builds the list of a module's cases.
pub(crate) const fn case(name: &'static str, run: fn(&Context) -> Result<Vec<Act>>) -> Case {
    Case { name, run }
}

impl Case {
    /// Performs it; an error means that the act did not succeed.
    pub(crate) fn perform(&self, context: &Context) -> Result<Vec<Act>> {
        (self.run)(context)
    }
}

/// All cases.
pub(crate) fn all() -> impl Iterator<Item = &'static Case> {
    [
        files::CASES,
        links::CASES,
        names::CASES,
        replace::CASES,
        handed::CASES,
        uring::CASES,
        memory::CASES,
        exec::CASES,
        disguise::CASES,
        lineage::CASES,
        flood::CASES,
        launder::CASES,
        egress::CASES,
        sockets::CASES,
        unix::CASES,
        observe::CASES,
        observe_net::CASES,
    ]
    .into_iter()
    .flatten()
}

/// The case of that name.
pub(crate) fn named(name: &str) -> Result<&'static Case> {
    match all().find(|case| case.name == name) {
        Some(case) => Ok(case),
        None => bail!("no case is named {name}; `attack list` names them"),
    }
}

/// This host does not allow the case.
#[derive(Debug)]
pub(crate) struct NotRun(pub(crate) String);

impl fmt::Display for NotRun {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl std::error::Error for NotRun {}

/// Says that the host does not allow the case.
pub(crate) fn not_run<T>(reason: impl Into<String>) -> Result<T> {
    Err(NotRun(reason.into()).into())
}

/// What a case works with.
pub(crate) struct Context {
    /// The case's name.
    pub(crate) name: String,
    /// Whether it is the harmless twin.
    pub(crate) benign: bool,
    /// The files of the run.
    pub(crate) world: World,
    desk: PathBuf,
}

impl Context {
    /// Prepares desk, object and, unless the runner has done it, a world to act in.
    pub(crate) fn new(name: &str, benign: bool, scratch: &Path) -> Result<Self> {
        let world = World::at(scratch);
        let desk = world.desk(name, benign);
        std::fs::create_dir_all(&desk)?;
        std::fs::write(desk.join("ordinary.txt"), format!("{ORDINARY}\n").repeat(3))?;
        let context = Self { name: name.to_owned(), benign, world, desk };
        // A runner has furnished the world from outside the lineage; here writing a secret would be found, and rightly.
        if !world::is_isolated() {
            context.world.furnish(&[name])?;
            world::isolate()?;
            outside::start(&context.world)?;
        }
        Ok(context)
    }

    /// The directory to write in.
    pub(crate) fn desk(&self) -> &Path {
        &self.desk
    }

    /// A path on the desk.
    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.desk.join(name)
    }

    /// The file to get at: a secret, or an ordinary file for the twin.
    pub(crate) fn object(&self) -> PathBuf {
        if self.benign { self.at("ordinary.txt") } else { self.world.secret(&self.name) }
    }

    /// What the object contains: proof that it was really read.
    pub(crate) fn proof(&self) -> &'static str {
        if self.benign { ORDINARY } else { MARKER }
    }

    /// Fails unless the bytes are the object's.
    pub(crate) fn prove(&self, bytes: &[u8]) -> Result<()> {
        let proof = self.proof().as_bytes();
        if bytes.windows(proof.len()).any(|window| window == proof) {
            return Ok(());
        }
        bail!("the object's content was not read: {:?}", String::from_utf8_lossy(bytes))
    }

    /// The act of this process on the object.
    pub(crate) fn read_it(&self) -> Result<Vec<Act>> {
        Ok(vec![Act::mine()?.kind("open").about_path(&self.object())?])
    }

    /// Where to connect: an undeclared public address, or the declared loopback one for the twin.
    pub(crate) fn four(&self) -> Ipv4Addr {
        if self.benign { Ipv4Addr::LOCALHOST } else { PUBLIC4 }
    }

    /// The same for IPv6.
    pub(crate) fn six(&self) -> Ipv6Addr {
        if self.benign { Ipv6Addr::LOCALHOST } else { PUBLIC6 }
    }
}

/// The act of this process towards the outside world.
pub(crate) fn sent_to(transport: &str, address: impl Into<IpAddr>, port: u16) -> Result<Vec<Act>> {
    Ok(vec![Act::mine()?.towards(transport, &address.into().to_string(), port)])
}
