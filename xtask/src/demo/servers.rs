//! The client and what it starts the servers with: Python, the SDK and the caches of npx and uvx.

use std::{
    env,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use super::{
    plan::{Plan, pins},
    registries::Registries,
    scratch::Scratch,
    web::Web,
};
use crate::{command, places, setup};

/// The official Python SDK.
const SDK: &str = "mcp==2.3.0";
/// What the SDK and the fetch server need.
const PYTHON: &str = ">=3.10";
/// Kept when sudo resets the environment: how this host reaches the registries.
const CARRIED: &[&str] = &[
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "NODE_EXTRA_CA_CERTS",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "UV_DEFAULT_INDEX",
    "UV_INDEX_URL",
];

/// Everything prepared.
pub(super) struct Servers {
    cache: PathBuf,
    search_path: OsString,
    registries: Registries,
}

impl Servers {
    /// Installs the client.
    pub(super) fn prepare() -> Result<Self> {
        let cache = places::cache()?.join("demo");
        places::make(&cache)?;
        let search_path = setup::search_path()?;
        let servers = Self { cache, registries: Registries::read(&search_path), search_path };
        let mark = servers.client_folder().join("ready");
        if fs::read_to_string(&mark).is_ok_and(|made_of| made_of == SDK) && servers.python().exists() {
            return Ok(servers);
        }
        eprintln!("demo: installing the MCP client, {SDK}");
        let mut make = servers.in_environment(Command::new("uv"), None);
        make.args(["venv", "--quiet", "--clear", "--python", PYTHON]).arg(servers.client_folder());
        command::run(&mut make).context(
            "cannot make a Python environment; `uv python list` shows what there is, `apt-get install python3` helps",
        )?;
        let mut install = servers.in_environment(Command::new("uv"), None);
        install.args(["pip", "install", "--quiet", "--python"]).arg(servers.python()).arg(SDK);
        command::run(&mut install).context("cannot install the MCP client; is pypi.org reachable?")?;
        fs::write(&mark, SDK).with_context(|| format!("cannot write {}", mark.display()))?;
        Ok(servers)
    }

    /// Fills the caches of npx and uvx by a rehearsal of the ordinary calls, unwatched.
    pub(super) fn warm(&self, scratch: &Scratch, near: &Web) -> Result<()> {
        let mark = self.cache.join("warm");
        let made_of = format!("{}{}", pins(), self.search_path.display());
        if fs::read_to_string(&mark).is_ok_and(|warm| warm == made_of) {
            return Ok(());
        }
        eprintln!("demo: rehearsing once, unwatched, so that npx and uvx have their packages");
        let plan = Plan { home: scratch.rehearsal_home(), near: near.address(), far: near.address() };
        let file = scratch.write("rehearsal.json", &plan.ordinary().to_string())?;
        let mut client = self.client(&scratch.rehearsal_home(), &file)?;
        let status =
            client.status().with_context(|| format!("cannot start `{}`", command::shown(&client)))?;
        if !status.success() {
            bail!("the servers do not work here even unwatched ({status}); what they said is above");
        }
        fs::write(&mark, made_of).with_context(|| format!("cannot write {}", mark.display()))
    }

    /// The client, about to carry out `plan`.
    pub(super) fn client(&self, home: &Path, plan: &Path) -> Result<Command> {
        let mut command = self.in_environment(Command::new(self.python()), Some(home));
        command.args(self.client_arguments(plan)?);
        Ok(command)
    }

    /// The client's command line after its program.
    pub(super) fn client_arguments(&self, plan: &Path) -> Result<[OsString; 3]> {
        Ok(["-I".into(), self.script("client.py")?.into(), plan.into()])
    }

    /// Where npx and uvx ask for packages.
    pub(super) fn registries(&self) -> &Registries {
        &self.registries
    }

    /// The Python that has the SDK.
    pub(super) fn python(&self) -> PathBuf {
        self.client_folder().join("bin/python")
    }

    /// One of the scripts in `tests/servers`.
    #[expect(clippy::unused_self, reason = "callers ask the servers for all that runs them")]
    pub(super) fn script(&self, name: &str) -> Result<PathBuf> {
        Ok(places::workspace()?.join("tests/servers").join(name))
    }

    /// What the client and the servers find in their environment besides what is there already.
    pub(super) fn environment(&self, home: Option<&Path>) -> Vec<(&'static str, OsString)> {
        let mut variables = vec![
            ("PATH", self.search_path.clone()),
            ("npm_config_cache", self.cache.join("npm").into()),
            ("UV_CACHE_DIR", self.cache.join("uv").into()),
            ("UV_TOOL_DIR", self.cache.join("uv-tools").into()),
            // Pythons come from the host or not at all: uv would fetch them from a place that is no registry.
            ("UV_PYTHON_DOWNLOADS", "never".into()),
        ];
        variables.extend(self.registries.environment());
        variables.extend(home.map(|home| ("HOME", home.into())));
        variables.extend(CARRIED.iter().filter_map(|name| Some((*name, env::var_os(name)?))));
        variables
    }

    fn in_environment(&self, mut command: Command, home: Option<&Path>) -> Command {
        command.envs(self.environment(home));
        command
    }

    fn client_folder(&self) -> PathBuf {
        self.cache.join("client")
    }
}
