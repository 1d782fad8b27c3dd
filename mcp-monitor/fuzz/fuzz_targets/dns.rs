//! DNS answers: any message is survived, and what comes out of it is bounded and holds no raw name.
#![no_main]

use std::net::{IpAddr, Ipv4Addr};

use libfuzzer_sys::fuzz_target;
use mcp_monitor::host::dns;

fuzz_target!(|message: &[u8]| {
    let server = (IpAddr::V4(Ipv4Addr::LOCALHOST), 53);
    if let Some(answer) = dns::parse(server, message) {
        assert!(answer.addresses.len() <= 64, "more addresses than are kept: {}", answer.addresses.len());
        assert_eq!(answer.server, server);
        assert!(!answer.question.escaped().contains(|character: char| character.is_control()));
    }
});
