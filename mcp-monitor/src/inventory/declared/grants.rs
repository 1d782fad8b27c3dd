//! What is declared elsewhere of what a server may do: options of its container, the settings of its sandbox, the entry
//! of a gateway's catalogue. Read as foreign text, bounded; nothing of it is run, resolved or followed.
//!
//! A grant is kept as it was written, with where it stands: whoever drafts an expectation from it translates the paths.

use std::path::{Path, PathBuf};

use super::{
    document::{Format, Node, parse},
    model::{DeclaredServer, Transport},
    place::Base,
    scan::Home,
};
use crate::event::escape;

/// Grants of one kind that are kept.
const GRANTS_MAX: usize = 256;
/// Servers of all catalogues that are kept.
const CATALOGUE_MAX: usize = 4096;
/// Catalogues of one home that are read.
const CATALOGUES_MAX: usize = 16;
/// Where the Docker gateway keeps its catalogues.
const DOCKER_CATALOGUES: &str = ".docker/mcp/catalogs";
/// Settings of the sandbox runtime, where its command line names no others.
const SANDBOX_RUNTIME_SETTINGS: &str = ".srt-settings.json";

/// One thing that is granted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// As it was written: a path, a destination.
    pub what: String,
    /// Where it stands.
    pub source: String,
}

/// Everything that is granted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Folders and files that may be read.
    pub read: Vec<Grant>,
    /// Folders and files that may be changed, too. `None`: nothing limits it.
    pub write: Option<Vec<Grant>>,
    /// Destinations. `None`: nothing limits them.
    pub egress: Option<Vec<Grant>>,
    /// Ports on which others can reach it.
    pub listen: Vec<Grant>,
    /// What is worth knowing and is no line of an expectation.
    pub notes: Vec<String>,
}

impl Grants {
    fn write(&mut self) -> &mut Vec<Grant> {
        self.write.get_or_insert_default()
    }

    fn egress(&mut self) -> &mut Vec<Grant> {
        self.egress.get_or_insert_default()
    }

    fn bound(&mut self) {
        self.read.truncate(GRANTS_MAX);
        self.listen.truncate(GRANTS_MAX);
        self.notes.truncate(GRANTS_MAX);
        for list in [&mut self.write, &mut self.egress].into_iter().flatten() {
            list.truncate(GRANTS_MAX);
        }
    }
}

/// A server of a gateway's catalogue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueServer {
    /// Its name there.
    pub name: String,
    /// The image that it runs as.
    pub image: Option<String>,
    /// The catalogue.
    pub path: PathBuf,
    /// Line of the entry.
    pub line: u32,
    /// What it is granted.
    pub grants: Grants,
}

/// What a declaration, and what stands beside it, grants.
#[must_use]
pub fn of_server(server: &DeclaredServer) -> Grants {
    let mut grants = Grants::default();
    let Transport::Stdio { command, arguments, .. } = &server.transport else { return grants };
    let words: Vec<String> = std::iter::once(command)
        .chain(arguments)
        .map(|word| String::from_utf8_lossy(word.shown().as_slice()).into_owned())
        .collect();
    of_container(&words, &mut grants);
    if let Some(document) = document_of(server) {
        editor_sandbox(&document, server, &mut grants);
    }
    sandbox_runtime(&words, server, &mut grants);
    grants.bound();
    grants
}

/// Servers of the Docker gateway's catalogues in these homes.
#[must_use]
pub fn of_catalogues(homes: &[Home]) -> Vec<CatalogueServer> {
    let mut servers = Vec::new();
    for home in homes {
        let Some(base) = Base::home(&home.path, home.uid) else { continue };
        let names =
            [DOCKER_CATALOGUES.split('/').map(str::to_owned).collect(), vec!["*.yaml".to_owned()]].concat();
        let (files, _) = base.expand(&names);
        for file in files.into_iter().take(CATALOGUES_MAX) {
            let Some(document) = read(&base, &file, Format::Yaml) else { continue };
            let path = home.path.join(&file);
            let Some(registry) = document.get("registry") else { continue };
            for pair in registry.pairs().iter().take(CATALOGUE_MAX.saturating_sub(servers.len())) {
                servers.push(CatalogueServer {
                    name: pair.key.clone(),
                    image: pair.node.get("image").and_then(Node::text).map(str::to_owned),
                    path: path.clone(),
                    line: pair.line,
                    grants: of_catalogue_entry(&pair.node, &path),
                });
            }
        }
    }
    servers
}

