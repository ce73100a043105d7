//! The protocols that are understood: a row each.
//!
//! Invariant: what a connection carries is told from its bytes alone, whatever the port; a row that
//! comes first has the stronger evidence.

use std::sync::Arc;

use super::opening::{Log, Look, Opening};
use super::{
    Limits, Protocol, Role, amqp, cassandra, dns, http1, http2, kafka, memcached, mongodb, mqtt,
    mysql, nats, postgres, redis,
};

/// A protocol: how it is told, and who parses it.
pub(super) struct Row {
    name: &'static str,
    look: fn(&Opening<'_>) -> Look,
    parser: fn(Arc<Limits>, Role, bool) -> Box<dyn Protocol>,
}

/// All of them.
const ROWS: &[Row] = &[
    Row { name: "http1", look: http1::look, parser: http1::parser },
    Row { name: "http2", look: http2::look, parser: http2::parser },
    Row { name: "postgres", look: postgres::look, parser: postgres::parser },
    Row { name: "mysql", look: mysql::look, parser: mysql::parser },
    Row { name: "mysql-packed", look: mysql::look_packed, parser: mysql::parser_packed },
    Row { name: "redis", look: redis::look, parser: redis::parser },
    Row { name: "memcached", look: memcached::look, parser: memcached::parser },
    Row { name: "nats", look: nats::look, parser: nats::parser },
    Row { name: "amqp", look: amqp::look, parser: amqp::parser },
    Row { name: "mqtt", look: mqtt::look, parser: mqtt::parser },
    Row { name: "mongodb", look: mongodb::look, parser: mongodb::parser },
    Row { name: "cassandra", look: cassandra::look, parser: cassandra::parser },
    Row { name: "kafka", look: kafka::look, parser: kafka::parser },
    Row { name: "dns", look: dns::look, parser: dns::parser },
];

/// What a connection carries.
pub(super) enum Told {
    /// This protocol, from the segment with this index on.
    Known { row: &'static Row, role: Role, at: usize },
    /// Perhaps a protocol that begins at the segment with this index.
    Possible { at: usize },
    /// Nothing that is understood.
    Nothing,
}

/// Looks at all that is held, from each segment on.
pub(super) fn tell(log: &mut Log, from_start: bool) -> Told {
    let mut possible = None;
    for at in 0..log.len() {
        let Some(opening) = log.opening(at, from_start) else { continue };
        for row in ROWS {
            match (row.look)(&opening) {
                Look::Certain(role) => return Told::Known { row, role, at },
                Look::Possible => possible = possible.or(Some(at)),
                Look::Never => {}
            }
        }
    }
    possible.map_or(Told::Nothing, |at| Told::Possible { at })
}

impl Row {
    /// A parser for a connection of which every byte will be fed (`from_start`) or not.
    pub(super) fn parser(
        &self,
        limits: Arc<Limits>,
        role: Role,
        from_start: bool,
    ) -> Box<dyn Protocol> {
        (self.parser)(limits, role, from_start)
    }
}

/// The names of all protocols, for tests and for fuzzing.
#[must_use]
pub fn names() -> Vec<&'static str> {
    ROWS.iter().map(|row| row.name).collect()
}

/// The parser of the protocol with this name, for tests and for fuzzing.
#[must_use]
pub fn parser(
    name: &str,
    limits: Arc<Limits>,
    role: Role,
    from_start: bool,
) -> Option<Box<dyn Protocol>> {
    ROWS.iter().find(|row| row.name == name).map(|row| row.parser(limits, role, from_start))
}

#[cfg(test)]
mod tests;
