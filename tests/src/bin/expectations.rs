//! The life of an expectation with real servers: learnt from runs, proposed from the store, promoted, quiet in another run, and
//! then the server is taken over and does what servers must not do. Prints the table of what was found.
//!
//! Each run has a network of its own, with public addresses on its loopback device, so that nothing leaves the machine; packages come from the caches
//! of npx and uvx, filled beforehand.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{BufRead as _, BufReader, Write as _},
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, ExitCode, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use serde::Deserialize;
use serde_json::{Value, json};

/// A server that is slower than this is broken, even on a machine under load.
const PATIENCE: Duration = Duration::from_secs(90);
/// Runs that are learnt from.
const LEARNT: usize = 2;
/// Files with what looks like secrets.
const SECRETS: [&str; 11] = [
    ".ssh/id_ed25519",
    ".aws/credentials",
    ".netrc",
    ".git-credentials",
    ".docker/config.json",
    ".kube/config",
    ".pgpass",
    ".pypirc",
    ".vault-token",
    ".config/gcloud/application_default_credentials.json",
    ".config/gh/hosts.yml",
];
/// Where the caches lie while servers run.
const CACHE: &str = "/srv/mcp-monitor-caches";
/// Puts the caches there, then becomes what follows.
const CACHES: &str = "mount --bind \"$0\" /srv/mcp-monitor-caches && exec \"$@\"";
/// Makes the network as well.
const NETWORK: &str = "mount --bind \"$0\" /srv/mcp-monitor-caches && ip link set lo up && \
                       ip addr add 203.0.113.1/24 dev lo && ip addr add 169.254.169.254/32 dev lo && exec \"$@\"";

#[derive(Parser)]
#[command(about = "Learns expectations of real servers, promotes them, and has the servers taken over")]
struct Arguments {
    /// The monitor's program
    #[arg(long, default_value = "mcp-monitor")]
    monitor: PathBuf,
    /// The tier to force
    #[arg(long, default_value = "auto")]
    tier: String,
    /// Where npx and uvx keep packages
    #[arg(long)]
    cache: PathBuf,
    /// Only this server; may be repeated
    #[arg(long)]
    only: Vec<String>,
    /// Where proposals are kept for a person to read
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Taken like the other test programs do, and not used
    #[arg(long, hide = true)]
    attack: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Table {
    acts: Vec<Act>,
}

#[derive(Clone, Deserialize)]
struct Act {
    name: String,
    server: String,
    rule: String,
    object: String,
    #[serde(default)]
    not_in: BTreeMap<String, String>,
}

/// A real server, how it is started, and two days with it.
struct Server {
    name: &'static str,
    launcher: &'static [&'static str],
    package: &'static str,
    /// Part of the path of what runs in the end.
    program: &'static str,
    arguments: fn(&Path) -> Vec<String>,
    learnt: fn(&Path) -> Value,
    other: fn(&Path) -> Value,
}

const NPX: &[&str] = &["npx", "-y"];
const UVX: &[&str] = &["uvx"];

