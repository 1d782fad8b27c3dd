//! `expect draft`: a first expectation from what is declared, of a server that nobody has watched yet.

use std::{
    io::{self, Write as _},
    path::PathBuf,
};

use clap::Args;

use crate::{
    cli::{exit_code::Exit, query::client, say},
    control::Filter,
    event::{Bytes, ProcessId, ProcessKey, escape},
    expectation::learn::draft::{Known, draft},
    host::{
        procfs::{ProcessSource as _, Procfs},
        users::Users,
    },
    inventory::{
        declared::{
            Clients, DeclaredServer, Home, Scanner, Sources, Transport, WorkingFolder,
            grants::{self, CatalogueServer},
            homes,
        },
        live::{
            Snapshot,
            program::{Execution, Program, identify},
            snapshot::InstanceView,
            tools::Tools,
        },
    },
};

/// Options of `draft`.
#[derive(Clone, Debug, Args)]
pub(super) struct Draft {
    /// The server, as a configuration, a gateway's catalogue or the inventory names it.
    #[arg(value_name = "WORKLOAD")]
    workload: String,
    /// Only as this client declares it, such as claude-code.
    #[arg(long, value_name = "CLIENT")]
    client: Option<String>,
    /// Only this home instead of those of all users. May be given several times.
    #[arg(long, value_name = "DIR")]
    home: Vec<PathBuf>,
    /// The monitor's socket, for what nobody declares [default: /run/mcp-monitor/control.sock]
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
}

impl Draft {
    pub(super) fn run(&self) -> anyhow::Result<Exit> {
        let tools = Tools::embedded()?;
        let sources = self.sources()?;
        let declarations = Scanner::new(Clients::embedded()?).scan(&sources);
        let fits = |server: &&DeclaredServer| {
            (server.name == self.workload || server.id.to_string().starts_with(&self.workload))
                && self.client.as_ref().is_none_or(|client| server.client.as_str() == client)
                && server.overridden_by.is_none()
        };
        let mut all: Vec<Known> =
            declarations.servers.iter().filter(fits).map(|server| of_declared(server, &tools)).collect();
        let catalogues = grants::of_catalogues(&sources.homes);
        all.extend(catalogues.iter().filter(|server| server.name == self.workload).map(of_catalogue));
        if all.is_empty() {
            all.extend(self.of_running(&tools));
        }
        if all.is_empty() {
            say(&format_args!(
                "no configuration, catalogue or running monitor knows `{}`; `mcp-monitor inventory` lists what is declared",
                self.workload
            ));
            return Ok(Exit::Unknown);
        }
        let texts = all.iter().map(draft).collect::<Result<Vec<_>, _>>()?;
        // The same server for several clients or users is one draft each.
        io::stdout().write_all(texts.join("---\n").as_bytes())?;
        Ok(Exit::Ok)
    }

    fn sources(&self) -> anyhow::Result<Sources> {
        use std::os::unix::fs::MetadataExt as _;
        let mut sources = Sources::new(if self.home.is_empty() {
            homes::of_host(&mut Users::default())
        } else {
            let home = |path: &PathBuf| {
                let path = path.canonicalize()?;
                let uid = path.metadata()?.uid();
                io::Result::Ok(Home { path, uid })
            };
            self.home.iter().map(home).collect::<Result<_, _>>()?
        });
        if let Ok(path) = std::env::current_dir() {
            let owners: Vec<u32> = sources.homes.iter().map(|home| home.uid).collect();
            sources.working.extend(owners.into_iter().map(|uid| WorkingFolder { path: path.clone(), uid }));
        }
        Ok(sources)
    }

    /// What runs and nobody declares, asked of the monitor.
    fn of_running(&self, tools: &Tools) -> Vec<Known> {
        let monitor = client(self.socket.as_ref());
        let Ok(snapshot) = monitor.get::<Snapshot>("/v1/inventory", &Filter::default()) else {
            return Vec::new();
        };
        let mut found: Vec<&InstanceView> = snapshot
            .instances
            .iter()
            .filter(|one| one.name == self.workload && one.ended.is_none())
            .collect();
        found.dedup_by(|one, other| one.workload == other.workload);
        found.into_iter().map(|instance| of_instance(instance, tools)).collect()
    }
}

fn of_declared(server: &DeclaredServer, tools: &Tools) -> Known {
    let mut known = Known {
        name: server.name.clone(),
        client: Some(server.client.as_str().to_owned()),
        working_directory: server.project.clone(),
        home: server.home.clone(),
        place: format!(
            "{}{}",
            escape(std::os::unix::ffi::OsStrExt::as_bytes(server.place.path.as_os_str())),
            server.place.line.map(|line| format!(":{line}")).unwrap_or_default()
        ),
        grants: grants::of_server(server),
        ..Known::default()
    };
    if let Transport::Stdio { command, arguments, .. } = &server.transport {
        let words: Vec<Bytes> =
            std::iter::once(command).chain(arguments).map(|word| word.shown().clone()).collect();
        take_program(&mut known, &identify(tools, &execution(&words, b"/")));
    } else {
        known.grants.notes.push(String::from("a remote server: what it does happens on another host"));
    }
    known
}

fn of_catalogue(server: &CatalogueServer) -> Known {
    Known {
        name: server.name.clone(),
        image: server.image.clone(),
        place: format!(
            "{}:{}",
            escape(std::os::unix::ffi::OsStrExt::as_bytes(server.path.as_os_str())),
            server.line
        ),
        grants: server.grants.clone(),
        ..Known::default()
    }
}

fn of_instance(instance: &InstanceView, tools: &Tools) -> Known {
    let mut known = Known {
        name: instance.name.clone(),
        client: instance.client.clone(),
        runtime: Some(instance.runtime.clone()),
        package: instance.package.clone(),
        image: instance.image.clone(),
        working_directory: Some(PathBuf::from(&instance.working_directory)).filter(|path| path.is_absolute()),
        home: Users::default()
            .all()
            .into_iter()
            .find(|user| user.name == instance.user)
            .map(|user| user.home.clone()),
        place: format!("process {}, which no configuration declares", instance.pid),
        ..Known::default()
    };
    let key = ProcessKey { pid: ProcessId(instance.pid), ..ProcessKey::default() };
    if let Some(process) = Procfs::default().process(key) {
        let program = identify(
            tools,
            &Execution {
                executable: process.executable.as_slice(),
                script: None,
                arguments: &process.arguments,
                working_directory: process.working_directory.as_slice(),
            },
        );
        take_program(&mut known, &program);
    }
    known
}

fn execution<'words>(words: &'words [Bytes], working_directory: &'words [u8]) -> Execution<'words> {
    Execution {
        executable: words.first().map(Bytes::as_slice).unwrap_or_default(),
        script: None,
        arguments: words,
        working_directory,
    }
}

fn take_program(known: &mut Known, program: &Program) {
    known.runtime = Some(program.runtime.name().to_owned());
    if let Some(package) = &program.package {
        known.package = Some(package.to_string());
    }
    // What follows an image is for the program in the container, and so are its paths.
    let text = |word: &Bytes| String::from_utf8_lossy(word.as_slice()).into_owned();
    known.arguments = program.arguments.iter().map(text).collect();
    if program.container.is_some() {
        known.home = None;
        known.working_directory = None;
    }
}
