//! What spans have in common, written once: those of requests that are alike, and those of one connection.
//!
//! Invariants: what is here has no secrets in it; of what requests of HTTP have in common there is never more than
//! the bound, beyond which all of it is forgotten, and made anew as it is asked for.

use std::hash::BuildHasher as _;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashTable};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;

use super::attribute::Attribute;
use super::facts::{Cleaner, Facts, peer};
use super::http::Asked;
use super::wire::WireSpan;
use crate::histogram::Place;
use crate::pipeline::ConnectionInfo;
use crate::protocol::Role;
use crate::redact::{Redaction, Taken};

/// A kilobyte each. More of them than a process has series are seldom of use.
const ALIKE_MAX: usize = 2_048;

/// What requests of one process have in common that were asked and answered alike.
#[derive(Debug)]
pub(crate) struct Alike {
    who: Arc<[u8]>,
    redaction: Arc<Redaction>,
    /// The same without its authority.
    asked: Asked<'static>,
    authority: Option<String>,
    /// What goes with their durations.
    pub(crate) facts: Facts,
    /// How their spans begin.
    pub(super) span: WireSpan,
    /// What was taken out of each of them.
    pub(crate) taken: Taken,
}

/// All of those that are remembered, and where their durations are counted.
#[derive(Debug, Default)]
pub(crate) struct Alikes {
    known: HashTable<(Arc<Alike>, Option<Place>)>,
    hasher: DefaultHashBuilder,
}

impl Alike {
    fn new(who: &Arc<[u8]>, redaction: &Arc<Redaction>, asked: Asked<'_>) -> Self {
        let mut taken = Taken::default();
        let facts = asked.facts();
        let facts = facts.clean(&mut Cleaner { long: false, redaction, taken: &mut taken });
        let code = if facts.failed { StatusCode::Error } else { StatusCode::Unset };
        let mut span = WireSpan::default();
        span.named(&facts.name, asked.kind(), code);
        facts.shared.iter().for_each(|attribute| span.attribute(attribute));
        let (asked, authority) = asked.split();
        Self {
            who: Arc::clone(who),
            redaction: Arc::clone(redaction),
            asked,
            authority: authority.map(str::to_owned),
            facts,
            span,
            taken,
        }
    }

    fn asked(&self) -> Asked<'_> {
        self.asked.with_authority(self.authority.as_deref())
    }
}

impl Alikes {
    /// What such requests of this process have in common, and where their durations are counted, which is for the
    /// caller to say.
    pub(crate) fn of(
        &mut self,
        who: &Arc<[u8]>,
        redaction: &Arc<Redaction>,
        asked: Asked<'_>,
    ) -> (&Arc<Alike>, &mut Option<Place>) {
        if self.known.len() >= ALIKE_MAX {
            self.known.clear();
        }
        let Self { known, hasher } = self;
        let hash = |who: &[u8], redaction: &Arc<Redaction>, asked: &Asked<'_>| {
            hasher.hash_one((who, Arc::as_ptr(redaction), asked))
        };
        let is_it = |(one, _): &(Arc<Alike>, _)| {
            *one.who == **who && Arc::ptr_eq(&one.redaction, redaction) && one.asked() == asked
        };
        let again = |(one, _): &(Arc<Alike>, _)| hash(&one.who, &one.redaction, &one.asked());
        let found = known
            .entry(hash(who, redaction, &asked), is_it, again)
            .or_insert_with(|| (Arc::new(Alike::new(who, redaction, asked)), None));
        let (alike, place) = found.into_mut();
        (alike, place)
    }
}

/// What spans of one connection say of its ends, in a role.
#[derive(Debug)]
pub(crate) struct Ends {
    role: Role,
    redaction: Arc<Redaction>,
    /// Of what is known of pods.
    as_of: u64,
    pub(super) span: WireSpan,
    /// What was taken out of each of them.
    pub(super) taken: Taken,
}