const SERVERS: [Server; 6] = [
    Server {
        name: "filesystem",
        launcher: NPX,
        package: "@modelcontextprotocol/server-filesystem@2026.8.31",
        program: "server-filesystem",
        arguments: |home| vec![shown(&home.join("documents"))],
        learnt: |home| {
            let documents = home.join("documents");
            json!([
                ["list_directory", {"path": documents}],
                ["write_file", {"path": documents.join("note.txt"), "content": "bread"}],
                ["read_text_file", {"path": documents.join("ferry.txt")}],
            ])
        },
        other: |home| {
            let documents = home.join("documents");
            json!([
                ["read_text_file", {"path": documents.join("recipes/bread.md")}],
                ["write_file", {"path": documents.join("recipes/cake.md"), "content": "cake"}],
                ["directory_tree", {"path": documents}],
            ])
        },
    },
    Server {
        name: "everything",
        launcher: NPX,
        package: "@modelcontextprotocol/server-everything@2026.8.31",
        program: "server-everything",
        arguments: |_| Vec::new(),
        learnt: |_| json!([["echo", {"message": "a"}], ["get-sum", {"a": 2, "b": 3}]]),
        other: |_| json!([["echo", {"message": "other"}], ["get-tiny-image", {}]]),
    },
    Server {
        name: "memory",
        launcher: NPX,
        package: "@modelcontextprotocol/server-memory@2026.8.31",
        program: "server-memory",
        arguments: |_| Vec::new(),
        learnt: |_| {
            json!([
                ["create_entities", {"entities": [{"name": "ferry", "entityType": "ship", "observations": ["nine"]}]}],
                ["read_graph", {}],
            ])
        },
        other: |_| {
            json!([
                ["create_entities", {"entities": [{"name": "train", "entityType": "rail", "observations": ["ten"]}]}],
                ["search_nodes", {"query": "train"}],
                ["delete_entities", {"entityNames": ["train"]}],
            ])
        },
    },
    Server {
        name: "git",
        launcher: UVX,
        package: "mcp-server-git@2026.10.19",
        program: "mcp-server-git",
        arguments: |home| vec!["--repository".into(), shown(&home.join("project"))],
        learnt: |home| {
            let project = home.join("project");
            json!([
                ["git_status", {"repo_path": project}],
                ["git_diff_unstaged", {"repo_path": project}],
                ["git_log", {"repo_path": project}],
            ])
        },
        other: |home| {
            let project = home.join("project");
            json!([["git_status", {"repo_path": project}], ["git_log", {"repo_path": project, "max_count": 3}]])
        },
    },
    Server {
        name: "fetch",
        launcher: UVX,
        package: "mcp-server-fetch@2026.10.24",
        program: "mcp-server-fetch",
        arguments: |_| vec!["--ignore-robots-txt".into(), "--allow-private-ips".into()],
        learnt: |_| json!([]),
        other: |_| json!([]),
    },
    Server {
        name: "time",
        launcher: UVX,
        package: "mcp-server-time@2026.10.19",
        program: "mcp-server-time",
        arguments: |_| vec!["--local-timezone".into(), "Etc/UTC".into()],
        learnt: |_| json!([["get_current_time", {"timezone": "Europe/Oslo"}]]),
        other: |_| json!([["get_current_time", {"timezone": "Asia/Tokyo"}]]),
    },
];

