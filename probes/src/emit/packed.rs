//! Requests that are compressed once, however often they are tried.
//!
//! Invariant: what leaves is one message of gRPC, with the head that says whether it is compressed.

use std::task::{Context, Poll};

use bytes::{BufMut as _, Bytes, BytesMut};
use http_body_util::Full;
use tonic::body::Body;
use tonic::codegen::Service;
use tonic::codegen::http::header::HeaderValue;
use tonic::codegen::http::{Request, Response};
use tonic::transport::{Channel, Error};
use zstd::bulk::Compressor;

/// What spans say repeats itself within the next few hundred bytes, which the fastest level finds as well as the one that the
/// client of gRPC compresses at.
const LEVEL: i32 = 1;
/// Of a message of gRPC.
const HEAD_BYTES: usize = 5;

/// The channel to the receiver, for one request.
#[derive(Debug, Clone)]
pub(super) struct Packed {
    channel: Channel,
    /// What leaves in place of the body that the client makes; none: that one.
    message: Option<Bytes>,
}

impl Packed {
    /// As it is.
    pub(super) fn plain(channel: Channel) -> Self {
        Self { channel, message: None }
    }

    /// With this message, as `pack` has made it.
    pub(super) fn of(channel: Channel, message: Bytes) -> Self {
        Self { channel, message: Some(message) }
    }
}

/// Compresses one message after the other, in the same memory: what is given back in between comes back from the kernel
/// cleared, and that took a twentieth of the agent's time.
#[derive(Default)]
pub(super) struct Packer {
    compressor: Option<Compressor<'static>>,
    packed: Vec<u8>,
}

impl Packer {
    /// The message with its head: that it is compressed, and its length.
    pub(super) fn pack(&mut self, body: &[u8]) -> std::io::Result<Bytes> {
        let Self { compressor, packed } = self;
        let compressor = match compressor {
            Some(compressor) => compressor,
            None => compressor.insert(Compressor::new(LEVEL)?),
        };
        packed.clear();
        packed.reserve(zstd::zstd_safe::compress_bound(body.len()));
        compressor.compress_to_buffer(body, packed)?;
        let mut message = BytesMut::with_capacity(HEAD_BYTES + packed.len());
        message.put_u8(1);
        message.put_u32(u32::try_from(packed.len()).map_err(std::io::Error::other)?);
        message.put_slice(packed);
        Ok(message.freeze())
    }
}

/// Each sender has memory of its own.
impl Clone for Packer {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").field("bytes", &self.packed.capacity()).finish_non_exhaustive()
    }
}

impl Service<Request<Body>> for Packed {
    type Response = Response<Body>;
    type Error = Error;
    type Future = <Channel as Service<Request<Body>>>::Future;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Error>> {
        self.channel.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let Some(message) = self.message.clone() else { return self.channel.call(request) };
        let (mut head, _) = request.into_parts();
        head.headers.insert("grpc-encoding", HeaderValue::from_static("zstd"));
        self.channel.call(Request::from_parts(head, Body::new(Full::new(message))))
    }
}
