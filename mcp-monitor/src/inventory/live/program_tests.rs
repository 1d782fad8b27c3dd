use std::sync::LazyLock;

use proptest::prelude::*;

use super::*;

static TOOLS: LazyLock<Tools> = LazyLock::new(|| Tools::embedded().unwrap());

fn program(executable: &str, arguments: &[&str]) -> Program {
    with_script(executable, None, arguments)
}

fn with_script(executable: &str, script: Option<&str>, arguments: &[&str]) -> Program {
    let arguments: Vec<Bytes> = arguments.iter().map(|word| Bytes::from(*word)).collect();
    identify(
        &TOOLS,
        &Execution {
            executable: executable.as_bytes(),
            script: script.map(str::as_bytes),
            arguments: &arguments,
            working_directory: b"/work",
        },
    )
}

/// What a command line comes to, in a line: runtime, package, script or module or executable, arguments.
fn shown(program: &Program) -> String {
    let text = |bytes: &Bytes| bytes.escaped();
    let what = match (&program.package, &program.script, &program.module) {
        (Some(package), _, _) => package.to_string(),
        (None, Some(script), _) => text(script),
        (None, None, Some(module)) => format!("-m {}", text(module)),
        (None, None, None) if program.code => "code".into(),
        (None, None, None) if program.shell_text => "shell text".into(),
        (None, None, None) => text(&program.executable),
    };
    let mut words = vec![program.runtime.name().to_owned(), what];
    words.extend(program.arguments.iter().map(text));
    words.join(" ")
}

const FILESYSTEM: &str = "@modelcontextprotocol/server-filesystem@2026.8.31";

