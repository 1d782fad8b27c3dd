//! Changes that make code run later, or change the system.

use super::{super::*, play::*};
use crate::event::FileObject;

#[test]
fn persistence_write() {
    let mut play = Play::plain();
    for path in [
        "/home/u/.bashrc",
        "/etc/cron.d/x",
        "/home/u/.config/systemd/user/a.service",
        "/home/u/.ssh/authorized_keys",
    ] {
        assert_eq!(play.rule(&server(), write(path)), Some(Rule::PersistenceWrite), "{path}");
        assert_eq!(play.rule(&server(), read(path)), None, "{path}");
    }
    let renamed = FileObject { identity: None, ..moved("/home/u/x", "/home/u/.profile") };
    assert_eq!(play.rule(&server(), Action::Rename(renamed)), Some(Rule::PersistenceWrite));
    assert_eq!(
        play.rule(&server(), Action::Symlink(file("/home/u/.config/autostart/x.desktop"))),
        Some(Rule::PersistenceWrite)
    );
    assert_eq!(play.rule(&server(), write("/home/u/work/.bashrc.txt")), None);
    assert_eq!(play.tried(&server(), write("/etc/cron.d/x"), Outcome::Failed(libc::EACCES)).rule, None);
}

#[test]
fn unexpected_write() {
    let mut play = Play::plain();
    for path in ["/usr/bin/git", "/etc/nginx/nginx.conf", "/usr/local/bin/x", "/proc/sys/kernel/x"] {
        assert_eq!(play.rule(&server(), write(path)), Some(Rule::UnexpectedWrite), "{path}");
        assert_eq!(play.rule(&server(), read(path)), None, "{path}");
    }
    let removed = FileObject { access: crate::event::Access::default(), ..file("/usr/bin/git") };
    assert_eq!(play.rule(&server(), Action::Unlink(removed)), Some(Rule::UnexpectedWrite));
    for path in [
        "/home/u/work/usr/bin/git",
        "/usr/lib/python3/dist-packages/x/__pycache__/y.pyc",
        "/proc/100/oom_score_adj",
        "/dev/null",
        "/var/lib/app/data",
        "/tmp/etc/x",
    ] {
        assert_eq!(play.rule(&server(), write(path)), None, "{path}");
    }
    assert_eq!(play.tried(&server(), write("/usr/bin/git"), Outcome::Failed(libc::EACCES)).rule, None);
}

#[test]
fn monitor_tamper() {
    let monitor = Monitor {
        process: Some(crate::event::ProcessId(4242)),
        places: vec!["/opt/build/mcp-monitor".into()],
    };
    let config = JudgeConfig { monitor, allow_read: vec!["/etc".into()], ..JudgeConfig::default() };
    let mut play = Play::new(config);
    for kind in [crate::event::WorkloadKind::Server, crate::event::WorkloadKind::Agent] {
        play.kind = kind;
        for path in
            ["/etc/mcp-monitor/config.yaml", "/var/lib/mcp-monitor/events.db", "/opt/build/mcp-monitor"]
        {
            assert_eq!(play.rule(&server(), write(path)), Some(Rule::MonitorTamper), "{path}");
        }
        let gone = moved("/etc/mcp-monitor/config.yaml", "/tmp/x");
        assert_eq!(play.rule(&server(), Action::Rename(gone)), Some(Rule::MonitorTamper));
        assert_eq!(play.rule(&server(), read("/etc/mcp-monitor/config.yaml")), None);
        assert_eq!(play.rule(&server(), write("/home/u/work/mcp-monitor/config.yaml")), None);
    }
    // No declaration allows it.
    let declared = Declared { source: "x".into(), write: vec!["/etc".into()], ..Declared::default() };
    play.judge.describe("i", Context { declared: vec![declared], ..Context::default() }).unwrap();
    assert_eq!(play.rule(&server(), write("/etc/mcp-monitor/config.yaml")), Some(Rule::MonitorTamper));
}
