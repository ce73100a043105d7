//! What is known of a channel, and what its places are called.
//!
//! Invariant: what is remembered is bounded; a message that is not known to be counted by the broker
//! has no number.

use std::collections::VecDeque;

use crate::protocol::prepared::{Behind, Recent};

/// Consumers of one channel that are remembered.
const CONSUMERS_MAX: usize = 64;
/// Names that brokers make up for one client.
const MADE_UP: [&[u8]; 2] = [b"amq.gen-", b"amq.rabbitmq.reply-to"];

/// What the broker says of the messages that it is sent on a channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum Messages {
    /// The channel is older than the probe, or what its client asked for was lost.
    #[default]
    Unknown,
    /// Nothing.
    Untold,
    /// That it has them, by their number, of which this is the next.
    Confirmed(u64),
}

/// A channel.
#[derive(Debug, Default)]
pub(super) struct Channel {
    messages: Messages,
    /// The queue that was declared last.
    pub(super) queue: Option<Vec<u8>>,
    /// By their name.
    consumers: Option<Recent<Vec<u8>, Consumer>>,
    /// Those that leave their name to the broker.
    nameless: VecDeque<Consumer>,
}

/// Who has messages sent to it.
#[derive(Debug)]
pub(super) struct Consumer {
    pub(super) queue: Vec<u8>,
    /// It says of each message what has become of it.
    pub(super) acknowledges: bool,
}

impl Behind for Consumer {
    fn behind_bytes(&self) -> usize {
        self.queue.len()
    }
}

impl Behind for Channel {}

impl Channel {
    /// It begins.
    pub(super) fn open() -> Self {
        Self { messages: Messages::Untold, ..Self::default() }
    }

    /// The broker confirms messages from here on, which it counts from 1.
    pub(super) fn confirm(&mut self) {
        if !matches!(self.messages, Messages::Confirmed(_)) {
            self.messages = Messages::Confirmed(1);
        }
    }

    /// A message is sent: what the broker will say of it.
    pub(super) fn send(&mut self) -> Messages {
        let said = self.messages;
        if let Messages::Confirmed(next) = &mut self.messages {
            *next += 1;
        }
        said
    }

    /// What the client asked for may have been lost.
    pub(super) fn forget(&mut self) {
        self.messages = Messages::Unknown;
        self.queue = None;
        self.nameless.clear();
    }

    /// A consumer of this queue begins.
    pub(super) fn consume(&mut self, name: &[u8], queue: &[u8], acknowledges: bool) {
        let consumer = Consumer { queue: queue.to_vec(), acknowledges };
        if !name.is_empty() {
            self.name(name, consumer);
        } else if self.nameless.len() < CONSUMERS_MAX {
            self.nameless.push_back(consumer);
        }
    }

    fn name(&mut self, name: &[u8], consumer: Consumer) {
        let consumers = self.consumers.get_or_insert_with(|| Recent::new(CONSUMERS_MAX));
        consumers.insert(name.to_vec(), consumer);
    }

    /// The broker has given this name to a consumer, unless it had it before.
    pub(super) fn consumes(&mut self, name: &[u8]) {
        if self.consumer(name).is_some() {
            return;
        }
        if let Some(consumer) = self.nameless.pop_front() {
            self.name(name, consumer);
        }
    }

    /// The consumer with this name.
    pub(super) fn consumer(&self, name: &[u8]) -> Option<&Consumer> {
        self.consumers.as_ref()?.get(&name.to_vec())
    }
}

/// Where messages came from that are not settled.
#[derive(Debug)]
pub(super) struct Unsettled {
    messages: VecDeque<(u16, u64, String)>,
    max: usize,
}

impl Unsettled {
    pub(super) fn new(max: usize) -> Self {
        Self { messages: VecDeque::new(), max: max.max(1) }
    }

    /// A message came from there on this channel under this number; the oldest makes room.
    pub(super) fn push(&mut self, channel: u16, tag: u64, destination: String) {
        if self.messages.len() >= self.max {
            self.messages.pop_front();
        }
        self.messages.push_back((channel, tag, destination));
    }

    /// A channel begins: numbers on it begin anew.
    pub(super) fn forget(&mut self, channel: u16) {
        self.messages.retain(|(on, ..)| *on != channel);
    }

    /// A message is settled, and with `several` all before it: where it came from, if all of them
    /// came from there.
    pub(super) fn settle(&mut self, channel: u16, tag: u64, several: bool) -> Option<String> {
        let mut destination = None;
        let mut one = true;
        self.messages.retain(|(on, of, from)| {
            let settled = *on == channel && (*of == tag || several && (*of < tag || tag == 0));
            if settled {
                let known = destination.get_or_insert_with(|| from.clone());
                one &= known == from;
            }
            !settled
        });
        destination.filter(|_| one)
    }
}

/// A name that is made up for one client.
pub(super) fn temporary(name: &[u8]) -> bool {
    MADE_UP.iter().any(|made_up| name.starts_with(made_up))
}

/// Exchange, routing key and queue, as the conventions put them together.
pub(super) fn name(parts: &[&[u8]]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = parts.iter().copied().filter(|part| !part.is_empty()).collect();
    // A key that is the name of the queue.
    parts.dedup();
    if parts.is_empty() { b"amq.default".to_vec() } else { parts.join(&b':') }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: messages of two queues are settled one by one, and several at once.
    /// Guarantees: the place is told where there is exactly one; what is remembered is bounded.
    #[test]
    fn settling() {
        let mut unsettled = Unsettled::new(5);
        for (tag, from) in [(1, "a"), (2, "a"), (3, "b"), (4, "b"), (5, "a")] {
            unsettled.push(1, tag, from.to_owned());
        }
        unsettled.push(2, 1, "c".to_owned());
        assert_eq!(unsettled.settle(1, 1, false), None, "it made room");
        assert_eq!(unsettled.settle(1, 3, true), None, "two places");
        assert_eq!(unsettled.settle(1, 4, false).as_deref(), Some("b"));
        assert_eq!(unsettled.settle(1, 0, true).as_deref(), Some("a"));
        assert_eq!(unsettled.settle(2, 1, false).as_deref(), Some("c"));
        assert!(unsettled.messages.is_empty());
        unsettled.push(1, 1, "before".to_owned());
        unsettled.push(2, 1, "another".to_owned());
        unsettled.forget(1);
        unsettled.push(1, 1, "after".to_owned());
        assert_eq!(unsettled.settle(1, 1, false).as_deref(), Some("after"));
    }
}