/// Rows as the kernel saw them when the launchers of November 2026 were started for real.
#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn executions_of_real_launchers() {
    let node = "/usr/bin/node";
    let uv = "/srv/venv/bin/uv";
    for (executable, script, arguments, expected) in [
        (
            "/usr/bin/env",
            Some("/usr/bin/npx"),
            &["/usr/bin/env", "node", "/usr/bin/npx", "-y", FILESYSTEM, "/srv/w"][..],
            "node npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
        (
            node,
            Some("/usr/lib/node_modules/npm/bin/npx-cli.js"),
            &["node", "/usr/bin/npx", "-y", FILESYSTEM, "/srv/w"],
            "node npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
        (
            node,
            None,
            &[
                "node",
                "/usr/bin/npm",
                "exec",
                "-y",
                "--package=@modelcontextprotocol/server-filesystem@2026.8.31",
                "--",
                "mcp-server-filesystem",
                "/srv/w",
            ],
            "node npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
        (
            node,
            None,
            &["node", "/usr/bin/npx", "-y", "-p", FILESYSTEM, "-c", "mcp-server-filesystem /srv/w"],
            "node npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
        (
            node,
            None,
            &["npm exec @modelcontextprotocol/server-filesystem /srv/w", "", ""],
            "node npm:@modelcontextprotocol/server-filesystem /srv/w",
        ),
        (
            "/usr/bin/dash",
            None,
            &["sh", "-c", "'mcp-server-filesystem' /srv/w"],
            "shell mcp-server-filesystem /srv/w",
        ),
        (
            node,
            None,
            &["node", "/u/.npm/_npx/68b53d3fd47bf8db/node_modules/.bin/mcp-server-filesystem", "/srv/w"],
            "node /u/.npm/_npx/68b53d3fd47bf8db/node_modules/.bin/mcp-server-filesystem /srv/w",
        ),
        (
            node,
            Some("/u/.npm/_npx/68b5/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js"),
            &["node", "/u/.npm/_npx/68b5/node_modules/.bin/mcp-server-filesystem", "/srv/w"],
            "node npm:@modelcontextprotocol/server-filesystem /srv/w",
        ),
        (
            "/srv/npm/lib/node_modules/pnpm/pnpm",
            None,
            &["pnpm", "dlx", FILESYSTEM, "/srv/w"],
            "node npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
        (
            node,
            None,
            &[
                "node",
                "/u/.cache/pnpm/dlx/3b/mw-he/node_modules/.bin/../.pnpm/@modelcontextprotocol+server-filesystem@2026.8.31_zod@4.6.7/node_modules/@modelcontextprotocol/server-filesystem/dist/index.js",
                "/srv/w",
            ],
            "node npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
        (
            "/srv/npm/lib/node_modules/bun/bin/bunx.exe",
            None,
            &["bunx", "-y", FILESYSTEM, "/srv/w"],
            "node npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
        (
            "/srv/npm/lib/node_modules/bun/bin/bun.exe",
            None,
            &["bun", "x", FILESYSTEM, "/srv/w"],
            "node npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
        (
            "/srv/npm/lib/node_modules/bun/bin/bun.exe",
            None,
            &[
                "node",
                "/u/.bun/install/cache/.bunx-0/@modelcontextprotocol/server-filesystem@2026.8.31/node_modules/.bin/mcp-server-filesystem",
                "/srv/w",
            ],
            "node npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
        (
            "/srv/npm/lib/node_modules/deno/deno",
            None,
            &["deno", "run", "-A", "npm:@modelcontextprotocol/server-filesystem@2026.8.31", "/srv/w"],
            "deno npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
        (
            "/srv/venv/bin/uvx",
            None,
            &["uvx", "--from", "mcp-server-time==2026.10.19", "mcp-server-time"],
            "python pypi:mcp-server-time==2026.10.19",
        ),
        (
            uv,
            None,
            &["/srv/venv/bin/uv", "tool", "uvx", "mcp-server-time@2026.10.19", "--local-timezone", "Etc/UTC"],
            "python pypi:mcp-server-time==2026.10.19 --local-timezone Etc/UTC",
        ),
        (
            uv,
            None,
            &[
                "/srv/venv/bin/uv",
                "tool",
                "run",
                "--python",
                "/root/.pyenv/versions/3.11.7/bin/python3.11",
                "mcp-server-time",
            ],
            "python pypi:mcp-server-time",
        ),
        (
            uv,
            None,
            &["uv", "run", "--no-project", "--with", "mcp-server-time", "mcp-server-time"],
            "native mcp-server-time",
        ),
        (
            uv,
            None,
            &["uv", "run", "--directory", "/srv/weather", "server.py"],
            "python /srv/weather/server.py",
        ),
        (
            uv,
            None,
            &["uv", "--directory", "weather", "run", "weather.py", "-v"],
            "python /work/weather/weather.py -v",
        ),
        (uv, None, &["uv", "run", "--with", "mcp[cli]", "mcp", "run", "server.py"], "python /work/server.py"),
        (uv, None, &["uv", "run", "-m", "weather.server"], "python -m weather.server"),
        (
            "/usr/bin/dash",
            Some("/u/.cache/uv/archive-v0/CAS/bin/mcp-server-time"),
            &["/bin/sh", "/u/.cache/uv/archive-v0/CAS/bin/mcp-server-time", "--local-timezone", "Etc/UTC"],
            "shell /u/.cache/uv/archive-v0/CAS/bin/mcp-server-time --local-timezone Etc/UTC",
        ),
        (
            "/usr/bin/python3.11",
            None,
            &["/srv/venv/bin/python", "-m", "mcp_server_time"],
            "python -m mcp_server_time",
        ),
        (
            "/usr/bin/python3.11",
            Some("/srv/venv/bin/mcp-server-time"),
            &["/srv/venv/bin/python3", "/srv/venv/bin/mcp-server-time"],
            "python /srv/venv/bin/mcp-server-time",
        ),
        (
            "/usr/bin/python3.11",
            Some("/srv/venv/bin/pipx"),
            &["python", "/srv/venv/bin/pipx", "run", "mcp-server-time"],
            "python pypi:mcp-server-time",
        ),
        (
            "/usr/bin/bash",
            None,
            &["bash", "-lc", "exec npx -y @modelcontextprotocol/server-filesystem@2026.8.31 /srv/w"],
            "node npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
        (
            "/usr/bin/env",
            None,
            &["env", "A=b", "nice", "-n", "5", "npx", "-y", FILESYSTEM, "/srv/w"],
            "node npm:@modelcontextprotocol/server-filesystem@2026.8.31 /srv/w",
        ),
    ] {
        assert_eq!(shown(&with_script(executable, script, arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn wrappers_are_taken_off() {
    for (executable, arguments, expected) in [
        (
            "/usr/bin/sudo",
            &["sudo", "-u", "svc", "--preserve-env=KEY", "claude", "-p", "x"][..],
            "native claude -p x",
        ),
        ("/usr/bin/sudo", &["sudo", "-nEHu", "svc", "A=b", "npx", "x"], "node npm:x"),
        ("/usr/bin/su", &["su", "-", "svc", "-c", "exec npx -y x"], "node npm:x"),
        ("/usr/bin/su", &["su", "-c", "npx x", "svc"], "node npm:x"),
        ("/usr/sbin/runuser", &["runuser", "-u", "svc", "--", "uvx", "y"], "python pypi:y"),
        (
            "/usr/bin/timeout",
            &["timeout", "-k", "5", "--signal=TERM", "60", "node", "a.js"],
            "node /work/a.js",
        ),
        (
            "/usr/bin/nice",
            &["nice", "-10", "setsid", "-f", "nohup", "python3", "-u", "s.py"],
            "python /work/s.py",
        ),
        ("/usr/bin/tini", &["tini", "-g", "--", "/srv/server", "stdio"], "native /srv/server stdio"),
        ("/usr/bin/dumb-init", &["dumb-init", "--rewrite=15:3", "node", "x.js"], "node /work/x.js"),
        ("/usr/bin/flock", &["flock", "-n", "/run/l", "npx", "x"], "node npm:x"),
        ("/usr/bin/flock", &["flock", "/run/l", "-c", "npx x"], "node npm:x"),
        ("/usr/bin/env", &["env", "-i", "-u", "A", "-S", "npx x y"], "node npm:x y"),
        ("/usr/bin/env", &["/usr/bin/env", "-S", "uv run --script"], "native uv"),
        ("/usr/bin/xvfb-run", &["xvfb-run", "-a", "-s", "-screen 0", "npx", "x"], "node npm:x"),
        ("/usr/bin/bash", &["bash", "/srv/run-claude.sh", "a"], "shell /srv/run-claude.sh a"),
        ("/usr/bin/bash", &["bash", "-c", "git status && ls"], "shell shell text"),
        ("/usr/bin/op", &["op", "run", "--env-file=x", "--", "npx", "-y", "z"], "node npm:z"),
        ("/usr/bin/ssh", &["ssh", "-T", "host", "uvx", "mcp-server-git"], "python pypi:mcp-server-git"),
        ("/usr/bin/busybox", &["timeout", "5", "node", "a.js"], "node /work/a.js"),
    ] {
        assert_eq!(shown(&program(executable, arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn other_runtimes() {
    for (executable, arguments, expected) in [
        ("/usr/bin/java", &["java", "-Xmx1g", "-cp", "x", "-jar", "s.jar", "a"][..], "java /work/s.jar a"),
        ("/usr/bin/dotnet", &["dotnet", "run", "--project", "/p/x.csproj"], "dotnet /p/x.csproj"),
        ("/usr/bin/dotnet", &["dotnet", "/p/x.dll", "a"], "dotnet /p/x.dll a"),
        ("/usr/bin/dnx", &["dnx", "Some.Mcp@1.0", "--yes"], "dotnet nuget:Some.Mcp@1.0 --yes"),
        (
            "/usr/bin/go",
            &["go", "run", "example.org/x/cmd@latest", "stdio"],
            "go go:example.org/x/cmd@latest stdio",
        ),
        ("/usr/bin/go", &["go", "run", "./cmd/x"], "go /work/cmd/x"),
        (
            "/usr/local/bin/github-mcp-server",
            &["github-mcp-server", "stdio"],
            "native /usr/local/bin/github-mcp-server stdio",
        ),
        ("/usr/bin/node", &["node", "--max-old-space-size", "99", "-e", "code"], "node code"),
        ("/usr/bin/python3", &["python3", "-Ic", "code"], "python code"),
        ("/usr/bin/python3", &["python3", "-um", "x.y", "z"], "python -m x.y z"),
        ("/u/.bun/bin/bun", &["bun", "run", "src/index.ts"], "bun /work/src/index.ts"),
    ] {
        assert_eq!(shown(&program(executable, arguments)), expected, "{arguments:?}");
    }
}

#[test]
fn a_container_says_how_to_find_it_again_and_no_value() {
    let program = program(
        "/usr/bin/docker",
        &[
            "docker",
            "--context",
            "c",
            "run",
            "-i",
            "--rm",
            "-eTOKEN=abc",
            "--env",
            "B",
            "--name",
            "n",
            "--cidfile",
            "id",
            "-l",
            "docker-mcp=true",
            "-v/a:/b",
            "ghcr.io/github/github-mcp-server:1",
            "stdio",
        ],
    );
    assert_eq!(shown(&program), "container oci:ghcr.io/github/github-mcp-server@1 stdio");
    let container = program.container.unwrap();
    assert!(container.interactive && !container.running);
    assert_eq!((container.name, container.id_file), (Some("n".into()), Some("/work/id".into())));
    assert_eq!(container.labels, ["docker-mcp=true".into()]);
    assert_eq!(container.environment_names, ["TOKEN".into(), "B".into()]);
}

#[test]
fn what_only_passes_on_says_where_to() {
    let program = program(
        "/usr/bin/node",
        &["node", "/usr/bin/npx", "-y", "mcp-remote@0.1.2", "https://mcp.example.org/sse", "--header", "x"],
    );
    assert_eq!(program.address, Some("https://mcp.example.org/sse".into()));
}

#[test]
fn wrappers_without_end_are_survived() {
    let mut arguments = vec!["env"; 5000];
    arguments.push("npx");
    assert_eq!(program("/usr/bin/env", &arguments).package, None);
}

proptest! {
    #[test]
    fn any_command_line_is_survived(
        executable in prop::sample::select(vec!["/bin/sh", "/usr/bin/npx", "/usr/bin/uv", "/usr/bin/docker", "/usr/bin/env", "/usr/bin/node", "/usr/bin/python3", "/usr/bin/sudo", "/x"]),
        words in prop::collection::vec(prop::collection::vec(prop::sample::select(b"-acnpmeurx=@/.: '\"$&;|\xff".to_vec()), 0..8), 0..8),
    ) {
        let arguments: Vec<Bytes> = words.iter().map(|word| Bytes::new(word)).collect();
        let _ = identify(&TOOLS, &Execution { executable: executable.as_bytes(), script: None, arguments: &arguments, working_directory: b"/w" });
    }

    #[test]
    fn a_wrapper_changes_nothing_of_what_is_run(wrappers in prop::collection::vec(prop::sample::select(vec![&["env", "A=b"][..], &["nice", "-n", "5"], &["timeout", "9"], &["sudo", "-u", "x"], &["setsid"], &["stdbuf", "-oL"], &["dumb-init", "--"], &["ionice", "-c2"]]), 0..6)) {
        let mut words: Vec<&str> = wrappers.concat();
        words.extend(["npx", "-y", "@s/n@1", "a"]);
        let executable = format!("/usr/bin/{}", words[0]);
        let found = program(&executable, &words);
        prop_assert_eq!(shown(&found), "node npm:@s/n@1 a");
    }
}