fn shown(path: &Path) -> String {
    path.display().to_string()
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("expectations: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// A row of the table.
struct Row {
    server: String,
    act: String,
    rule: String,
    outcome: Outcome,
}

enum Outcome {
    Found(String),
    Missed(String),
    NotSeen(String),
}

fn run(arguments: &Arguments) -> Result<bool> {
    let text = include_str!("../../expectations.toml");
    let table: Table = toml::from_str(text).context("expectations.toml")?;
    // Not below /tmp: programs that run there are findings of their own.
    let scratch = PathBuf::from(format!("/srv/mcp-monitor-expectations.{}", std::process::id()));
    fs::create_dir_all(&scratch).with_context(|| format!("make {}", scratch.display()))?;
    let monitor = arguments.monitor.canonicalize().context("find the monitor")?;
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    let mut rows = Vec::new();
    for server in &SERVERS {
        if !arguments.only.is_empty() && !arguments.only.iter().any(|only| only == server.name) {
            continue;
        }
        let begin = Instant::now();
        let folder = scratch.join(server.name);
        let life = Life { arguments, monitor: &monitor, server, folder: &folder };
        let acts: Vec<&Act> = table.acts.iter().filter(|act| act.server == server.name).collect();
        match life.live(&acts) {
            Ok(Lived::NotRun(why)) => {
                skipped += 1;
                println!("{}: not run: {why}", server.name);
            }
            Ok(Lived::Rows(calm, found)) => {
                match calm {
                    Ok(summary) => {
                        passed += 1;
                        println!("{}: {summary} ({:.0} s)", server.name, begin.elapsed().as_secs_f32());
                    }
                    Err(why) => {
                        failed += 1;
                        println!("{}: FAILED: {why}", server.name);
                    }
                }
                rows.extend(found);
            }
            Err(error) => {
                failed += 1;
                println!("{}: FAILED: {error:#}", server.name);
            }
        }
    }
    println!("\n| server | act | rule | outcome |\n|---|---|---|---|");
    for Row { server, act, rule, outcome } in &rows {
        let outcome = match outcome {
            Outcome::Found(by) => {
                passed += 1;
                format!("found: {by}")
            }
            Outcome::Missed(why) => {
                failed += 1;
                format!("MISSED: {why}")
            }
            Outcome::NotSeen(why) => {
                skipped += 1;
                format!("not seen: {why}")
            }
        };
        println!("| {server} | {act} | `{rule}` | {outcome} |");
    }
    if failed == 0 {
        fs::remove_dir_all(&scratch).with_context(|| format!("remove {}", scratch.display()))?;
    } else {
        println!("homes and outputs are kept in {}", scratch.display());
    }
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(failed == 0)
}

enum Lived {
    NotRun(String),
    Rows(Result<String, String>, Vec<Row>),
}

struct Life<'all> {
    arguments: &'all Arguments,
    monitor: &'all Path,
    server: &'all Server,
    folder: &'all Path,
}

impl Life<'_> {
    fn live(&self, acts: &[&Act]) -> Result<Lived> {
        let home = self.folder.join("home");
        furnish(&home)?;
        if let Err(why) = self.talk(&home, None, &json!([]), &[]) {
            return Ok(Lived::NotRun(format!("unwatched it does not start: {why:#}")));
        }
        let store = self.folder.join("store");
        for _ in 0..LEARNT {
            let watch =
                Watch { store: Some(&store), expectation: None, output: &self.folder.join("learnt.jsonl") };
            self.talk(&home, Some(&watch), &(self.server.learnt)(&home), &[])?;
        }
        let proposal = self.folder.join(format!("{}.yaml", self.server.name));
        let propose = ["expect", "propose", "--instances", "2", "--store"];
        let text = Self::ask(Command::new(self.monitor).args(propose).arg(&store))?;
        fs::write(&proposal, &text)?;
        if let Some(keep) = &self.arguments.keep {
            fs::create_dir_all(keep)?;
            fs::copy(&proposal, keep.join(format!("{}.yaml", self.server.name)))?;
        }
        let directory = self.folder.join("expectations.d");
        let promote = ["expect", "promote", "--accept-gaps", "--directory"];
        Self::ask(Command::new(self.monitor).args(promote).arg(&directory).arg(&proposal))?;
        let expectation = directory.join(format!("{}.yaml", self.server.name));

        let output = self.folder.join("quiet.jsonl");
        let watch = Watch { store: None, expectation: Some(&expectation), output: &output };
        self.talk(&home, Some(&watch), &(self.server.other)(&home), &[])?;
        let found = findings(&output)?;
        let calm = if found.is_empty() {
            Ok(format!("learnt from {LEARNT} runs, promoted, another run is quiet"))
        } else {
            Err(format!("another run has {} finding(s): {}", found.len(), said(&found)))
        };

        let output = self.folder.join("evil.jsonl");
        let watch = Watch { store: None, expectation: Some(&expectation), output: &output };
        let names: Vec<&str> = acts.iter().map(|act| act.name.as_str()).collect();
        let talk = self.talk(&home, Some(&watch), &json!([]), &names)?;
        let found = findings(&output)?;
        Ok(Lived::Rows(calm, acts.iter().map(|act| row(act, &found, &talk)).collect()))
    }

    /// uv where people have it: in a home's own folder of programs.
    fn program(home: &Path, word: &str) -> String {
        let own = home.join(".local/bin").join(word);
        if own.exists() { shown(&own) } else { word.to_owned() }
    }

    fn ask(command: &mut Command) -> Result<String> {
        let output = command.output().context("start the monitor")?;
        ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Starts the server, makes the calls, lets it act, and ends it. Gives what it said.
    fn talk(&self, home: &Path, watch: Option<&Watch>, calls: &Value, acts: &[&str]) -> Result<String> {
        let mut words: Vec<String> = Vec::new();
        if let Some(watch) = watch {
            words.push(shown(self.monitor));
            words.extend(["watch", "--as-root", "-o", "json", "--output-file"].map(str::to_owned));
            words.push(shown(watch.output));
            if self.arguments.tier != "auto" {
                words.extend(["--tier".to_owned(), self.arguments.tier.clone()]);
            }
            if let Some(store) = watch.store {
                words.extend(["--store".to_owned(), shown(store)]);
            }
            if let Some(expectation) = watch.expectation {
                words.extend(["--expect".to_owned(), shown(expectation)]);
            }
            words.push("--".to_owned());
        }
        words.extend(self.server.launcher.iter().map(|word| Self::program(home, word)));
        words.push(self.server.package.to_owned());
        words.extend((self.server.arguments)(home));

        let listener = std::net::TcpListener::bind("127.0.0.1:0").context("listen")?;
        let agents = PathBuf::from(format!("/tmp/ssh-mcpmonitor{}", std::process::id()));
        fs::create_dir_all(&agents)?;
        let agent = agents.join("agent.1");
        // What an earlier run left.
        let _ = fs::remove_file(&agent);
        let _held = UnixListener::bind(&agent).context("stand in for an agent")?;

        // The caches lie in no home here: what is in one would be taken for the workload's own.
        let cache = PathBuf::from(CACHE);
        fs::create_dir_all(&cache)?;
        let mut command = Command::new("unshare");
        command.arg("--mount");
        if watch.is_some() {
            command.arg("--net");
        }
        command.args(["sh", "-c", if watch.is_some() { NETWORK } else { CACHES }]).arg(&self.arguments.cache);
        command.args(&words).current_dir(home).env("HOME", home).env("NO_COLOR", "1");
        // A lock of its own: other monitors may run.
        command.env("RUNTIME_DIRECTORY", self.folder.join("run"));
        fs::create_dir_all(self.folder.join("run"))?;
        command.env("npm_config_cache", cache.join("npm")).env("npm_config_update_notifier", "false");
        command.env("UV_CACHE_DIR", cache.join("uv")).env("UV_TOOL_DIR", cache.join("uv-tools"));
        // A person's shims for python would be learnt, too.
        if Path::new("/usr/bin/python3").exists() {
            command.env("UV_PYTHON", "/usr/bin/python3");
        }
        command.env("UV_PYTHON_DOWNLOADS", "never").env("MEMORY_FILE_PATH", home.join("memory.json"));
        if watch.is_some() {
            command.env("npm_config_offline", "true").env("UV_OFFLINE", "1");
        }
        if !acts.is_empty() {
            let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/expectations");
            command.env("NODE_OPTIONS", format!("--require {folder}/evil.js")).env("PYTHONPATH", folder);
            command.env("PYTHONDONTWRITEBYTECODE", "1").env("EVIL_SERVER", self.server.program);
            command.env("EVIL_ACTS", acts.join(",")).env("EVIL_AGENT", &agent);
            command.env("EVIL_PORT", listener.local_addr()?.port().to_string());
        }
        let log = self.folder.join("talk");
        let error = File::create(&log)?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(error);
        let mut child = command.spawn().context("start the server")?;
        let result = converse(&mut child, calls);
        if result.is_ok() && !acts.is_empty() {
            let begun = Instant::now();
            while !fs::read_to_string(&log)?.contains("evil: end") && begun.elapsed() < PATIENCE {
                thread::sleep(Duration::from_millis(100));
            }
            // Settings are compared again two seconds later.
            thread::sleep(Duration::from_secs(3));
        }
        end(&mut child)?;
        let talk = fs::read_to_string(&log).unwrap_or_default();
        let last: Vec<&str> = talk.lines().rev().take(4).collect();
        result.with_context(|| last.join(" / "))?;
        fs::remove_dir_all(&agents)?;
        Ok(talk)
    }
}

struct Watch<'all> {
    store: Option<&'all Path>,
    expectation: Option<&'all Path>,
    output: &'all Path,
}

