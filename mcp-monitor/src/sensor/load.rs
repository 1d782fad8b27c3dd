//! Loading and attaching: the strongest tier whose core programs attach and whose hooks are seen to fire.

use std::{
    fs::File,
    path::{Path, PathBuf},
};

use aya::{
    Btf, Ebpf, EbpfLoader,
    programs::{
        CgroupAttachMode, CgroupSkb, CgroupSkbAttachType, CgroupSockAddr, KProbe, Lsm, Program as AyaProgram,
        RawTracePoint,
    },
};
use mcp_monitor_common::{
    digest::{ABI_DIGEST, ABI_DIGEST_SYMBOL},
    limits::RING_BYTES,
    map::symbol,
    mechanism::{Attach, PROGRAMS, Program, Tier},
};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _};

use super::{
    SensorError, canary,
    diagnostics::{self, Diagnostics, Reader},
    hints,
    offsets::Offsets,
    orders::Orders,
    ring::Ring,
    sequence::SequenceTracker,
    trial::{ProgramState, ProgramTrial, Trial},
};

/// The kernel programs, built by `build.rs`.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mcp-monitor"));

/// How the sensor is started.
#[derive(Clone, Debug)]
pub struct Options {
    /// Only this tier.
    pub tier: Option<Tier>,
    /// Count repeats instead of sending them.
    pub relief: bool,
    /// Tell of opens of published secrets by processes outside every lineage, too.
    pub bystanders: bool,
    /// Bytes of the ring buffer: a power of two and a multiple of the page size.
    pub ring_bytes: u32,
    /// What the kernel programs say of themselves.
    pub diagnostics: Option<Diagnostics>,
}

impl Default for Options {
    fn default() -> Self {
        Self { tier: None, relief: true, bystanders: false, ring_bytes: RING_BYTES, diagnostics: None }
    }
}

/// The attached programs. Dropping it detaches everything.
pub struct Sensor {
    /// What was tried and what came of it.
    pub trial: Trial,
    /// The tier in use.
    pub tier: Tier,
    /// Instructions to the kernel programs.
    pub orders: Orders,
    /// Where records come in.
    pub ring: Ring,
    /// Sequences seen so far, the canary's included.
    pub sequences: SequenceTracker,
    /// What the kernel programs say of themselves, when they were asked to.
    pub diagnostics: Option<Reader>,
    /// Holds programs and links.
    ebpf: Ebpf,
}

impl Sensor {
    /// The loaded object, for health.
    #[must_use]
    pub fn ebpf(&self) -> &Ebpf {
        &self.ebpf
    }
}

/// Starts the sensor with the strongest tier that works, or the one that is asked for.
///
/// # Errors
/// See [`SensorError`].
pub fn start(options: &Options) -> Result<Sensor, SensorError> {
    let (sensor, trial) = attempt(options)?;
    sensor.ok_or_else(|| SensorError::NoTier {
        forced: options
            .tier
            .map(|tier| format!(" (only the tier {} was tried)", tier.name()))
            .unwrap_or_default(),
        reasons: reasons(&trial),
    })
}

/// Tries everything once and takes it away again, for `doctor`.
///
/// # Errors
/// When nothing can be tried at all.
pub fn trial() -> Result<Trial, SensorError> {
    attempt(&Options::default()).map(|(sensor, trial)| sensor.map_or(trial, |sensor| sensor.trial))
}

fn attempt(options: &Options) -> Result<(Option<Sensor>, Trial), SensorError> {
    check_abi()?;
    raise_memory_lock();
    let offsets = Offsets::of_this_kernel()?;
    let btf = Btf::from_sys_fs().map_err(|error| SensorError::BadBtf(error.to_string()))?;
    let mut trial = Trial::default();
    for tier in Tier::ALL {
        if options.tier.is_some_and(|asked| asked != tier) {
            continue;
        }
        if let Some(why) = impossible(tier) {
            refuse_core(&mut trial, tier, &why);
            continue;
        }
        let mut ebpf = load_object(&offsets, &btf, tier, options)?;
        let (attached, rows) = attach_tier(&mut ebpf, tier, &btf);
        trial.programs.extend(rows);
        if !attached {
            continue;
        }
        let diagnostics = options.diagnostics.map(|_| Reader::new(&mut ebpf)).transpose()?;
        let mut orders = Orders::new(&mut ebpf)?;
        let mut ring = Ring::new(&mut ebpf)?;
        let mut sequences = SequenceTracker::default();
        if let Err(silent) = canary::fires(tier, &mut orders, &mut ring, &mut sequences) {
            refuse_core(&mut trial, tier, &silent);
            continue;
        }
        trial.tier = Some(tier);
        let sensor = Sensor { trial: trial.clone(), tier, orders, ring, sequences, diagnostics, ebpf };
        return Ok((Some(sensor), trial));
    }
    Ok((None, trial))
}

