//! What follows from [`super::kernel::Facts`]: rows of good, weak and missing, each with what repairs it.

use super::kernel::{Facts, WANTED};

/// How a row stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// As it should be.
    Ok,
    /// Works, with less.
    Warn,
    /// Nothing can be monitored.
    Fail,
}

impl State {
    /// The word for people and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What was looked at.
    pub name: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What follows, where something is amiss.
    pub consequence: Option<String>,
    /// A command that repairs it, where there is one.
    pub repair: Option<String>,
}

impl Check {
    fn ok(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, state: State::Ok, found: found.into(), consequence: None, repair: None }
    }

    fn warn(name: &'static str, found: impl Into<String>, consequence: impl Into<String>) -> Self {
        Self { state: State::Warn, consequence: Some(consequence.into()), ..Self::ok(name, found) }
    }

    fn fail(name: &'static str, found: impl Into<String>, consequence: impl Into<String>) -> Self {
        Self { state: State::Fail, ..Self::warn(name, found, consequence) }
    }

    fn repaired_by(self, command: impl Into<String>) -> Self {
        Self { repair: Some(command.into()), ..self }
    }
}

/// Sets a word on the kernel's command line, for the boot loader that most have.
fn kernel_parameter(word: &str) -> String {
    format!(
        "sudo sed -i 's/^GRUB_CMDLINE_LINUX=\"/&{word} /' /etc/default/grub && \
         (sudo update-grub || sudo grub2-mkconfig -o /boot/grub2/grub.cfg) && sudo reboot"
    )
}

/// All rows, in the order in which people are shown them.
#[must_use]
pub fn checks(facts: &Facts) -> Vec<Check> {
    let mut rows = vec![release(facts), machine(facts), btf(facts), ring_buffer(facts), capabilities(facts)];
    rows.extend([lsms(facts), lockdown(facts), kprobes(facts), preemption(facts), cgroup(facts)]);
    rows.extend([perf_event_paranoid(facts), unprivileged_bpf(facts), jit(facts)]);
    rows.extend(locked_memory(facts));
    rows.push(seccomp(facts));
    rows
}

fn release(facts: &Facts) -> Check {
    match facts.version() {
        Some(version) if version >= (5, 10) => Check::ok("kernel", &*facts.release),
        Some(_) => Check::fail("kernel", &*facts.release, "5.10 or newer is needed")
            .repaired_by("install a newer kernel, e.g. sudo apt install linux-image-amd64"),
        None => {
            Check::warn("kernel", &*facts.release, "the release tells no version; 5.10 or newer is needed")
        }
    }
}

fn machine(facts: &Facts) -> Check {
    match facts.machine.as_str() {
        "x86_64" => Check::ok("architecture", "x86_64"),
        "aarch64" => Check::warn("architecture", "aarch64", "built for, not tested on"),
        other => Check::fail("architecture", other, "x86_64 or aarch64 is needed"),
    }
}

fn btf(facts: &Facts) -> Check {
    match facts.btf_bytes {
        Some(_) => Check::ok("BTF", "/sys/kernel/btf/vmlinux"),
        None => Check::fail("BTF", "none", "the places of kernel fields are unknown")
            .repaired_by("boot a kernel built with CONFIG_DEBUG_INFO_BTF=y (distribution kernels are)"),
    }
}

fn ring_buffer(facts: &Facts) -> Check {
    match facts.ring_buffer {
        Some(true) => Check::ok("ring buffer", "supported"),
        Some(false) if facts.missing.contains(&"CAP_BPF") && !facts.sys_admin => {
            Check::warn("ring buffer", "not tried", "needs privileges")
        }
        Some(false) => Check::fail("ring buffer", "not supported", "events have no way to user space"),
        None => Check::warn("ring buffer", "not tried", "needs privileges"),
    }
}

