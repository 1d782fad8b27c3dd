//! Jobs and timers: what runs while nobody looks, and what of it talks to the network.

use std::path::{Path, PathBuf};

use super::{
    Problem,
    configuration::below,
    file::{entries, numbered},
};
use crate::{event::Severity, inventory::declared::Sources};

/// Hours at which nobody works.
const ODD_HOURS: std::ops::RangeInclusive<u32> = 0..=5;
/// Programs that talk to other hosts.
const TALKERS: [&str; 12] =
    ["curl", "wget", "nc", "ncat", "socat", "ssh", "scp", "rsync", "ftp", "telnet", "aria2c", "rclone"];
/// Jobs that every distribution brings along.
const KNOWN: [&str; 12] = [
    "run-parts",
    "anacron",
    "apt",
    "certbot",
    "e2scrub",
    "fstrim",
    "logrotate",
    "man-db",
    "popularity-contest",
    "sysstat",
    "updatedb",
    "geoipupdate",
];

/// Looks at the tables of cron and at the timers that somebody made on this host.
pub(super) fn check(sources: &Sources, keep: &mut impl FnMut(Problem)) {
    let root = &sources.root;
    let system = ["/etc/cron.d", "/var/spool/cron", "/var/spool/cron/crontabs"];
    let tables = std::iter::once(PathBuf::from("/etc/crontab"))
        .chain(system.iter().flat_map(|folder| listed(root, Path::new(folder))));
    for path in tables {
        let with_user = !path.starts_with("/var/spool");
        for (number, line) in numbered(&below(root, &path)) {
            let Some((hour, command)) = job(&line, with_user) else { continue };
            tell(&path, Some(number), hour, &command, keep);
        }
    }
    let homes = sources.homes.iter().map(|home| home.path.join(".config/systemd/user"));
    for folder in std::iter::once(PathBuf::from("/etc/systemd/system")).chain(homes) {
        for path in listed(root, &folder) {
            if path.extension().is_some_and(|extension| extension == "timer") {
                timer(root, &path, keep);
            }
        }
    }
}

fn listed(root: &Path, folder: &Path) -> Vec<PathBuf> {
    let names = entries(&below(root, folder));
    names.iter().filter_map(|path| Some(folder.join(path.file_name()?))).collect()
}

fn timer(root: &Path, path: &Path, keep: &mut impl FnMut(Problem)) {
    let mut hour = None;
    let mut unit = path.with_extension("service");
    let mut line_of_time = None;
    for (number, line) in numbered(&below(root, path)) {
        if let Some(time) = line.trim().strip_prefix("OnCalendar=") {
            hour = hour_of_calendar(time);
            line_of_time = Some(number);
        } else if let Some(name) = line.trim().strip_prefix("Unit=") {
            unit = path.with_file_name(name.trim());
        }
    }
    let commands: Vec<String> = numbered(&below(root, &unit))
        .filter_map(|(_, line)| line.trim().strip_prefix("ExecStart=").map(str::to_owned))
        .collect();
    for command in commands {
        tell(path, line_of_time, hour, &command, keep);
    }
}

fn tell(path: &Path, line: Option<u32>, hour: Option<u32>, command: &str, keep: &mut impl FnMut(Problem)) {
    let odd = hour.is_some_and(|hour| ODD_HOURS.contains(&hour));
    let words: Vec<&str> = command
        .split(|one: char| one.is_whitespace() || "|;&()'\"`".contains(one))
        .filter(|word| !word.is_empty())
        .collect();
    let names = |known: &[&str]| {
        words.iter().any(|word| known.contains(&word.rsplit('/').next().unwrap_or_default()))
    };
    let talks = names(&TALKERS)
        || command.contains("http://")
        || command.contains("https://")
        || command.contains("/dev/tcp/");
    // What a job should never do is told as that.
    if names(&KNOWN) || !(odd || talks) || super::system::odd_job(command).is_some() {
        return;
    }
    let (check, severity, what) = match (odd, talks) {
        (true, true) => ("job-odd-hours", Severity::Medium, "a job talks to the network while nobody looks"),
        (false, true) => ("job-network", Severity::Low, "a job talks to the network"),
        _ => ("job-odd-hours", Severity::Low, "a job runs while nobody looks"),
    };
    keep(Problem {
        check,
        severity,
        path: path.to_owned(),
        line,
        key: hour.map(|hour| format!("{hour:02} o'clock")),
        what: what.to_owned(),
        fix: String::from("See who put it there and what it does; take it out if nobody knows it"),
    });
}

/// Hour and command of a line of a crontab; the hour only where it is one.
fn job(line: &str, with_user: bool) -> Option<(Option<u32>, String)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let skip = usize::from(with_user);
    if let Some(rest) = line.strip_prefix('@') {
        let mut words = rest.split_whitespace();
        let when = words.next()?;
        let command: Vec<&str> = words.skip(skip).collect();
        let midnight = matches!(when, "daily" | "midnight" | "weekly" | "monthly" | "yearly" | "annually");
        return (!command.is_empty()).then(|| (midnight.then_some(0), command.join(" ")));
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let is_time = |word: &&str| word.chars().all(|one| one.is_ascii_alphanumeric() || "*,-/".contains(one));
    if words.len() < 6 + skip || !words.iter().take(5).all(is_time) || words.first()?.contains('=') {
        return None;
    }
    Some((words.get(1)?.parse().ok(), words.get(5 + skip..)?.join(" ")))
}

/// The hour of `*-*-* 03:00:00`, `daily` and the like.
fn hour_of_calendar(time: &str) -> Option<u32> {
    let time = time.trim();
    if matches!(time, "daily" | "weekly" | "monthly" | "yearly" | "annually") {
        return Some(0);
    }
    let clock = time.split_whitespace().find(|word| word.contains(':'))?;
    clock.split(':').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(hour: Option<u32>, command: &str) -> Option<(&'static str, Severity)> {
        let mut found = None;
        tell(Path::new("/etc/cron.d/x"), None, hour, command, &mut |problem| {
            found = Some((problem.check, problem.severity));
        });
        found
    }

    #[test]
    fn what_runs_at_night_or_talks_to_the_network_is_told() {
        assert_eq!(told(Some(3), "/opt/sync https://x"), Some(("job-odd-hours", Severity::Medium)));
        assert_eq!(told(Some(3), "/opt/backup"), Some(("job-odd-hours", Severity::Low)));
        assert_eq!(told(Some(14), "/usr/bin/curl -d @/etc/x h"), Some(("job-network", Severity::Low)));
        assert_eq!(told(Some(14), "/opt/backup"), None);
        assert_eq!(told(Some(3), "test -x /usr/sbin/anacron || run-parts /etc/cron.daily"), None);
    }

    #[test]
    fn lines_of_tables_and_times_of_timers_are_understood() {
        assert_eq!(job("17 3 * * * root /opt/x -y", true), Some((Some(3), "/opt/x -y".into())));
        assert_eq!(job("17 * * * * /opt/x", false), Some((None, "/opt/x".into())));
        assert_eq!(job("@daily root /opt/x", true), Some((Some(0), "/opt/x".into())));
        for none in ["# 1 2 3 4 5 root x", "SHELL=/bin/sh", "", "@reboot", "PATH=/a:/b 1 2 3 4 5 6"] {
            assert_eq!(job(none, true), None, "{none}");
        }
        assert_eq!(hour_of_calendar("*-*-* 03:10:00"), Some(3));
        assert_eq!(hour_of_calendar("daily"), Some(0));
        assert_eq!(hour_of_calendar("*:0/15"), None);
    }
}
