//! Names of addresses, from the answers that resolvers of this machine were given.
//!
//! Invariant: a name was asked for by somebody in the same network namespace, and is the last one that
//! the address was the answer to; no more are held than the bound.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::protocol::DnsCall;

/// Names by network namespace and address.
#[derive(Debug)]
pub(super) struct Names {
    names: HashMap<(u32, IpAddr), String>,
    /// Oldest first.
    order: VecDeque<(u32, IpAddr)>,
    names_max: usize,
}

impl Names {
    pub(super) fn new(names_max: usize) -> Self {
        Self { names: HashMap::new(), order: VecDeque::new(), names_max }
    }

    pub(super) fn learn(&mut self, netns: u32, call: &DnsCall) {
        let name = call.name.trim_end_matches('.');
        if name.is_empty() || self.names_max == 0 {
            return;
        }
        for address in call.answers.iter().filter_map(|answer| answer.parse::<IpAddr>().ok()) {
            let key = (netns, address.to_canonical());
            if let Some(known) = self.names.get_mut(&key) {
                if known != name {
                    name.clone_into(known);
                }
                continue;
            }
            if self.order.len() >= self.names_max
                && let Some(oldest) = self.order.pop_front()
            {
                self.names.remove(&oldest);
            }
            self.order.push_back(key);
            self.names.insert(key, name.to_owned());
        }
    }

    pub(super) fn name(&self, netns: u32, address: IpAddr) -> Option<&str> {
        self.names.get(&(netns, address)).map(String::as_str)
    }

    pub(super) fn len(&self) -> usize {
        self.names.len()
    }
}
