//! What one request of profiles refers to, and what of it was looked at so far.
//!
//! Invariant: whoever goes through a request item by item, in the order of the wire, is told the same of
//! each, whether rows are made of them or not: [`Parts::check`] is the one place that refuses.

use super::super::check::each;
use super::super::rows::{Level, Refusal, id_unless_empty};
use super::super::shape;
use super::super::wire::{Broken, LIMIT, Reader, delimited};
use super::attributes::{Attributes, Chosen};
use super::dictionary::{Dictionary, Table};
use super::fault::{Budget, Fault, settle};
use super::profile::{Head, Profile};
use super::references;
use super::sample::Sample;
use super::stack::Walk;
use super::text::StackText;

/// See the module.
#[derive(Debug, Default)]
pub(in super::super) struct Parts<'a> {
    dictionary: Dictionary<'a>,
    attributes: Attributes,
    budget: Budget,
    stacks: Vec<Stack>,
    resource: Owner,
    scope: Owner,
    /// Bytes of those two that columns have, since somebody asked.
    owned: usize,
    sample: Sample,
    /// The attributes of the sample that was checked last.
    chosen: Chosen,
    text: StackText,
}

/// What is known of one stack.
#[derive(Debug, Clone, Copy, Default)]
struct Stack {
    checked: Option<Result<(), Refusal>>,
    /// Of its texts, where it has a row.
    numbers: Option<(i32, Option<i32>)>,
}

/// The resource or the scope that the items are of.
#[derive(Debug, Default)]
struct Owner {
    /// The message, where it came with references.
    resolved: Option<Vec<u8>>,
    fault: Option<Refusal>,
}

/// What columns take of a sample only after a look at it.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Checked<'a> {
    pub(in super::super) time: i64,
    pub(super) dropped: u32,
    pub(super) value: i64,
    pub(super) trace_id: Option<&'a [u8; 16]>,
    pub(super) span_id: Option<&'a [u8; 8]>,
}

impl<'a> Parts<'a> {
    /// A request that was checked as a whole.
    pub(in super::super) fn begin(&mut self, payload: &'a [u8]) -> Result<(), Broken> {
        self.dictionary = Dictionary::read(payload)?;
        self.attributes.begin(&self.dictionary);
        self.budget = Budget::default();
        self.stacks.clear();
        // An empty table has an entry 0 as well.
        self.stacks.resize(self.dictionary.len(Table::Stack).max(1), Stack::default());
        Ok(())
    }

    /// The items that follow are of the `ResourceProfiles` or `ScopeProfiles` in these bytes.
    pub(in super::super) fn enter(&mut self, level: Level, bytes: &'a [u8]) -> Result<(), Broken> {
        const OWNER: u32 = delimited(1);
        let shape = match level {
            Level::Resource => &shape::RESOURCE,
            Level::Scope => &shape::SCOPE,
        };
        let (mut whole, mut refers) = (Vec::new(), false);
        each(bytes, LIMIT, OWNER, |piece, _limit| {
            refers = refers || references::any(shape, piece)?;
            whole.push(piece);
            Ok(())
        })?;
        let mut owner = Owner::default();
        if refers {
            let (mut out, whole) = (Vec::new(), whole.concat());
            let dictionary = &self.dictionary;
            let budget = &mut self.budget;
            match settle(references::write(&mut out, shape, &whole, dictionary, budget))? {
                Ok(()) => {
                    self.owned += out.len();
                    owner.resolved = Some(out);
                }
                Err(refusal) => owner.fault = Some(refusal),
            }
        }
        match level {
            Level::Resource => self.resource = owner,
            Level::Scope => self.scope = owner,
        }
        Ok(())
    }

    /// The resource or scope, where it is not to be read as it came.
    pub(super) fn owner(&self, level: Level) -> Option<&[u8]> {
        let owner = match level {
            Level::Resource => &self.resource,
            Level::Scope => &self.scope,
        };
        owner.resolved.as_deref()
    }

