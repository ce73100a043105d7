//! How long rows are kept, as people write it: `TABLE AGE [where CONDITION]`.

use std::time::Duration;

use serde::Deserialize;

/// The shortest age: files are of an hour, and younger rows may not even be in one.
const KEEP_MIN: Duration = Duration::from_secs(3600);

const FORM: &str = "write it like `spans 30d`, `logs 14d where severity_number < 17` or `spans forever \
                    where service_name = 'billing'`";

/// One rule. What the table and the condition are, the store knows.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Retention {
    pub(crate) table: String,
    /// `None` for ever.
    pub(crate) keep: Option<Duration>,
    pub(crate) condition: Option<String>,
}

impl TryFrom<String> for Retention {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (head, condition) = match split_where(&text) {
            Some((head, condition)) => (head, Some(condition.trim().to_owned())),
            None => (text.as_str(), None),
        };
        if condition.as_ref().is_some_and(String::is_empty) {
            return Err(format!("`{text}` has no condition after `where`; {FORM}"));
        }
        let (table, keep) = head
            .trim()
            .split_once(char::is_whitespace)
            .ok_or_else(|| format!("`{text}` is not a rule; {FORM}"))?;
        let keep = keep_of(keep.trim()).map_err(|why| format!("`{text}`: {why}; {FORM}"))?;
        Ok(Self { table: table.to_owned(), keep, condition })
    }
}

/// The text before and after the first word `where`.
fn split_where(text: &str) -> Option<(&str, &str)> {
    let lower = text.to_ascii_lowercase();
    let mut from = 0;
    while let Some(at) = lower.get(from..)?.find("where") {
        let (start, end) = (from + at, from + at + "where".len());
        let stands_alone = |c: Option<char>| c.is_none_or(char::is_whitespace);
        let before = lower.get(..start)?.chars().next_back();
        let after = lower.get(end..)?.chars().next();
        if stands_alone(before) && stands_alone(after) {
            return Some((text.get(..start)?, text.get(end..)?));
        }
        from = end;
    }
    None
}

fn keep_of(text: &str) -> Result<Option<Duration>, String> {
    if text.eq_ignore_ascii_case("forever") {
        return Ok(None);
    }
    let keep = humantime::parse_duration(text)
        .map_err(|error| format!("`{text}` is not an age ({error})"))?;
    if keep < KEEP_MIN {
        return Err(format!("`{text}` is too short, the shortest age is 1h"));
    }
    Ok(Some(keep))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Result<Retention, String> {
        Retention::try_from(text.to_owned())
    }

    /// Scenario: rules with and without a condition, in any spacing and case.
    /// Guarantees: table, age and condition are told apart; the condition is kept as it is.
    #[test]
    fn rules_are_read() {
        let day = 86_400;
        let check = |text: &str, table: &str, keep: Option<u64>, condition: Option<&str>| {
            let keep = keep.map(Duration::from_secs);
            let condition = condition.map(str::to_owned);
            let expected = Retention { table: table.to_owned(), keep, condition };
            assert_eq!(rule(text), Ok(expected), "{text}");
        };
        check("spans 30d", "spans", Some(30 * day), None);
        check("  metrics   400d ", "metrics", Some(400 * day), None);
        check("spans 1h 30m", "spans", Some(5400), None);
        check(
            "logs 14d where severity_number < 17",
            "logs",
            Some(14 * day),
            Some("severity_number < 17"),
        );
        check("spans forever WHERE name = 'a where b'", "spans", None, Some("name = 'a where b'"));
    }

    /// Scenario: texts that are no rules.
    /// Guarantees: each is refused with what is wrong and how a rule is written.
    #[test]
    fn what_is_no_rule_is_refused() {
        for (text, said) in [
            ("", "not a rule"),
            ("spans", "not a rule"),
            ("spans soon", "not an age"),
            ("spans 5m", "too short"),
            ("spans 0s where true", "too short"),
            ("spans 30d where ", "no condition"),
            ("spans where name = 'a'", "not a rule"),
        ] {
            let refused = rule(text).unwrap_err();
            assert!(refused.contains(said) && refused.contains("spans 30d"), "{text}: {refused}");
        }
    }
}
