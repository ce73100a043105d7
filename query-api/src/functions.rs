//! What this crate adds to SQL: `attributes['key']`, the functions of maps, percentiles by
//! buckets, rates and quantiles of metrics, the tree of a trace, and ids that compare in either case.
//!
//! Invariant: a query that uses them answers the same whether or not a key has a column.

pub(crate) mod access;
mod agree;
pub(crate) mod attribute;
mod bounded;
mod coalesce;
mod collect;
mod frames;
pub(crate) mod histogram;
pub(crate) mod hoist;
mod ids;
pub(crate) mod increase;
mod maps;
pub(crate) mod operators;
mod percentile;
mod related;
pub(crate) mod rewrite;
mod series;
mod sum;
mod template;
mod tree;

use std::sync::Arc;

use datafusion::logical_expr::{AggregateUDF, ScalarUDF};

/// Functions of values, to stand before the engine's.
pub(crate) fn scalars() -> Vec<Arc<ScalarUDF>> {
    let more = [frames::function(), series::function(), coalesce::function()];
    let ours = maps::functions().into_iter().chain(template::functions()).chain(more);
    ours.chain(bounded::functions()).collect()
}

/// Functions of groups, to stand before the engine's.
pub(crate) fn aggregates() -> Vec<Arc<AggregateUDF>> {
    let more = [
        histogram::function(),
        tree::function(),
        related::function(),
        template::clusters(),
        sum::function(),
    ];
    percentile::functions().into_iter().chain(increase::functions()).chain(more).collect()
}
