//! Numbers of payment cards.
//!
//! Invariants: pure; every run of digits that could be a card's number by length, first digit and
//! check digit (Luhn) is told, also with spaces, dashes or their forms in URLs between digits; what a
//! text that was cut ends with is told where it could be the beginning of one.

use std::ops::Range;

const DIGITS_MIN: usize = 13;
const DIGITS_MAX: usize = 19;
/// So many digits at the end of a cut text are taken for the beginning of a number.
const CUT_DIGITS_MIN: usize = 6;

/// Where card numbers are. `cut`: more of the text was sent.
pub(super) fn find(text: &str, cut: bool, found: &mut dyn FnMut(Range<usize>)) {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        if !byte.is_ascii_digit() {
            at += 1;
            continue;
        }
        let run = Run::at(bytes, at);
        run.numbers(found);
        if cut && run.end == bytes.len() && run.digits.len() >= CUT_DIGITS_MIN {
            let from = run.digits.len().saturating_sub(DIGITS_MAX);
            found(run.digits.get(from).map_or(at, |digit| digit.at)..run.end);
        }
        at = run.end;
    }
}

#[derive(Debug, Clone, Copy)]
struct Digit {
    value: u8,
    at: usize,
    /// Nothing but a mark, or nothing at all, stands before it.
    begins: bool,
}

/// Digits with at most one mark between each two.
#[derive(Debug)]
struct Run {
    digits: Vec<Digit>,
    /// Behind the last digit, and behind a mark that ends a text.
    end: usize,
}

impl Run {
    fn at(bytes: &[u8], start: usize) -> Self {
        let mut digits = Vec::new();
        let (mut at, mut begins) = (start, true);
        let mut end = start;
        while let Some(&byte) = bytes.get(at) {
            if byte.is_ascii_digit() {
                digits.push(Digit { value: byte - b'0', at, begins });
                begins = false;
                at += 1;
                end = at;
                continue;
            }
            let rest = bytes.get(at..).unwrap_or_default();
            let Some(mark) = mark_bytes(rest).filter(|_| !begins) else { break };
            at += mark;
            begins = true;
            if at == bytes.len() {
                end = at;
            }
        }
        Self { digits, end }
    }

    /// Numbers begin and end where groups do. They may overlap.
    fn numbers(&self, found: &mut dyn FnMut(Range<usize>)) {
        for (from, first) in self.digits.iter().enumerate().filter(|(_, digit)| digit.begins) {
            for count in DIGITS_MIN..=DIGITS_MAX {
                let Some(some) = self.digits.get(from..from + count) else { break };
                let next = self.digits.get(from + count);
                let ends = next.is_none_or(|digit| digit.begins);
                if let Some(last) = some.last()
                    && ends
                    && is_card(some)
                {
                    found(first.at..last.at + 1);
                }
            }
        }
    }
}

/// A space or a dash, as they are and in URLs.
fn mark_bytes(rest: &[u8]) -> Option<usize> {
    match rest {
        [b' ' | b'-' | b'+', ..] => Some(1),
        [b'%', b'2', b'0' | b'd' | b'D' | b'b' | b'B', ..] => Some(3),
        _ => None,
    }
}

fn is_card(digits: &[Digit]) -> bool {
    digits.first().is_some_and(|first| is_issued(first.value, digits.len())) && luhn(digits)
}

/// Issuers give numbers of some lengths only; a time in milliseconds, microseconds or nanoseconds is
/// none of these.
fn is_issued(first: u8, count: usize) -> bool {
    match count {
        13 | 14 => matches!(first, 3..=6),
        15 => matches!(first, 1..=6),
        16 => first >= 2,
        _ => matches!(first, 3..=6),
    }
}

fn luhn(digits: &[Digit]) -> bool {
    let doubled = |value: u8| if value > 4 { value * 2 - 9 } else { value * 2 };
    let backwards = digits.iter().rev().enumerate();
    let sum: u32 = backwards
        .map(|(at, digit)| u32::from(if at % 2 == 1 { doubled(digit.value) } else { digit.value }))
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str, cut: bool) -> Vec<&str> {
        let mut list = Vec::new();
        find(text, cut, &mut |range| list.extend(text.get(range)));
        list
    }

    /// Scenario: test numbers of the big issuers, in all the ways in which they are written, and numbers
    /// of other kinds.
    /// Guarantees: each card is told as a whole, nothing else is.
    #[test]
    fn cards_and_other_numbers() {
        for card in [
            "4111111111111111",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "30569309025904",
            "6011111111111117",
            "3566002020360505",
            "6304000000000000",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "3782-822463-10005",
            "4111+1111+1111+1111",
            "4111%201111%201111%201111",
        ] {
            assert_eq!(found(card, false), [card]);
            for text in [format!("n={card}&x"), format!("x{card}y"), format!("\"{card}\",")] {
                assert_eq!(found(&text, false), [card], "{text}");
            }
        }
        assert_eq!(found("7 4111 1111 1111 1111 2027", false).last(), Some(&"4111 1111 1111 1111"));
        for other in [
            "4111111111111112",
            "1795694400000",
            "1795694400000000",
            "1795694400000000000",
            "411111111111111",
            "+1 415 555 2671",
            "10.244.1.17",
            "2026-11-26 12:00:00",
            "",
        ] {
            assert!(found(other, false).is_empty(), "{other}");
        }
    }

    /// Scenario: a text that was cut within a number, or right behind a mark of it.
    /// Guarantees: the beginning is told; without the cut it is not.
    #[test]
    fn beginnings() {
        assert_eq!(found("card 4111 1111 11", true), ["4111 1111 11"]);
        assert_eq!(found("card 4111 1111 ", true), ["4111 1111 "]);
        assert!(found("card 4111 1111 11", false).is_empty());
        assert!(found("year 2026", true).is_empty());
    }
}
