//! Destinations, loopback, listeners.

use super::{super::*, play::*};
use crate::event::{Bytes, Endpoint, NameConfidence, Transport};

#[test]
fn unknown_egress() {
    let allow = |texts: &[&str]| JudgeConfig {
        allow_egress: texts.iter().map(|text| text.parse().unwrap()).collect(),
        resolvers: vec!["127.0.0.53".parse().unwrap()],
        ..JudgeConfig::default()
    };
    let mut play = Play::new(allow(&["api.example.com:443", "10.0.0.0/8"]));
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), Some(Rule::UnknownEgress));
    play.done(&server(), answer("127.0.0.53", "api.example.com", "192.0.2.1"));
    let named = play.done(&server(), connect("192.0.2.1", 443));
    assert_eq!((named.rule, named.verdict), (None, Verdict::Expected));
    assert_eq!(named.action.network().unwrap().name, Some(Bytes::from("api.example.com")));
    assert_eq!(named.action.network().unwrap().name_confidence, NameConfidence::WorkloadDns);
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 80)), Some(Rule::UnknownEgress));
    assert_eq!(play.rule(&server(), connect("10.1.2.3", 9)), None);
    assert_eq!(play.rule(&server(), connect("::ffff:10.1.2.3", 9)), None);
    assert_eq!(play.rule(&server(), connect("127.0.0.53", 53)), None);
    // A name that shares the address and is not declared spoils it.
    play.done(&server(), answer("127.0.0.53", "evil.example", "192.0.2.1"));
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), Some(Rule::UnknownEgress));
    // An answer of somebody else is not believed.
    play.done(&server(), answer("203.0.113.1", "api.example.com", "192.0.2.9"));
    assert_eq!(play.rule(&server(), connect("192.0.2.9", 443)), Some(Rule::UnknownEgress));
    // A datagram, a raw packet, a fast open are no way round; asking for the way sends nothing.
    let to = |port| Endpoint::Internet("192.0.2.50".parse().unwrap(), port);
    assert_eq!(
        play.rule(&server(), Action::Send(network(to(99), Transport::Udp))),
        Some(Rule::UnknownEgress)
    );
    assert_eq!(
        play.rule(&server(), Action::Send(network(to(0), Transport::Raw(1)))),
        Some(Rule::UnknownEgress)
    );
    assert_eq!(play.rule(&server(), Action::Connect(network(to(0), Transport::Udp))), None);
    let packet = network(Endpoint::Unnamed, Transport::Other(17, 0));
    assert_eq!(play.rule(&server(), Action::Send(packet)), Some(Rule::UnknownEgress));
    assert_eq!(play.rule(&server(), Action::Send(network(Endpoint::Unnamed, Transport::Other(16, 0)))), None);
}

#[test]
fn a_connection_that_ends_after_its_process_keeps_its_name() {
    let mut play = Play::plain();
    let npx = process(10, "/usr/bin/node", Some(NPX));
    play.done(&npx, answer("127.0.0.53", "registry.npmjs.org", "192.0.2.7"));
    assert_eq!(play.done(&npx, connect("192.0.2.7", 443)).verdict, Verdict::Expected);
    play.done(&npx, Action::Exit(0));
    let close =
        || Action::Close(network(Endpoint::Internet("192.0.2.7".parse().unwrap(), 443), Transport::Tcp));
    assert_eq!(play.done(&npx, close()).verdict, Verdict::Expected);
    assert_eq!(play.done(&npx, close()).verdict, Verdict::Expected, "it is not remembered again");
}

#[test]
fn registries_while_launching_only() {
    let mut play = Play::plain();
    let npx = process(10, "/usr/bin/node", Some(NPX));
    for pid in [npx.clone(), server()] {
        play.done(&pid, answer("127.0.0.53", "registry.npmjs.org", "192.0.2.7"));
    }
    assert_eq!(play.done(&npx, connect("192.0.2.7", 443)).decision.source, "profile:launch/npm");
    assert_eq!(play.rule(&server(), connect("192.0.2.7", 443)), Some(Rule::UnknownEgress));
}

#[test]
fn agents_may_talk_to_named_hosts() {
    let mut play = Play::agent();
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), Some(Rule::UnknownEgress));
    play.done(&server(), answer("127.0.0.53", "docs.example", "192.0.2.1"));
    assert_eq!(play.rule(&server(), connect("192.0.2.1", 443)), None);
    assert_eq!(play.rule(&server(), connect("169.254.169.254", 80)), Some(Rule::MetadataEgress));
}

