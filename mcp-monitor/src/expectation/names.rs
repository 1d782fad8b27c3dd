//! Names of addresses, from what the workload itself was told by the host's resolvers, and from `/etc/hosts`.
//!
//! Nothing is resolved here. An answer counts for its time to live and a grace, since programs keep addresses; an
//! answer from somebody who is no configured resolver is not believed. Bounded per instance and in instances; the
//! oldest goes, and that is counted.

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
};

use super::network::fold;
use crate::event::{BootNs, Bytes, DnsObject, NameConfidence, ProcessId};

/// Addresses that are remembered per instance.
pub const ADDRESSES_MAX: usize = 4096;
/// Names that are remembered per address.
pub const NAMES_MAX: usize = 8;
/// Lines of a hosts file that are read.
const HOSTS_MAX: usize = 64 * 1024;
/// Instances whose answers are remembered.
pub const INSTANCES_MAX: usize = 1024;
/// Seconds that an answer counts beyond its time to live.
const GRACE_SECONDS: u64 = 600;
/// Seconds that no time to live exceeds.
const TIME_TO_LIVE_MAX_SECONDS: u32 = 86_400;
/// Bytes of a name in DNS.
const NAME_MAX_BYTES: usize = 255;

#[derive(Clone, Debug)]
struct Answer {
    name: Bytes,
    process: ProcessId,
    until: BootNs,
}

#[derive(Debug, Default)]
struct Witnessed {
    answers: HashMap<IpAddr, Vec<Answer>>,
    order: VecDeque<IpAddr>,
    /// When the instance last asked a service of the host whose answers are not seen.
    asked_unseen: Option<BootNs>,
}

/// What is known of an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Every name that counts now; the one resolved last comes last.
    pub names: Vec<Bytes>,
    /// How sure that is.
    pub confidence: NameConfidence,
}

/// The names.
#[derive(Debug, Default)]
pub struct Names {
    hosts: HashMap<IpAddr, Vec<Bytes>>,
    instances: HashMap<Arc<str>, Witnessed>,
    order: VecDeque<Arc<str>>,
    forgotten: u64,
}

impl Names {
    /// No answers yet; `hosts` is the text of `/etc/hosts`.
    #[must_use]
    pub fn new(hosts: &str) -> Self {
        let mut names = Self::default();
        names.take_hosts(hosts);
        names
    }

