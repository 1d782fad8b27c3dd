//! Settings of the host: sudo without a password, secrets in units, jobs that run what nobody looks at.

use std::path::{Path, PathBuf};

use super::{
    Problem,
    configuration::below,
    file::{entries, is_literal, is_secret_name, numbered},
};
use crate::{event::Severity, inventory::declared::Sources};

/// Folders of jobs and whether their lines name a user.
const CRON_FOLDERS: [&str; 3] = ["/etc/cron.d", "/var/spool/cron", "/var/spool/cron/crontabs"];
/// Scripts that run as they are.
const CRON_SCRIPTS: [&str; 4] =
    ["/etc/cron.hourly", "/etc/cron.daily", "/etc/cron.weekly", "/etc/cron.monthly"];

pub(super) fn check(sources: &Sources, keep: &mut impl FnMut(Problem)) {
    sudo(&sources.root, keep);
    units(sources, keep);
    jobs(&sources.root, keep);
}

/// `directory` on the host, with the files in it as the host names them.
fn listed(root: &Path, directory: &str) -> Vec<PathBuf> {
    entries(&below(root, Path::new(directory)))
        .iter()
        .filter_map(|path| Some(Path::new(directory).join(path.file_name()?)))
        .collect()
}

fn sudo(root: &Path, keep: &mut impl FnMut(Problem)) {
    let files = std::iter::once(PathBuf::from("/etc/sudoers")).chain(listed(root, "/etc/sudoers.d"));
    for path in files {
        for (number, line) in numbered(&below(root, &path)) {
            let rule = line.split('#').next().unwrap_or_default();
            let Some((before, commands)) = rule.split_once("NOPASSWD:") else { continue };
            let who = before.split_whitespace().next().unwrap_or_default().to_owned();
            let all = commands.split(',').any(|command| command.trim() == "ALL");
            keep(Problem {
                check: "sudo-nopasswd",
                severity: if all { Severity::High } else { Severity::Medium },
                path: path.clone(),
                line: Some(number),
                key: Some(who),
                what: String::from(if all {
                    "whatever runs as this user, agents and servers included, becomes root without being asked"
                } else {
                    "whatever runs as this user runs these commands as root without being asked"
                }),
                fix: String::from("Take NOPASSWD out, or run agents and servers as another user"),
            });
        }
    }
}

fn units(sources: &Sources, keep: &mut impl FnMut(Problem)) {
    let homes = sources.homes.iter().map(|home| home.path.join(".config/systemd/user"));
    let folders = std::iter::once(PathBuf::from("/etc/systemd/system")).chain(homes);
    for folder in folders {
        let Some(text) = folder.to_str() else { continue };
        for path in listed(&sources.root, text) {
            let is_unit = path.extension().is_some_and(|extension| extension == "service");
            let dropped = path.extension().is_some_and(|extension| extension == "d");
            let files = if dropped {
                path.to_str().map(|text| listed(&sources.root, text)).unwrap_or_default()
            } else {
                vec![path]
            };
            for file in
                files.iter().filter(|file| is_unit || file.extension().is_some_and(|end| end == "conf"))
            {
                unit(&sources.root, file, keep);
            }
        }
    }
}

fn unit(root: &Path, path: &Path, keep: &mut impl FnMut(Problem)) {
    for (number, line) in numbered(&below(root, path)) {
        let Some(assignments) = line.trim().strip_prefix("Environment=") else { continue };
        for assignment in assignments.split_whitespace() {
            let Some((name, value)) = assignment.trim_matches(['"', '\'']).split_once('=') else { continue };
            if is_secret_name(name) && is_literal(value) {
                keep(Problem {
                    check: "secret-in-unit",
                    severity: Severity::High,
                    path: path.to_owned(),
                    line: Some(number),
                    key: Some(name.to_owned()),
                    what: String::from("every user of the host can read the variables of a unit"),
                    fix: format!(
                        "Use `LoadCredential={}:PATH` and read it from $CREDENTIALS_DIRECTORY",
                        name.to_lowercase()
                    ),
                });
            }
        }
    }
}

fn jobs(root: &Path, keep: &mut impl FnMut(Problem)) {
    let tables = std::iter::once(PathBuf::from("/etc/crontab"))
        .chain(CRON_FOLDERS.iter().flat_map(|folder| listed(root, folder)));
    let scripts = CRON_SCRIPTS.iter().flat_map(|folder| listed(root, folder));
    for path in tables.chain(scripts) {
        for (number, line) in numbered(&below(root, &path)) {
            let line = line.trim();
            if line.starts_with('#') {
                continue;
            }
            if let Some(what) = odd_job(line) {
                keep(Problem {
                    check: "odd-job",
                    severity: Severity::High,
                    path: path.clone(),
                    line: Some(number),
                    key: None,
                    what: what.to_owned(),
                    fix: String::from("See who put it there and what it does; take it out"),
                });
            }
        }
    }
}

/// Why nobody should have such a job.
pub(super) fn odd_job(line: &str) -> Option<&'static str> {
    let fetches = ["curl ", "wget "].iter().any(|fetcher| line.contains(fetcher));
    let into_shell = line.split('|').skip(1).any(|part| {
        let first = part.split_whitespace().next().unwrap_or_default();
        let name = first.rsplit('/').next().unwrap_or_default();
        matches!(name, "sh" | "bash" | "dash" | "zsh" | "python" | "python3" | "perl" | "node")
    });
    if fetches && into_shell {
        return Some("a job runs what the network hands out");
    }
    if line.contains("base64 -d") && into_shell {
        return Some("a job runs what it decodes");
    }
    let hidden = line.split_whitespace().any(|word| {
        let temporary = ["/tmp/", "/var/tmp/", "/dev/shm/"].iter().any(|place| word.starts_with(place));
        temporary
            || word.starts_with('/')
                && word.split('/').skip(1).any(|name| name.len() > 1 && name.starts_with('.') && name != "..")
    });
    let is_redirected = line.contains(">/tmp/") || line.contains("> /tmp/");
    (hidden && !is_redirected && !line.contains('=')).then_some("a job uses a hidden or temporary place")
}
