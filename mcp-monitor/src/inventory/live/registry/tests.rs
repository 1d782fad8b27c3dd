use std::collections::HashSet;

use proptest::prelude::*;

use super::*;
use crate::{
    event::{Decision, DescriptorKind, ExecObject, Outcome, ThreadId, Verdict},
    inventory::{containers::ContainerDetails, declared::Scope, live::testing::declared},
};

const CLAUDE: &str = "/home/u/.local/share/claude/versions/2.1.328";
const SECOND: u64 = 1_000_000_000;

/// A host on which everything named lives.
#[derive(Default)]
struct Stage {
    forebears: HashMap<u32, Forebear>,
    gone: HashSet<u32>,
    id_file: Option<String>,
    holds_nothing: HashSet<u32>,
    written: HashSet<u32>,
}

impl Host for Stage {
    fn forebears(&mut self, process: ProcessKey) -> Vec<Forebear> {
        self.forebears.get(&process.pid.0).cloned().into_iter().collect()
    }

    fn follow(&mut self, _process: ProcessId, _path: &[u8]) -> Option<Vec<u8>> {
        None
    }

    fn package(&mut self, _process: ProcessId, program: &Program) -> Option<Package> {
        let package = program.package.clone()?;
        let is_installed = program.script.as_ref().is_some_and(|script| script.as_slice().contains(&b'7'));
        Some(Package { version: package.version.or(is_installed.then(|| "7.0.1".into())), ..package })
    }

    fn lives(&mut self, process: ProcessKey) -> bool {
        !self.gone.contains(&process.pid.0)
    }

    fn container_id_file(&mut self, _process: ProcessId, _path: &[u8]) -> Option<String> {
        self.id_file.clone()
    }

    fn unchanged_since(&mut self, process: ProcessKey, _script: Option<&[u8]>, _moment: BootNs) -> bool {
        !self.written.contains(&process.pid.0)
    }

    fn holds(&mut self, process: ProcessKey, _ends: [Descriptor; 2]) -> Option<bool> {
        Some(!self.holds_nothing.contains(&process.pid.0))
    }
}

/// A registry with its host, driven as the kernel would.
struct Play {
    registry: Registry,
    host: Stage,
    now: u64,
    steps: Vec<Step>,
}

fn key(pid: u32) -> ProcessKey {
    ProcessKey { pid: ProcessId(pid), start: BootNs(u64::from(pid)), exec_id: 1 }
}

impl Play {
    fn new() -> Self {
        let mut registry =
            Registry::new(Classifier::embedded().unwrap(), Arc::new(ContainerData::embedded().unwrap()));
        let scope = Scope::User;
        let servers = vec![
            declared("claude-code", scope.clone(), Some(1000), "files", &["npx", "-y", "@s/files", "/data"]),
            declared("claude-code", scope.clone(), Some(1000), "time", &["uvx", "mcp-server-time"]),
            declared("vscode", scope, Some(1000), "weather", &["uv", "run", "weather.py"]),
        ];
        registry.declare(&Declarations { servers, ..Declarations::default() });
        Self { registry, host: Stage::default(), now: SECOND, steps: Vec::new() }
    }

    fn event(&mut self, pid: u32, segment: u64, action: Action, process: Process) {
        self.now += 1000;
        let event = Event {
            id: String::new(),
            boot_ns: BootNs(self.now),
            sequence: 0,
            lane: 0,
            action,
            thread: ThreadId(pid),
            segment: SegmentId(segment),
            process: Arc::new(process),
            workload: Arc::default(),
            outcome: Outcome::Ok,
            count: 1,
            mechanism: "test",
            verdict: Verdict::Unjudged,
            decision: Decision::default(),
            rule: None,
        };
        let steps = self.registry.observe(&event, &mut self.host);
        self.steps.extend(steps);
    }

    fn fork(&mut self, parent: u32, child: u32, segment: u64) {
        let process = Process { key: key(parent), ..Process::default() };
        self.event(parent, segment, Action::Fork(key(child)), process);
    }

    fn exit(&mut self, pid: u32, segment: u64) {
        self.event(pid, segment, Action::Exit(0), Process { key: key(pid), ..Process::default() });
    }

