//! Reading the log: for the bridge, and for the start after a death.
//!
//! Invariant: what is read was acknowledged or could have been: never a byte beyond the end that
//! the writer published.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use icecore_store::{Feed, FeedItem, LogPosition, PortError, Signal, WriterId};
use tokio::sync::watch;
use tracing::error;

use super::aside::{Aside, set_aside};
use super::frame::{self, Contents, HEAD_BYTES, Read};
use super::pack::{Packed, Packer};
use super::segment::{Pin, Place, Segment, Segments};
use crate::live::LiveRequest;
use crate::metrics::LogMetrics;

/// How much larger a request may be than its frame, as far as reading is planned.
const PACKED_TIMES: usize = 8;

/// Requests in log order.
#[derive(Debug, Clone)]
pub(crate) struct Tail {
    writer: WriterId,
    segments: Arc<Segments>,
    packer: Arc<Packer>,
    metrics: LogMetrics,
}

/// One request as it is logged.
#[derive(Debug, Clone)]
pub(crate) struct Logged {
    /// Where its frame starts.
    pub(crate) position: LogPosition,
    /// Where the next one starts.
    pub(crate) next: LogPosition,
    /// What it is.
    pub(crate) signal: Signal,
    /// What its rows will be.
    pub(crate) contents: Contents,
    /// The export request in protobuf.
    pub(crate) packed: Packed,
}

impl Logged {
    /// What is known of it without a look into it.
    pub(crate) const fn live(&self) -> LiveRequest<'_> {
        let (plain_bytes, traces) = (self.packed.plain_bytes, None);
        LiveRequest { signal: self.signal, contents: self.contents, plain_bytes, traces }
    }
}

impl Tail {
    /// A reader of these segments.
    pub(crate) fn new(
        writer: WriterId,
        segments: Arc<Segments>,
        packer: Arc<Packer>,
        metrics: LogMetrics,
    ) -> Self {
        Self { writer, segments, packer, metrics }
    }

    /// Whose log this is.
    pub(crate) const fn writer_id(&self) -> WriterId {
        self.writer
    }

    /// Gives the export request of a frame to `read`.
    pub(crate) fn unpack<T>(
        &self,
        packed: &Packed,
        read: impl FnOnce(&[u8]) -> T,
    ) -> std::io::Result<T> {
        self.packer.unpack(&packed.bytes, packed.plain_bytes, read)
    }

    /// Keeps a request for good that nobody can make rows of: see `aside.rs`. Blocks on the disk.
    pub(crate) fn set_aside(&self, logged: &Logged) -> std::io::Result<Aside> {
        let folder = self.segments.folder();
        let kept = self.unpack(&logged.packed, |plain| set_aside(folder, logged, Some(plain)));
        kept.unwrap_or_else(|_damaged| set_aside(folder, logged, None))
    }

    /// Keeps what the log has now, as long as there is room.
    pub(crate) fn pin(&self) -> Pin {
        self.segments.pin()
    }

    /// As [`Feed::oldest`].
    pub(crate) fn oldest_now(&self) -> LogPosition {
        self.segments.oldest()
    }

    /// As [`Feed::read`]; blocks on the disk.
    pub(crate) fn read_now(
        &self,
        from: LogPosition,
        bytes_max: usize,
    ) -> Result<Vec<FeedItem>, PortError> {
        let (mut items, mut bytes, mut from) = (Vec::new(), 0, from);
        while items.is_empty() {
            let logged = self.read_logged(from, bytes_max / PACKED_TIMES)?;
            let Some(last) = logged.last() else { break };
            from = last.next;
            for logged in logged {
                if bytes > 0 && bytes + logged.packed.plain_bytes > bytes_max {
                    break;
                }
                bytes += logged.packed.plain_bytes;
                items.extend(self.feed_item(logged));
            }
        }
        Ok(items)
    }

    /// The request with its payload as it was received.
    fn feed_item(&self, logged: Logged) -> Option<FeedItem> {
        let Logged { position, next, signal, packed, contents: _ } = logged;
        match self.unpack(&packed, Bytes::copy_from_slice) {
            Ok(payload) => Some(FeedItem { position, next, signal, payload }),
            Err(error) => {
                // Its sums are right, so that this is a fault of ours.
                self.metrics.skipped(packed.bytes.len() as u64);
                error!(position = position.0, %error, "a logged request cannot be unpacked");
                None
            }
        }
    }