/// What is known to be in vain without trying.
fn impossible(tier: Tier) -> Option<String> {
    if tier == Tier::Tracepoint && !cfg!(target_arch = "x86_64") {
        return Some("its table of system calls is that of x86-64".to_owned());
    }
    if tier != Tier::Lsm {
        return None;
    }
    // Without securityfs nothing is known, and the canary decides.
    let active = std::fs::read_to_string("/sys/kernel/security/lsm").ok()?;
    if active.trim().split(',').any(|name| name == "bpf") {
        return None;
    }
    Some(format!(
        "`bpf` is not among the active security modules ({}): its programs would attach and never fire",
        active.trim()
    ))
}

/// Marks the tier's core programs refused for a reason that concerns them all.
fn refuse_core(trial: &mut Trial, tier: Tier, why: &str) {
    for program in PROGRAMS.iter().filter(|program| program.tiers == [tier] && program.core) {
        trial.programs.retain(|row| row.name != program.name || row.tier != tier);
        trial.programs.push(ProgramTrial {
            name: program.name,
            observation: program.observation,
            tier,
            state: ProgramState::Refused(why.to_owned()),
        });
    }
}

fn reasons(trial: &Trial) -> String {
    let mut lines: Vec<String> = Vec::new();
    for row in &trial.programs {
        if let ProgramState::Refused(why) = &row.state {
            let line = format!("  {}: {} ({why})", row.tier.name(), row.name);
            // One reason a tier is enough for a message; doctor shows all.
            if !lines.iter().any(|known| known.starts_with(&format!("  {}:", row.tier.name()))) {
                lines.push(line);
            }
        }
    }
    lines.join("\n")
}

fn check_abi() -> Result<(), SensorError> {
    let unreadable =
        |what: &str| SensorError::Load { reason: format!("the embedded object has no readable {what}") };
    let file = object::File::parse(OBJECT).map_err(|_| unreadable("ELF header"))?;
    let symbol = file
        .symbols()
        .find(|symbol| symbol.name() == Ok(ABI_DIGEST_SYMBOL))
        .ok_or_else(|| unreadable("ABI digest"))?;
    let section = symbol.section_index().and_then(|index| file.section_by_index(index).ok());
    let bytes = section
        .and_then(|section| section.data_range(section.address() + symbol.address(), 8).ok().flatten())
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| unreadable("ABI digest"))?;
    let found = u64::from_le_bytes(bytes);
    if found == ABI_DIGEST { Ok(()) } else { Err(SensorError::Abi { found, expected: ABI_DIGEST }) }
}

/// Kernels before 5.11 charge maps to the locked memory of the process.
fn raise_memory_lock() {
    let limit = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: setrlimit reads a valid rlimit. Failure is harmless on newer kernels, and loading tells on older ones.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const limit) };
}

fn load_object(offsets: &Offsets, btf: &Btf, tier: Tier, options: &Options) -> Result<Ebpf, SensorError> {
    let relief = u32::from(options.relief);
    let bystanders = u32::from(options.bystanders);
    let tier = tier as u32;
    let level = options.diagnostics.map_or(0, |level| level as u8);
    let log_bytes = if level == 0 { diagnostics::SILENT_BYTES } else { diagnostics::BYTES };
    let mut loader = EbpfLoader::new();
    loader.btf(Some(btf));
    for (symbol, offset) in &offsets.fields {
        loader.override_global(symbol, offset, true);
    }
    loader
        .override_global(symbol::RELIEF_ENABLED, &relief, true)
        .override_global(symbol::BYSTANDERS_ENABLED, &bystanders, true)
        .override_global(symbol::RING_CAPACITY, &options.ring_bytes, true)
        .override_global(symbol::TIER, &tier, true)
        .override_global(symbol::IO_URING_SHAPE, &offsets.io_uring_shape, true)
        .override_global(symbol::CGROUP_V1_SUBSYSTEM, &offsets.cgroup_v1_subsystem, true)
        .override_global(diagnostics::LEVEL_SYMBOL, &level, true)
        .map_max_entries(diagnostics::MAP, log_bytes)
        .map_max_entries("RING", options.ring_bytes)
        .map_max_entries("LABEL_HINTS", hints::elements())
        .map_max_entries("LINEAGE", processes_max());
    loader.load(OBJECT).map_err(|error| {
        let reason = with_causes(&error);
        if reason.contains("Operation not permitted") || reason.contains("os error 1)") {
            SensorError::NotPermitted { reason }
        } else {
            SensorError::Load { reason }
        }
    })
}

/// As many processes as the host can have at once: the smaller of the two limits.
fn processes_max() -> u32 {
    let read =
        |path: &str| std::fs::read_to_string(path).ok().and_then(|text| text.trim().parse::<u32>().ok());
    let pids = read("/proc/sys/kernel/pid_max").unwrap_or(32 * 1024);
    let threads = read("/proc/sys/kernel/threads-max").unwrap_or(pids);
    pids.min(threads).max(1024)
}

