//! What is remembered of a connection from one exchange on it to the next.
//!
//! Invariant: it is worked out anew as soon as what it comes from has changed; without it everything is the same, and
//! costs more.

use std::sync::Arc;

use super::ConnectionInfo;
use crate::identity::{Identity, Who};
use crate::protocol::Role;
use crate::redact::Redaction;
use crate::span::alike::Ends;

/// Of one connection.
#[derive(Debug, Default)]
pub(crate) struct Memo {
    owner: Option<Asked>,
    ends: Option<Arc<Ends>>,
}

/// Who owned it, and as of when.
#[derive(Debug)]
struct Asked {
    pid: u32,
    process_started: u64,
    as_of: [u64; 3],
    who: Who,
}

impl Memo {
    /// Who owns the connection. `comm` is that of the connection's info for as long as its process is.
    pub(super) fn who(&mut self, connection: &ConnectionInfo, identity: &mut Identity) -> Who {
        let ConnectionInfo { pid, process_started, comm, .. } = connection;
        if let Some(asked) = &self.owner
            && asked.pid == *pid
            && asked.process_started == *process_started
            && asked.as_of == identity.as_of()
        {
            return asked.who.clone();
        }
        let who = identity.resource(*pid, *process_started, comm);
        // Who is not held is asked for again, and counted each time; of a process without its start nobody knows whether
        // it is the one that has its number by now.
        let lasts = identity.holds(*pid) && *process_started != 0;
        self.owner = lasts.then(|| Asked {
            pid: *pid,
            process_started: *process_started,
            as_of: identity.as_of(),
            who: who.clone(),
        });
        who
    }

    /// What spans say of the ends of the connection.
    pub(super) fn ends(
        &mut self,
        connection: &ConnectionInfo,
        role: Role,
        redaction: &Arc<Redaction>,
        identity: &Identity,
    ) -> Arc<Ends> {
        let [as_of, ..] = identity.as_of();
        if let Some(ends) = self.ends.as_ref().filter(|ends| ends.holds(role, redaction, as_of)) {
            return Arc::clone(ends);
        }
        let peer = identity.peer(connection.remote.ip());
        let ends = Arc::new(Ends::new((connection, role), redaction, as_of, peer));
        self.ends = Some(Arc::clone(&ends));
        ends
    }

    /// What it takes beside itself; who its owner is, others hold as well.
    pub(crate) fn held_bytes(&self) -> usize {
        self.ends.as_ref().map_or(0, |ends| ends.held_bytes())
    }
}
