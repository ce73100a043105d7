//! Points in time as people write them: RFC 3339, `now`, or how long ago.

use chrono::DateTime;

use super::UnixNanos;

/// A text that is no point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a time: write it like `2026-11-25T18:00:00Z`, `now`, or how long ago, such as \
     `15m`, `2h` or `7d`"
)]
pub struct BadTime(String);

/// The instant that a text stands for, at the moment `now`.
///
/// # Errors
/// Where it is neither RFC 3339 nor `now` nor a duration of days, hours, minutes and seconds.
pub fn parse_when(text: &str, now: UnixNanos) -> Result<UnixNanos, BadTime> {
    let bad = || BadTime(text.chars().take(64).flat_map(char::escape_default).collect());
    let text = text.trim();
    if text == "now" {
        return Ok(now);
    }
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return time.timestamp_nanos_opt().map(UnixNanos).ok_or_else(bad);
    }
    let ago = nanos(text).and_then(|ago| now.0.checked_sub(ago));
    ago.map(UnixNanos).ok_or_else(bad)
}

/// `1h30m` in nanoseconds.
fn nanos(text: &str) -> Option<i64> {
    let (mut rest, mut all) = (text, 0_i64);
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (count, tail) = rest.split_at(digits);
        let unit = tail.chars().next()?;
        let seconds = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            'w' => 604_800,
            _ => return None,
        };
        let part = count.parse::<i64>().ok()?.checked_mul(seconds)?.checked_mul(1_000_000_000)?;
        all = all.checked_add(part)?;
        rest = tail.get(1..)?.trim_start();
    }
    (all > 0).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: times in every form, with offsets, in the far past, and nonsense.
    /// Guarantees: exact instants, or a refusal that says how a time is written.
    #[test]
    fn times_are_exact_or_refused() {
        let now = UnixNanos(1_795_381_200_000_000_000);
        let second = 1_000_000_000;
        let check = |text: &str, expected: i64| {
            assert_eq!(parse_when(text, now), Ok(UnixNanos(expected)), "{text}");
        };
        check("now", now.0);
        check(" 2h ", now.0 - 7_200 * second);
        check("1h30m", now.0 - 5_400 * second);
        check("1d 1s", now.0 - 86_401 * second);
        check("2026-11-22T21:00:00Z", now.0);
        check("2026-11-22T23:00:00+02:00", now.0);
        check("2026-11-22T21:00:00.000000001Z", now.0 + 1);
        let endless = "9".repeat(30);
        for text in ["", "2", "h", "2x", "0s", "-2h", "tomorrow", "2026-11-22", "1hh", &endless] {
            let refused = parse_when(text, now).unwrap_err().to_string();
            assert!(refused.contains("15m"), "{text}: {refused}");
        }
    }
}
