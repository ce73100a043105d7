//! One end of an exchange, and what it belongs to.
//!
//! Invariants: the trace of an end is decided once, and every span that asks gets the same; what is
//! only likely is never a parent, and gives nobody its trace.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use super::served::Served;
use crate::protocol::Role;
use crate::span::link::headers::TraceParent;
use crate::span::link::{Ids, Link, Parent, Shared, random_span_id, random_trace_id};

/// By what one end was tied to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum How {
    /// The other end of the same connection is on this machine.
    Wire,
    /// The thread that serves the one request, and no other, has sent the other.
    Thread,
    /// The process has sent on what names its caller, as it was.
    Forwarded,
    /// Nothing speaks against it.
    Likely,
}

impl How {
    const fn certain(self) -> bool {
        !matches!(self, Self::Likely)
    }

    /// As an attribute says it.
    const fn name(self) -> Option<&'static str> {
        match self {
            Self::Wire => None,
            Self::Thread => Some("thread"),
            Self::Forwarded => Some("forwarded"),
            Self::Likely => Some("likely"),
        }
    }
}

/// The flag of `traceparent` that says that the caller keeps its spans.
const SAMPLED: u8 = 1;
/// What a link says that leads to where the other end may be found.
const DERIVED: &str = "derived";
/// Services that call each other in one trace, beyond which it is not looked for a circle.
const CHAIN_MAX: usize = 256;

/// One end of an exchange, as its span will be known.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) span_id: [u8; 8],
    role: Role,
    /// It began the exchange, and the other end took it.
    pub(crate) began: bool,
    pub(crate) shared: Option<Shared>,
    /// What both ends know of a request whose number nobody knows.
    pub(super) place: Option<u64>,
    named: Option<TraceParent>,
    above: OnceLock<(Arc<Self>, How)>,
    trace_id: OnceLock<[u8; 16]>,
    /// The other end is on this machine, and has taken over the trace of this one.
    followed: AtomicBool,
    several: AtomicBool,
    served: OnceLock<Served>,
}

impl End {
    /// `named`: the caller, as the headers have it.
    pub(crate) fn new(
        role: Role,
        began: bool,
        shared: Option<Shared>,
        named: Option<TraceParent>,
    ) -> Self {
        Self {
            span_id: shared.map_or_else(random_span_id, |shared| shared.span_id(role)),
            role,
            began,
            shared,
            place: None,
            named,
            above: OnceLock::new(),
            trace_id: OnceLock::new(),
            followed: AtomicBool::new(false),
            several: AtomicBool::new(false),
            served: OnceLock::new(),
        }
    }

    /// See [`Self::place`].
    pub(crate) fn at_place(self, place: Option<u64>) -> Self {
        Self { place, ..self }
    }

    /// It belongs to that one. Nothing changes once it has a place, or once somebody asked for its trace, where that
    /// is not the one that its headers name.
    pub(crate) fn tie(self: &Arc<Self>, above: &Arc<Self>, how: How) {
        let decided = self.named.is_none() && self.trace_id.get().is_some();
        if decided || above.is_below(self) {
            return;
        }
        if self.above.set((Arc::clone(above), how)).is_ok() && how == How::Wire {
            above.followed.store(true, Relaxed);
        }
    }

    /// By what it was tied.
    pub(crate) fn how(&self) -> Option<How> {
        self.above.get().map(|(_, how)| *how)
    }

    /// Its trace is known, and nothing that is seen later changes it: that of whoever took an exchange may, until whoever
    /// began it was seen.
    pub(crate) fn is_settled(&self) -> bool {
        let mut at = self;
        for _ in 0..CHAIN_MAX {
            match at.above.get() {
                _ if at.named.is_some() || at.trace_id.get().is_some() => return true,
                Some((above, how)) if how.certain() => at = above,
                Some(_) => return true,
                None => return at.began,
            }
        }
        false
    }

    /// Nothing that is seen later changes how it is known: its trace is settled, who began it was seen, and so was
    /// whether the other end is in its trace, where that is told.
    pub(crate) fn is_final(&self) -> bool {
        let caller_seen = self.began || self.how() == Some(How::Wire);
        caller_seen && self.is_settled() && self.other_end(self.trace_id()).is_none()
    }