fn of_catalogue_entry(entry: &Node, path: &Path) -> Grants {
    let mut grants = Grants::default();
    let place = |node: &Node, key: &str| format!("{key} of {}:{}", shown(path), node.line);
    if let Some(node) = entry.get("disableNetwork").filter(|node| node.truth() == Some(true)) {
        grants.egress();
        grants.notes.push(format!("no network: {}", place(node, "disableNetwork")));
    } else if let Some(hosts) = entry.get("allowHosts") {
        let source = place(hosts, "allowHosts");
        for host in texts(hosts) {
            grants.egress().push(Grant { what: host, source: source.clone() });
        }
    }
    for volume in entry.get("volumes").into_iter().flat_map(Node::elements) {
        let Some(text) = volume.text() else { continue };
        if text.contains("{{") {
            grants.notes.push(format!(
                "volumes `{text}` are filled in from config.yaml: {}",
                place(volume, "volumes")
            ));
        } else {
            mount(text, &place(volume, "volumes"), &mut grants);
        }
    }
    grants.bound();
    grants
}

/// `docker run` and the like: what its options let the container do. Paths are as the container sees them.
fn of_container(words: &[String], grants: &mut Grants) {
    let name = words.first().map(|word| word.rsplit('/').next().unwrap_or(word));
    if !matches!(name, Some("docker" | "podman" | "nerdctl")) || !words.iter().any(|word| word == "run") {
        return;
    }
    let mut rest = words.iter().skip_while(|word| *word != "run").skip(1).peekable();
    while let Some(word) = rest.next() {
        if !word.starts_with('-') {
            break;
        }
        let (option, joined) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value.to_owned())),
            None => (word.as_str(), None),
        };
        let takes = matches!(
            option,
            "-v" | "--volume"
                | "--mount"
                | "--network"
                | "--net"
                | "-p"
                | "--publish"
                | "--tmpfs"
                | "-e"
                | "--env"
                | "--name"
                | "-u"
                | "--user"
                | "-w"
                | "--workdir"
                | "-l"
                | "--label"
                | "--cidfile"
                | "--env-file"
                | "--entrypoint"
                | "-m"
                | "--memory"
                | "--cpus"
                | "--add-host"
                | "--cap-add"
                | "--cap-drop"
                | "--security-opt"
                | "--pid"
                | "--ipc"
                | "--userns"
                | "--platform"
                | "--pull"
                | "-h"
                | "--hostname"
        );
        let value = match joined {
            Some(value) => value,
            None if takes => rest.next().cloned().unwrap_or_default(),
            None => String::new(),
        };
        let source = format!("{option} of its command line");
        match option {
            "-v" | "--volume" | "--mount" => mount(&value, &source, grants),
            "--tmpfs" => {
                let what = value.split(':').next().unwrap_or_default().to_owned();
                grants.write().push(Grant { what, source });
            }
            "--network" | "--net" if value == "none" => {
                grants.egress();
                grants.notes.push(format!("no network: {option} none of its command line"));
            }
            "--read-only" => {
                grants.write();
                grants.notes.push(format!("its root is read-only: {source}"));
            }
            "-p" | "--publish" => {
                let port = value.rsplit(':').next().unwrap_or_default().split('/').next().unwrap_or_default();
                grants.listen.push(Grant { what: format!("*:{port}"), source });
            }
            _ => {}
        }
    }
}

