//! Figures as people read them.

use serde_json::Value;

/// What the figures of a column count.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Unit {
    /// Time; one of it is so many nanoseconds.
    Time(f64),
    /// Bytes.
    Bytes,
    /// Anything else.
    Plain,
}

impl Unit {
    /// By the name of a column: `duration_ns`, `p99_ms`, `sent_bytes`.
    pub(super) fn of_column(name: &str) -> Self {
        if name.ends_with("_per_s") {
            return Self::Plain;
        }
        match name.rsplit('_').next().unwrap_or_default() {
            "ns" if name != "ns" => Self::Time(1.0),
            "us" if name != "us" => Self::Time(1e3),
            "ms" if name != "ms" => Self::Time(1e6),
            "s" | "seconds" if name.contains('_') => Self::Time(1e9),
            "bytes" => Self::Bytes,
            _ => Self::Plain,
        }
    }

    /// A figure of this unit.
    pub(super) fn show(self, figure: &Value) -> String {
        match (self, figure.as_f64()) {
            (Self::Time(nanos), Some(figure)) => duration(figure * nanos),
            (Self::Bytes, Some(figure)) => bytes(figure),
            (Self::Plain, Some(float)) if figure.is_f64() => short(float),
            _ => figure.to_string(),
        }
    }
}

/// A duration with three digits.
pub(super) fn duration(nanos: f64) -> String {
    let size = nanos.abs();
    if size >= 90e9 {
        return long(nanos);
    }
    let (unit, name) = match size {
        size if size >= 999.5e6 => (1e9, "s"),
        size if size >= 999.5e3 => (1e6, "ms"),
        size if size >= 999.5 => (1e3, "µs"),
        _ => (1.0, "ns"),
    };
    format!("{} {name}", digits(nanos / unit))
}

/// From a minute and a half on: `2m 30s`, `3h 12m`, `4d 6h`.
fn long(nanos: f64) -> String {
    let sign = if nanos < 0.0 { "-" } else { "" };
    let seconds = (nanos.abs() / 1e9).round();
    let parts = |large: f64, small: f64, names: [&str; 2]| {
        let rest = (seconds % large / small).floor();
        format!("{sign}{}{} {rest}{}", (seconds / large).floor(), names[0], names[1])
    };
    match seconds {
        seconds if seconds >= 172_800.0 => parts(86_400.0, 3_600.0, ["d", "h"]),
        seconds if seconds >= 3_600.0 => parts(3_600.0, 60.0, ["h", "m"]),
        _ => parts(60.0, 1.0, ["m", "s"]),
    }
}

/// A number of bytes with three digits.
pub(super) fn bytes(bytes: f64) -> String {
    let size = bytes.abs();
    let (unit, name) = match size {
        size if size >= 999.5e9 => (1e12, "TB"),
        size if size >= 999.5e6 => (1e9, "GB"),
        size if size >= 999.5e3 => (1e6, "MB"),
        size if size >= 1e3 => (1e3, "kB"),
        _ => (1.0, "B"),
    };
    format!("{} {name}", digits(bytes / unit))
}

/// A count, its thousands apart.
pub(super) fn count(count: u64) -> String {
    let digits = count.to_string();
    let mut out = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// Three digits, and no zeros that say nothing.
fn digits(figure: f64) -> String {
    let places = match figure.abs() {
        size if size >= 99.95 => 0,
        size if size >= 9.995 => 1,
        _ => 2,
    };
    trimmed(format!("{figure:.places$}"))
}

/// A float with six digits.
fn short(float: f64) -> String {
    let size = float.abs();
    if size != 0.0 && !(1e-4..1e15).contains(&size) {
        return format!("{float:.5e}");
    }
    let places = if size >= 1e5 {
        1
    } else if size >= 1.0 {
        4
    } else {
        6
    };
    trimmed(format!("{float:.places$}"))
}

fn trimmed(text: String) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Scenario: columns by their names, with figures at the edges of units.
    /// Guarantees: each figure has a unit that fits it, and no digit that is not there.
    #[test]
    fn figures_are_readable() {
        let check = |name: &str, figure: Value, expected: &str| {
            assert_eq!(Unit::of_column(name).show(&figure), expected, "{name} {figure}");
        };
        check("duration_ns", json!(0), "0 ns");
        check("duration_ns", json!(999), "999 ns");
        check("duration_ns", json!(1_000), "1 µs");
        check("duration_ns", json!(999_600), "1 ms");
        check("p99_ms", json!(12.345), "12.3 ms");
        check("p99_ms", json!(2_000.0), "2 s");
        check("age_s", json!(150), "2m 30s");
        check("age_s", json!(7_260), "2h 1m");
        check("age_seconds", json!(266_400), "3d 2h");
        check("lag_ns", json!(-1_500), "-1.5 µs");
        check("sent_bytes", json!(512), "512 B");
        check("bytes", json!(5_300_000), "5.3 MB");
        check("requests_per_s", json!(0.5), "0.5");
        check("share", json!(0.1 + 0.2), "0.3");
        check("count", json!(u64::MAX), "18446744073709551615");
        check("value", json!(1e300), "1.00000e300");
        check("s", json!(3), "3");
        assert_eq!([count(7), count(1_000), count(1_234_567)], ["7", "1,000", "1,234,567"]);
    }
}