    fn exec(&mut self, pid: u32, segment: u64, pair: bool, executable: &str, words: &[&str]) {
        let end = |inode| Descriptor { kind: DescriptorKind::Socket, inode, ..Descriptor::default() };
        let (stdin, stdout) = if pair { (end(1), end(2)) } else { Default::default() };
        let process = Process {
            key: key(pid),
            executable: executable.into(),
            arguments: words.iter().map(|word| Bytes::from(*word)).collect(),
            working_directory: "/home/u/project".into(),
            uid: 1000,
            ..Process::default()
        };
        let exec = ExecObject { stdin, stdout, ..ExecObject::default() };
        self.event(pid, segment, Action::Exec(Box::new(exec)), process);
    }

    /// A process outside every lineage executes a watched program.
    fn enters(&mut self, pid: u32, segment: u64, pair: bool, executable: &str, words: &[&str]) {
        self.registry.open(SegmentId(segment), SegmentId(0));
        self.exec(pid, segment, pair, executable, words);
    }

    /// A child that executes in a split segment.
    #[allow(clippy::too_many_arguments, reason = "two processes and two segments")]
    fn starts(
        &mut self,
        parent: u32,
        from: u64,
        pid: u32,
        segment: u64,
        pair: bool,
        executable: &str,
        words: &[&str],
    ) {
        self.fork(parent, pid, from);
        self.registry.open(SegmentId(segment), SegmentId(from));
        self.exec(pid, segment, pair, executable, words);
    }

    fn tick(&mut self, seconds: u64) -> Vec<Step> {
        self.now += seconds * SECOND;
        self.registry.tick(BootNs(self.now), &mut self.host)
    }

    /// Name, kind, state and processes of every instance.
    fn seen(&self) -> Vec<String> {
        self.registry
            .instances()
            .map(|one| {
                let parent = one.parent.as_ref().and_then(|id| self.registry.instance(id));
                format!(
                    "{} {:?} {} {} {} below {}",
                    one.workload.name,
                    one.workload.kind,
                    one.origin.name(),
                    one.state.name(),
                    one.processes,
                    parent.map_or("-", |parent| &parent.workload.name)
                )
            })
            .collect()
    }

    fn splits(&self) -> Vec<(u64, bool)> {
        self.steps
            .iter()
            .filter_map(
                |step| if let Step::Split(segment, split) = step { Some((segment.0, *split)) } else { None },
            )
            .collect()
    }

    fn dropped(&self) -> Vec<u64> {
        self.steps
            .iter()
            .filter_map(|step| if let Step::Drop(segment) = step { Some(segment.0) } else { None })
            .collect()
    }
}

const NPX: &[&str] = &["/usr/bin/env", "node", "/usr/bin/npx", "-y", "@s/files", "/data"];

fn agent_with_servers() -> Play {
    let mut play = Play::new();
    play.enters(10, 100, false, CLAUDE, &["claude"]);
    play.starts(10, 100, 11, 110, true, "/usr/bin/env", NPX);
    play.exec(11, 110, true, "/usr/bin/node", &NPX[1..]);
    play.starts(10, 100, 12, 120, true, "/usr/bin/uvx", &["uvx", "mcp-server-time"]);
    play
}

#[test]
fn several_servers_under_one_agent_are_apart() {
    let mut play = agent_with_servers();
    play.fork(11, 13, 110);
    play.exec(13, 110, true, "/usr/bin/dash", &["sh", "-c", "files /data"]);
    assert_eq!(
        play.seen(),
        [
            "claude-code Agent agent running 1 below -",
            "files Server declared running 2 below claude-code",
            "time Server declared running 1 below claude-code",
        ]
    );
    assert_eq!(
        play.splits(),
        [(110, false), (120, false)],
        "an agent's children open segments, a server's do not"
    );
    let files = play.registry.instances().nth(1).unwrap();
    let claude = play.registry.instances().next().unwrap();
    assert_eq!(files.workload.parent.as_ref(), Some(&claude.workload.id));
    assert_eq!(files.workload.client.as_deref(), Some("claude-code"));
}

#[test]
fn a_tool_is_the_agents_and_opens_no_more_segments() {
    let mut play = agent_with_servers();
    play.starts(10, 100, 20, 200, false, "/usr/bin/bash", &["bash", "-c", "git status && npx eslint"]);
    assert_eq!(play.splits().last(), Some(&(200, false)));
    assert!(play.seen()[0].contains("running 2"), "{:?}", play.seen());
    assert!(play.dropped().is_empty());
}