    /// It belongs to one of several requests, and nobody knows to which.
    pub(crate) fn is_one_of_several(&self) {
        self.several.store(true, Relaxed);
    }

    /// See [`Self::is_one_of_several`].
    pub(crate) fn may_be_of_several(&self) -> bool {
        self.several.load(Relaxed)
    }

    /// A thread has served it, and nothing else meanwhile.
    pub(super) fn serve(&self, served: Served) {
        self.served.get_or_init(|| served);
    }

    /// See [`Self::serve`].
    pub(crate) fn served(&self) -> Option<&Served> {
        self.served.get()
    }

    /// Its headers name a caller.
    pub(crate) fn is_named(&self) -> bool {
        self.named.is_some()
    }

    fn is_below(&self, other: &Self) -> bool {
        let mut at = self;
        for _ in 0..CHAIN_MAX {
            if std::ptr::eq(at, other) {
                return true;
            }
            match at.above.get() {
                Some((above, _)) => at = above,
                None => return false,
            }
        }
        true
    }

    /// The one above, where it is certain.
    fn certainly_above(&self) -> Option<(&Self, How)> {
        self.above.get().filter(|(_, how)| how.certain()).map(|(above, how)| (&**above, *how))
    }

    /// The trace it belongs to, decided now if it was not yet.
    pub(crate) fn trace_id(&self) -> [u8; 16] {
        *self.trace_id.get_or_init(|| {
            let named = self.named.map(|named| named.trace_id);
            let above = || self.certainly_above().map(|(above, _)| above.trace_id());
            let shared = || self.shared.map(|shared| shared.trace_id());
            named.or_else(above).or_else(shared).unwrap_or_else(random_trace_id)
        })
    }

    fn flags(&self) -> u8 {
        match self.named {
            Some(named) => named.flags,
            None => self.certainly_above().map_or(SAMPLED, |(above, _)| above.flags()),
        }
    }

    /// Headers name who called, wherever that is. Who passes them on as they are, or sends them over a
    /// connection that is watched, stands in between.
    fn parent(&self) -> Option<Parent> {
        let above = self.certainly_above().filter(|(above, how)| {
            self.named.is_none() || *how != How::Thread && above.trace_id() == self.trace_id()
        });
        let above = above.map(|(above, how)| (above.span_id, how == How::Wire));
        let named = self.named.map(|named| (named.span_id, self.role == Role::Server));
        above.or(named).map(|(span_id, remote)| Parent { span_id, remote })
    }

    /// What its span is to be known by: decided for good.
    pub(crate) fn ids(&self) -> Ids {
        let trace_id = self.trace_id();
        let parent = self.parent();
        let mut links = Vec::new();
        let mut how = None;
        if let Some((above, by)) = self.above.get() {
            let (span_id, likely) = (above.span_id, *by == How::Likely);
            let is_parent = parent.is_some_and(|parent| parent.span_id == span_id);
            how = by.name().filter(|_| is_parent || likely);
            if likely {
                links.push(Link { trace_id: above.trace_id(), span_id, what: "likely" });
            }
        }
        links.extend(self.other_end(trace_id));
        Ids { trace_id, span_id: self.span_id, parent, flags: self.flags(), how, links }
    }

    /// Where the span of the other end is found, if it is not in this trace: on another machine it could
    /// derive its ids from the connection alone.
    fn other_end(&self, trace_id: [u8; 16]) -> Option<Link> {
        let shared =
            self.shared.filter(|_| self.named.is_none() && !self.followed.load(Relaxed))?;
        let moved = self.how().is_some_and(|how| how.certain() && how != How::Wire);
        let derived = shared.trace_id();
        let other = match self.role {
            Role::Client => Role::Server,
            Role::Server => Role::Client,
        };
        let link = Link { trace_id: derived, span_id: shared.span_id(other), what: DERIVED };
        (moved && derived != trace_id).then_some(link)
    }
}
