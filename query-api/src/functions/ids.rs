//! Ids compare with hex text of either case, and with bytes (`X'5b8e…'`).

use datafusion::common::Column;
use datafusion::logical_expr::expr::InList;
use datafusion::logical_expr::{BinaryExpr, Expr, lit};
use datafusion::scalar::ScalarValue;

/// The comparison with its literals in the case that ids are shown in; `None` where it is no
/// comparison of an id, or already is.
pub(super) fn lower(expr: &Expr, is_id: impl Fn(&Column) -> bool) -> Option<Expr> {
    match expr {
        Expr::BinaryExpr(BinaryExpr { left, op, right }) if op.supports_propagation() => {
            let (new_left, new_right) = match (left.as_ref(), right.as_ref()) {
                (Expr::Column(column), value) if is_id(column) => (None, Some(lower_text(value)?)),
                (value, Expr::Column(column)) if is_id(column) => (Some(lower_text(value)?), None),
                _ => return None,
            };
            let left = new_left.map_or_else(|| left.clone(), Box::new);
            let right = new_right.map_or_else(|| right.clone(), Box::new);
            Some(Expr::BinaryExpr(BinaryExpr::new(left, *op, right)))
        }
        Expr::InList(InList { expr, list, negated }) => {
            let Expr::Column(column) = expr.as_ref() else { return None };
            if !is_id(column) || !list.iter().any(|value| lower_text(value).is_some()) {
                return None;
            }
            let lowered =
                list.iter().map(|value| lower_text(value).unwrap_or_else(|| value.clone()));
            Some(Expr::InList(InList::new(expr.clone(), lowered.collect(), *negated)))
        }
        _ => None,
    }
}

fn lower_text(expr: &Expr) -> Option<Expr> {
    let Expr::Literal(value, _) = expr else { return None };
    if let ScalarValue::Binary(Some(bytes)) = value {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return Some(lit(ScalarValue::from(hex)));
    }
    let text = value.try_as_str().flatten()?;
    let upper = text.bytes().any(|byte| byte.is_ascii_uppercase());
    upper.then(|| lit(ScalarValue::from(text.to_ascii_lowercase())))
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::col;

    use super::*;

    /// Scenario: comparisons of an id and of another column with text in upper case.
    /// Guarantees: only what is compared with the id changes, on either side and in lists.
    #[test]
    fn only_ids_are_lowered() {
        let check = |expr: Expr, lowered: Option<Expr>| {
            assert_eq!(lower(&expr, |column| column.name == "trace_id"), lowered, "{expr}");
        };
        check(col("trace_id").eq(lit("AB")), Some(col("trace_id").eq(lit("ab"))));
        check(lit("AB").eq(col("trace_id")), Some(lit("ab").eq(col("trace_id"))));
        check(col("trace_id").eq(lit("ab")), None);
        check(col("name").eq(lit("AB")), None);
        let bytes = lit(ScalarValue::Binary(Some(vec![0x0a, 0xbc])));
        check(col("trace_id").eq(bytes), Some(col("trace_id").eq(lit("0abc"))));
        let list = |one: &str| col("trace_id").in_list(vec![lit(one), lit("cd")], false);
        check(list("AB"), Some(list("ab")));
    }
}
