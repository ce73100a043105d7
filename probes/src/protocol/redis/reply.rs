//! What a server sends: values of any depth, walked without recursion.
//!
//! Invariant: of a reply only its first few scalars are kept, whatever its size.

use super::{Confirmed, Draft, Family, NAME_BYTES_MAX, Unit, number};

/// Deeper replies are broken ones.
const DEPTH_MAX: usize = 32;
/// Scalars that are looked at.
const SCALARS_MAX: usize = 3;

/// The replies of a connection, as they are put together.
#[derive(Debug, Default)]
pub(super) struct Replies {
    under_way: Reply,
    /// Values that are missing in each aggregate around the next one.
    open: Vec<Aggregate>,
}

#[derive(Debug, Clone, Copy)]
struct Aggregate {
    left: u64,
    /// What goes before a value and is none itself.
    attribute: bool,
}

/// A reply or a push.
#[derive(Debug, Default)]
pub(super) struct Reply {
    draft: Draft,
    /// The byte that says its type.
    kind: u8,
    /// Values in it, if it is an aggregate.
    items: u64,
    scalars: Vec<Vec<u8>>,
}

impl Replies {
    /// Takes a line or a string. None: it cannot come here.
    pub(super) fn take(&mut self, unit: &Unit<'_>, captured_max: usize) -> Option<Option<Reply>> {
        let (&kind, rest) = unit.head.split_first()?;
        let reply = &mut self.under_way;
        reply.draft.add(unit, captured_max);
        let top = self.open.is_empty();
        if top && kind != b'|' {
            reply.kind = kind;
        }
        let count = match kind {
            b'*' | b'~' | b'>' => number(rest)?,
            b'%' | b'|' => number(rest)?.checked_mul(2)?,
            _ => {
                if kind == b':' {
                    number(rest)?;
                }
                reply.scalar(kind, rest, unit);
                0
            }
        };
        let (count, attribute) = (u64::try_from(count).unwrap_or(0), kind == b'|');
        if top {
            reply.items = count;
        }
        if count > 0 {
            self.open.push(Aggregate { left: count, attribute });
            return (self.open.len() <= DEPTH_MAX).then_some(None);
        }
        // An empty attribute is no value.
        let whole = !attribute && self.close();
        Some(whole.then(|| std::mem::take(&mut self.under_way)))
    }

    /// A value is whole, and with it perhaps those around it; true: all of them.
    fn close(&mut self) -> bool {
        while let Some(around) = self.open.last_mut() {
            around.left -= 1;
            if around.left > 0 {
                return false;
            }
            let attribute = around.attribute;
            self.open.pop();
            if attribute {
                return false;
            }
        }
        true
    }
}

impl Reply {
    fn scalar(&mut self, kind: u8, rest: &[u8], unit: &Unit<'_>) {
        if self.scalars.len() >= SCALARS_MAX {
            return;
        }
        let text = if matches!(kind, b'$' | b'!' | b'=') {
            let length = usize::try_from(unit.body_bytes.saturating_sub(2)).unwrap_or(usize::MAX);
            unit.body.get(..length).unwrap_or(unit.body)
        } else {
            rest.trim_ascii_end()
        };
        self.scalars.push(text.iter().take(NAME_BYTES_MAX).copied().collect());
    }

    fn first(&self) -> &[u8] {
        self.scalars.first().map_or(&[], Vec::as_slice)
    }

    /// Its size and times.
    pub(super) fn draft(self) -> Draft {
        self.draft
    }

    /// The first word of an error.
    pub(super) fn error(&self) -> Option<String> {
        if !matches!(self.kind, b'-' | b'!') {
            return None;
        }
        let word = self.first().split(|byte| byte.is_ascii_whitespace()).next().unwrap_or_default();
        let is_code = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let code = if word.iter().all(is_code) { word } else { b"ERR" };
        Some(String::from_utf8_lossy(code).into_owned())
    }

    /// The command waits for the end of its transaction.
    pub(super) fn is_queued(&self) -> bool {
        self.kind == b'+' && self.first() == b"QUEUED"
    }

    /// RESP3 says so.
    pub(super) fn is_push(&self) -> bool {
        self.kind == b'>'
    }

    /// What a subscriber is sent, in RESP2.
    pub(super) fn is_message(&self) -> bool {
        let named = match self.first() {
            b"message" | b"smessage" => 3,
            b"pmessage" => 4,
            _ => return false,
        };
        self.kind == b'*' && self.items == named
    }

    /// What a monitor is sent: a time with a fraction.
    pub(super) fn is_monitored(&self) -> bool {
        self.kind == b'+' && self.first().first().is_some_and(u8::is_ascii_digit)
    }

    /// It says that a subscription began or ended.
    pub(super) fn confirms(&self) -> Option<Confirmed> {
        if !matches!(self.kind, b'*' | b'>') || self.items != 3 {
            return None;
        }
        let family = match self.first() {
            b"subscribe" | b"unsubscribe" => Family::Channel,
            b"psubscribe" | b"punsubscribe" => Family::Pattern,
            b"ssubscribe" | b"sunsubscribe" => Family::Shard,
            _ => return None,
        };
        let total = number(self.scalars.get(2)?)?;
        Some(Confirmed { family, total: u64::try_from(total).ok()? })
    }
}