/// Speaks the protocol over the server's standard input and output.
fn converse(child: &mut Child, calls: &Value) -> Result<()> {
    let mut input = child.stdin.take().context("no input")?;
    let output = child.stdout.take().context("no output")?;
    let (lines, answers) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
    let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}});
    request(&mut input, &answers, 1, "initialize", &hello)?;
    writeln!(input, "{}", json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
    request(&mut input, &answers, 2, "tools/list", &json!({}))?;
    for (number, call) in (3..).zip(calls.as_array().into_iter().flatten()) {
        let answer = request(
            &mut input,
            &answers,
            number,
            "tools/call",
            &json!({"name": call[0], "arguments": call[1]}),
        )?;
        if answer["result"]["isError"] == true {
            bail!("{} was refused: {}", call[0], answer["result"]);
        }
    }
    // Its input stays open: it goes on until it is ended.
    child.stdin = Some(input);
    Ok(())
}

fn request(
    input: &mut ChildStdin,
    answers: &Receiver<String>,
    id: u64,
    method: &str,
    parameters: &Value,
) -> Result<Value> {
    writeln!(input, "{}", json!({"jsonrpc": "2.0", "id": id, "method": method, "params": parameters}))?;
    let begun = Instant::now();
    loop {
        let left = PATIENCE.saturating_sub(begun.elapsed());
        let line = answers.recv_timeout(left).with_context(|| format!("no answer to {method}"))?;
        let answer: Value = serde_json::from_str(&line).unwrap_or_default();
        if answer["id"] == id {
            ensure!(answer.get("error").is_none(), "{method}: {}", answer["error"]);
            return Ok(answer);
        }
    }
}

