use super::*;
use std::{
    env,
    fs::File,
    io::{self, Read as _},
    net::{TcpListener, TcpStream},
    os::unix::net::UnixDatagram,
    path::Path,
    process::Command,
    thread,
};

const INSIDE: &str = "MCP_MONITOR_TEST_INSIDE_SANDBOX";

/// A sandbox cannot be left, so the test runs itself in another process, which goes in.
#[test]
fn what_the_monitor_needs_goes_on_and_nothing_else_does() {
    if let Some(directory) = env::var_os(INSIDE) {
        inside(Path::new(&directory));
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let output = Command::new(env::current_exe().unwrap())
        .args(["--exact", "service::sandbox::tests::what_the_monitor_needs_goes_on_and_nothing_else_does"])
        .args(["--nocapture", "--test-threads=1"])
        .env(INSIDE, directory.path())
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("inside: all looked at"), "{text}");
}

fn inside(directory: &Path) {
    let own = directory.join("own");
    fs::create_dir(&own).unwrap();
    // Looked at as the monitor does: a process that is not in the sandbox.
    let outside = format!("/proc/{}", std::os::unix::process::parent_id());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let report = enter(std::slice::from_ref(&own));
    println!("inside: {report:?}");

    // What goes on.
    fs::write(own.join("events.db"), "row").unwrap();
    fs::rename(own.join("events.db"), own.join("events.old")).unwrap();
    fs::remove_file(own.join("events.old")).unwrap();
    let mut text = String::new();
    File::open("/proc/self/status").unwrap().read_to_string(&mut text).unwrap();
    fs::read_link(format!("{outside}/exe")).expect("the executable of a process outside");
    fs::read_dir(format!("{outside}/fd"))
        .expect("the descriptors of a process outside")
        .next()
        .unwrap()
        .unwrap();
    fs::read_dir("/etc").unwrap().next().unwrap().unwrap();
    assert_eq!(thread::spawn(|| 7).join().unwrap(), 7);
    TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    UnixDatagram::unbound().unwrap();

    // What does not.
    assert!(report.no_new_privileges && text.contains("NoNewPrivs:\t1"), "{text}");
    assert!(text.contains("Seccomp:\t2"), "{}\n{text}", report.seccomp);
    let executed = Command::new("/bin/true").status().unwrap_err();
    assert_eq!(executed.raw_os_error(), Some(libc::EPERM), "{executed}");
    // SAFETY: the call takes numbers only.
    let packet = unsafe { libc::socket(libc::AF_PACKET, libc::SOCK_RAW, 0) };
    assert_eq!((packet, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
    // SAFETY: a null attribute of no length: the filter answers before the kernel looks.
    let load = unsafe { libc::syscall(libc::SYS_bpf, 5, std::ptr::null::<libc::c_void>(), 0) };
    assert_eq!((load, io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EPERM)));
    for gone in ["CAP_SYS_ADMIN", "CAP_PERFMON", "CAP_NET_ADMIN", "CAP_SYS_MODULE"] {
        assert!(!report.capabilities.iter().any(|one| one == gone), "{:?}", report.capabilities);
    }
    println!("inside: all looked at");
}

#[test]
fn a_report_is_one_line_that_says_what_is_left() {
    let report = Report {
        on: true,
        capabilities: vec!["CAP_KILL".into(), "CAP_SYS_PTRACE".into()],
        seccomp: "no other programs".into(),
        outside: 1,
        ..Report::default()
    };
    assert_eq!(report.line(), "CAP_KILL CAP_SYS_PTRACE; seccomp: no other programs; 1 threads are outside");
    assert_eq!(Report::default().line(), "off; no capabilities");
}