#[test]
fn the_program_behind_an_agents_launcher_is_the_agent() {
    let mut play = Play::new();
    let script = "/usr/lib/node_modules/@openai/codex/bin/codex.js";
    play.enters(10, 100, false, "/usr/bin/node", &["node", script, "exec"]);
    let native =
        "/usr/lib/node_modules/@openai/codex/node_modules/@openai/codex-linux-x64/vendor/x/bin/codex";
    play.starts(10, 100, 11, 110, false, native, &["codex", "exec"]);
    play.starts(11, 110, 12, 120, true, "/usr/bin/node", &["node", "/srv/weather-mcp/index.js"]);
    assert_eq!(
        play.seen(),
        ["codex Agent agent running 2 below -", "weather-mcp Server undeclared running 1 below codex"]
    );
}

#[test]
fn an_agents_program_owns_what_is_its_own_unless_its_lineage_wrote_it() {
    let mut play = Play::new();
    let script = "/srv/node_modules/@openai/codex/bin/codex.js";
    let native = "/srv/node_modules/@openai/codex/node_modules/@openai/codex-linux-x64/vendor/x/bin/codex";
    play.enters(10, 100, false, "/usr/bin/node", &["node", script, "exec"]);
    play.starts(10, 100, 11, 110, false, native, &["codex", "exec"]);
    play.host.written = [12, 13].into();
    play.starts(11, 110, 12, 120, false, native, &["codex", "exec"]);
    play.starts(11, 110, 13, 130, false, CLAUDE, &["claude"]);
    play.starts(11, 110, 14, 140, false, CLAUDE, &["claude"]);
    let owns: Vec<(u32, &str)> = play
        .steps
        .iter()
        .filter_map(|step| match step {
            Step::Own { process, program } => Some((process.pid.0, program.as_str())),
            _ => None,
        })
        .collect();
    assert_eq!(owns, [(10, "codex"), (11, "codex"), (14, "claude")]);
}

#[test]
fn who_does_not_talk_to_the_agent_is_no_server_of_it() {
    let mut play = agent_with_servers();
    play.host.forebears = [(20, Forebear { key: key(10), ..Forebear::default() })].into_iter().collect();
    play.host.holds_nothing = [10].into();
    play.starts(10, 100, 20, 200, true, "/usr/bin/node", &["node", "/srv/weather-mcp/index.js"]);
    assert_eq!(play.seen().len(), 3, "a tool's own server is the agent's: {:?}", play.seen());
    play.host.holds_nothing.clear();
    play.host.forebears.insert(21, Forebear { key: key(10), ..Forebear::default() });
    play.starts(10, 100, 21, 210, true, "/usr/bin/node", &["node", "/srv/weather-mcp/index.js"]);
    assert_eq!(play.seen().len(), 4, "{:?}", play.seen());
}

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const RUN: &[&str] = &["docker", "run", "-i", "--rm", "mcp/weather:1"];

/// What an engine says of the container.
fn told(image: &str, more: impl FnOnce(&mut ContainerDetails)) -> ContainerDetails {
    let mut details = ContainerDetails {
        id: ID.into(),
        source: "docker".into(),
        image: Some(image.into()),
        ..ContainerDetails::default()
    };
    more(&mut details);
    details
}

impl Play {
    /// A runtime makes the container and executes the program in it.
    fn contains(&mut self, segment: u64, pid: u32, words: &[&str]) {
        self.enters(pid, segment, false, "/usr/sbin/runc", &["runc", "create", ID]);
        self.fork(pid, pid + 1, segment);
        self.registry.open(SegmentId(segment + 1), SegmentId(segment));
        self.exec(pid + 1, segment + 1, false, "/memfd:runc_cloned:/proc/self/exe", &["runc", "init"]);
        self.fork(pid + 1, pid + 2, segment + 1);
        self.registry.open(SegmentId(segment + 2), SegmentId(segment + 1));
        let process = Process {
            key: key(pid + 2),
            executable: "/busybox".into(),
            arguments: words.iter().map(|word| Bytes::from(*word)).collect(),
            container: Some(ID.into()),
            mount_namespace: 2,
            ..Process::default()
        };
        self.event(pid + 2, segment + 2, Action::Exec(Box::default()), process);
    }

    fn known(&mut self, details: ContainerDetails) {
        let steps = self.registry.container_known(details, BootNs(self.now), &mut self.host);
        self.steps.extend(steps);
    }