    /// Requests from `from` on: at least one where there is one, about `bytes_max` of the log.
    /// Blocks on the disk.
    pub(crate) fn read_logged(
        &self,
        from: LogPosition,
        bytes_max: usize,
    ) -> Result<Vec<Logged>, PortError> {
        let mut from = from;
        loop {
            let (segment, position) = match self.segments.locate(from) {
                Place::In(segment, position) => (segment, position),
                Place::End => return Ok(Vec::new()),
                Place::Trimmed(oldest) => {
                    return Err(PortError::Trimmed { wanted: from, oldest });
                }
            };
            let chunk = self.chunk(segment, position, bytes_max)?;
            let (items, next) = self.items(segment, position, &chunk);
            if !items.is_empty() {
                return Ok(items);
            }
            from = next;
        }
    }

    /// Bytes from `position` on: about `bytes_max` of them, but at least one frame where there is
    /// one.
    fn chunk(
        &self,
        segment: Segment,
        position: LogPosition,
        bytes_max: usize,
    ) -> Result<Bytes, PortError> {
        let left = usize::try_from(segment.end().0 - position.0).unwrap_or(usize::MAX);
        let chunk = self.read_bytes(segment, position, left.min(bytes_max.max(HEAD_BYTES)))?;
        match frame::read(position, &chunk) {
            Read::Short(wanted) if wanted <= left => self.read_bytes(segment, position, wanted),
            _ => Ok(chunk),
        }
    }

    fn read_bytes(
        &self,
        segment: Segment,
        position: LogPosition,
        len: usize,
    ) -> Result<Bytes, PortError> {
        let offset = position.0 - segment.first.0;
        match self.segments.folder().read(&segment.name(), offset, len) {
            Ok(bytes) => Ok(bytes.into()),
            // The segment went while we looked for it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let oldest = self.segments.oldest();
                Err(PortError::Trimmed { wanted: position, oldest })
            }
            Err(error) => Err(PortError::Io(error)),
        }
    }

    /// The whole frames of a chunk, and where to go on where there is none.
    fn items(
        &self,
        segment: Segment,
        start: LogPosition,
        chunk: &Bytes,
    ) -> (Vec<Logged>, LogPosition) {
        let mut items = Vec::new();
        let (mut position, mut rest) = (start, chunk.as_ref());
        while !rest.is_empty() {
            match frame::read(position, rest) {
                Read::Whole(frame, after) => {
                    let next = LogPosition(position.0 + (rest.len() - after.len()) as u64);
                    let frame::Frame { signal, contents, plain_bytes, payload, time: _ } = frame;
                    let packed = Packed { bytes: chunk.slice_ref(payload), plain_bytes };
                    items.push(Logged { position, next, signal, contents, packed });
                    (position, rest) = (next, after);
                }
                // Cut by the chunk, not by damage: the next read starts here.
                Read::Short(wanted) if position.0 + wanted as u64 <= segment.end().0 => break,
                Read::Short(_) | Read::Bad if !items.is_empty() => break,
                Read::Short(_) | Read::Bad => {
                    let skipped = frame::skip(position, rest);
                    self.metrics.skipped(skipped as u64);
                    position = LogPosition(position.0 + skipped as u64);
                    rest = rest.get(skipped..).unwrap_or_default();
                }
            }
        }
        // A file shorter than its segment cannot be read on: go to the next one.
        let next = if position == start { segment.end() } else { position };
        (items, next)
    }
}

#[async_trait]
impl Feed for Tail {
    fn writer(&self) -> WriterId {
        self.writer
    }

    fn end(&self) -> watch::Receiver<LogPosition> {
        self.segments.end()
    }

    fn oldest(&self) -> LogPosition {
        self.segments.oldest()
    }

    async fn read(&self, from: LogPosition, bytes_max: usize) -> Result<Vec<FeedItem>, PortError> {
        let reader = self.clone();
        let read = tokio::task::spawn_blocking(move || reader.read_now(from, bytes_max));
        read.await.map_err(|panic| PortError::Io(std::io::Error::other(panic)))?
    }

    fn retain(&self, reader: &str, from: LogPosition) {
        self.segments.retain(reader, from);
    }
}

#[cfg(test)]
mod tests;