impl Ends {
    /// `peer_is`: what is known of who is there, which does not come with traffic.
    pub(crate) fn new(
        (connection, role): (&ConnectionInfo, Role),
        redaction: &Arc<Redaction>,
        as_of: u64,
        peer_is: Vec<Attribute>,
    ) -> Self {
        let mut taken = Taken::default();
        let mut list = Vec::new();
        peer(&mut list, connection, role);
        let mut cleaner = Cleaner { long: false, redaction, taken: &mut taken };
        list.iter_mut().for_each(|attribute| cleaner.clean(attribute));
        list.extend(peer_is);
        let span = WireSpan::attributes(&list);
        Self { role, redaction: Arc::clone(redaction), as_of, span, taken }
    }

    /// It is the same still.
    pub(crate) fn holds(&self, role: Role, redaction: &Arc<Redaction>, as_of: u64) -> bool {
        self.role == role && self.as_of == as_of && Arc::ptr_eq(&self.redaction, redaction)
    }

    /// What it takes in memory.
    pub(crate) fn held_bytes(&self) -> usize {
        size_of::<Self>() + self.span.held_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Exchange, Said};
    use crate::span::tests::{connection, exchange};

    fn of<'a>(
        alikes: &'a mut Alikes,
        who: &Arc<[u8]>,
        redaction: &Arc<Redaction>,
        exchange: &Exchange,
    ) -> (&'a Arc<Alike>, &'a mut Option<Place>) {
        let Said::Http(call) = &exchange.said else { panic!("it is HTTP") };
        alikes.of(who, redaction, Asked::of(&connection(exchange.role), exchange, call))
    }

    /// Scenario: requests of two processes that differ in their paths, and then each in one thing that goes with the
    /// duration.
    /// Guarantees: those that differ in the path alone are alike, and all others are not.
    #[test]
    fn requests_that_are_alike() {
        let (mut alikes, redaction) = (Alikes::default(), Arc::new(Redaction::default()));
        let [one, other]: [Arc<[u8]>; 2] = [Arc::from(*b"1"), Arc::from(*b"2")];
        let get = exchange(Role::Server, "GET", "/a", 200);
        let first = Arc::clone(of(&mut alikes, &one, &redaction, &get).0);
        let again = exchange(Role::Server, "GET", "/b?c=d", 200);
        assert!(Arc::ptr_eq(&first, of(&mut alikes, &one, &redaction, &again).0));
        let elsewhere = exchange(Role::Server, "GET", "http://other.example/a", 200);
        for (who, different) in [
            (&other, get.clone()),
            (&one, elsewhere),
            (&one, exchange(Role::Client, "GET", "/a", 200)),
            (&one, exchange(Role::Server, "POST", "/a", 200)),
            (&one, exchange(Role::Server, "GET", "/a", 404)),
        ] {
            let found = of(&mut alikes, who, &redaction, &different).0;
            assert!(!Arc::ptr_eq(&first, found), "{different:?}");
        }
        let stricter = Arc::new(Redaction::default());
        assert!(!Arc::ptr_eq(&first, of(&mut alikes, &one, &stricter, &get).0));
        assert_eq!(alikes.known.len(), 7);
    }

    /// Scenario: ten thousand requests, each for another host.
    /// Guarantees: no more are remembered than may be, and each is told with its own host.
    #[test]
    fn not_all_are_remembered() {
        let (mut alikes, redaction) = (Alikes::default(), Arc::new(Redaction::default()));
        for number in 0..10_000 {
            let target = format!("http://h{number}.example/");
            let exchange = exchange(Role::Client, "GET", &target, 200);
            let (alike, place) = of(&mut alikes, &Arc::default(), &redaction, &exchange);
            assert!(place.is_none());
            let address = Attribute::text("server.address", format!("h{number}.example"));
            assert!(alike.facts.shared.contains(&address));
            assert!(alikes.known.len() <= ALIKE_MAX);
        }
    }
}
