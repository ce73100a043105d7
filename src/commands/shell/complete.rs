//! What a word that is being typed may become.

use serde_json::Value;

/// Words of SQL that queries begin and join with.
const WORDS: &[&str] = &[
    "SELECT",
    "FROM",
    "WHERE",
    "GROUP BY",
    "ORDER BY",
    "LIMIT",
    "JOIN",
    "LEFT JOIN",
    "ON",
    "AND",
    "OR",
    "NOT",
    "IN",
    "LIKE",
    "ILIKE",
    "BETWEEN",
    "IS NULL",
    "IS NOT NULL",
    "AS",
    "DISTINCT",
    "HAVING",
    "UNION ALL",
    "WITH",
    "CASE",
    "WHEN",
    "THEN",
    "ELSE",
    "END",
    "DESC",
    "ASC",
    "INTERVAL",
    "EXPLAIN",
    "EXPLAIN ANALYZE",
    "DESCRIBE",
    "SHOW TABLES",
    "FILTER",
    "OVER",
    "PARTITION BY",
    "CAST",
];
/// Behind these words stands the name of a table.
const BEFORE_TABLES: &[&str] = &["from", "join", "describe", "table"];
/// At most so many choices are of use.
const CHOICES_MAX: usize = 200;

/// What a query can name.
#[derive(Debug, Default)]
pub(super) struct Names {
    tables: Vec<String>,
    columns: Vec<String>,
    functions: Vec<String>,
    attributes: Vec<String>,
    resource: Vec<String>,
}

/// What may stand in place of the text from `from` to the cursor.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Choices {
    pub(super) from: usize,
    pub(super) words: Vec<String>,
}

impl Names {
    /// From the answer of `/api/v1/schema`.
    pub(super) fn of(schema: &Value) -> Self {
        let texts = |list: &Value| -> Vec<String> {
            list.as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect()
        };
        let of_each = |list: &Value, name: &str| -> Vec<String> {
            let items = list.as_array().into_iter().flatten();
            items.filter_map(|item| item[name].as_str()).map(str::to_owned).collect()
        };
        let mut names = Self::default();
        for table in schema["tables"].as_array().into_iter().flatten() {
            names.columns.extend(of_each(&table["columns"], "name"));
            names.attributes.extend(texts(&table["attributes"]));
            names.resource.extend(texts(&table["resource"]));
        }
        names.tables = of_each(&schema["tables"], "name");
        names.tables.extend(of_each(&schema["views"], "name"));
        let calls = |names: Vec<String>| names.into_iter().map(|name| format!("{name}("));
        names.tables.extend(calls(texts(&schema["table_functions"])));
        names.functions.extend(calls(texts(&schema["functions"])));
        for list in [&mut names.columns, &mut names.attributes, &mut names.resource] {
            list.sort_unstable();
            list.dedup();
        }
        names
    }

    /// What the end of `before` may become.
    pub(super) fn choices(&self, before: &str) -> Choices {
        if let Some((from, keys)) = self.keys_at(before) {
            let typed = before.get(from..).unwrap_or_default();
            let fitting = keys.iter().filter(|key| key.starts_with(typed));
            let words =
                fitting.take(CHOICES_MAX).map(|key| format!("{}']", key.replace('\'', "''")));
            return Choices { from, words: words.collect() };
        }
        let is_word = |c: char| c.is_alphanumeric() || c == '_';
        let from = before.trim_end_matches(is_word).len();
        let typed = before.get(from..).unwrap_or_default().to_lowercase();
        let last = before.get(..from).unwrap_or_default().split_whitespace().next_back();
        let after_from =
            last.is_some_and(|word| BEFORE_TABLES.contains(&word.to_lowercase().as_str()));
        if typed.is_empty() && !after_from {
            return Choices { from, words: Vec::new() };
        }
        let words = WORDS.iter().map(|word| (*word).to_owned());
        let all: Vec<String> = if after_from {
            self.tables.clone()
        } else {
            let names = self.columns.iter().chain(&self.tables).chain(&self.functions);
            names.cloned().chain(words).collect()
        };
        let mut words: Vec<String> =
            all.into_iter().filter(|word| word.to_lowercase().starts_with(&typed)).collect();
        let mut seen = std::collections::HashSet::new();
        words.retain(|word| seen.insert(word.clone()));
        words.truncate(CHOICES_MAX);
        Choices { from, words }
    }

    /// Inside of `attributes['…` or `resource['…`: where the key begins, and which there are.
    fn keys_at(&self, before: &str) -> Option<(usize, &[String])> {
        let open = before.rfind("['")?;
        let from = open + 2;
        if before.get(from..)?.contains('\'') {
            return None;
        }
        let map = before.get(..open)?;
        let ends_with = |name: &str| map.to_lowercase().ends_with(name);
        if ends_with("attributes") {
            Some((from, &self.attributes))
        } else {
            ends_with("resource").then_some((from, &self.resource))
        }
    }
}

impl Choices {
    /// What all choices begin with.
    pub(super) fn shared(&self) -> String {
        let mut words = self.words.iter();
        let Some(first) = words.next() else { return String::new() };
        words.fold(first.clone(), |shared, word| {
            let same = shared.chars().zip(word.chars()).take_while(|(a, b)| a == b);
            same.map(|(c, _)| c).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Scenario: words at each kind of place, with keys that have quotes and dots.
    /// Guarantees: tables behind FROM, keys inside of a map, columns and functions elsewhere.
    #[test]
    fn words_are_completed_by_place() {
        let names = Names::of(&json!({
            "tables": [{"name": "spans", "columns": [{"name": "service_name"}, {"name": "name"}],
                        "attributes": ["http.route", "http.request.method", "it's"],
                        "resource": ["k8s.pod.name"]}],
            "views": [{"name": "requests"}], "table_functions": ["trace"], "functions": ["count"],
        }));
        let check = |before: &str, from: usize, words: &[&str]| {
            let expected =
                Choices { from, words: words.iter().map(|it| (*it).to_owned()).collect() };
            assert_eq!(names.choices(before), expected, "{before}");
        };
        check("SELECT ser", 7, &["service_name"]);
        check("SELECT cou", 7, &["count("]);
        check("sel", 0, &["SELECT"]);
        check("SELECT 1 FROM ", 14, &["spans", "requests", "trace("]);
        check("SELECT 1 from sp", 14, &["spans"]);
        check("WHERE attributes['http.", 18, &["http.request.method']", "http.route']"]);
        check("WHERE resource['", 16, &["k8s.pod.name']"]);
        check("WHERE attributes['it", 18, &["it''s']"]);
        check("SELECT 'sp", 8, &["spans"]);
        check("", 0, &[]);
        assert_eq!(names.choices("x attributes['h").shared(), "http.r");
    }
}
