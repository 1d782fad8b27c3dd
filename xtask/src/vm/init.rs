//! The two scripts a machine runs: `/init`, which mounts and loads, and the one that runs the command.

use super::{boot::Machine, console::VERDICT, modules::Module};
use crate::command;

/// The two scripts.
pub(super) struct Scripts {
    /// The first process of the machine.
    pub(super) init: String,
    /// What it becomes: runs the command, gives the verdict, ends the machine.
    pub(super) command: String,
}

/// The scripts of `machine`, which has `modules` in /modules.
pub(super) fn scripts(machine: &Machine, modules: &[Module], token: &str) -> Scripts {
    let top = if machine.root { "/new" } else { "" };
    let mut init = String::from(INIT_START);
    for module in modules {
        let file = module.file_name();
        // A module of this name would make an interface of its own accord, in the way of those that tests make.
        let parameters = if file == "dummy.ko" { " numdummies=0" } else { "" };
        init.push_str(&format_line(&format!(
            "insmod /modules/{file}{parameters} || echo '{file} was refused'"
        )));
    }
    if machine.root {
        init.push_str("mount -t ext4 /dev/vda /new || exec sh\n");
    }
    init.push_str(&INIT_MOUNTS.replace("TOP", top));
    if machine.share.is_some() {
        let disk = if machine.root { "vdb" } else { "vda" };
        init.push_str(&format_line(&format!("mkdir -p {top}/share; mount -t ext4 /dev/{disk} {top}/share")));
    }
    if machine.systemd {
        init.push_str(SYSTEMD);
    } else if machine.root {
        init.push_str("umount /dev; umount /proc\nexec switch_root /new /bin/sh /run/vm/command\n");
    } else {
        init.push_str("exec /run/vm/busybox sh /run/vm/command\n");
    }
    let words: Vec<String> = machine.command.iter().map(|word| command::quoted(word)).collect();
    let command =
        COMMAND.replace("COMMAND", &words.join(" ")).replace("VERDICT", &format!("{VERDICT} {token}"));
    Scripts { init, command }
}

fn format_line(line: &str) -> String {
    format!("{line}\n")
}

const INIT_START: &str = r"#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root
mkdir -p /proc /dev /new
mount -t proc proc /proc
mount -t devtmpfs devtmpfs /dev
";

/// `TOP` is where the command will have its `/`.
const INIT_MOUNTS: &str = r"mkdir -p TOP/proc TOP/sys TOP/dev TOP/tmp TOP/run TOP/root TOP/home/user
grep -q ' TOP/proc proc ' /proc/mounts || mount -t proc proc TOP/proc
grep -q ' TOP/dev devtmpfs ' /proc/mounts || mount -t devtmpfs devtmpfs TOP/dev
mkdir -p TOP/dev/pts TOP/dev/shm
mount -t devpts devpts TOP/dev/pts
mount -t tmpfs -o mode=1777 tmpfs TOP/dev/shm
mount -t sysfs sysfs TOP/sys
mount -t securityfs securityfs TOP/sys/kernel/security
mount -t tracefs tracefs TOP/sys/kernel/tracing
mount -t bpf bpf TOP/sys/fs/bpf
mount -t cgroup2 cgroup2 TOP/sys/fs/cgroup
mount -t tmpfs -o mode=1777 tmpfs TOP/tmp
mount -t tmpfs -o mode=755 tmpfs TOP/run
ln -snf /proc/self/fd TOP/dev/fd
ln -snf /proc/self/fd/0 TOP/dev/stdin
ln -snf /proc/self/fd/1 TOP/dev/stdout
ln -snf /proc/self/fd/2 TOP/dev/stderr
chmod 755 TOP/
chown 1000:1000 TOP/home/user
mkdir -p TOP/run/vm/bin
cp /bin/busybox /command TOP/run/vm/
cp /programs/* TOP/run/vm/bin/ 2>/dev/null
rm -f /programs/*
ip link set lo up
hostname vm
";

/// The command as a service that ends the machine, so that systemd is the first process.
const SYSTEMD: &str = r"mkdir -p /new/run/systemd/system/multi-user.target.wants
cat > /new/run/systemd/system/vm-command.service <<END
[Unit]
Description=The command of this machine
After=systemd-journald.service
[Service]
Type=oneshot
ExecStart=/bin/sh /run/vm/command
TimeoutStartSec=infinity
StandardInput=null
StandardOutput=tty
StandardError=tty
TTYPath=/dev/console
END
ln -s ../vm-command.service /new/run/systemd/system/multi-user.target.wants/vm-command.service
umount /dev; umount /proc
exec switch_root /new /lib/systemd/systemd
";

const COMMAND: &str = r#"export PATH=/run/vm/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 TERM=dumb NO_COLOR=1
cd /root
COMMAND </dev/null
status=$?
echo
echo "VERDICT status=$status"
# The line is still on its way through the serial port.
/run/vm/busybox sleep 0.5
/run/vm/busybox reboot -f
"#;
