//! DNS answers as a process received them: the name it asked for and the addresses that are its own, along the
//! chain of aliases. Payload from the network: anything may stand there. Names are masked here.

use std::{
    collections::HashSet,
    hash::{BuildHasher as _, RandomState},
    net::{IpAddr, Ipv6Addr},
    sync::LazyLock,
};

use hickory_proto::{
    op::{Header, MessageType, Query},
    rr::{Name, RData, Record},
    serialize::binary::{BinDecodable as _, BinDecoder},
};

use crate::{event::DnsObject, sensor::mask};

/// Records of one answer that are looked at.
const RECORDS_MAX: u16 = 128;
/// Addresses of one answer that are kept.
const ADDRESSES_MAX: usize = 64;

/// The answer in `message`; `None` when it is no answer to exactly one question. A message that was cut gives what
/// stands before the cut.
#[must_use]
pub fn parse(server: (IpAddr, u16), message: &[u8]) -> Option<DnsObject> {
    let mut decoder = BinDecoder::new(message);
    let header = Header::read(&mut decoder).ok()?;
    if header.metadata.message_type != MessageType::Response || header.counts.queries != 1 {
        return None;
    }
    let question = Query::read(&mut decoder).ok()?.name().to_lowercase();
    let mut aliases = Vec::new();
    let mut addresses = Vec::new();
    for _ in 0..header.counts.answers.min(RECORDS_MAX) {
        let Ok(record) = Record::read(&mut decoder) else { break };
        let owner = record.name.to_lowercase();
        match record.data {
            RData::CNAME(alias) => aliases.push((owner, alias.0.to_lowercase())),
            RData::A(address) => addresses.push((owner, IpAddr::V4(address.0), record.ttl)),
            RData::AAAA(address) => addresses.push((owner, fold(address.0), record.ttl)),
            _ => {}
        }
    }
    let names = follow(&question, &aliases);
    let addresses = addresses
        .into_iter()
        .filter(|(owner, _, _)| names.contains(owner))
        .map(|(_, address, ttl)| (address, ttl))
        .take(ADDRESSES_MAX)
        .collect();
    Some(DnsObject {
        server,
        question: mask::domain_name(question.to_ascii().as_bytes()),
        addresses,
        response_code: header.metadata.response_code.into(),
        digest: digest(&question),
    })
}

/// Of the name as it was asked for. Keyed, so that nobody finds the name by trying.
fn digest(question: &Name) -> u64 {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    KEY.hash_one(question.to_ascii())
}

/// The question and every alias that it leads to, in whatever order they stand.
fn follow(question: &Name, aliases: &[(Name, Name)]) -> HashSet<Name> {
    let mut names = HashSet::from([question.clone()]);
    for _ in 0..aliases.len() {
        let before = names.len();
        let next: Vec<Name> = aliases
            .iter()
            .filter(|(owner, _)| names.contains(owner))
            .map(|(_, alias)| alias.clone())
            .collect();
        names.extend(next);
        if names.len() == before {
            break;
        }
    }
    names
}

fn fold(address: Ipv6Addr) -> IpAddr {
    IpAddr::V6(address).to_canonical()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SERVER: (IpAddr, u16) = (IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 0, 53)), 53);

    fn name(text: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for label in text.split('.').filter(|label| !label.is_empty()) {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend_from_slice(label.as_bytes());
        }
        bytes.push(0);
        bytes
    }

    fn record(owner: &str, kind: u16, ttl: u32, data: &[u8]) -> Vec<u8> {
        let mut bytes = name(owner);
        bytes.extend_from_slice(&kind.to_be_bytes());
        bytes.extend_from_slice(&[0, 1]);
        bytes.extend_from_slice(&ttl.to_be_bytes());
        bytes.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
        bytes.extend_from_slice(data);
        bytes
    }

    fn answer(question: &str, records: &[Vec<u8>]) -> Vec<u8> {
        let count = u8::try_from(records.len()).unwrap();
        let mut bytes = vec![0, 7, 0x81, 0x80, 0, 1, 0, count, 0, 0, 0, 0];
        bytes.extend_from_slice(&name(question));
        bytes.extend_from_slice(&[0, 1, 0, 1]);
        bytes.extend(records.concat());
        bytes
    }

    #[test]
    fn aliases_lead_to_addresses() {
        let message = answer(
            "API.Example.com",
            &[
                record("edge.cdn.net", 1, 30, &[1, 2, 3, 4]),
                record("api.example.com", 5, 60, &name("alias.example.com")),
                record("alias.example.com", 5, 60, &name("edge.cdn.net")),
                record("unrelated.example", 1, 60, &[6, 6, 6, 6]),
                record("edge.cdn.net", 28, 31, &"2001:db8::1".parse::<Ipv6Addr>().unwrap().octets()),
            ],
        );
        let dns = parse(SERVER, &message).unwrap();
        assert_eq!(dns.question, "api.example.com".into());
        assert_eq!(dns.addresses, [("1.2.3.4".parse().unwrap(), 30), ("2001:db8::1".parse().unwrap(), 31)]);
        assert_eq!(dns.response_code, 0);
    }

    #[test]
    fn a_cut_answer_gives_what_stands_before_the_cut() {
        let records = [record("a.b", 1, 1, &[1, 1, 1, 1]), record("a.b", 1, 1, &[2, 2, 2, 2])];
        let message = answer("a.b", &records);
        let dns = parse(SERVER, &message[..message.len() - 3]).unwrap();
        assert_eq!(dns.addresses.len(), 1);
    }

    #[test]
    fn loops_questions_and_data_in_labels() {
        let looped = answer("a.b", &[record("a.b", 5, 1, &name("c.d")), record("c.d", 5, 1, &name("a.b"))]);
        assert_eq!(parse(SERVER, &looped).unwrap().addresses, []);
        let mut query = answer("a.b", &[]);
        query[2] = 1;
        assert_eq!(parse(SERVER, &query), None);
        let secret = "mfrggzdfmztwq2lknnwg23tpobyxe43u";
        let dns = parse(SERVER, &answer(&format!("{secret}.evil.example"), &[])).unwrap();
        assert_eq!(dns.question, "[masked].evil.example".into());
    }

    #[test]
    fn every_truncation_and_every_changed_byte_is_survived() {
        let message = answer("a.b", &[record("a.b", 5, 1, &name("c.d")), record("c.d", 1, 1, &[1, 1, 1, 1])]);
        for at in 0..message.len() {
            let _ = parse(SERVER, &message[..at]);
            for value in [0, 0x3f, 0x40, 0xc0, 0xff] {
                let mut changed = message.clone();
                changed[at] = value;
                let _ = parse(SERVER, &changed);
            }
        }
    }

    proptest! {
        #[test]
        fn any_payload_is_survived(message in prop::collection::vec(any::<u8>(), 0..600)) {
            let _ = parse(SERVER, &message);
        }

        #[test]
        fn any_answer_section_is_survived(rest in prop::collection::vec(any::<u8>(), 0..300), count in 0u8..9) {
            let mut message = answer("a.b", &[]);
            message[7] = count;
            message.extend_from_slice(&rest);
            let _ = parse(SERVER, &message);
        }
    }
}