#[test]
fn loopback_needs_a_listener_of_the_workload() {
    let mut play = Play::plain();
    let event = play.done(&server(), connect("127.0.0.1", 3128));
    assert_eq!(event.rule, Some(Rule::UnknownEgress));
    assert!(event.decision.reason.contains("loopback listener outside the workload"));
    play.done(&server(), listen("127.0.0.1", 3128));
    for address in ["127.0.0.1", "::1", "0.0.0.0", "::ffff:127.0.0.1"] {
        assert_eq!(play.rule(&server(), connect(address, 3128)), None, "{address}");
    }
    play.done(&server(), Action::Exit(0));
    assert_eq!(
        play.rule(&server(), connect("127.0.0.1", 3128)),
        Some(Rule::UnknownEgress),
        "the listener ended"
    );
    let refused = play.tried(&server(), connect("127.0.0.1", 9), Outcome::Failed(libc::ECONNREFUSED));
    assert_eq!(refused.rule, None);
}

#[test]
fn metadata_egress() {
    let mut play = Play::plain();
    for address in ["169.254.169.254", "fd00:ec2::254", "::ffff:169.254.169.254", "168.63.129.16"] {
        assert_eq!(play.rule(&server(), connect(address, 80)), Some(Rule::MetadataEgress), "{address}");
    }
    let failed = play.tried(&server(), connect("169.254.169.254", 80), Outcome::Failed(libc::EHOSTUNREACH));
    assert_eq!(failed.rule, Some(Rule::MetadataEgress));
    // Only the address itself allows it; some clouds resolve names there.
    let mut play = Play::new(JudgeConfig {
        allow_egress: vec!["169.254.0.0/16".parse().unwrap()],
        resolvers: vec!["169.254.169.254".parse().unwrap()],
        ..JudgeConfig::default()
    });
    assert_eq!(play.rule(&server(), connect("169.254.169.254", 80)), Some(Rule::MetadataEgress));
    assert_eq!(play.rule(&server(), connect("169.254.169.254", 53)), None);
    let allow_egress = vec!["169.254.169.254".parse().unwrap()];
    let mut play = Play::new(JudgeConfig { allow_egress, ..JudgeConfig::default() });
    assert_eq!(play.rule(&server(), connect("169.254.169.254", 80)), None);
}

#[test]
fn exposed_listener() {
    let mut play = Play::plain();
    for address in ["0.0.0.0", "::", "192.0.2.1"] {
        assert_eq!(play.rule(&server(), listen(address, 80)), Some(Rule::ExposedListener), "{address}");
    }
    for address in ["127.0.0.1", "::1", "::ffff:127.0.0.2"] {
        assert_eq!(play.rule(&server(), listen(address, 80)), None, "{address}");
    }
}

#[test]
fn a_loopback_listener_is_named() {
    let mut play = Play::plain();
    let foreign = ForeignListener {
        net_namespace: 5,
        port: 5432,
        process: crate::event::ProcessId(812),
        executable: Bytes::from("/usr/lib/postgresql/16/bin/postgres"),
    };
    play.judge.take_listeners(vec![foreign.clone()]);
    let event = play.done(&server(), connect("127.0.0.1", 5432));
    assert_eq!(event.rule, Some(Rule::UnknownEgress));
    assert!(
        event.decision.reason.contains("/usr/lib/postgresql/16/bin/postgres (pid 812)"),
        "{}",
        event.decision.reason
    );
    // In another net namespace that port is somebody else's.
    play.judge.take_listeners(vec![ForeignListener { net_namespace: 6, ..foreign }]);
    assert!(!play.done(&server(), connect("127.0.0.1", 5432)).decision.reason.contains("812"));
}

#[test]
fn the_hosts_file_names_addresses_as_it_stands_now() {
    let config = JudgeConfig { allow_egress: vec!["db.internal".parse().unwrap()], ..JudgeConfig::default() };
    let mut play = Play::new(config);
    assert_eq!(play.rule(&server(), connect("10.0.0.7", 5432)), Some(Rule::UnknownEgress));
    play.judge.take_hosts("10.0.0.7 db.internal\n");
    assert_eq!(play.rule(&server(), connect("10.0.0.7", 5432)), None);
}
