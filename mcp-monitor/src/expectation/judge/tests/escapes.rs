//! Services that do work for others.

use super::{super::*, play::*};
use crate::event::{BootNs, Bytes, Endpoint, Process, ProcessId, ProcessKey, Transport};

#[test]
fn lineage_escape() {
    let mut play = Play::plain();
    for path in ["/run/docker.sock", "/var/run/docker.sock", "/run/user/1000/bus", "/tmp/ssh-X/agent.1"] {
        assert_eq!(play.rule(&server(), socket(path)), Some(Rule::LineageEscape), "{path}");
    }
    let given = network(Endpoint::UnixGiven(Bytes::from("../../../run/docker.sock")), Transport::UnixStream);
    assert_eq!(play.rule(&server(), Action::Connect(given)), Some(Rule::LineageEscape));
    assert_eq!(play.tried(&server(), socket("/run/docker.sock"), Outcome::Failed(libc::ENOENT)).rule, None);
    assert_eq!(play.rule(&server(), socket("/run/systemd/journal/socket")), None);
    assert_eq!(
        play.rule(&server(), Action::Connect(network(Endpoint::Unnamed, Transport::UnixStream))),
        None
    );
    // Who listens is not known: told, not found.
    let unknown = play.done(&server(), socket("/tmp/x.sock"));
    assert_eq!((unknown.rule, unknown.verdict), (None, Verdict::Unexpected));
    let own = network(Endpoint::UnixPath(at("/tmp/x.sock"), None), Transport::UnixStream);
    play.done(&server(), Action::Listen(own));
    assert_eq!(play.done(&server(), socket("/tmp/x.sock")).verdict, Verdict::Expected);
    // The docker client that is the launcher, and one that a server starts.
    let docker = process(300, "/usr/bin/docker", None);
    assert_eq!(play.done(&docker, socket("/run/docker.sock")).decision.source, "profile:launch/docker");
    let key = ProcessKey { pid: ProcessId(301), start: BootNs(301), exec_id: 1 };
    play.done(&server(), Action::Fork(key));
    let below = Process { key: ProcessKey { exec_id: 2, ..key }, ..docker };
    assert_eq!(play.rule(&below, socket("/run/docker.sock")), Some(Rule::LineageEscape));
}