/// `SOURCE:TARGET[:OPTIONS]`, or `type=bind,source=…,target=…[,readonly]`.
fn mount(text: &str, source: &str, grants: &mut Grants) {
    let (target, read_only) =
        if text.contains("target=") || text.contains("dst=") || text.contains("destination=") {
            let parts: Vec<&str> = text.split(',').collect();
            let target = parts.iter().find_map(|part| {
                ["target=", "dst=", "destination="].iter().find_map(|key| part.strip_prefix(key))
            });
            (
                target.map(str::to_owned),
                parts.iter().any(|part| matches!(*part, "readonly" | "ro" | "readonly=true")),
            )
        } else {
            let mut parts = text.split(':');
            let first = parts.next();
            let target = parts.next().or(first).map(str::to_owned);
            (target, parts.next().is_some_and(|options| options.split(',').any(|option| option == "ro")))
        };
    let Some(what) = target.filter(|target| target.starts_with('/')) else { return };
    let grant = Grant { what, source: source.to_owned() };
    if !read_only {
        grants.write().push(grant.clone());
    }
    grants.read.push(grant);
}

/// `sandbox` beside `servers` in an editor's file; it counts for entries with `sandboxEnabled`.
fn editor_sandbox(document: &Node, server: &DeclaredServer, grants: &mut Grants) {
    let entry = ["servers", "mcpServers"]
        .into_iter()
        .find_map(|key| document.get(key)?.get(&server.name))
        .or_else(|| document.get("mcp")?.get("servers")?.get(&server.name));
    let Some(entry) = entry else { return };
    let own = entry.get("sandbox");
    if entry.get("sandboxEnabled").and_then(Node::truth) != Some(true) && own.is_none() {
        return;
    }
    if let Some(sandbox) = own.or_else(|| document.get("sandbox")) {
        sandbox_settings(sandbox, &server.place.path, grants);
    }
}

/// The settings that the command line of `srt` names, or those of its home.
fn sandbox_runtime(words: &[String], server: &DeclaredServer, grants: &mut Grants) {
    let is_runtime = words.iter().take(4).any(|word| {
        let name = word.rsplit('/').next().unwrap_or(word);
        name == "srt" || name.starts_with("sandbox-runtime")
    });
    let (Some(home), Some(uid)) = (&server.home, server.uid) else { return };
    if !is_runtime {
        return;
    }
    let named =
        words.iter().position(|word| word == "--settings" || word == "-s").and_then(|at| words.get(at + 1));
    let path = named.map_or_else(
        || home.join(SANDBOX_RUNTIME_SETTINGS),
        |path| path.strip_prefix("~/").map_or_else(|| PathBuf::from(path), |rest| home.join(rest)),
    );
    let Some(document) = file_of(&path, home, server.project.as_deref(), uid, Format::Json) else {
        grants.notes.push(format!("the settings of its sandbox, {}, cannot be read", shown(&path)));
        return;
    };
    sandbox_settings(&document, &path, grants);
}

/// The form that the sandbox runtime and the editors share.
fn sandbox_settings(settings: &Node, path: &Path, grants: &mut Grants) {
    let place = |node: &Node, key: &str| format!("{key} of {}:{}", shown(path), node.line);
    if let Some(network) = settings.get("network") {
        if let Some(domains) = network.get("allowedDomains") {
            let source = place(domains, "allowedDomains");
            let domains = texts(domains).into_iter().map(|what| Grant { what, source: source.clone() });
            grants.egress().extend(domains);
        } else {
            grants.egress();
        }
    }
    let Some(files) = settings.get("filesystem") else { return };
    if let Some(paths) = files.get("allowRead") {
        let source = place(paths, "allowRead");
        grants.read.extend(texts(paths).into_iter().map(|what| Grant { what, source: source.clone() }));
    }
    if let Some(paths) = files.get("allowWrite") {
        let source = place(paths, "allowWrite");
        let paths: Vec<Grant> =
            texts(paths).into_iter().map(|what| Grant { what, source: source.clone() }).collect();
        // Reading is free there unless it is denied: that is a note, and no list of what may be read.
        if files.get("allowRead").is_some() {
            grants.read.extend(paths.iter().cloned());
        }
        grants.write().extend(paths);
    }
    for key in ["denyRead", "denyWrite"] {
        if let Some(paths) = files.get(key) {
            let all: Vec<String> = texts(paths).iter().map(|path| escape(path.as_bytes())).collect();
            if all.is_empty() {
                continue;
            }
            grants.notes.push(format!("{}: {}", place(paths, key), all.join(", ")));
        }
    }
}

fn texts(node: &Node) -> Vec<String> {
    node.elements().iter().filter_map(Node::text).take(GRANTS_MAX).map(str::to_owned).collect()
}