/// Loads and attaches the tier's programs in the order of the table. `false` when a core program failed; then the
/// rest is not tried.
fn attach_tier(ebpf: &mut Ebpf, tier: Tier, btf: &Btf) -> (bool, Vec<ProgramTrial>) {
    let cgroup = unified_cgroup();
    let preempts = preempts_raw_tracepoints();
    let mut rows = Vec::new();
    let mut usable = true;
    let mut replaced = Vec::new();
    for (index, program) in (0_u32..).zip(PROGRAMS).filter(|(_, program)| program.tiers.contains(&tier)) {
        if program.stands_in_for.is_some() && !preempts {
            continue;
        }
        let state = if usable && !replaced.contains(&index) {
            match attach(ebpf, program, btf, cgroup.as_deref()) {
                Ok(()) => {
                    replaced.extend(program.stands_in_for);
                    ProgramState::Attached
                }
                Err(why) => {
                    usable &= !program.core;
                    ProgramState::Refused(why)
                }
            }
        } else {
            ProgramState::NotTried
        };
        rows.push(ProgramTrial { name: program.name, observation: program.observation, tier, state });
    }
    (usable, rows)
}

/// True where the program of a raw tracepoint can be pre-empted in its run: since 7.0 tracepoints are guarded by SRCU
/// and not by disabled preemption (include/linux/tracepoint.h).
fn preempts_raw_tracepoints() -> bool {
    const SINCE: u32 = 7;
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    release.split('.').next().and_then(|major| major.parse::<u32>().ok()).is_some_and(|major| major >= SINCE)
}

fn attach(ebpf: &mut Ebpf, program: &Program, btf: &Btf, cgroup: Option<&Path>) -> Result<(), String> {
    let loaded = ebpf.program_mut(program.name).ok_or_else(|| "it is not in the object".to_owned())?;
    match program.attach {
        Attach::Lsm(hook) => {
            let lsm: &mut Lsm = convert(loaded)?;
            lsm.load(hook, btf).map_err(|error| with_causes(&error))?;
            lsm.attach().map_err(|error| with_causes(&error))?;
        }
        Attach::Kprobe(function) => {
            let probe: &mut KProbe = convert(loaded)?;
            probe.load().map_err(|error| with_causes(&error))?;
            probe.attach(function, 0).map_err(|error| with_causes(&error))?;
        }
        Attach::RawTracepoint(name) => {
            let tracepoint: &mut RawTracePoint = convert(loaded)?;
            tracepoint.load().map_err(|error| with_causes(&error))?;
            tracepoint.attach(name).map_err(|error| with_causes(&error))?;
        }
        // Links are added to whatever is attached already and take no flags (kernel/bpf/cgroup.c,
        // cgroup_bpf_link_attach), which is what the library calls `Single`.
        Attach::CgroupSockAddr => {
            let root = open_cgroup(cgroup)?;
            let hook: &mut CgroupSockAddr = convert(loaded)?;
            hook.load().map_err(|error| with_causes(&error))?;
            hook.attach(&root, CgroupAttachMode::Single).map_err(|error| with_causes(&error))?;
        }
        Attach::CgroupSkbIngress => {
            let root = open_cgroup(cgroup)?;
            let hook: &mut CgroupSkb = convert(loaded)?;
            hook.load().map_err(|error| with_causes(&error))?;
            hook.attach(&root, CgroupSkbAttachType::Ingress, CgroupAttachMode::Single)
                .map_err(|error| with_causes(&error))?;
        }
    }
    Ok(())
}

fn convert<'a, T>(program: &'a mut AyaProgram) -> Result<&'a mut T, String>
where
    &'a mut T: TryFrom<&'a mut AyaProgram, Error = aya::programs::ProgramError>,
{
    program.try_into().map_err(|error: aya::programs::ProgramError| with_causes(&error))
}

fn open_cgroup(cgroup: Option<&Path>) -> Result<File, String> {
    let path = cgroup.ok_or_else(|| {
        "no cgroup v2 hierarchy is mounted (mount -t cgroup2 none /sys/fs/cgroup/unified)".to_owned()
    })?;
    File::open(path).map_err(|error| format!("{}: {error}", path.display()))
}

/// Where cgroup v2 is mounted, as this process sees it.
fn unified_cgroup() -> Option<PathBuf> {
    let mounts = procfs::process::Process::myself().ok()?.mountinfo().ok()?;
    mounts
        .into_iter()
        .find(|mount| mount.fs_type == "cgroup2" && mount.root == "/")
        .map(|mount| mount.mount_point)
}

/// An error with its causes; the verifier's log is cut to its end, where it says what it refused.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let wanted = std::env::var_os("MCP_MONITOR_VERIFIER_LOG").is_some();
    if wanted || text.len() <= 600 {
        return text;
    }
    let head: String = text.chars().take(200).collect();
    let count = text.chars().count();
    let tail: String = text.chars().skip(count.saturating_sub(380)).collect();
    format!("{head} … {tail}")
}
