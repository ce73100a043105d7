//! One attempt to hand one request to a destination.
//!
//! Invariant: the protobuf bytes that leave are the bytes that were received; they are packed
//! once, however often they are sent.

mod grpc;
mod http;
mod response;

use std::io;
use std::io::Write;
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::write::GzEncoder;
use icecore_store::{Clock, Signal};

use crate::verdict::Answer;
use crate::{Compression, Destination, Error, Protocol};

/// Answer bodies are read up to here; what is beyond is of no use to anybody.
const ANSWER_BYTES_MAX: usize = 256 << 10;

/// A request as it goes over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) signal: Signal,
    /// For gRPC with its frame header.
    pub(crate) body: Bytes,
}

/// The connection to a destination; made lazily, made again when it breaks.
#[derive(Debug)]
pub(crate) enum Client {
    Grpc(grpc::GrpcClient),
    Http(http::HttpClient),
}

impl Client {
    pub(crate) fn new(destination: &Destination, clock: &Arc<dyn Clock>) -> Result<Self, Error> {
        Ok(match destination.protocol {
            Protocol::Grpc => Self::Grpc(grpc::GrpcClient::new(destination)?),
            Protocol::Http => Self::Http(http::HttpClient::new(destination, clock)?),
        })
    }

    pub(crate) async fn send(&self, packed: &Packed) -> Answer {
        match self {
            Self::Grpc(client) => client.send(packed).await,
            Self::Http(client) => client.send(packed).await,
        }
    }
}

/// Compresses and frames a request. Costs CPU time: not for the runtime's threads.
pub(crate) fn pack(
    protocol: Protocol,
    compression: Compression,
    signal: Signal,
    payload: &Bytes,
) -> io::Result<Packed> {
    let packed = match compression {
        Compression::None => payload.clone(),
        Compression::Gzip => {
            let out = Vec::with_capacity(payload.len() / 4);
            let mut encoder = GzEncoder::new(out, flate2::Compression::fast());
            encoder.write_all(payload)?;
            Bytes::from(encoder.finish()?)
        }
        Compression::Zstd => Bytes::from(zstd::bulk::compress(payload, 1)?),
    };
    let body = match protocol {
        Protocol::Grpc => frame(compression != Compression::None, &packed)?,
        Protocol::Http => packed,
    };
    Ok(Packed { signal, body })
}

/// gRPC's frame: whether it is compressed, its length, and the message.
fn frame(compressed: bool, message: &[u8]) -> io::Result<Bytes> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(u8::from(compressed));
    frame.put_u32(length);
    frame.put_slice(message);
    Ok(frame.freeze())
}

/// The configured headers, checked.
fn headers(destination: &Destination) -> Result<::http::HeaderMap, Error> {
    let mut map = ::http::HeaderMap::new();
    for (header, value) in &destination.headers {
        let bad = || Error::Header { name: destination.name.clone(), header: header.clone() };
        let name = ::http::HeaderName::from_bytes(header.as_bytes()).ok().ok_or_else(bad)?;
        let value = ::http::HeaderValue::from_str(value.expose()).ok();
        let mut value = value.ok_or_else(bad)?;
        value.set_sensitive(true);
        map.append(name, value);
    }
    Ok(map)
}

/// An error and its causes in one line, for a log.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
