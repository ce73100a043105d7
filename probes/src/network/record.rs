//! The record of one connection, as an OTLP log record.
//!
//! Invariant: pure; one record for each connection that has ended or was never made.

use icecore_probe_events::Account;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, SeverityNumber};

use super::account::Told as _;
use super::ending::Ending;
use super::peer::{Peer, network_type};
use crate::clock::WallClock;
use crate::span::attribute::Attribute;

const EVENT: &str = "icecore.network.connection";

/// The record of a connection.
pub(super) fn record(
    account: &Account,
    peer: &Peer,
    ending: Ending,
    clock: &WallClock,
) -> LogRecord {
    let (local, remote) = (account.local(), account.remote());
    let end = clock.wall(account.time);
    let mut list = vec![
        Attribute::text("network.transport", "tcp"),
        Attribute::text("network.type", network_type(remote.ip())),
        Attribute::text("network.local.address", local.ip().to_string()),
        Attribute::integer("network.local.port", i64::from(local.port())),
        Attribute::text("network.peer.address", remote.ip().to_string()),
        Attribute::integer("network.peer.port", i64::from(remote.port())),
        Attribute::text("icecore.network.role", peer.role()),
        Attribute::text("icecore.network.ending", ending.name()),
        Attribute::count("icecore.network.bytes.sent", account.sent),
        Attribute::count("icecore.network.bytes.received", account.received),
        Attribute::count("icecore.network.packets.sent", account.segments_sent.into()),
        Attribute::count("icecore.network.packets.received", account.segments_received.into()),
        Attribute::count("icecore.network.tcp.retransmits", account.retransmits.into()),
    ];
    if account.seen_to_begin() {
        let start = clock.wall(account.opened);
        list.push(Attribute::count("icecore.network.start", start));
        list.push(Attribute::count("icecore.network.duration", end.saturating_sub(start)));
    }
    if account.rtt_micros > 0 {
        let nanos = u64::from(account.rtt_micros) * 1_000;
        list.push(Attribute::count("icecore.network.tcp.rtt", nanos));
    }
    let connect = account.connect_nanos();
    list.extend(connect.map(|nanos| Attribute::count("icecore.network.tcp.connect", nanos)));
    list.extend(peer.named());
    list.extend(peer.whose.iter().cloned());
    list.extend(ending.error().map(|error| Attribute::text("error.type", error)));
    let severity =
        if ending.error().is_some() { SeverityNumber::Warn } else { SeverityNumber::Info };
    let body = format!("{} {local} to {remote}: {}", peer.role(), ending.name());
    LogRecord {
        time_unix_nano: end,
        observed_time_unix_nano: end,
        severity_number: severity.into(),
        severity_text: if severity == SeverityNumber::Warn { "WARN" } else { "INFO" }.to_owned(),
        body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
        attributes: list.into_iter().map(KeyValue::from).collect(),
        event_name: EVENT.to_owned(),
        ..LogRecord::default()
    }
}
