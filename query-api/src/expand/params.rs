//! Values for `$1`, `$2`, … and `$name`.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{
    Array, Expr, UnaryOperator, Value, VisitMut, visit_expressions_mut,
};
use serde_json::{Number, Value as Json};

use super::places::compare_items;
use crate::Error;

/// Values by the names that the SQL has for them, with the dollar sign.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params {
    values: HashMap<String, Expr>,
    /// Whether names without a value are left as they are.
    open: bool,
}

impl Params {
    /// None, and none is missed: for looking at a query whose values are yet to come.
    pub(crate) fn open() -> Self {
        Self { values: HashMap::new(), open: true }
    }

    /// Those of a request: a list for `$1`, `$2`, …, or an object for `$name`.
    pub(crate) fn of_request(params: &Json) -> Result<Self, Error> {
        let mut all = Self::default();
        match params {
            Json::Null => {}
            Json::Array(values) => {
                for (at, value) in values.iter().enumerate() {
                    all.add(&(at + 1).to_string(), value)?;
                }
            }
            Json::Object(values) => {
                for (name, value) in values {
                    all.add(name, value)?;
                }
            }
            _ => {
                let text = "`params` is a list of values for $1, $2, …, or an object for $name";
                return Err(Error::Request(text.to_owned()));
            }
        }
        Ok(all)
    }

    /// With one more value; `name` has no dollar sign.
    fn add(&mut self, name: &str, value: &Json) -> Result<(), Error> {
        let Some(value) = literal_or_list(value) else {
            let what = "no text, number, boolean or null, and no list of such";
            return Err(Error::Request(format!("parameter ${name} is {what}")));
        };
        self.put(name, value);
        Ok(())
    }

    /// With one more expression; `name` has no dollar sign.
    pub(crate) fn put(&mut self, name: &str, value: Expr) {
        self.values.insert(format!("${name}"), value);
    }

    /// Puts the values in place of their names.
    pub(super) fn fill<V: VisitMut>(&self, sql: &mut V) -> Result<(), Error> {
        let filled = visit_expressions_mut(sql, |expr| {
            if self.open {
                compare_items(expr);
            }
            let Some(name) = placeholder(expr) else { return ControlFlow::Continue(()) };
            match self.values.get(name) {
                Some(value) => *expr = value.clone(),
                None if self.open => {}
                None => return ControlFlow::Break(self.missing(name)),
            }
            ControlFlow::Continue(())
        });
        match filled {
            ControlFlow::Break(error) => Err(error),
            ControlFlow::Continue(()) => Ok(()),
        }
    }

    fn missing(&self, name: &str) -> Error {
        let mut known: Vec<&str> = self.values.keys().map(String::as_str).collect();
        known.sort_unstable();
        let hint = match known.as_slice() {
            // As some drivers write them.
            _ if name == "?" => {
                "parameters are written $1, $2, … in their order, or $name".to_owned()
            }
            [] => "give it in `params`, or with --param".to_owned(),
            known => format!("the values given are for {}", known.join(", ")),
        };
        Error::sql(format!("there is no value for `{name}`"), hint)
    }
}

pub(super) fn placeholder(expr: &Expr) -> Option<&str> {
    let Expr::Value(value) = expr else { return None };
    match &value.value {
        Value::Placeholder(name) => Some(name),
        _ => None,
    }
}

/// A value, or a list of values, as SQL would write it; none for objects and lists of lists.
fn literal_or_list(value: &Json) -> Option<Expr> {
    let Json::Array(values) = value else { return literal(value) };
    let elem = values.iter().map(literal).collect::<Option<Vec<_>>>()?;
    Some(Expr::Array(Array { elem, named: true }))
}

/// A value as SQL would write it; none for lists and objects.
pub(crate) fn literal(value: &Json) -> Option<Expr> {
    Some(match value {
        Json::Null => plain(Value::Null),
        Json::Bool(flag) => plain(Value::Boolean(*flag)),
        Json::String(text) => text_literal(text),
        Json::Number(value) => number(value),
        Json::Array(_) | Json::Object(_) => return None,
    })
}

/// A text as SQL would write it.
pub(crate) fn text_literal(text: &str) -> Expr {
    plain(Value::SingleQuotedString(text.to_owned()))
}

fn number(value: &Number) -> Expr {
    // JSON writes a whole double with its point, so that it stays one.
    let text = value.to_string();
    match text.strip_prefix('-') {
        Some(digits) => Expr::Nested(Box::new(Expr::UnaryOp {
            op: UnaryOperator::Minus,
            expr: Box::new(plain(Value::Number(digits.to_owned(), false))),
        })),
        None => plain(Value::Number(text, false)),
    }
}

fn plain(value: Value) -> Expr {
    Expr::Value(value.into())
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::{DFParser, Statement};

    use super::*;

    /// Scenario: a parameter as other engines write it.
    /// Guarantees: the error says how it is written here, whatever values were given.
    #[test]
    fn a_question_mark_is_told_how() {
        for params in [Json::Null, serde_json::json!(["x"])] {
            let text = "SELECT 1 FROM spans WHERE name = ?";
            let parsed = DFParser::parse_sql(text).unwrap().pop_front();
            let Some(Statement::Statement(mut sql)) = parsed else { panic!("it is a statement") };
            let error = Params::of_request(&params).unwrap().fill(&mut sql).unwrap_err();
            assert!(format!("{error:?}").contains("$1"), "{error:?}");
        }
    }

    /// Scenario: lists among the values, one of them of what is no value.
    /// Guarantees: a list is an array of literals; the other is refused by its name.
    #[test]
    fn lists_are_arrays() {
        let text = "SELECT $1 FROM spans WHERE name = ANY($2)";
        let parsed = DFParser::parse_sql(text).unwrap().pop_front();
        let Some(Statement::Statement(mut sql)) = parsed else { panic!("it is a statement") };
        let params = serde_json::json!([[], ["x", "y", null, 5]]);
        Params::of_request(&params).unwrap().fill(&mut sql).unwrap();
        let expected = "SELECT ARRAY[] FROM spans WHERE name = ANY(ARRAY['x', 'y', NULL, 5])";
        assert_eq!(sql.to_string(), expected);
        let error = Params::of_request(&serde_json::json!([[["x"]]])).unwrap_err().to_string();
        assert!(error.contains("$1"), "{error}");
    }
}