    /// Goes by this text of the hosts file from now on.
    pub fn take_hosts(&mut self, text: &str) {
        self.hosts.clear();
        for line in text.lines().take(HOSTS_MAX) {
            let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse().ok()) else { continue };
            let known = self.hosts.entry(fold(address)).or_default();
            let names = words.map(|word| word.trim_end_matches('.').to_ascii_lowercase());
            known.extend(names.take(64).map(|name| Bytes::from(name.as_str())));
        }
        for address in ["127.0.0.1", "::1"].into_iter().filter_map(|text| text.parse().ok()) {
            let known = self.hosts.entry(address).or_default();
            if known.is_empty() {
                known.push(Bytes::from("localhost"));
            }
        }
    }

    /// Addresses and instances that were forgotten since there were too many.
    #[must_use]
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Takes in an answer that came from a configured resolver.
    pub fn witness(&mut self, instance: &str, process: ProcessId, now: BootNs, answer: &DnsObject) {
        let name = &answer.question;
        if name.is_empty() || name.as_slice().len() > NAME_MAX_BYTES {
            return;
        }
        let (witnessed, mut forgotten) = self.witnessed(instance);
        for &(address, seconds) in answer.addresses.iter().take(64) {
            let seconds = u64::from(seconds.min(TIME_TO_LIVE_MAX_SECONDS)) + GRACE_SECONDS;
            let until = BootNs(now.0.saturating_add(seconds * 1_000_000_000));
            let address = fold(address);
            if !witnessed.answers.contains_key(&address) {
                if witnessed.order.len() >= ADDRESSES_MAX
                    && let Some(oldest) = witnessed.order.pop_front()
                {
                    witnessed.answers.remove(&oldest);
                    forgotten += 1;
                }
                witnessed.order.push_back(address);
            }
            let known = witnessed.answers.entry(address).or_default();
            known.retain(|known| known.until >= now && (known.name != *name || known.process != process));
            if known.len() >= NAMES_MAX {
                known.remove(0);
                forgotten += 1;
            }
            known.push(Answer { name: name.clone(), process, until });
        }
        self.forgotten += forgotten;
    }

    /// What is known of an instance, made room for, and how much was forgotten for that.
    fn witnessed(&mut self, instance: &str) -> (&mut Witnessed, u64) {
        let key: Arc<str> = instance.into();
        let mut forgotten = 0;
        if !self.instances.contains_key(&key) {
            if self.order.len() >= INSTANCES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.instances.remove(&oldest);
                forgotten += 1;
            }
            self.order.push_back(Arc::clone(&key));
        }
        (self.instances.entry(key).or_default(), forgotten)
    }

    /// Takes note that an instance asked a name service whose answers are not seen.
    pub fn ask_unseen(&mut self, instance: &str, now: BootNs) {
        let (witnessed, forgotten) = self.witnessed(instance);
        witnessed.asked_unseen = Some(now);
        self.forgotten += forgotten;
    }

    /// The instance asked such a service lately.
    #[must_use]
    pub fn asked_unseen(&self, instance: &str, now: BootNs) -> bool {
        let asked = self.instances.get(instance).and_then(|witnessed| witnessed.asked_unseen);
        asked.is_some_and(|asked| now.0.saturating_sub(asked.0) < GRACE_SECONDS * 1_000_000_000)
    }

    /// Forgets an instance that ended.
    pub fn forget(&mut self, instance: &str) {
        self.instances.remove(instance);
        self.order.retain(|known| known.as_ref() != instance);
    }

    /// The names of `address` as `process` of `instance` may know it: what it resolved itself, else what the
    /// instance did, else what the host's file says.
    #[must_use]
    pub fn lookup(&self, instance: &str, process: ProcessId, now: BootNs, address: IpAddr) -> Named {
        let answers = self.instances.get(instance).and_then(|witnessed| witnessed.answers.get(&address));
        let counting = || answers.into_iter().flatten().filter(|answer| answer.until >= now);
        let mut names = Vec::new();
        let own = counting().any(|answer| answer.process == process);
        for answer in counting().filter(|answer| !own || answer.process == process) {
            names.retain(|name| *name != answer.name);
            names.push(answer.name.clone());
        }
        match names.len() {
            0 => match self.hosts.get(&address) {
                Some(names) => Named { names: names.clone(), confidence: NameConfidence::Host },
                None => Named { names, confidence: NameConfidence::Unresolved },
            },
            1 => Named { names, confidence: NameConfidence::WorkloadDns },
            _ => Named { names, confidence: NameConfidence::SharedAddress },
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const P: ProcessId = ProcessId(1);

    fn answer(name: &str, addresses: &[&str], seconds: u32) -> DnsObject {
        DnsObject {
            server: ("127.0.0.53".parse().unwrap(), 53),
            question: Bytes::from(name),
            addresses: addresses.iter().map(|text| (text.parse().unwrap(), seconds)).collect(),
            response_code: 0,
            digest: 0,
        }
    }

    #[test]
    fn names_count_for_a_while_and_say_how_sure_they_are() {
        let mut names = Names::new("10.0.0.7 db db.internal # x\n");
        let address = "192.0.2.1".parse().unwrap();
        let at = |seconds: u64| BootNs(seconds * 1_000_000_000);
        names.witness("i", P, at(0), &answer("a.example", &["192.0.2.1"], 60));
        assert_eq!(names.lookup("i", P, at(1), address).confidence, NameConfidence::WorkloadDns);
        assert_eq!(names.lookup("other", P, at(1), address).confidence, NameConfidence::Unresolved);
        assert_eq!(
            names.lookup("i", P, at(60 + GRACE_SECONDS + 1), address).confidence,
            NameConfidence::Unresolved
        );
        names.witness("i", P, at(2), &answer("b.example", &["192.0.2.1"], 60));
        assert_eq!(names.lookup("i", P, at(3), address).confidence, NameConfidence::SharedAddress);
        names.witness("i", ProcessId(2), at(2), &answer("c.example", &["192.0.2.1"], 60));
        assert_eq!(names.lookup("i", ProcessId(2), at(3), address).names, [Bytes::from("c.example")]);
        let host = names.lookup("i", P, at(0), "10.0.0.7".parse().unwrap());
        assert_eq!((host.names.len(), host.confidence), (2, NameConfidence::Host));
        assert_eq!(
            names.lookup("i", P, at(0), "127.0.0.1".parse().unwrap()).names,
            [Bytes::from("localhost")]
        );
    }

    proptest! {
        #[test]
        fn the_state_is_bounded(seeds in prop::collection::vec(any::<u32>(), 1..200)) {
            let mut names = Names::new("");
            for (round, seed) in seeds.iter().enumerate() {
                let mut object = answer(&format!("n{seed}.example"), &[], 5);
                object.addresses = (0..64).map(|step| (IpAddr::from((seed.wrapping_add(step)).to_be_bytes()), 5)).collect();
                names.witness(&format!("i{}", seed % 3), P, BootNs(round as u64), &object);
            }
            for witnessed in names.instances.values() {
                prop_assert!(witnessed.answers.len() <= ADDRESSES_MAX);
                prop_assert_eq!(witnessed.answers.len(), witnessed.order.len());
                prop_assert!(witnessed.answers.values().all(|answers| answers.len() <= NAMES_MAX));
            }
        }
    }

    #[test]
    fn a_flood_forgets_and_counts() {
        let mut names = Names::new("");
        for number in 0..u32::try_from(ADDRESSES_MAX).unwrap() + 5 {
            let mut object = answer("a", &[], 5);
            object.addresses = vec![(IpAddr::from(number.to_be_bytes()), 5)];
            names.witness("i", P, BootNs(0), &object);
        }
        assert_eq!(names.forgotten(), 5);
        for number in 0..INSTANCES_MAX {
            names.witness(&format!("x{number}"), P, BootNs(0), &answer("a", &["192.0.2.1"], 1));
        }
        assert_eq!(names.instances.len(), INSTANCES_MAX);
    }
}
