//! Why something of a profile was not taken, and how much may be shared.
//!
//! Invariant: what a few bytes can refer to again and again is paid for each time from one budget,
//! so that no request takes more room, or time, than the budget says.

use super::super::rows::Refusal;
use super::super::wire::Broken;

/// Bytes of texts and attributes that the samples, stacks and profiles of one request may refer to in all,
/// a stack counted once, texts as long as they can become in JSON. Thousands of deep stacks take a tenth
/// of it.
pub(super) const SHARED_BYTES_MAX: usize = 256 << 20;

/// Bytes of it that may be attributes of samples, profiles, resources and scopes, which rows have as
/// texts of their own. Ten attributes for each of fifty thousand samples fit.
pub(super) const ATTRIBUTE_BYTES_MAX: usize = 32 << 20;

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
    attributes_left: usize,
}

impl Default for Budget {
    fn default() -> Self {
        Self { left: SHARED_BYTES_MAX, attributes_left: ATTRIBUTE_BYTES_MAX }
    }
}

impl Budget {
    /// For what was paid for before.
    pub(super) const fn paid() -> Self {
        Self { left: usize::MAX, attributes_left: usize::MAX }
    }

    /// The first that does not fit takes all that is left: whoever comes with another thousand of
    /// its size is refused at once.
    pub(super) fn spend(&mut self, bytes: usize) -> Result<(), Refusal> {
        take(&mut self.left, bytes).ok_or(TOO_MANY)
    }

    /// For attributes of which a row has a text of its own.
    pub(super) fn spend_attributes(&mut self, bytes: usize) -> Result<(), Refusal> {
        take(&mut self.attributes_left, bytes).ok_or(TOO_MANY_ATTRIBUTES)?;
        self.spend(bytes)
    }
}

fn take(left: &mut usize, bytes: usize) -> Option<()> {
    let rest = left.checked_sub(bytes);
    *left = rest.unwrap_or_default();
    rest.map(drop)
}

/// The budget is spent.
const TOO_MANY: Refusal =
    Refusal::TooMany { what: "bytes in its stacks and attributes", bound: SHARED_BYTES_MAX };
/// So is the part of it that is for attributes.
const TOO_MANY_ATTRIBUTES: Refusal = Refusal::TooMany {
    what: "bytes in attributes of its samples and profiles",
    bound: ATTRIBUTE_BYTES_MAX,
};