    fn muted(&self) -> Vec<u64> {
        self.steps
            .iter()
            .filter_map(|step| if let Step::Mute(segment) = step { Some(segment.0) } else { None })
            .collect()
    }
}

#[test]
fn a_container_is_its_clients_once_it_is_known_what_runs_in_it() {
    let mut play = Play::new();
    play.enters(10, 100, false, CLAUDE, &["claude"]);
    play.starts(10, 100, 11, 110, true, "/usr/bin/docker", RUN);
    play.contains(900, 20, &["sh", "/server.sh"]);
    assert_eq!(play.muted(), [900, 901], "what the runtime does itself is nobody's");
    assert!(play.seen()[1].contains("running 1"), "not known yet: {:?}", play.seen());
    assert!(play.steps.iter().any(|step| matches!(step, Step::Ask { container, .. } if container == ID)));
    play.known(told("mcp/weather:1", |_| {}));
    assert!(play.seen()[1].contains("running 2"), "{:?}", play.seen());
    let server = play.registry.instances().nth(1).unwrap();
    assert_eq!(server.container.as_deref(), Some(ID));
    // Whatever else is executed in there belongs to it as well.
    play.contains(950, 30, &["sh"]);
    assert!(play.seen()[1].contains("running 3"), "{:?}", play.seen());
    assert!(play.dropped().is_empty());
}

#[test]
fn a_container_is_recognised_by_file_name_command_and_order() {
    let run = |more: &[&str], id_file: bool, details: ContainerDetails| {
        let mut play = Play::new();
        play.enters(10, 100, false, CLAUDE, &["claude"]);
        // Another server of the same image.
        let other = ["docker", "run", "-i", "--name", "other", "mcp/weather:1"];
        play.starts(10, 100, 11, 110, true, "/usr/bin/docker", &other);
        let words: Vec<&str> = ["docker", "run", "-i"].iter().chain(more).copied().collect();
        play.starts(10, 100, 12, 120, true, "/usr/bin/docker", &words);
        play.host.id_file = id_file.then(|| ID.to_owned());
        play.contains(900, 20, &["sh"]);
        play.known(details);
        let joined = play.registry.instances().find(|one| one.processes == 2).map(|one| one.root.pid.0);
        (joined, play.dropped())
    };
    let image = "mcp/weather:1";
    let plain = || told(image, |_| {});
    assert_eq!(run(&["--cidfile", "/c", image], true, plain()).0, Some(12));
    assert_eq!(
        run(&["--name", "mine", image], false, told(image, |one| one.name = Some("mine".into()))).0,
        Some(12)
    );
    assert_eq!(run(&[image], false, told(image, |one| one.name = Some("other".into()))).0, Some(11));
    assert_eq!(run(&[image], false, plain()).0, Some(12));
    let labelled = told(image, |one| one.labels = vec![("team".into(), "web".into())]);
    assert_eq!(run(&["-l", "team=web", image], false, labelled).0, Some(12));
    let with = |words: &[&str]| {
        told(image, |one| one.arguments = words.iter().map(|word| Bytes::from(*word)).collect())
    };
    assert_eq!(run(&[image, "--zone", "UTC"], false, with(&["--zone", "UTC"])).0, Some(12));
    for (more, details) in [
        (&[image, "--zone", "UTC"][..], with(&["--zone", "CET"])),
        (&["mcp/weather:2"], plain()),
        (&["-e", "KEY", image], plain()),
        (&["-l", "team=web", image], plain()),
        (&[image], told(image, |one| one.created = Some(BootNs(0)))),
        (&[image], told(image, |one| one.told_by = 4711)),
    ] {
        // The clock of the play begins at one second; what is older than the clocks may differ is another run's.
        let (joined, dropped) = run(more, false, details.clone());
        let is_too_close = details.created.is_some();
        assert!(is_too_close || joined.is_none() && dropped == [902], "{more:?}: {joined:?} {dropped:?}");
    }
}

