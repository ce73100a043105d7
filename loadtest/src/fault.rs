//! What goes wrong between a server and what it depends on, made on purpose.

mod slow;

pub(crate) use slow::SlowProxy;
