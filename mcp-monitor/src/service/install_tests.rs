use super::*;
use crate::export::Config;
use std::collections::BTreeMap;

fn installer(root: &Path) -> Installer {
    Installer { root: root.to_owned(), dry_run: false, start: true, purge: true }
}

/// Every file below `root` with its mode; what keeps passwords apart from what systemd's programs leave beside them.
fn tree(root: &Path) -> BTreeMap<PathBuf, u32> {
    let mut found = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let entry = entry.unwrap();
            let data = entry.path().symlink_metadata().unwrap();
            if data.is_dir() {
                open.push(entry.path());
            }
            let name = entry.file_name();
            let beside = [".pwd.lock", "group-", "gshadow-"].iter().any(|one| name == *one);
            if !data.is_dir() && !beside {
                let path = entry.path().strip_prefix(root).unwrap().to_owned();
                found.insert(path, data.permissions().mode() & 0o7777);
            }
        }
    }
    found
}

/// A root that systemd's own programs work on.
fn root() -> Option<tempfile::TempDir> {
    let has = |program: &str| {
        Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    if !has("systemctl") || !has("systemd-sysusers") || !nix::unistd::geteuid().is_root() {
        println!("not run: needs root, systemctl and systemd-sysusers");
        return None;
    }
    let root = tempfile::tempdir().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    for (name, line) in [
        ("passwd", "root:x:0:0:root:/root:/bin/sh\n"),
        ("group", "root:x:0:\n"),
        ("gshadow", "root:*::\n"),
        ("shadow", "root:*:1:::::\n"),
    ] {
        fs::write(root.path().join("etc").join(name), line).unwrap();
    }
    Some(root)
}

#[test]
fn what_is_installed_is_all_removed_again_and_a_second_time_changes_nothing() {
    let Some(root) = root() else { return };
    let before = tree(root.path());
    let group_before = fs::read_to_string(root.path().join("etc/group")).unwrap();
    let service = installer(root.path());
    service.install().unwrap();
    let installed = tree(root.path());
    for (path, mode) in [
        ("usr/local/bin/mcp-monitor", 0o755),
        ("etc/systemd/system/mcp-monitor.service", 0o644),
        ("etc/sysusers.d/mcp-monitor.conf", 0o644),
        ("etc/tmpfiles.d/mcp-monitor.conf", 0o644),
        ("etc/mcp-monitor/config.yaml", 0o600),
        ("etc/systemd/system/multi-user.target.wants/mcp-monitor.service", 0o777),
    ] {
        assert_eq!(installed.get(Path::new(path)), Some(&mode), "{path}");
    }
    let unit = fs::read_to_string(root.path().join("etc/systemd/system/mcp-monitor.service")).unwrap();
    assert!(unit.contains("ExecStart=/usr/local/bin/mcp-monitor run"), "{unit}");
    assert!(fs::read_to_string(root.path().join("etc/group")).unwrap().contains("mcp-monitor:"));
    assert!(root.path().join("etc/mcp-monitor/expectations.d").is_dir());

    let again = service.install().unwrap();
    assert!(!again.iter().any(|line| line.starts_with("write")), "{again:#?}");
    assert_eq!(tree(root.path()), installed);

    fs::create_dir_all(root.path().join("var/lib/mcp-monitor")).unwrap();
    fs::write(root.path().join("var/lib/mcp-monitor/findings.db"), "x").unwrap();
    service.uninstall().unwrap();
    assert_eq!(tree(root.path()), before);
    assert_eq!(fs::read_to_string(root.path().join("etc/group")).unwrap(), group_before);
    let directories = ["etc/mcp-monitor", "var/lib/mcp-monitor"];
    assert!(directories.iter().all(|path| !root.path().join(path).exists()));
    assert!(service.uninstall().unwrap().is_empty(), "nothing is left to remove");
}

#[test]
fn records_and_a_changed_configuration_stay_unless_they_are_to_go() {
    let Some(root) = root() else { return };
    let installer = Installer { purge: false, ..installer(root.path()) };
    installer.install().unwrap();
    fs::write(root.path().join("etc/mcp-monitor/config.yaml"), "sinks: []\n").unwrap();
    fs::create_dir_all(root.path().join("var/lib/mcp-monitor")).unwrap();
    fs::write(root.path().join("var/lib/mcp-monitor/findings.db"), "x").unwrap();
    let kept = installer.install().unwrap();
    assert!(kept.iter().any(|line| line == "keep     /etc/mcp-monitor/config.yaml"), "{kept:#?}");
    let told = installer.uninstall().unwrap().join("\n");
    assert!(told.contains("/var/lib/mcp-monitor, what was recorded; --purge"), "{told}");
    assert_eq!(fs::read_to_string(root.path().join("etc/mcp-monitor/config.yaml")).unwrap(), "sinks: []\n");
    assert!(root.path().join("var/lib/mcp-monitor/findings.db").exists());
    assert!(!root.path().join("usr/local/bin/mcp-monitor").exists());
}

#[test]
fn a_dry_run_says_all_and_touches_nothing() {
    let root = tempfile::tempdir().unwrap();
    let installer = Installer { dry_run: true, ..installer(root.path()) };
    let done = installer.install().unwrap().join("\n");
    for what in ["write    /usr/local/bin/mcp-monitor", "enable mcp-monitor.service", "systemd-sysusers"] {
        assert!(done.contains(what), "{done}");
    }
    assert!(tree(root.path()).is_empty());
    fs::create_dir_all(root.path().join("etc/systemd/system")).unwrap();
    fs::write(root.path().join("etc/systemd/system/mcp-monitor.service"), "x").unwrap();
    let done = installer.uninstall().unwrap().join("\n");
    assert!(done.contains("remove   /etc/systemd/system/mcp-monitor.service"), "{done}");
    assert_eq!(tree(root.path()).len(), 1);
}

#[test]
fn what_a_package_installed_is_left_to_it() {
    let root = tempfile::tempdir().unwrap();
    let place = root.path().join("usr/lib/systemd/system");
    fs::create_dir_all(&place).unwrap();
    fs::write(place.join("mcp-monitor.service"), UNIT).unwrap();
    let refused = installer(root.path()).install().unwrap_err().to_string();
    assert!(refused.contains("package") && refused.contains("dpkg"), "{refused}");
    assert!(installer(root.path()).uninstall().is_err());
}

/// Each commented example is taken alone, as a reader would.
#[test]
fn the_configuration_and_every_example_in_it_are_right() {
    let config = Config::parse("config.yaml", CONFIGURATION).unwrap();
    assert_eq!(config.sinks.len(), 1);
    let all: String = CONFIGURATION
        .lines()
        .map(|line| {
            let bare = line.trim_start();
            let example = bare.strip_prefix("#- ").map(|rest| format!("- {rest}"));
            let example = example.or_else(|| bare.strip_prefix("#  ").map(|rest| format!("  {rest}")));
            match example {
                Some(example) if line.starts_with("  #") => format!("  {example}\n"),
                _ => format!("{line}\n"),
            }
        })
        .collect();
    let config = Config::parse("config.yaml", &all).unwrap();
    let kinds: Vec<_> = config.sinks.iter().map(|sink| sink.kind().unwrap().name()).collect();
    assert_eq!(kinds, ["journald", "file", "syslog", "splunk", "slack"]);
}

/// Highest exposure by systemd's own judgement; `docs/deployment.md` explains each point of it.
const EXPOSURE_MAX: f64 = 3.4;

#[test]
fn systemd_takes_the_unit_for_well_protected() {
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("mcp-monitor.service");
    fs::write(&unit, UNIT).unwrap();
    let analysed = Command::new("systemd-analyze")
        .args(["security", "--offline=yes", "--no-pager"])
        .arg(&unit)
        .env("LC_ALL", "C.UTF-8")
        .output();
    let Ok(analysed) = analysed else {
        println!("not run: no systemd-analyze");
        return;
    };
    let text = String::from_utf8_lossy(&analysed.stdout);
    let level = text.split("Overall exposure level for mcp-monitor.service: ").nth(1);
    let Some(level) = level.and_then(|rest| rest.split_whitespace().next()?.parse::<f64>().ok()) else {
        println!("not run: this systemd-analyze cannot judge offline: {}", said(&analysed));
        return;
    };
    assert!(level <= EXPOSURE_MAX, "{level}:\n{text}");
    // A bar within a table is written with a backslash.
    let document = include_str!("../../../docs/deployment.md").replace("\\|", "|");
    for line in text.lines().filter(|line| line.starts_with('✗')) {
        let name = line.trim_start_matches('✗').split_whitespace().next().unwrap_or_default();
        assert!(document.contains(name), "docs/deployment.md does not explain {name}");
    }
}
