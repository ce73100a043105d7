//! A request as it goes over the wire, packed before it is its turn.

use std::io::Write;

use crate::cli::{Compression, Protocol};
use crate::generate::{Request, Signal};
use bytes::{BufMut, Bytes, BytesMut};
use flate2::write::GzEncoder;

#[derive(Debug, Clone)]
pub(crate) struct Packed {
    pub(crate) signal: Signal,
    pub(crate) body: Bytes,
    pub(crate) items: u64,
    pub(crate) ids: Vec<[u8; 8]>,
}

impl Packed {
    pub(crate) fn new(request: Request, protocol: Protocol, compression: Compression) -> Self {
        let Request { signal, message, items, ids, resources: _, begun: _ } = request;
        let message = compress(message, compression);
        let body = match protocol {
            Protocol::Http => Bytes::from(message),
            Protocol::Grpc => frame(compression != Compression::None, &message),
        };
        Self { signal, body, items, ids }
    }
}

fn compress(message: Vec<u8>, compression: Compression) -> Vec<u8> {
    match compression {
        Compression::None => message,
        Compression::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&message).expect("a vector takes every byte");
            encoder.finish().expect("a vector takes every byte")
        }
        Compression::Zstd => {
            zstd::bulk::compress(&message, 1).expect("level 1 compresses any bytes")
        }
    }
}

/// gRPC's frame around a message.
fn frame(compressed: bool, message: &[u8]) -> Bytes {
    let length = u32::try_from(message.len()).expect("requests are below 1 MiB");
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(u8::from(compressed));
    frame.put_u32(length);
    frame.put_slice(message);
    frame.freeze()
}