fn capabilities(facts: &Facts) -> Check {
    let name = "capabilities";
    if facts.missing.is_empty() {
        return Check::ok(name, if facts.root { "root, all that are needed" } else { "all that are needed" });
    }
    // CAP_SYS_ADMIN stands for CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN where bpf(2) asks for those.
    let missing: Vec<_> = WANTED
        .iter()
        .filter(|(_, word, _)| facts.missing.contains(word))
        .filter(|(_, word, _)| {
            !(facts.sys_admin && ["CAP_BPF", "CAP_PERFMON", "CAP_NET_ADMIN"].contains(word))
        })
        .collect();
    if missing.is_empty() {
        return Check::ok(name, "CAP_SYS_ADMIN");
    }
    let words: Vec<_> = missing.iter().map(|(_, word, _)| *word).collect();
    let mut consequences: Vec<_> = missing.iter().map(|(_, _, consequence)| *consequence).collect();
    consequences.dedup();
    let needed = words.iter().any(|word| ["CAP_BPF", "CAP_PERFMON"].contains(word));
    let make = if needed { Check::fail } else { Check::warn };
    make_row(make, name, &format!("without {}", words.join(", ")), &consequences.join("; "))
        .repaired_by("sudo mcp-monitor …")
}

fn make_row(
    make: fn(&'static str, String, String) -> Check,
    name: &'static str,
    found: &str,
    consequence: &str,
) -> Check {
    make(name, found.to_owned(), consequence.to_owned())
}

fn lsms(facts: &Facts) -> Check {
    let name = "active LSMs";
    let weaker = "no lsm tier: weaker mechanisms are used";
    match facts.lsms.as_deref() {
        None => Check::warn(
            name,
            "unknown",
            "securityfs is not mounted or has no list: whether LSM programs fire is \
            only known by trying",
        )
        .repaired_by("sudo mount -t securityfs securityfs /sys/kernel/security"),
        Some(list) if list.split(',').any(|one| one == "bpf") => match facts.lsm_programs {
            Some(false) if facts.sys_admin => {
                Check::warn(name, list, "LSM programs cannot be loaded; no lsm tier")
            }
            _ => Check::ok(name, list),
        },
        Some(list) => Check::warn(
            name,
            list,
            format!("bpf is not among them, so LSM programs would load and never fire; {weaker}"),
        )
        .repaired_by(kernel_parameter(&format!("lsm={list},bpf"))),
    }
}

fn lockdown(facts: &Facts) -> Check {
    match facts.lockdown.as_deref() {
        None => Check::ok("lockdown", "not built in, or unknown"),
        Some("confidentiality") => {
            Check::fail("lockdown", "confidentiality", "kernel programs may not read kernel memory")
                .repaired_by(kernel_parameter("lockdown=integrity"))
        }
        Some(mode) => Check::ok("lockdown", mode),
    }
}

fn kprobes(facts: &Facts) -> Check {
    if facts.kprobes {
        Check::ok("kprobes", "available")
    } else {
        Check::warn("kprobes", "none", "no probe tier: without LSM programs only tracepoints are left")
            .repaired_by("boot a kernel built with CONFIG_KPROBES=y and CONFIG_KPROBE_EVENTS=y")
    }
}

fn preemption(facts: &Facts) -> Check {
    let consequence = "tracepoint programs can miss events under contention there (each miss is counted); LSM and \
                       kprobe programs do not";
    match facts.preemption.as_deref() {
        None => {
            Check::warn("preemption", "unknown", "the model is chosen at boot and debugfs does not tell it")
                .repaired_by("sudo mount -t debugfs debugfs /sys/kernel/debug")
        }
        Some(model) if model.starts_with("full") || model.starts_with("lazy") => {
            Check::warn("preemption", model, consequence)
        }
        Some(model) => Check::ok("preemption", model),
    }
}

fn cgroup(facts: &Facts) -> Check {
    match (facts.cgroup2.first(), facts.cgroup1) {
        (Some(place), false) => Check::ok("cgroup", format!("v2 at {place}")),
        (Some(place), true) => Check::ok("cgroup", format!("v1 and v2, v2 at {place}")),
        (None, _) => Check::warn(
            "cgroup",
            if facts.cgroup1 { "v1 only" } else { "not mounted" },
            "no cgroup programs: no DNS answers, so destinations carry no names",
        )
        .repaired_by(if facts.cgroup1 {
            "sudo mkdir -p /sys/fs/cgroup/unified && sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup/unified"
        } else {
            "sudo mount -t cgroup2 cgroup2 /sys/fs/cgroup"
        }),
    }
}

fn perf_event_paranoid(facts: &Facts) -> Check {
    let name = "perf_event_paranoid";
    match facts.perf_event_paranoid {
        Some(level) if level > 2 && !facts.sys_admin => {
            Check::warn(name, level.to_string(), "kprobes need CAP_SYS_ADMIN at this level")
                .repaired_by("sudo sysctl kernel.perf_event_paranoid=2")
        }
        Some(level) => Check::ok(name, level.to_string()),
        None => Check::ok(name, "unknown"),
    }
}

fn unprivileged_bpf(facts: &Facts) -> Check {
    match facts.unprivileged_bpf_disabled {
        Some(0) => Check::warn(
            "unprivileged BPF",
            "allowed",
            "any user may load BPF programs; the monitor does not need that",
        )
        .repaired_by("sudo sysctl kernel.unprivileged_bpf_disabled=2"),
        Some(_) => Check::ok("unprivileged BPF", "disabled"),
        None => Check::ok("unprivileged BPF", "unknown"),
    }
}

fn jit(facts: &Facts) -> Check {
    match facts.jit {
        Some(0) => {
            Check::warn("BPF compiler", "off", "kernel programs are interpreted, several times slower")
                .repaired_by("sudo sysctl net.core.bpf_jit_enable=1")
        }
        _ => Check::ok("BPF compiler", "on"),
    }
}

/// Matters before 5.11 only, when maps counted as locked memory.
fn locked_memory(facts: &Facts) -> Option<Check> {
    let name = "locked memory";
    if facts.version().is_none_or(|version| version >= (5, 11)) {
        return None;
    }
    Some(match facts.locked_memory_bytes {
        Some(bytes) if !facts.root => Check::warn(
            name,
            format!("{bytes} bytes"),
            "maps count as locked memory on this kernel and may not fit",
        )
        .repaired_by("ulimit -l unlimited, or LimitMEMLOCK=infinity in the unit"),
        _ => Check::ok(name, "unlimited, or raised as root"),
    })
}

fn seccomp(facts: &Facts) -> Check {
    if facts.seccomp {
        Check::ok("seccomp", "filters")
    } else {
        Check::warn("seccomp", "none", "the monitor itself may make any system call after its start")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> Facts {
        Facts {
            release: "6.12.1".into(),
            machine: "x86_64".into(),
            btf_bytes: Some(1),
            ring_buffer: Some(true),
            lsm_programs: Some(true),
            lsms: Some("lockdown,yama,bpf".into()),
            lockdown: Some("none".into()),
            preemption: Some("voluntary".into()),
            cgroup2: vec!["/sys/fs/cgroup".into()],
            root: true,
            sys_admin: true,
            perf_event_paranoid: Some(2),
            unprivileged_bpf_disabled: Some(2),
            jit: Some(1),
            seccomp: true,
            kprobes: true,
            ..Facts::default()
        }
    }

    fn row(facts: &Facts, name: &str) -> Check {
        checks(facts).into_iter().find(|row| row.name == name).unwrap()
    }

    #[test]
    fn a_good_host_has_nothing_to_repair() {
        for row in checks(&good()) {
            assert_eq!(row.state, State::Ok, "{row:?}");
        }
    }

    #[test]
    fn every_failing_row_says_what_follows_and_what_repairs_it() {
        let bad = Facts {
            release: "5.4.0".into(),
            machine: "riscv64".into(),
            lockdown: Some("confidentiality".into()),
            missing: WANTED.iter().map(|(_, name, _)| *name).collect(),
            ..Facts::default()
        };
        for row in checks(&bad).iter().filter(|row| row.state == State::Fail) {
            assert!(row.consequence.is_some(), "{row:?}");
            assert!(row.repair.is_some() || row.name == "architecture", "{row:?}");
        }
        assert_eq!(checks(&bad).iter().filter(|row| row.state == State::Fail).count(), 5);
    }

    #[test]
    fn without_bpf_among_the_lsms_the_command_line_is_named() {
        let row = row(&Facts { lsms: Some("lockdown,yama".into()), ..good() }, "active LSMs");
        assert_eq!(row.state, State::Warn);
        assert!(row.repair.unwrap().contains("lsm=lockdown,yama,bpf"));
    }

    #[test]
    fn sys_admin_stands_for_bpf() {
        let facts = Facts { missing: vec!["CAP_BPF", "CAP_PERFMON"], ..good() };
        assert_eq!(row(&facts, "capabilities").state, State::Ok);
        let facts = Facts { missing: vec!["CAP_BPF", "CAP_SYS_ADMIN"], sys_admin: false, ..good() };
        assert_eq!(row(&facts, "capabilities").state, State::Fail);
    }
}
