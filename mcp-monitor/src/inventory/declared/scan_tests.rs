//! Homes as clients and hostile users leave them, read as the monitor reads them.

use std::{
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use tempfile::TempDir;

use super::*;

/// A secret that nothing may show.
const MARKER: &str = "marker-value";

struct World {
    root: TempDir,
    scanner: Scanner,
    sources: Sources,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let uid = nix::unistd::geteuid().as_raw();
        std::fs::create_dir_all(root.path().join("home/u/project")).unwrap();
        let mut sources = Sources::new(vec![Home { path: root.path().join("home/u"), uid }]);
        sources.root = root.path().to_owned();
        Self { root, scanner: Scanner::new(Clients::embedded().unwrap()), sources }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// `/home/` in `text` means the homes of this world.
    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text.replace("/home/", &format!("{}/home/", self.root.path().display())))
            .unwrap();
        path
    }

    fn scan(&mut self) -> Declarations {
        self.scanner.scan(&self.sources)
    }

    /// One line for each server: what a person would want to know, and no more.
    fn lines(&mut self) -> String {
        let declarations = self.scan();
        let shorten = |text: String| text.replace(&self.root.path().display().to_string(), "");
        let servers = declarations.servers.iter().map(|server| {
            let over = server.overridden_by.as_ref().map_or("", |_| " overridden");
            let part = server.scope.part().map(|part| format!(":{part}")).unwrap_or_default();
            shorten(format!(
                "{} {}{part} {}: {} {:?} {}{over} ({}) {}:{} {} in {:?}",
                server.client,
                server.scope.word(),
                server.name,
                server.transport,
                server.environment_names,
                server.approval.state.name(),
                server.approval.why,
                server.place.path.display(),
                server.place.line.unwrap_or(0),
                server.place.key,
                server.overridden_in,
            ))
        });
        let warnings = declarations.warnings.iter().map(|warning| {
            let Warning { path, line, key, what, .. } = warning;
            shorten(format!("warning {}:{line:?} {key:?}: {what}", path.display()))
        });
        servers.chain(warnings).collect::<Vec<_>>().join("\n")
    }
}

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/clients");
    std::fs::read_to_string(folder.join(name)).unwrap()
}

fn with_real_files() -> World {
    let world = World::new();
    world.write("home/u/.claude.json", &fixture("claude-code/.claude.json"));
    world.write("home/u/project/.mcp.json", &fixture("claude-code/.mcp.json"));
    world.write("home/u/.codex/config.toml", &fixture("codex/config.toml"));
    world.write("home/u/.gemini/settings.json", &fixture("gemini-cli/user-settings.json"));
    world.write("home/u/project/.gemini/settings.json", &fixture("gemini-cli/project-settings.json"));
    world.write("home/u/.config/opencode/opencode.jsonc", &fixture("opencode/opencode.jsonc"));
    world
}

#[test]
fn what_real_clients_wrote_is_found() {
    insta::assert_snapshot!(with_real_files().lines());
}

#[test]
fn no_value_of_a_variable_a_header_or_an_address_is_shown() {
    let mut world = with_real_files();
    world.write(
        "home/u/.cursor/mcp.json",
        r#"{"mcpServers": {
            "a": {"command": "run", "args": ["--token", "marker-value", "--api-key=marker-value"]},
            "b": {"url": "https://marker-value:marker-value@h/x?token=marker-value"},
            "c": {"command": {"marker-value": 1}, "env": {"A": "marker-value"}},
            "d": {"command": "x", "args": "marker-value", "env": {"A=marker-value": ""}},
            "e": {"env": {"A": "marker-value"}, "headers": {"Authorization": "marker-value"}}}}"#,
    );
    world.write("home/u/.kiro/settings/mcp.json", "{\"mcpServers\": {\"a\": \"marker-value\", marker-value");
    world.write("home/u/.config/goose/config.yaml", "extensions:\n  a: {cmd: x, envs: {A: 'marker-value'");
    let declarations = world.scan();
    assert!(declarations.servers.len() > 5 && declarations.warnings.len() > 3, "{declarations:#?}");
    let shown: Vec<String> = declarations.servers.iter().map(|server| server.transport.to_string()).collect();
    let all = format!("{declarations:?} {shown:?}");
    assert!(!all.contains(MARKER), "{all}");
}

