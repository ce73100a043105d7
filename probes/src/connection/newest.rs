//! What a piece has begun on its connection.

use crate::pipeline::ConnectionInfo;
use crate::protocol::{Begun, Role};

/// A connection, and the request that was sent on it last, while it is not answered.
#[derive(Debug)]
pub(crate) struct Newest<'a> {
    pub(crate) connection: &'a ConnectionInfo,
    /// What the owner is, where that is known.
    pub(crate) role: Option<Role>,
    pub(crate) begun: Option<Begun<'a>>,
    /// What the same piece has begun before that, the oldest first.
    pub(crate) beside: Vec<Begun<'a>>,
    /// TCP's numbers of the request's first byte and of the first one that can answer it: the same at both
    /// ends, whoever came late. None where other answers may be on their way.
    pub(crate) place: Option<u64>,
}

impl<'a> Newest<'a> {
    /// The same of what was begun beside it.
    pub(crate) fn with(&self, begun: Begun<'a>) -> Self {
        Self { begun: Some(begun), beside: Vec::new(), place: None, ..*self }
    }
}
