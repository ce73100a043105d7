//! Where the rows are that a condition can hold for, as far as the catalog can tell.

use datafusion::logical_expr::Expr;
use datafusion::logical_expr::utils::split_conjunction;
use icecore_store::{Bound, ReadColumn, Table, TimeRange, TraceId, Values};

use super::bounds::{Limit, limit};
use super::columns::Column;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    /// When; `None` where no row can match at all.
    pub(crate) time: Option<TimeRange>,
    /// Of which trace, where it is one.
    pub(crate) trace_id: Option<TraceId>,
    /// Of which service, where it is one.
    pub(crate) service_name: Option<String>,
}

impl Place {
    /// Of a condition over these columns.
    pub(crate) fn of(table: Table, columns: &[Column], condition: &Expr) -> Self {
        let mut place = Self { time: Some(TimeRange::ALL), trace_id: None, service_name: None };
        for term in split_conjunction(condition) {
            match limit(table, columns, term) {
                Some(Limit::Nothing) => place.time = None,
                Some(Limit::Time(time)) => {
                    let both = place.time.zip(time);
                    place.time = both.and_then(|(one, other)| one.intersection(&other));
                }
                Some(Limit::Ids(name, ids)) if name == "trace_id" => {
                    if let [id] = ids.as_slice() {
                        place.trace_id = id.as_slice().try_into().ok().map(TraceId);
                    }
                }
                Some(Limit::Bound(Bound { column: ReadColumn::Fixed(name), values }))
                    if name == "service_name" =>
                {
                    if let Values::Texts(texts) = &values
                        && let [only] = texts.as_slice()
                    {
                        place.service_name = Some(only.clone());
                    }
                }
                _ => {}
            }
        }
        place
    }
}