#[test]
fn every_client_of_the_table_is_read() {
    let mut world = World::new();
    let wrapped = r#"{"mcpServers": {"s": {"command": "x"}}}"#;
    let servers = r#"{"servers": {"s": {"command": "x"}}}"#;
    for (path, text) in [
        (".config/Claude/claude_desktop_config.json", wrapped),
        (".cursor/mcp.json", wrapped),
        (".config/Code/User/mcp.json", "// c\n{\"servers\": {\"s\": {\"command\": \"x\"},},}"),
        (".config/Code/User/profiles/p1/mcp.json", servers),
        (".config/Code - Insiders/User/settings.json", r#"{"mcp": {"servers": {"s": {"command": "x"}}}}"#),
        (".config/Code/User/workspaceStorage/ab/workspace.json", r#"{"folder": "file:///home/u/project"}"#),
        ("project/.vscode/mcp.json", servers),
        (
            "project/.devcontainer/devcontainer.json",
            r#"{"customizations": {"vscode": {"mcp": {"servers": {"dev": {"command": "x"}}}}}}"#,
        ),
        ("project/p.code-workspace", r#"{"settings": {"mcp": {"servers": {"ws": {"command": "x"}}}}}"#),
        (".copilot/mcp-config.json", wrapped),
        (".config/github-copilot/intellij/mcp.json", servers),
        (".junie/mcp.json", wrapped),
        (".codeium/windsurf/mcp_config.json", r#"{"mcpServers": {"s": {"serverUrl": "http://h:81/x"}}}"#),
        (".codex/work.config.toml", "[mcp_servers.s]\ncommand = \"x\"\n"),
        (
            ".gemini/extensions/git/gemini-extension.json",
            r#"{"mcpServers": {"s": {"command": "${extensionPath}/x"}}}"#,
        ),
        (".gemini/antigravity/mcp_config.json", wrapped),
        (
            ".config/zed/settings.json",
            "// z\n{\"context_servers\": {\"s\": {\"source\": \"custom\", \"command\": \"x\"}, \"old\": {\"command\": \
             {\"path\": \"y\", \"args\": [\"1\"], \"env\": {\"E\": \"1\"}}}, \"ext\": {\"settings\": {}}}}",
        ),
        (
            ".config/goose/config.yaml",
            "extensions:\n  s: {type: stdio, cmd: x, args: [a, 1], envs: {E: v}, env_keys: [F], enabled: false}\n  \
             developer: {type: builtin, enabled: true}\n",
        ),
        (".continue/config.yaml", "mcpServers:\n  - name: s\n    command: x\n    args: [a]\n"),
        (
            ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
            r#"{"mcpServers": {"s": {"command": "x", "disabled": true}}}"#,
        ),
        (".config/Code/User/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json", wrapped),
        (
            ".opencode/opencode.json",
            r#"{"mcp": {"s": {"type": "local", "command": ["x", "{env:A}"], "enabled": true}}}"#,
        ),
        (".aws/amazonq/mcp.json", wrapped),
        (".kiro/settings/mcp.json", wrapped),
        (".kiro/agents/a.json", wrapped),
        (".lmstudio/mcp.json", wrapped),
        (".config/crush/crush.json", r#"{"mcp": {"s": {"type": "stdio", "command": "x"}}}"#),
        (".sema4ai/sema4ai-studio/mcp_servers.json", wrapped),
        (".openclaw/openclaw.json", "{mcp: {servers: {s: {command: 'x'}}}}"),
        (".hermes/config.yaml", "mcp_servers:\n  s: {command: x}\n"),
        (
            ".claude/plugins/cache/market/tool/1.0/.mcp.json",
            r#"{"s": {"command": "${CLAUDE_PLUGIN_ROOT}/x"}}"#,
        ),
        (
            ".claude/plugins/cache/market/other/1.0/.claude-plugin/plugin.json",
            r#"{"mcpServers": {"s": {"command": "${CLAUDE_PLUGIN_ROOT}/x"}}}"#,
        ),
        (".claude/settings.json", r#"{"enabledPlugins": {"tool@market": true, "other@market": false}}"#),
    ] {
        world.write(&format!("home/u/{path}"), text);
    }
    world.write("etc/claude-code/managed-mcp.json", r#"{"mcpServers": {"m": {"command": "x"}}}"#);
    world.write("etc/codex/config.toml", "[mcp_servers.sys]\ncommand = \"x\"\n");
    insta::assert_snapshot!(world.lines());
}

#[test]
fn approval_and_precedence_are_those_of_the_client() {
    let mut world = World::new();
    world.write(
        "home/u/.claude.json",
        r#"{"mcpServers": {"a": {"command": "user"}, "b": {"command": "user"}},
            "projects": {"/home/u/project": {"mcpServers": {"a": {"command": "local"}},
                "enabledMcpjsonServers": ["b"], "disabledMcpjsonServers": ["c"]}}}"#,
    );
    world.write(
        "home/u/project/.mcp.json",
        r#"{"mcpServers": {"a": {"command": "p"}, "b": {"command": "p"}, "c": {"command": "p"}, "d": {"command": "p"}}}"#,
    );
    world.write(
        "home/u/.codex/config.toml",
        "[mcp_servers.a]\ncommand = \"user\"\nargs = [\"1\"]\n[mcp_servers.off]\ncommand = \"x\"\nenabled = false\n\
         [projects.\"/home/u/project\"]\ntrust_level = \"trusted\"\n[projects.\"/home/u/other\"]\ntrust_level = \"untrusted\"\n",
    );
    world.write("home/u/project/.codex/config.toml", "[mcp_servers.a]\nargs = [\"2\"]\n");
    world.write("home/u/other/.codex/config.toml", "[mcp_servers.a]\ncommand = \"p\"\n");
    world.write(
        "home/u/.gemini/settings.json",
        r#"{"mcpServers": {"e": {"command": "user"}, "x": {"command": "user"}}, "mcp": {"excluded": ["x"]}}"#,
    );
    world.write(
        "home/u/.gemini/extensions/g/gemini-extension.json",
        r#"{"mcpServers": {"e": {"command": "extension"}}}"#,
    );
    world.write(
        "home/u/.gemini/trustedFolders.json",
        r#"{"/home/u/project/sub": "TRUST_PARENT", "/home/u/other": "DO_NOT_TRUST"}"#,
    );
    world.write("home/u/project/.gemini/settings.json", r#"{"mcpServers": {"e": {"command": "project"}}}"#);
    world.write("home/u/other/.gemini/settings.json", r#"{"mcpServers": {"e": {"command": "other"}}}"#);
    world.write(
        "home/u/.config/opencode/opencode.json",
        r#"{"mcp": {"o": {"type": "local", "command": ["x"]}}}"#,
    );
    world.write("home/u/project/opencode.json", r#"{"mcp": {"o": {"enabled": false}}}"#);
    insta::assert_snapshot!(world.lines());
}

#[test]
fn hostile_files_are_named_and_the_rest_works() {
    let mut world = World::new();
    let good = r#"{"mcpServers": {"good": {"command": "x"}}}"#;
    world.write("home/u/.cursor/mcp.json", good);
    world.write("home/u/.kiro/settings/.keep", "");
    nix::unistd::mkfifo(&world.path("home/u/.kiro/settings/mcp.json"), nix::sys::stat::Mode::S_IRWXU)
        .unwrap();
    world.write("home/u/.junie/.keep", "");
    symlink("mcp.json", world.path("home/u/.junie/mcp.json")).unwrap();
    world.write("home/u/.lmstudio/mcp.json/.keep", "");
    world.write("home/u/.aws/amazonq/mcp.json", "{\n\"mcpServers\": {\n\"a\": }");
    world.write("home/u/.aws/amazonq/default.json", "{\"mcpServers\": [[1]]}");
    std::fs::write(world.write("home/u/.copilot/mcp-config.json", ""), b"{\n\"mcp\xff\"}").unwrap();
    world.write("home/u/.openclaw/openclaw.json", &"[".repeat(100_000));
    let huge = world.write("home/u/.hermes/config.yaml", "");
    std::fs::File::options().write(true).open(&huge).unwrap().set_len(9 << 20).unwrap();
    let many: Vec<String> =
        (0..10_000).map(|number| format!("\"s{number}\": {{\"command\": \"x\"}}")).collect();
    world.write("home/u/.config/crush/crush.json", &format!("{{\"mcp\": {{{}}}}}", many.join(",")));
    world.write("home/u/.sema4ai/sema4ai-studio/mcp_servers.json", "{\"mcpServers\": 7}");
    world.write("outside/secret.json", good);
    world.write("home/u/.codeium/windsurf/.keep", "");
    symlink(world.path("outside/secret.json"), world.path("home/u/.codeium/windsurf/mcp_config.json"))
        .unwrap();
    symlink("/proc/self/environ", world.path("home/u/.claude.json")).unwrap();
    let start = Instant::now();
    let lines: Vec<String> = world.lines().lines().map(str::to_owned).collect();
    eprintln!("read in {:?}", start.elapsed());
    let few: Vec<&str> = lines.iter().filter(|line| !line.starts_with("crush")).map(String::as_str).collect();
    assert_eq!(lines.len() - few.len(), 1000);
    insta::assert_snapshot!(few.join("\n"));
}

#[test]
fn links_inside_a_home_work_and_others_files_do_not_count() {
    let mut world = World::new();
    let good = |name: &str| format!("{{\"mcpServers\": {{\"{name}\": {{\"command\": \"x\"}}}}}}");
    world.write("home/u/dotfiles/cursor.json", &good("relative"));
    world.write("home/u/dotfiles/kiro.json", &good("absolute"));
    for folder in [".cursor", ".kiro/settings", ".junie"] {
        std::fs::create_dir_all(world.path("home/u").join(folder)).unwrap();
    }
    symlink("../dotfiles/cursor.json", world.path("home/u/.cursor/mcp.json")).unwrap();
    symlink(world.path("home/u/dotfiles/kiro.json"), world.path("home/u/.kiro/settings/mcp.json")).unwrap();
    let names = |declarations: &Declarations| -> Vec<String> {
        declarations.servers.iter().map(|server| server.name.clone()).collect()
    };
    assert_eq!(names(&world.scan()), ["relative", "absolute"]);

    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: giving files away needs root");
        return;
    }
    let give = |path: PathBuf, uid: u32| std::os::unix::fs::chown(path, Some(uid), None).unwrap();
    let give_all = |path: PathBuf, uid: u32| {
        assert!(Command::new("chown").arg("-hR").arg(uid.to_string()).arg(path).status().unwrap().success());
    };
    give_all(world.path("home/u"), 4711);
    world.sources.homes[0].uid = 4711;
    let foreign = world.write("home/u/.junie/mcp.json", &good("foreign"));
    give(foreign, 4712);
    let roots = world.write("home/u/.lmstudio/mcp.json", &good("roots"));
    let private = world.write("home/u/.codeium/windsurf/mcp_config.json", &good("private"));
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(0o600)).unwrap();
    std::fs::set_permissions(&roots, std::fs::Permissions::from_mode(0o644)).unwrap();
    let declarations = world.scan();
    assert_eq!(names(&declarations), ["relative", "absolute", "roots"]);
    assert_eq!(declarations.warnings.len(), 2, "{:#?}", declarations.warnings);
    assert_eq!(declarations.servers[0].uid, Some(4711));

    // A folder that belongs to somebody else is no home.
    give(world.path("home/u"), 4713);
    assert_eq!(names(&world.scan()), [""; 0]);
}

#[test]
fn only_changed_files_are_parsed_again() {
    let mut world = with_real_files();
    let before = world.scan();
    let parsed = world.scanner.parsed();
    assert_eq!(world.scan(), before);
    assert_eq!(world.scanner.parsed(), parsed);
    world.write("home/u/.gemini/settings.json", "{\"mcpServers\": {}}");
    let after = world.scan();
    assert_eq!(world.scanner.parsed(), parsed + 1);
    assert!(after.servers.len() < before.servers.len());
}

#[test]
fn a_working_directory_is_a_project() {
    let mut world = World::new();
    world.write("home/u/new/.mcp.json", r#"{"s": {"type": "stdio", "command": "x"}}"#);
    assert!(world.scan().servers.is_empty());
    let uid = world.sources.homes[0].uid;
    world.sources.working.push(WorkingFolder { path: world.path("home/u/new"), uid });
    let servers = world.scan().servers;
    assert_eq!(servers.len(), 1);
    assert_eq!(servers[0].approval.state, ApprovalState::NotApproved);
    assert_eq!(servers[0].project, Some(world.path("home/u/new")));
}

#[test]
fn a_container_is_read_through_its_process() {
    let mut world = World::new();
    let namespace = std::fs::metadata("/proc/self/ns/mnt").map(|about| {
        use std::os::unix::fs::MetadataExt as _;
        about.ino()
    });
    // This process is in no container, but the way there is the same: its own homes are found once more.
    world.sources.containers.insert(namespace.unwrap(), std::process::id());
    let declarations = world.scan();
    assert!(declarations.servers.iter().all(|server| server.mount_namespace.is_some()), "{declarations:#?}");
}
