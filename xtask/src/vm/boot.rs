//! Puts a machine together and starts it.

use std::{
    fs,
    path::PathBuf,
    process::{self, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime},
};

use anyhow::{Context, Result};

use super::{
    console::{self, Report},
    init, initramfs, modules, root,
};
use crate::{kernels::Kernel, places, qemu::Qemu};

/// What is booted, and what is done in it.
pub(crate) struct Machine {
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// More for the kernel's command line.
    pub(crate) append: String,
    /// Whether it goes on in a Debian root.
    pub(crate) root: bool,
    /// Whether systemd runs that root; the command is a service of it, then.
    pub(crate) systemd: bool,
    /// Static programs in its PATH.
    pub(crate) programs: Vec<PathBuf>,
    /// A folder it has a copy of, as /share.
    pub(crate) share: Option<PathBuf>,
    /// Kernel modules it loads first.
    pub(crate) modules: Vec<String>,
    /// Its memory in MiB.
    pub(crate) memory: u32,
    /// When it is killed.
    pub(crate) deadline: Duration,
    /// The command it runs, and its arguments.
    pub(crate) command: Vec<String>,
}

impl Machine {
    /// A machine of usual size that runs `command` on `kernel`.
    pub(crate) fn new(kernel: Kernel, command: &[String]) -> Self {
        Self {
            kernel,
            append: String::new(),
            root: false,
            systemd: false,
            programs: Vec::new(),
            share: None,
            // Interfaces that tests make destinations on other than loopback with, and what containers stand on.
            modules: ["dummy", "veth", "overlay"].map(str::to_owned).to_vec(),
            memory: 1024,
            deadline: Duration::from_mins(10),
            command: command.to_vec(),
        }
    }
}

/// Boots `machine`, shows its console on stderr as it comes, and returns how it ended.
pub(crate) fn boot(machine: &Machine) -> Result<Report> {
    let qemu = Qemu::find()?;
    let work = Workplace::make()?;
    let token = token();

    let mut wanted = machine.modules.clone();
    if machine.root || machine.share.is_some() {
        wanted.extend(["virtio_pci", "virtio_blk", "ext4"].map(str::to_owned));
    }
    let modules = modules::with_needs(&machine.kernel.modules, &wanted)
        .with_context(|| format!("kernel {}", machine.kernel))?;
    let archive = initramfs::make(machine, &modules, &init::scripts(machine, &modules, &token))?;
    let initrd = work.0.join("initramfs");
    fs::write(&initrd, archive).with_context(|| format!("cannot write {}", initrd.display()))?;

    let mut command = qemu.command();
    command.args(["-cpu", "max", "-smp", "2", "-m", &machine.memory.to_string(), "-nic", "none"]);
    command.args(["-display", "none", "-monitor", "none", "-serial", "stdio", "-no-reboot"]);
    command.arg("-kernel").arg(&machine.kernel.image).arg("-initrd").arg(&initrd);
    // Errors of the kernel are shown (4), its chatter is not: it would get between the lines of the command.
    // On a busy host an emulated timer is late, which a kernel that checks it takes for a broken one and panics.
    let mut line =
        "console=ttyS0 loglevel=4 panic=-1 no_timer_check lsm=landlock,lockdown,yama,bpf".to_owned();
    if machine.systemd {
        line.push_str(" systemd.show_status=false systemd.getty_auto=false systemd.firstboot=off");
    }
    if !machine.append.is_empty() {
        line = format!("{line} {}", machine.append);
    }
    command.args(["-append", &line]);
    let mut disks = Vec::new();
    if machine.root {
        disks.push(root::debian()?);
    }
    if let Some(folder) = &machine.share {
        let image = work.0.join("share.ext4");
        root::image(folder, &image, 64)?;
        disks.push(image);
    }
    for disk in disks {
        // A comma would end the file's name.
        let file = disk.display().to_string().replace(',', ",,");
        command.args(["-drive", &format!("file={file},if=virtio,format=raw,snapshot=on")]);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    console::watch(&mut command, &machine.kernel.name, &token, machine.deadline)
}

/// A folder for one boot, removed at its end.
struct Workplace(PathBuf);

impl Workplace {
    fn make() -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = places::cache()?.join("boots").join(format!("{}-{number}", process::id()));
        places::make_empty(&folder)?;
        Ok(Self(folder))
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A word that the command's own output will not contain by accident.
fn token() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("{:x}{:x}", now.as_nanos(), process::id())
}
