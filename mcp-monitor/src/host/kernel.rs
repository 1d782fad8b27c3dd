//! What this kernel and this process's privileges offer to the sensor, as facts; what follows from them stands
//! in [`super::kernel_checks`].

use aya::{programs::ProgramType, sys};
use caps::{CapSet, Capability};
use nix::{
    sys::{
        resource::{Resource, getrlimit},
        utsname::uname,
    },
    unistd::geteuid,
};
use std::{fs, path::Path, sync::OnceLock};

/// What was found. `None` where the host does not tell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// `uname -r`.
    pub release: String,
    /// `uname -m`.
    pub machine: String,
    /// Bytes of `/sys/kernel/btf/vmlinux`.
    pub btf_bytes: Option<u64>,
    /// Ring buffers can be made; `None` without the privilege to try.
    pub ring_buffer: Option<bool>,
    /// LSM programs can be loaded; `None` without the privilege to try.
    pub lsm_programs: Option<bool>,
    /// `/sys/kernel/security/lsm`.
    pub lsms: Option<String>,
    /// `/sys/kernel/security/lockdown`, the chosen mode.
    pub lockdown: Option<String>,
    /// Preemption model in use.
    pub preemption: Option<String>,
    /// Where cgroup v2 is mounted.
    pub cgroup2: Vec<String>,
    /// cgroup v1 hierarchies are mounted.
    pub cgroup1: bool,
    /// Capabilities that are missing, of those in [`WANTED`].
    pub missing: Vec<&'static str>,
    /// Root.
    pub root: bool,
    /// `CAP_SYS_ADMIN`, which stands for several of the others.
    pub sys_admin: bool,
    /// `/proc/sys/kernel/perf_event_paranoid`.
    pub perf_event_paranoid: Option<i64>,
    /// `/proc/sys/kernel/unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<i64>,
    /// `/proc/sys/net/core/bpf_jit_enable`.
    pub jit: Option<i64>,
    /// The kprobe event source is there.
    pub kprobes: bool,
    /// seccomp filters can be set.
    pub seccomp: bool,
    /// Soft limit of locked memory; `None` for no limit.
    pub locked_memory_bytes: Option<u64>,
}

