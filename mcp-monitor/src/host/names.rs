//! What an address is called: by what the workload itself resolved, then by the host's hosts file.
//!
//! Only answers from resolvers that the host trusts are believed, since a process can send itself any answer. The
//! monitor resolves nothing. Bounded per instance and in all; an address that several names resolved to says so.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use super::sockets::Hosts;
use crate::event::{BootNs, Bytes, DnsObject, NameConfidence};

/// How long a name outlives its time to live: connections are kept and addresses cached beyond it.
const GRACE_NS: u64 = 10 * 60 * 1_000_000_000;
/// Instances whose names are kept.
const INSTANCES_MAX: usize = 4096;
/// Addresses that are kept for one instance.
const ADDRESSES_MAX: usize = 4096;
/// Names that are kept for one address.
const NAMES_MAX: usize = 8;

/// One name of an address and when it ceases to count.
#[derive(Debug)]
struct Known {
    name: Bytes,
    until: BootNs,
}

/// See the module.
#[derive(Debug)]
pub struct NameWitness {
    instances: HashMap<String, HashMap<IpAddr, Vec<Known>>>,
    resolvers: HashSet<IpAddr>,
    hosts: Hosts,
    dropped: u64,
    untrusted: u64,
}

impl NameWitness {
    /// Believes answers of these resolvers.
    #[must_use]
    pub fn new(resolvers: impl IntoIterator<Item = IpAddr>, hosts: Hosts) -> Self {
        let resolvers = resolvers.into_iter().collect();
        Self { instances: HashMap::new(), resolvers, hosts, dropped: 0, untrusted: 0 }
    }

    /// Believes answers of one more resolver.
    pub fn trust(&mut self, resolver: IpAddr) {
        self.resolvers.insert(resolver);
    }

    /// True if the address is one of the resolvers.
    #[must_use]
    pub fn is_resolver(&self, address: IpAddr) -> bool {
        self.resolvers.contains(&address)
    }

    /// Takes note of an answer that a process of the instance received.
    pub fn observe(&mut self, instance: &str, dns: &DnsObject, now: BootNs) {
        if !self.resolvers.contains(&dns.server.0) {
            self.untrusted += 1;
            return;
        }
        if !self.instances.contains_key(instance) {
            if self.instances.len() >= INSTANCES_MAX {
                self.dropped += 1;
                return;
            }
            self.instances.insert(instance.to_owned(), HashMap::new());
        }
        let Some(addresses) = self.instances.get_mut(instance) else { return };
        for (address, ttl) in &dns.addresses {
            if addresses.len() >= ADDRESSES_MAX && !addresses.contains_key(address) {
                addresses.retain(|_, names| names.iter().any(|known| known.until > now));
                if addresses.len() >= ADDRESSES_MAX {
                    self.dropped += 1;
                    continue;
                }
            }
            let until =
                BootNs(now.0.saturating_add(u64::from(*ttl) * 1_000_000_000).saturating_add(GRACE_NS));
            let names = addresses.entry(*address).or_default();
            names.retain(|known| known.until > now && known.name != dns.question);
            if names.len() >= NAMES_MAX {
                names.remove(0);
                self.dropped += 1;
            }
            names.push(Known { name: dns.question.clone(), until });
        }
    }

    /// The name of an address for an instance, and how sure that is.
    pub fn name(&mut self, instance: &str, address: IpAddr, now: BootNs) -> (Option<Bytes>, NameConfidence) {
        let known = self.instances.get(instance).and_then(|addresses| addresses.get(&address));
        let mut names = known.into_iter().flatten().rev().filter(|known| known.until > now);
        if let Some(latest) = names.next() {
            let confidence = if names.next().is_some() {
                NameConfidence::SharedAddress
            } else {
                NameConfidence::WorkloadDns
            };
            return (Some(latest.name.clone()), confidence);
        }
        match self.hosts.name(address) {
            Some(name) => (Some(name), NameConfidence::Host),
            None => (None, NameConfidence::Unresolved),
        }
    }

    /// Forgets an instance that ended.
    pub fn forget(&mut self, instance: &str) {
        self.instances.remove(instance);
    }

    /// Names that found no place.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Answers of resolvers that are not believed.
    #[must_use]
    pub fn untrusted(&self) -> u64 {
        self.untrusted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dns(server: &str, question: &str, address: &str) -> DnsObject {
        DnsObject {
            server: (server.parse().unwrap(), 53),
            question: question.into(),
            addresses: vec![(address.parse().unwrap(), 60)],
            response_code: 0,
        }
    }

    fn witness() -> NameWitness {
        NameWitness::new(["10.0.0.1".parse().unwrap()], Hosts::new("/nonexistent"))
    }

    #[test]
    fn names_belong_to_the_instance_that_resolved_them() {
        let mut witness = witness();
        witness.observe("a", &dns("10.0.0.1", "api.github.com", "1.2.3.4"), BootNs(0));
        let address = "1.2.3.4".parse().unwrap();
        assert_eq!(
            witness.name("a", address, BootNs(1)),
            (Some("api.github.com".into()), NameConfidence::WorkloadDns)
        );
        assert_eq!(witness.name("b", address, BootNs(1)), (None, NameConfidence::Unresolved));
        assert_eq!(witness.name("a", address, BootNs(u64::MAX)), (None, NameConfidence::Unresolved));
        witness.observe("a", &dns("10.0.0.1", "other.example", "1.2.3.4"), BootNs(2));
        assert_eq!(
            witness.name("a", address, BootNs(3)),
            (Some("other.example".into()), NameConfidence::SharedAddress)
        );
    }

    #[test]
    fn an_answer_that_a_process_sent_itself_is_not_believed() {
        let mut witness = witness();
        witness.observe("a", &dns("10.9.9.9", "api.github.com", "6.6.6.6"), BootNs(0));
        assert_eq!(
            witness.name("a", "6.6.6.6".parse().unwrap(), BootNs(1)),
            (None, NameConfidence::Unresolved)
        );
        assert_eq!(witness.untrusted(), 1);
    }

    #[test]
    fn a_flood_of_names_stays_bounded() {
        let mut witness = witness();
        for step in 0..20_000u32 {
            let address = std::net::Ipv4Addr::from(step).to_string();
            witness.observe("a", &dns("10.0.0.1", "x.y", &address), BootNs(0));
            witness.observe(
                &format!("{step}"),
                &dns("10.0.0.1", &format!("n{step}.y"), "1.1.1.1"),
                BootNs(0),
            );
        }
        assert!(witness.instances.len() <= INSTANCES_MAX);
        assert!(witness.instances.values().all(|addresses| addresses.len() <= ADDRESSES_MAX));
        assert!(witness.dropped() > 0);
    }
}
