//! A log in memory.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use bytes::Bytes;
use icecore_store::{Feed, FeedItem, LogPosition, PortError, Signal, WriterId};
use tokio::sync::watch;

/// Bytes that a frame has besides its payload.
const FRAME_BYTES: u64 = 16;

#[derive(Debug)]
pub(crate) struct MemoryFeed {
    writer: WriterId,
    items: Mutex<Vec<FeedItem>>,
    oldest: Mutex<LogPosition>,
    end: watch::Sender<LogPosition>,
    pub(crate) retained: Mutex<BTreeMap<String, LogPosition>>,
}

impl MemoryFeed {
    pub(crate) fn new(writer: &str) -> Self {
        Self {
            writer: writer.parse().unwrap(),
            items: Mutex::default(),
            oldest: Mutex::default(),
            end: watch::Sender::new(LogPosition(0)),
            retained: Mutex::default(),
        }
    }

    pub(crate) fn push(&self, signal: Signal, payload: Bytes) {
        let position = *self.end.borrow();
        let next = LogPosition(position.0 + FRAME_BYTES + payload.len() as u64);
        self.items.lock().unwrap().push(FeedItem { position, next, signal, payload });
        self.end.send_replace(next);
    }

    /// Drops all but the last `keep` items.
    pub(crate) fn trim(&self, keep: usize) {
        let mut items = self.items.lock().unwrap();
        let gone = items.len() - keep;
        items.drain(..gone);
        let oldest = items.first().map_or(*self.end.borrow(), |item| item.position);
        *self.oldest.lock().unwrap() = oldest;
    }

    pub(crate) fn end_now(&self) -> LogPosition {
        *self.end.borrow()
    }
}

#[async_trait]
impl Feed for MemoryFeed {
    fn writer(&self) -> WriterId {
        self.writer
    }

    fn end(&self) -> watch::Receiver<LogPosition> {
        self.end.subscribe()
    }

    fn oldest(&self) -> LogPosition {
        *self.oldest.lock().unwrap()
    }

    async fn read(&self, from: LogPosition, bytes_max: usize) -> Result<Vec<FeedItem>, PortError> {
        let oldest = self.oldest();
        if from < oldest {
            return Err(PortError::Trimmed { wanted: from, oldest });
        }
        let mut room = bytes_max;
        let items = self.items.lock().unwrap();
        let behind = items.iter().filter(|item| item.position >= from);
        let fitting = behind.take_while(|item| {
            let fits = room > 0;
            room = room.saturating_sub(item.payload.len());
            fits
        });
        Ok(fitting.cloned().collect())
    }

    fn retain(&self, reader: &str, from: LogPosition) {
        self.retained.lock().unwrap().insert(reader.to_owned(), from);
    }
}
