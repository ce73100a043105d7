//! Any bytes: the decoder accepts them exactly where `prost` does, the check foretells what it
//! makes of them, and what it makes of JSON is valid protobuf. The first byte chooses the signal.
#![no_main]

use icecore_ingest::decode::{check, decode, json_to_protobuf};
use icecore_store::Signal;
use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

fn prost_accepts(signal: Signal, payload: &[u8]) -> bool {
    match signal {
        Signal::Traces => ExportTraceServiceRequest::decode(payload).is_ok(),
        Signal::Metrics => ExportMetricsServiceRequest::decode(payload).is_ok(),
        Signal::Logs => ExportLogsServiceRequest::decode(payload).is_ok(),
        Signal::Profiles => ExportProfilesServiceRequest::decode(payload).is_ok(),
    }
}

fuzz_target!(|data: &[u8]| {
    let Some((first, payload)) = data.split_first() else { return };
    let signal = Signal::ALL[usize::from(*first) % Signal::ALL.len()];
    let (decoded, checked) = (decode(signal, payload), check(signal, payload));
    assert_eq!(decoded.is_ok(), prost_accepts(signal, payload));
    assert_eq!(decoded.is_ok(), checked.is_ok());
    if let (Ok(decoded), Ok(checked)) = (decoded, checked) {
        assert_eq!((decoded.accepted, decoded.rejected), (checked.accepted, checked.rejected));
        assert_eq!(decoded.reason, checked.reason);
        assert_eq!(decoded.rows.map(|rows| rows.time), checked.time);
    }
    if let Ok(protobuf) = json_to_protobuf(signal, payload) {
        assert!(prost_accepts(signal, &protobuf));
    }
});