#[test]
fn a_strangers_container_concerns_nobody_and_a_labelled_one_is_a_server() {
    let mut play = Play::new();
    play.contains(900, 20, &["nginx"]);
    play.known(told("nginx", |_| {}));
    assert_eq!((play.dropped(), play.seen().len()), (vec![902], 0));
    let mut play = Play::new();
    play.contains(900, 20, &["server"]);
    play.known(told("mcp/time", |one| one.labels = vec![("docker-mcp-name".into(), "time".into())]));
    assert_eq!(play.seen(), ["time Server undeclared running 1 below -"]);
    let mut play = Play::new();
    play.contains(900, 20, &["server"]);
    let steps = play.tick(5);
    assert!(
        steps.iter().any(|step| matches!(step, Step::Drop(SegmentId(902)))),
        "nobody knows it: {steps:?}"
    );
}

#[test]
fn a_command_in_a_running_container_is_whose_asked_for_it() {
    let mut play = Play::new();
    play.enters(10, 100, false, CLAUDE, &["claude"]);
    let words = ["docker", "exec", "-i", "box", "/busybox", "sh", "/server.sh"];
    play.starts(10, 100, 11, 110, true, "/usr/bin/docker", &words);
    play.contains(900, 20, &["/busybox", "sh", "/server.sh"]);
    play.known(told("box:1", |one| one.name = Some("box".into())));
    // Nobody declares it: it is the agent's, as the command that asked for it.
    assert_eq!(play.seen(), ["claude-code Agent agent running 3 below -"]);
    // What the container's own program is, nobody here asked for.
    play.contains(950, 30, &["sleep", "600"]);
    play.known(told("box:1", |one| one.name = Some("box".into())));
    assert_eq!(play.dropped(), [952]);
}

#[test]
fn one_server_under_several_agents_is_one_workload() {
    let mut play = agent_with_servers();
    play.enters(30, 300, false, "/usr/lib/node_modules/opencode-ai/bin/opencode.exe", &["opencode"]);
    play.starts(30, 300, 31, 310, true, "/usr/bin/env", NPX);
    let files: Vec<_> = play.registry.instances().filter(|one| one.workload.name == "files").collect();
    assert_eq!(files.len(), 2);
    assert_eq!(files[0].workload.id, files[1].workload.id);
    assert_ne!(files[0].workload.instance, files[1].workload.instance);
    assert_ne!(files[0].parent, files[1].parent);
}

#[test]
fn ends_orphans_and_restarts() {
    let mut play = agent_with_servers();
    play.exit(12, 120);
    assert!(play.seen()[2].contains("ended 0"), "{:?}", play.seen());
    play.starts(10, 100, 14, 140, true, "/usr/bin/uvx", &["uvx", "mcp-server-time"]);
    assert_eq!(play.registry.instances().last().unwrap().earlier, 1);
    play.exit(10, 100);
    assert!(play.seen()[1].contains("orphan 1"), "{:?}", play.seen());
    let closed = play.tick(11);
    assert!(closed.iter().any(|step| matches!(step, Step::Close(SegmentId(100)))), "{closed:?}");
    play.tick(1000);
    assert_eq!(play.seen().len(), 2, "ended ones are forgotten: {:?}", play.seen());
}

#[test]
fn an_upgrade_is_the_same_workload() {
    let mut play = agent_with_servers();
    let script = |version: &str| format!("/u/.npm/_npx/{version}/node_modules/@s/files/dist/index.js");
    play.fork(11, 15, 110);
    play.exec(15, 110, true, "/usr/bin/node", &["node", &script("7"), "/data"]);
    let first = play.registry.instances().nth(1).unwrap();
    assert_eq!(first.package.as_ref().map(ToString::to_string).as_deref(), Some("npm:@s/files@7.0.1"));
    let id = first.workload.id.clone();
    play.starts(
        10,
        100,
        16,
        160,
        true,
        "/usr/bin/node",
        &["node", "/u/.pnpm/@s+files@8.0.0/node_modules/@s/files/x.js", "/data"],
    );
    let second = play.registry.instances().last().unwrap();
    assert_eq!((&second.workload.id, second.version_before.as_deref()), (&id, Some("7.0.1")));
}

#[test]
fn what_is_nobodys_is_dropped_at_once() {
    let mut play = Play::new();
    play.enters(40, 400, false, "/usr/bin/node", &["node", "app.js"]);
    assert_eq!((play.dropped(), play.seen().len()), (vec![400], 0));
    assert!(play.registry.segments.is_empty() && play.registry.members.is_empty());
}

