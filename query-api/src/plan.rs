//! What is done to a plan beyond what the engine does: scans that know the node above them.
//!
//! Invariant: a plan answers the same with and without these rules, but for rows that its order
//! leaves equal.

mod first;
mod grouping;
mod groups;
mod inline;
mod keys;

use std::sync::Arc;

use datafusion::physical_optimizer::PhysicalOptimizerRule;

/// The rules, in the order in which they are applied behind the engine's own.
pub(crate) fn rules() -> [Arc<dyn PhysicalOptimizerRule + Send + Sync>; 2] {
    [Arc::new(first::FirstRows), Arc::new(groups::GroupedScans)]
}