/// Closes its input; who does not end by that is asked to.
fn end(child: &mut Child) -> Result<()> {
    drop(child.stdin.take());
    let begun = Instant::now();
    let mut asked = false;
    while child.try_wait()?.is_none() {
        if begun.elapsed() > Duration::from_secs(5) && !asked {
            asked = true;
            // SAFETY: our own child, not waited for yet.
            unsafe { libc::kill(i32::try_from(child.id())?, libc::SIGINT) };
        }
        if begun.elapsed() > PATIENCE {
            child.kill()?;
            child.wait()?;
            bail!("it did not end");
        }
        thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

fn furnish(home: &Path) -> Result<()> {
    let mut files: Vec<(String, String)> = vec![
        ("documents/ferry.txt".into(), "The ferry leaves at nine.\n".into()),
        ("documents/recipes/bread.md".into(), "# Bread\n".into()),
        ("project/plan.txt".into(), "Leave at eight.\n".into()),
        ("private/diary.txt".into(), "Nothing happened.\n".into()),
        ("private/old.txt".into(), "x\n".into()),
        (".bashrc".into(), "\n".into()),
        (".claude.json".into(), "{\"mcpServers\": {}}\n".into()),
        (".cursor/mcp.json".into(), "{\"mcpServers\": {}}\n".into()),
    ];
    files.extend(SECRETS.iter().map(|name| ((*name).to_owned(), "not a real secret\n".to_owned())));
    files.extend((0..300).map(|number| (format!("many/work{number}.txt"), "work\n".to_owned())));
    for name in ["uv", "uvx"] {
        let found = std::env::var_os("PATH").and_then(|path| {
            std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists())
        });
        let Some(found) = found else { continue };
        let own = home.join(".local/bin").join(name);
        fs::create_dir_all(home.join(".local/bin"))?;
        fs::copy(&found, &own).with_context(|| format!("copy {}", found.display()))?;
    }
    for (name, text) in files {
        let file = home.join(name);
        fs::create_dir_all(file.parent().context("a file has a folder")?)?;
        fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    let person = ["-c", "user.name=Demo", "-c", "user.email=demo@example.org"];
    for step in [&["init", "--quiet"][..], &["add", "plan.txt"], &["commit", "--quiet", "--message", "Plan"]]
    {
        let mut git = Command::new("git");
        let done =
            git.args(person).args(step).current_dir(home.join("project")).env("HOME", home).output()?;
        ensure!(done.status.success(), "git {}: {}", step.join(" "), String::from_utf8_lossy(&done.stderr));
    }
    Ok(())
}

/// The last line of each finding.
fn findings(output: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(output).with_context(|| format!("read {}", output.display()))?;
    let mut found: BTreeMap<String, Value> = BTreeMap::new();
    for line in text.lines() {
        let object: Value = serde_json::from_str(line).with_context(|| format!("{line:.100}"))?;
        if object["schema"] == "mcp-monitor/finding/v1" {
            found.insert(object["id"].as_str().unwrap_or_default().to_owned(), object);
        }
    }
    // What the machine was too slow to see is told, and is no fault of the server.
    Ok(found.into_values().filter(|finding| finding["rule"] != "coverage-loss").collect())
}

fn said(found: &[Value]) -> String {
    let one = |finding: &Value| format!("{}: {}", finding["rule"], finding["message"]);
    found.iter().take(5).map(one).collect::<Vec<_>>().join("; ")
}

/// What came of an act.
fn row(act: &Act, found: &[Value], talk: &str) -> Row {
    let done = talk.lines().find(|line| line.starts_with(&format!("evil: {} ", act.name)));
    let hit = found.iter().find(|finding| {
        let object =
            ["file", "network", "exec", "target_process", "dns"].iter().find_map(|kind| finding.get(*kind));
        let address = &finding["network"];
        let place = format!("{}:{}", address["address"].as_str().unwrap_or_default(), address["port"]);
        finding["rule"] == act.rule.as_str()
            && finding["workload"]["name"].as_str().is_some_and(|name| !name.is_empty())
            && finding["process"]["pid"].as_u64().is_some_and(|pid| pid > 1)
            && (object.is_some_and(|object| object.to_string().contains(&act.object))
                || place.contains(&act.object))
    });
    let tier = found.iter().find_map(|finding| finding["monitor"]["tier"].as_str()).unwrap_or_default();
    let outcome = match (hit, act.not_in.get(tier)) {
        (Some(finding), _) => Outcome::Found(format!(
            "{} by pid {} ({})",
            finding["severity"].as_str().unwrap_or_default(),
            finding["process"]["pid"],
            finding["process"]["exe"].as_str().unwrap_or_default()
        )),
        (None, Some(why)) => Outcome::NotSeen(why.clone()),
        (None, None) => {
            Outcome::Missed(done.map_or_else(|| "the act was not carried out".to_owned(), str::to_owned))
        }
    };
    Row { server: act.server.clone(), act: act.name.clone(), rule: act.rule.clone(), outcome }
}