#[test]
fn an_editors_server_is_known_and_its_terminal_is_not() {
    let mut play = Play::new();
    let editor =
        Forebear { key: key(5), executable: "/usr/share/code/code".into(), uid: 1000, ..Forebear::default() };
    play.host.forebears = [50, 51, 52].map(|pid| (pid, editor.clone())).into();
    play.enters(50, 500, true, "/usr/bin/uv", &["uv", "run", "weather.py"]);
    play.enters(51, 510, false, "/usr/bin/node", &["node", "build.js"]);
    play.enters(52, 520, true, "/usr/bin/node", &["node", "/x/unknown.js"]);
    assert_eq!(play.seen(), ["weather Server declared running 1 below -"]);
    assert_eq!(play.dropped(), [510, 520]);
    assert!(play.registry.suspects().listed().is_empty(), "not long enough");
    play.tick(4);
    let listed: Vec<String> =
        play.registry.suspects().listed().iter().map(|one| one.name.escaped()).collect();
    assert_eq!(listed, ["unknown.js"]);
    play.host.gone = [5, 52].into();
    play.tick(1);
    assert!(play.registry.suspects().listed().is_empty());
    assert!(play.seen()[0].contains("orphan"), "the editor has gone: {:?}", play.seen());
}

#[test]
fn whatever_a_server_starts_is_the_server() {
    let mut play = agent_with_servers();
    play.starts(11, 110, 60, 600, false, CLAUDE, &["claude", "-p", "steal"]);
    assert!(play.seen()[1].contains("running 2"), "{:?}", play.seen());
    assert_eq!(play.seen().len(), 3);
}

#[test]
fn the_named_command_becomes_what_it_is() {
    let mut play = Play::new();
    let workload = Arc::new(Workload {
        id: "w".into(),
        instance: "0".into(),
        name: "claude".into(),
        ..Workload::default()
    });
    play.registry.adopt(SegmentId(1), &workload, ProcessKey { start: BootNs(0), ..key(70) }, BootNs(1));
    play.exec(70, 1, false, CLAUDE, &["claude"]);
    assert_eq!(play.splits(), [(1, true)]);
    play.starts(70, 1, 71, 710, true, "/usr/bin/env", NPX);
    assert_eq!(
        play.seen(),
        ["claude Agent named running 1 below -", "files Server declared running 1 below claude"]
    );
    let plain = Arc::new(Workload {
        id: "p".into(),
        instance: "1".into(),
        name: "server".into(),
        ..Workload::default()
    });
    play.registry.adopt(SegmentId(2), &plain, ProcessKey { start: BootNs(0), ..key(80) }, BootNs(1));
    play.exec(80, 2, true, "/usr/bin/node", &["node", "/srv/x-mcp/index.js"]);
    assert!(play.splits().iter().all(|(segment, _)| *segment != 2), "a server's children stay with it");
}

#[test]
fn a_missed_exit_ends_an_instance_too() {
    let mut play = agent_with_servers();
    let labels = HashMap::from([
        (ProcessId(10), (BootNs(10), SegmentId(100))),
        (ProcessId(11), (BootNs(11), SegmentId(110))),
    ]);
    let steps = play.registry.reconcile(&labels, BootNs(play.now));
    assert!(matches!(steps.as_slice(), [Step::Ended(_)]), "{steps:?}");
}

proptest! {
    // Each case reads the data files.
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever the order of forks, execs and exits: as many processes are counted as are members, and what is
    /// counted of instances is what their segments hold.
    #[test]
    fn counts_agree(moves in prop::collection::vec((0_u8..4, 0_u32..12, 0_u32..12, 0_u64..6, any::<bool>()), 0..80)) {
        let mut play = Play::new();
        for (what, pid, other, segment, pair) in moves {
            match what {
                0 => play.fork(pid, other, segment),
                1 => play.exit(pid, segment),
                2 => play.enters(pid, segment, pair, CLAUDE, &["claude"]),
                _ => play.starts(pid, segment, other, segment + 6, pair, "/usr/bin/env", NPX),
            }
            let members = play.registry.members.len();
            let in_segments: u32 = play.registry.segments.values().map(|one| one.processes).sum();
            prop_assert!(usize::try_from(in_segments).unwrap() <= members);
            for instance in play.registry.instances().filter(|one| one.lives()) {
                let held: u32 = play.registry.segments.values().filter(|one| one.owner == Owner::Instance(Arc::clone(&instance.id))).map(|one| one.processes).sum();
                prop_assert!(held <= instance.processes, "{held} {}", instance.processes);
            }
        }
    }
}
