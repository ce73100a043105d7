//! Why something of a profile was not taken, and how much may be shared.
//!
//! Invariant: what a few bytes can refer to again and again is paid for each time from one budget,
//! so that no request takes more room, or time, than the budget says.

use super::super::rows::Refusal;
use super::super::wire::Broken;

/// Bytes of texts and attributes that the samples, stacks and profiles of one request may refer to in all,
/// a stack counted once. Thousands of deep stacks take a tenth of it. Escaped as JSON, the worst of
/// it still fits an Arrow column.
pub(super) const SHARED_BYTES_MAX: usize = 256 << 20;

/// Either the request as a whole is at fault, or only an item of it.
#[derive(Debug)]
pub(super) enum Fault {
    Broken(Broken),
    Refused(Refusal),
}

impl From<Broken> for Fault {
    fn from(broken: Broken) -> Self {
        Self::Broken(broken)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Items are refused one by one.
pub(super) fn settle<T>(result: Result<T, Fault>) -> Result<Result<T, Refusal>, Broken> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(Fault::Refused(refusal)) => Ok(Err(refusal)),
        Err(Fault::Broken(broken)) => Err(broken),
    }
}

/// What is left to be referred to.
#[derive(Debug)]
pub(super) struct Budget {
    left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: SHARED_BYTES_MAX }
    }
}

impl Budget {
    /// For what was paid for before.
    pub(super) const fn paid() -> Self {
        Self { left: usize::MAX }
    }

    /// The first that does not fit takes all that is left: whoever comes with another thousand of
    /// its size is refused at once.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Refusal> {
        let left = self.left.checked_sub(bytes);
        self.left = left.unwrap_or_default();
        left.map(drop).ok_or(TOO_MANY)
    }
}

/// The budget is spent.
const TOO_MANY: Refusal =
    Refusal::TooMany { what: "bytes in its stacks and attributes", bound: SHARED_BYTES_MAX };
