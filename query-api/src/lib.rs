//! SQL over everything that Icecore keeps, live and historical, and the page that shows it.
//!
//! Invariant: an answer is of one snapshot. Live rows are taken first and the catalog second, so
//! that each acknowledged row is in it exactly once; what could not be reached is named in it.
#![deny(missing_docs)]

mod answer;
mod condition;
mod config;
mod depth;
mod engine;
mod error;
mod expand;
mod flight;
mod functions;
mod hint;
mod http;
mod limits;
mod metrics;
mod pg;
mod plan;
mod pool;
mod running;
mod scripts;
mod service;
mod snapshot;
mod sources;
mod spill;
mod statement;
mod table;
mod tail;
mod views;

pub use condition::SqlConditions;
pub use config::Config;
pub use error::{Error, ErrorKind};
pub use hint::Place;
pub use service::{Query, QueryParts};
pub use sources::{BadIngester, IngesterName};
