//! Takes secrets out of what is about to leave the node.
//!
//! Invariants: all texts that came with traffic go through [`Redaction::text`] before anything is
//! queued or counted; the value of a parameter or argument whose name says that it is a secret is
//! never passed on, whatever the rules say; its name is, so that a reader sees that it was there.

mod card;
mod clean;
mod cut;
mod names;
mod tokens;
mod words;

use std::borrow::Cow;
use std::ops::Range;
use std::sync::Arc;

use regex::Regex;

use crate::protocol::{self, Exchange, Said};
use clean::Clean;
pub(crate) use cut::says_so as says_it_was_cut;
pub(crate) use names::names_secret;

const REDACTED: &str = "REDACTED";

/// Headers whose values are credentials, in lower case.
const SECRET_HEADERS: [&str; 4] = ["authorization", "proxy-authorization", "cookie", "set-cookie"];

/// What is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// What a name says to be secret, and credentials in headers and URLs. Always.
    Credential,
    /// Numbers of payment cards.
    Card,
    /// Tokens and keys that their form gives away.
    Token,
    /// Addresses of e-mail.
    Email,
    /// Values within statements of databases.
    Sql,
    /// What a pattern of the rules describes.
    Pattern,
    /// The last word of a text that was cut: the beginning of anything.
    Cut,
}

impl Kind {
    /// All of them; the first one that finds a byte counts it.
    pub(crate) const ALL: [Self; 7] = [
        Self::Credential,
        Self::Card,
        Self::Token,
        Self::Email,
        Self::Sql,
        Self::Pattern,
        Self::Cut,
    ];
}

/// Bytes that were taken out, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Taken([u64; Kind::ALL.len()]);

impl Taken {
    /// So many bytes more.
    pub(crate) fn add(&mut self, kind: Kind, bytes: usize) {
        if let Some(count) = self.0.get_mut(kind as usize) {
            *count += bytes as u64;
        }
    }

    /// All of this as well.
    pub(crate) fn add_all(&mut self, other: &Self) {
        self.0.iter_mut().zip(other.0).for_each(|(count, more)| *count += more);
    }

    /// What is not zero.
    pub(crate) fn counts(&self) -> impl Iterator<Item = (Kind, u64)> {
        Kind::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

/// What is to be taken out beyond credentials.
#[derive(Debug, Clone)]
pub(crate) struct Redaction {
    pub(crate) cards: bool,
    pub(crate) tokens: bool,
    pub(crate) emails: bool,
    /// Values in statements.
    pub(crate) sql: bool,
    pub(crate) patterns: Vec<Arc<Regex>>,
    /// Texts and queries that have nothing of all that.
    pub(crate) clean: [Clean; 2],
}

/// Places in [`Redaction::clean`].
const TEXT: usize = 0;
const QUERY: usize = 1;

impl Default for Redaction {
    /// Everything that is built in.
    fn default() -> Self {
        let (patterns, clean) = (Vec::new(), <[Clean; 2]>::default());
        Self { cards: true, tokens: true, emails: true, sql: true, patterns, clean }
    }
}

impl Redaction {
    /// A text without secrets. `cut`: more of it was sent, so that it may end within one.
    pub(crate) fn text<'a>(&self, text: &'a str, cut: bool, taken: &mut Taken) -> Cow<'a, str> {
        let worth = Worth::of(text);
        if !(worth.look() || cut || !self.patterns.is_empty()) {
            return Cow::Borrowed(text);
        }
        self.unless_known(TEXT, text, cut, |text| self.look_through(text, worth, cut, taken))
    }