/// Capabilities with what is missing without them. The first two are needed for anything.
pub const WANTED: [(Capability, &str, &str); 6] = [
    (Capability::CAP_BPF, "CAP_BPF", "nothing can be loaded"),
    (Capability::CAP_PERFMON, "CAP_PERFMON", "nothing can be loaded"),
    (
        Capability::CAP_SYS_PTRACE,
        "CAP_SYS_PTRACE",
        "programs and directories of running processes stay unknown",
    ),
    (Capability::CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH", "secrets in private homes are not found"),
    (Capability::CAP_NET_ADMIN, "CAP_NET_ADMIN", "no cgroup programs: no DNS answers, weaker egress"),
    (
        Capability::CAP_SYS_ADMIN,
        "CAP_SYS_ADMIN",
        "other BPF programs are not seen; needed where \
        perf_event_paranoid is above 2",
    ),
];

fn has(capability: Capability) -> bool {
    caps::has_cap(None, CapSet::Effective, capability).unwrap_or(false)
}

/// Names of the capabilities without which nothing can be loaded and which this process lacks.
#[must_use]
pub fn missing_capabilities() -> Vec<&'static str> {
    if has(Capability::CAP_SYS_ADMIN) {
        return Vec::new();
    }
    WANTED[..2].iter().filter(|(capability, ..)| !has(*capability)).map(|(_, name, _)| *name).collect()
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn number(path: &str) -> Option<i64> {
    read(path)?.parse().ok()
}

/// The word in brackets, as the kernel marks a choice: `none [integrity] confidentiality`.
fn bracketed(text: &str) -> Option<String> {
    let (_, rest) = text.split_once(['[', '('])?;
    Some(rest.split_once([']', ')'])?.0.to_owned())
}

/// The preemption model: as chosen at run time, at boot, or at build.
fn preemption(chosen: Option<&str>, command_line: &str, version: &str, config: &str) -> Option<String> {
    if let Some(model) = chosen.and_then(bracketed) {
        return Some(model);
    }
    if let Some(model) = command_line.split_whitespace().find_map(|word| word.strip_prefix("preempt=")) {
        return Some(model.to_owned());
    }
    // The order matters: a dynamic kernel sets CONFIG_PREEMPT_DYNAMIC beside the default model.
    let built = [
        ("CONFIG_PREEMPT_RT=y", "full (realtime)"),
        ("CONFIG_PREEMPT_LAZY=y", "lazy"),
        ("CONFIG_PREEMPT=y", "full"),
        ("CONFIG_PREEMPT_VOLUNTARY=y", "voluntary"),
        ("CONFIG_PREEMPT_NONE=y", "none"),
    ];
    if let Some((_, model)) = built.iter().find(|(line, _)| config.lines().any(|one| one == *line)) {
        return Some((*model).to_owned());
    }
    if version.contains("PREEMPT_RT") {
        Some("full (realtime)".into())
    } else if version.contains("PREEMPT_DYNAMIC") {
        None
    } else if version.contains("PREEMPT") {
        Some("full".into())
    } else {
        Some("none or voluntary".into())
    }
}

/// Mount points of cgroup v2, and whether v1 is mounted, from the text of `/proc/self/mounts`.
fn cgroups(mounts: &str) -> (Vec<String>, bool) {
    let mut version2 = Vec::new();
    let mut version1 = false;
    for line in mounts.lines() {
        let mut words = line.split(' ').skip(1);
        match (words.next(), words.next()) {
            (Some(place), Some("cgroup2")) => version2.push(place.to_owned()),
            (Some(_), Some("cgroup")) => version1 = true,
            _ => {}
        }
    }
    (version2, version1)
}

/// The kernel's build configuration as lines, or empty.
fn config() -> String {
    let Ok(settings) = procfs::kernel_config() else { return String::new() };
    let lines: Vec<_> = settings
        .iter()
        .filter(|(name, value)| name.contains("PREEMPT") && matches!(value, procfs::ConfigSetting::Yes))
        .map(|(name, _)| format!("{name}=y"))
        .collect();
    lines.join("\n")
}

impl Facts {
    /// As this host answered the first time: a monitor that has given its privileges away would be told less.
    pub fn at_start() -> &'static Self {
        static FACTS: OnceLock<Facts> = OnceLock::new();
        FACTS.get_or_init(Self::read)
    }

    /// Asks this host.
    #[must_use]
    pub fn read() -> Self {
        let names = uname().ok();
        let name = |get: fn(&nix::sys::utsname::UtsName) -> &std::ffi::OsStr| {
            names.as_ref().map(|names| get(names).to_string_lossy().into_owned()).unwrap_or_default()
        };
        let chosen = read("/sys/kernel/debug/sched/preempt");
        let preemption = preemption(
            chosen.as_deref(),
            &read("/proc/cmdline").unwrap_or_default(),
            &read("/proc/version").unwrap_or_default(),
            &config(),
        );
        let (cgroup2, cgroup1) = cgroups(&read("/proc/self/mounts").unwrap_or_default());
        let limit = getrlimit(Resource::RLIMIT_MEMLOCK).map(|(soft, _)| soft).ok();
        Self {
            release: name(nix::sys::utsname::UtsName::release),
            machine: name(nix::sys::utsname::UtsName::machine),
            btf_bytes: fs::metadata("/sys/kernel/btf/vmlinux").map(|data| data.len()).ok(),
            ring_buffer: sys::is_map_supported(aya::maps::MapType::RingBuf).ok(),
            lsm_programs: sys::is_program_supported(ProgramType::Lsm(aya::programs::LsmAttachType::Mac)).ok(),
            lsms: read("/sys/kernel/security/lsm"),
            lockdown: read("/sys/kernel/security/lockdown").as_deref().and_then(bracketed),
            preemption,
            cgroup2,
            cgroup1,
            missing: WANTED
                .iter()
                .filter(|(capability, ..)| !has(*capability))
                .map(|(_, name, _)| *name)
                .collect(),
            root: geteuid().is_root(),
            sys_admin: has(Capability::CAP_SYS_ADMIN),
            perf_event_paranoid: number("/proc/sys/kernel/perf_event_paranoid"),
            unprivileged_bpf_disabled: number("/proc/sys/kernel/unprivileged_bpf_disabled"),
            jit: number("/proc/sys/net/core/bpf_jit_enable"),
            kprobes: Path::new("/sys/bus/event_source/devices/kprobe").exists(),
            seccomp: Path::new("/proc/sys/kernel/seccomp/actions_avail").exists(),
            locked_memory_bytes: limit.filter(|limit| *limit != libc::RLIM_INFINITY),
        }
    }

    /// Major and minor version, when the release tells them.
    #[must_use]
    pub fn version(&self) -> Option<(u32, u32)> {
        let mut parts = self.release.split(|character: char| !character.is_ascii_digit());
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        let version = |release: &str| Facts { release: release.into(), ..Facts::default() }.version();
        assert_eq!(version("6.18.44-fc-v657"), Some((6, 18)));
        assert_eq!(version("5.10-rc1"), Some((5, 10)));
        assert_eq!(version("unknown"), None);
    }

    #[test]
    fn choices_in_brackets() {
        assert_eq!(bracketed("none [integrity] confidentiality").as_deref(), Some("integrity"));
        assert_eq!(bracketed("none voluntary (full) lazy").as_deref(), Some("full"));
        assert_eq!(bracketed("none"), None);
    }

    #[test]
    fn preemption_is_read_from_the_surest_source() {
        let dynamic = "Linux version 6.18 #1 SMP PREEMPT_DYNAMIC";
        let config = "CONFIG_PREEMPT_DYNAMIC=y\nCONFIG_PREEMPT_VOLUNTARY=y\n";
        assert_eq!(preemption(Some("none (full)"), "preempt=none", dynamic, config).as_deref(), Some("full"));
        assert_eq!(preemption(None, "quiet preempt=none", dynamic, config).as_deref(), Some("none"));
        assert_eq!(preemption(None, "quiet", dynamic, config).as_deref(), Some("voluntary"));
        assert_eq!(preemption(None, "", dynamic, ""), None);
        assert_eq!(preemption(None, "", "#1 SMP", "").as_deref(), Some("none or voluntary"));
    }

    #[test]
    fn cgroup_mounts() {
        let hybrid =
            "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\ncgroup /sys/fs/cgroup/pids cgroup rw 0 0\n";
        assert_eq!(cgroups(hybrid), (vec!["/sys/fs/cgroup/unified".to_owned()], true));
        assert_eq!(cgroups("proc /proc proc rw 0 0\nbroken"), (Vec::new(), false));
    }

    #[test]
    fn this_host_answers() {
        let facts = Facts::read();
        assert!(facts.version().is_some(), "{facts:?}");
    }
}