    /// Calls `item` with each sample of a profile, and gives back the head of it.
    pub(in super::super) fn each_sample(
        &mut self,
        bytes: &'a [u8],
        limit: u32,
        mut item: impl FnMut(&mut Self, &Result<Head<'a>, Refusal>, &Sample) -> Result<(), Broken>,
    ) -> Result<Result<Head<'a>, Refusal>, Broken> {
        const SAMPLE: u32 = delimited(2);
        let profile = Profile::read(bytes, limit)?;
        let Self { dictionary, attributes, budget, .. } = self;
        let head = settle(profile.head(bytes, dictionary, attributes, budget))?;
        let mut sample = std::mem::take(&mut self.sample);
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            match key {
                SAMPLE => {
                    sample.read(reader.message()?, limit - 1)?;
                    item(self, &head, &sample)?;
                }
                _ => reader.skip(key, 0)?,
            }
        }
        self.sample = sample;
        Ok(head)
    }

    /// Whether the sample becomes a row, where there is room for one.
    pub(in super::super) fn check(
        &mut self,
        head: &Result<Head<'a>, Refusal>,
        sample: &Sample,
        room: Result<(), Refusal>,
    ) -> Result<Result<Checked<'a>, Refusal>, Broken> {
        settle(self.try_check(head, sample, room))
    }

    fn try_check(
        &mut self,
        head: &Result<Head<'a>, Refusal>,
        sample: &Sample,
        room: Result<(), Refusal>,
    ) -> Result<Checked<'a>, Fault> {
        room?;
        self.resource.fault.or(self.scope.fault).map_or(Ok(()), Err)?;
        let head = head.as_ref().map_err(|refusal| *refusal)?;
        let value = sample.value()?;
        let (trace_id, span_id) = self.link(sample.link)?;
        self.check_stack(sample.stack)?;
        let Self { dictionary, attributes, budget, chosen, .. } = self;
        chosen.clear();
        for index in &sample.attributes {
            attributes.choose(chosen, *index, dictionary, budget, Budget::spend_attributes)?;
        }
        Ok(Checked { time: head.time, dropped: head.dropped, value, trace_id, span_id })
    }

    /// Ids of nothing but zeros are those of no span.
    #[expect(clippy::type_complexity, reason = "two ids")]
    fn link(&mut self, index: i32) -> Result<(Option<&'a [u8; 16]>, Option<&'a [u8; 8]>), Fault> {
        const TRACE_ID: u32 = delimited(1);
        const SPAN_ID: u32 = delimited(2);
        let link = self.dictionary.get(Table::Link, "link_index", index)?;
        self.budget.spend(link.len())?;
        let (mut trace_id, mut span_id) = (&[][..], &[][..]);
        let mut reader = Reader::new(link, LIMIT);
        while let Some(key) = reader.key()? {
            match key {
                TRACE_ID => trace_id = reader.bytes()?,
                SPAN_ID => span_id = reader.bytes()?,
                _ => reader.skip(key, 0)?,
            }
        }
        let trace_id = id_unless_empty("link.trace_id", trace_id)?;
        let span_id = id_unless_empty("link.span_id", span_id)?;
        Ok((trace_id.filter(|id| **id != [0; 16]), span_id.filter(|id| **id != [0; 8])))
    }

    fn check_stack(&mut self, index: i32) -> Result<(), Fault> {
        let at = usize::try_from(index).ok();
        let known = at.and_then(|at| self.stacks.get(at)).and_then(|stack| stack.checked);
        let checked = match known {
            Some(checked) => checked,
            None => settle(self.walk().check(index))?,
        };
        if let Some(stack) = at.and_then(|at| self.stacks.get_mut(at)) {
            stack.checked = Some(checked);
        }
        Ok(checked?)
    }

    fn walk(&mut self) -> Walk<'_, 'a> {
        let Self { dictionary, attributes, budget, .. } = self;
        Walk { dictionary, attributes, budget, chosen: Chosen::default() }
    }

    /// The attributes of the sample that was checked last, as `KeyValue` messages.
    pub(super) fn attributes(&self) -> Vec<&[u8]> {
        self.attributes.messages(&self.chosen)
    }

    /// Bytes of what was made of the dictionary, stacks aside, since this was asked last.
    pub(super) fn take_made(&mut self) -> usize {
        std::mem::take(&mut self.owned) + self.attributes.take_made()
    }

    /// Which texts a stack of this request is, where somebody said so.
    pub(super) fn numbers(&self, stack: i32) -> Option<(i32, Option<i32>)> {
        self.stacks.get(usize::try_from(stack).ok()?)?.numbers
    }

    pub(super) fn keep_numbers(&mut self, stack: i32, numbers: (i32, Option<i32>)) {
        let stack = usize::try_from(stack).ok().and_then(|at| self.stacks.get_mut(at));
        if let Some(stack) = stack {
            stack.numbers = Some(numbers);
        }
    }

    /// The texts of a stack that was checked.
    pub(super) fn stack_text(&mut self, stack: i32) -> Result<&StackText, Broken> {
        let mut text = std::mem::take(&mut self.text);
        let Self { dictionary, attributes, .. } = self;
        let (budget, chosen) = (&mut Budget::paid(), Chosen::default());
        let mut walk = Walk { dictionary, attributes, budget, chosen };
        let written = settle(walk.write(stack, &mut text))?;
        debug_assert!(written.is_ok(), "the stack was checked");
        self.text = text;
        Ok(&self.text)
    }
}