    /// Looks for secrets in a text, unless it is known to have none.
    fn unless_known<'a>(
        &self,
        place: usize,
        text: &'a str,
        cut: bool,
        look: impl FnOnce(&'a str) -> Cow<'a, str>,
    ) -> Cow<'a, str> {
        // What one that was cut may end with is another matter.
        let clean = self.clean.get(place).filter(|_| !cut);
        if clean.is_some_and(|clean| clean.knows(text)) {
            return Cow::Borrowed(text);
        }
        let told = look(text);
        if let (Cow::Borrowed(_), Some(clean)) = (&told, clean) {
            clean.learn(text);
        }
        told
    }

    fn look_through<'a>(
        &self,
        text: &'a str,
        worth: Worth,
        cut: bool,
        taken: &mut Taken,
    ) -> Cow<'a, str> {
        let mut found = Vec::new();
        let mut of = |kind, range: Range<usize>| found.push((range, kind));
        if worth.marked {
            words::find(text, &mut |range| of(Kind::Credential, range));
        }
        if self.cards && (worth.digits || cut) {
            card::find(text, cut, &mut |range| of(Kind::Card, range));
        }
        if self.tokens && (worth.long || worth.marked || cut) {
            tokens::find(text, cut, &mut |range| of(Kind::Token, range));
        }
        if self.emails && worth.marked {
            tokens::find_emails(text, &mut |range| of(Kind::Email, range));
        }
        for pattern in &self.patterns {
            pattern.find_iter(text).for_each(|one| of(Kind::Pattern, one.range()));
        }
        if cut && !found.iter().any(|(range, _)| range.end == text.len()) {
            found.extend(cut::last_word(text).map(|range| (range, Kind::Cut)));
        }
        without(text, found, taken)
    }

    /// A URL query: the values of secret parameters as a whole, and what is secret in the others.
    pub(crate) fn query<'a>(&self, query: &'a str, cut: bool, taken: &mut Taken) -> Cow<'a, str> {
        self.unless_known(QUERY, query, cut, |query| self.parameters(query, cut, taken))
    }

    fn parameters<'a>(&self, query: &'a str, cut: bool, taken: &mut Taken) -> Cow<'a, str> {
        let trades = words::trades_code(query);
        let of_secret =
            |name: &str| names_secret(name) || trades && matches!(name, "code" | "code_verifier");
        let secret =
            |parameter: &str| parameter.split_once('=').is_some_and(|(name, _)| of_secret(name));
        if !query.split('&').any(secret) {
            return self.text(query, cut, taken);
        }
        let last = query.rsplit('&').next().map(str::as_ptr);
        let mut one = |parameter: &str| match parameter.split_once('=') {
            Some((name, value)) if of_secret(name) => {
                taken.add(Kind::Credential, value.len());
                format!("{name}={REDACTED}")
            }
            _ => {
                let cut = cut && Some(parameter.as_ptr()) == last;
                self.text(parameter, cut, taken).into_owned()
            }
        };
        Cow::Owned(query.split('&').map(&mut one).collect::<Vec<_>>().join("&"))
    }

    /// Takes the values out of a statement, and the statement out of what was kept of its request. What
    /// its parser left without values stays as it is.
    pub(crate) fn statement(&self, exchange: &mut Exchange, taken: &mut Taken) {
        let Said::Database(call) = &mut exchange.said else { return };
        if !self.sql || !protocol::speaks_sql(call.system) {
            return;
        }
        taken.add(Kind::Sql, exchange.request_captured.len());
        exchange.request_captured.clear();
        if let Some(text) = &mut call.text {
            let sanitised = protocol::without_values(text, call.system);
            taken.add(Kind::Sql, text.len().saturating_sub(sanitised.len()));
            *text = sanitised;
        }
    }

    /// The value of a header, as far as it may be told.
    pub(crate) fn header<'a>(
        &self,
        name: &str,
        value: &'a str,
        cut: bool,
        taken: &mut Taken,
    ) -> Cow<'a, str> {
        let secret = SECRET_HEADERS.contains(&name) || names_secret(name.trim_start_matches("x-"));
        if secret {
            taken.add(Kind::Credential, value.len());
            return Cow::Owned(REDACTED.to_owned());
        }
        self.text(value, cut, taken)
    }
}

/// What a text has that a secret needs: most have nothing of it, and are looked at once.
#[derive(Debug, Clone, Copy, Default)]
struct Worth {
    /// Digits enough for a card.
    digits: bool,
    /// A run of letters and digits that is long enough for a token.
    long: bool,
    /// A mark that stands between a name and a value, in an address or behind a scheme.
    marked: bool,
}

/// The shortest token that no mark stands before.
const LONG_MIN: u32 = 8;
const CARD_DIGITS_MIN: u32 = 13;

impl Worth {
    fn of(text: &str) -> Self {
        let (mut digits, mut run) = (0_u32, 0_u32);
        let mut worth = Self::default();
        for byte in text.bytes() {
            match byte {
                b'0'..=b'9' => {
                    digits += 1;
                    run += 1;
                }
                b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'-' => run += 1,
                b':' | b'=' | b'@' | b'%' | b' ' | b'+' | b'>' => (run, worth.marked) = (0, true),
                _ => run = 0,
            }
            worth.long |= run >= LONG_MIN;
        }
        worth.digits = digits >= CARD_DIGITS_MIN;
        worth
    }

    fn look(self) -> bool {
        self.digits || self.long || self.marked
    }
}

/// The text without what was found; a byte that was found twice counts for the kind that comes first.
fn without<'a>(
    text: &'a str,
    mut found: Vec<(Range<usize>, Kind)>,
    taken: &mut Taken,
) -> Cow<'a, str> {
    if found.is_empty() {
        return Cow::Borrowed(text);
    }
    found.sort_by_key(|(range, kind)| (range.start, *kind as usize));
    let mut out = String::with_capacity(text.len());
    let mut done = 0;
    for (range, kind) in found {
        let Range { start, end } = range;
        if end <= done {
            continue;
        }
        if start >= done {
            out.push_str(text.get(done..start).unwrap_or_default());
            out.push_str(REDACTED);
        }
        taken.add(kind, end - start.max(done));
        done = end;
    }
    out.push_str(text.get(done..).unwrap_or_default());
    Cow::Owned(out)
}

/// A text of which no more than so many bytes were kept was, or may have been, longer: a letter that was
/// cut through is left out, or shown as another.
pub(crate) fn is_cut(text: &str, bytes_max: usize) -> bool {
    text.len() + char::MAX.len_utf8() > bytes_max
}

/// Command-line arguments with secret values replaced: `--token=x`, `--token x`, `TOKEN=x`, the user
/// part of URLs, and what its own form gives away. `bytes_max`: longer ones were cut.
#[must_use]
pub(crate) fn arguments(arguments: &[String], bytes_max: usize) -> Vec<String> {
    let redaction = Redaction::default();
    let mut secret_next = false;
    let one = |argument: &String| {
        if std::mem::take(&mut secret_next) && !argument.starts_with('-') {
            return REDACTED.to_owned();
        }
        match argument.split_once('=') {
            Some((name, _)) if names_secret(name) => return format!("{name}={REDACTED}"),
            None if argument.starts_with('-') => secret_next = names_secret(argument),
            _ => {}
        }
        redaction.text(argument, is_cut(argument, bytes_max), &mut Taken::default()).into_owned()
    };
    arguments.iter().map(one).collect()
}

#[cfg(test)]
mod tests;