/// The file that a declaration stands in, read again.
fn document_of(server: &DeclaredServer) -> Option<Node> {
    let path = &server.place.path;
    let format = match path.extension()?.to_str()? {
        "json" | "jsonc" | "code-workspace" => Format::Json,
        "toml" => Format::Toml,
        "yaml" | "yml" => Format::Yaml,
        _ => return None,
    };
    file_of(path, server.home.as_deref()?, server.project.as_deref(), server.uid?, format)
}

fn file_of(path: &Path, home: &Path, project: Option<&Path>, uid: u32, format: Format) -> Option<Node> {
    let folders = project.map(|project| (project, Base::folder(project, uid)));
    let folders = folders.into_iter().chain([(home, Base::home(home, uid))]);
    for (folder, base) in folders {
        let (Some(base), Ok(relative)) = (base, path.strip_prefix(folder)) else { continue };
        return read(&base, relative, format);
    }
    None
}

fn read(base: &Base, path: &Path, format: Format) -> Option<Node> {
    let bytes = base.find(path, None).ok().flatten()?.read().ok()?;
    parse(format, &bytes).ok()
}

fn shown(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt as _;
    escape(path.as_os_str().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(words: &str) -> Grants {
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        let mut grants = Grants::default();
        of_container(&words, &mut grants);
        grants
    }

    fn whats(grants: &[Grant]) -> Vec<&str> {
        grants.iter().map(|grant| grant.what.as_str()).collect()
    }

    #[test]
    fn options_of_a_container_say_what_it_may() {
        let grants = container(
            "docker run -i --rm --network none --read-only -v /home/ann/shop:/projects -v /etc/x:/x:ro -p 8080:80 img /y",
        );
        assert_eq!(whats(&grants.read), ["/projects", "/x"]);
        assert_eq!(whats(grants.write.as_ref().unwrap()), ["/projects"]);
        assert_eq!(grants.egress.as_deref(), Some(&[][..]));
        assert_eq!(whats(&grants.listen), ["*:80"]);
        let open = container("docker run --mount type=bind,source=/a,target=/b,readonly img");
        assert_eq!((whats(&open.read), open.write, open.egress), (vec!["/b"], None, None));
        assert_eq!(container("node run -v /a:/b"), Grants::default());
    }

    #[test]
    fn a_catalogue_says_where_its_servers_may_go() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join(DOCKER_CATALOGUES);
        std::fs::create_dir_all(&folder).unwrap();
        let text = "registry:\n  time:\n    image: mcp/time\n    disableNetwork: true\n  notion:\n    image: mcp/notion\n    allowHosts:\n      - api.notion.com:443\n    volumes:\n      - '{{notion.path|volume}}'\n      - /data:/data:ro\n";
        std::fs::write(folder.join("docker-mcp.yaml"), text).unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        let servers = of_catalogues(&[Home { path: home.path().to_owned(), uid }]);
        assert_eq!(servers.iter().map(|server| server.name.as_str()).collect::<Vec<_>>(), ["time", "notion"]);
        assert_eq!(servers[0].grants.egress.as_deref(), Some(&[][..]));
        assert_eq!(whats(servers[1].grants.egress.as_ref().unwrap()), ["api.notion.com:443"]);
        assert_eq!(whats(&servers[1].grants.read), ["/data"]);
        assert_eq!(servers[1].line, 5);
    }

    #[test]
    fn settings_of_a_sandbox_are_read_as_they_are_written() {
        let text = r#"{"network": {"allowedDomains": ["github.com", "*.github.com"]},
            "filesystem": {"allowWrite": ["."], "denyRead": ["~/.ssh"]}}"#;
        let mut grants = Grants::default();
        let document = parse(Format::Json, text.as_bytes()).ok().unwrap();
        sandbox_settings(&document, Path::new("/s.json"), &mut grants);
        assert_eq!(whats(grants.egress.as_ref().unwrap()), ["github.com", "*.github.com"]);
        assert_eq!(whats(grants.write.as_ref().unwrap()), ["."]);
        assert_eq!(grants.notes, ["denyRead of /s.json:2: ~/.ssh"]);
    }
}
