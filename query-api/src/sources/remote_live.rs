//! Live rows of another process, over Arrow Flight: see [`icecore_store::ports::remote`].
//!
//! Invariant: a block has exactly the rows that were told of it, or reading it is an error: a
//! connection that breaks never makes an answer shorter.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_flight::decode::{DecodedPayload, FlightDataDecoder};
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_client::FlightServiceClient;
use arrow_flight::{FlightData, Ticket};
use async_trait::async_trait;
use futures::{StreamExt as _, TryStreamExt as _};
use icecore_store::ports::remote::{Ask, RemoteError, Seen};
use icecore_store::{
    LiveBlock, LiveRows, LiveSnapshot, LogPosition, PortError, ReadColumn, RowBatch, Table,
    TimeRange,
};
use prost::Message as _;
use tokio::runtime::Handle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, Streaming};

use super::ingesters::BadIngester;

/// The largest message that is taken: some rows of one block, of which one can be as large as the
/// largest request.
const MESSAGE_BYTES_MAX: usize = 256 << 20;
/// The longest that the rows of a block may take. The other side gives up after a minute.
const READ_WITHIN: Duration = Duration::from_secs(70);
/// How often a connection in use is asked whether it stands, and how long it may take to say so.
const ALIVE_EVERY: Duration = Duration::from_secs(5);
/// What may be on its way on one connection.
const WINDOW_BYTES: u32 = 8 << 20;

type Client = FlightServiceClient<Channel>;

/// The live rows of one ingester.
#[derive(Debug)]
pub(super) struct RemoteLive {
    name: String,
    client: Client,
    runtime: Handle,
}

/// What a look found. The blocks can be read until it goes.
#[derive(Debug)]
struct RemoteLook {
    name: String,
    client: Client,
    id: u64,
    table: Table,
    runtime: Handle,
    /// Never asked again: it stands for the look on the other side. Behind a lock only to be shared.
    _open: Mutex<Streaming<FlightData>>,
}

/// A block of it.
#[derive(Debug)]
struct RemoteBlock {
    look: Arc<RemoteLook>,
    position: LogPosition,
    next: LogPosition,
    time: TimeRange,
    rows: u64,
    prints: Option<Vec<u32>>,
}

impl RemoteLive {
    /// Connects when it is asked. `name` is what it is called where it does not answer. The work is
    /// done on the threads of `runtime`, on which nobody may wait for rows.
    ///
    /// # Errors
    /// Where there can be no such address.
    pub(super) fn open(
        name: &str,
        authority: &str,
        wait: Duration,
        runtime: Handle,
    ) -> Result<Self, BadIngester> {
        let url = format!("http://{authority}");
        let endpoint = Endpoint::from_shared(url.clone());
        let endpoint =
            endpoint.map_err(|error| BadIngester { name: url, why: error.to_string() })?;
        let on_runtime = runtime.enter();
        let channel = endpoint
            .connect_timeout(wait)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(ALIVE_EVERY)
            .keep_alive_timeout(ALIVE_EVERY)
            .initial_stream_window_size(WINDOW_BYTES / 2)
            .initial_connection_window_size(WINDOW_BYTES)
            .connect_lazy();
        drop(on_runtime);
        let client = Client::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
        Ok(Self { name: name.to_owned(), client, runtime })
    }
}

#[async_trait]
impl LiveRows for RemoteLive {
    async fn live_rows(&self, table: Table, time: TimeRange) -> Result<LiveSnapshot, PortError> {
        let looked = look(&self.client, table, time).await;
        let (seen, open) = looked.map_err(|error| error.of(&self.name))?;
        let id = seen.look;
        let look = RemoteLook {
            name: self.name.clone(),
            client: self.client.clone(),
            id,
            table,
            runtime: self.runtime.clone(),
            _open: Mutex::new(open),
        };
        snapshot(Arc::new(look), seen).map_err(|error| Broken::Said(error).of(&self.name))
    }
}

/// What one look was told, whole.
async fn look(
    client: &Client,
    table: Table,
    time: TimeRange,
) -> Result<(Seen, Streaming<FlightData>), Broken> {
    let ticket = Ticket { ticket: Ask::look(table, time).encode_to_vec().into() };
    let mut open = client.clone().do_get(ticket).await?.into_inner();
    let mut seen: Option<Seen> = None;
    loop {
        let told = open.message().await?.ok_or(Broken::Short)?;
        let told = Seen::parse(&told.app_metadata)?;
        let whole = told.whole;
        match &mut seen {
            None => seen = Some(told),
            Some(seen) => seen.blocks.extend(told.blocks),
        }
        if let Some(seen) = seen.take_if(|_| whole) {
            return Ok((seen, open));
        }
    }
}

/// What was told, checked.
fn snapshot(look: Arc<RemoteLook>, seen: Seen) -> Result<LiveSnapshot, RemoteError> {
    let (writer, covered_to) = (seen.writer()?, LogPosition(seen.covered_to));
    let mut blocks: Vec<Arc<dyn LiveBlock>> = Vec::with_capacity(seen.blocks.len());
    let mut after = LogPosition::default();
    for block in seen.blocks {
        let (position, next) = block.place(after)?;
        after = next;
        let (look, time, rows) = (Arc::clone(&look), block.time()?, block.rows);
        let prints = block.prints_known.then_some(block.prints);
        blocks.push(Arc::new(RemoteBlock { look, position, next, time, rows, prints }));
    }
    Ok(LiveSnapshot { writer, covered_to, blocks })
}

impl LiveBlock for RemoteBlock {
    fn position(&self) -> LogPosition {
        self.position
    }

    fn next(&self) -> LogPosition {
        self.next
    }

    fn time(&self) -> TimeRange {
        self.time
    }

    fn rows(&self) -> u64 {
        self.rows
    }

    fn trace_prints(&self) -> Option<&[u32]> {
        self.prints.as_deref()
    }

    fn is_far(&self) -> bool {
        true
    }

    fn read(&self, columns: Option<&[ReadColumn]>) -> Result<Vec<RowBatch>, PortError> {
        let look = Arc::clone(&self.look);
        let ask = Ask::read(look.id, self.position, columns);
        let (time, rows) = (self.time, self.rows);
        // Whoever waits here may be on a thread of another runtime, which must not wait by its own means.
        let work = self.look.runtime.spawn(async move {
            let read = tokio::time::timeout(READ_WITHIN, look.read(&ask, time, rows)).await;
            read.unwrap_or(Err(Broken::Late)).map_err(|error| error.of(&look.name))
        });
        futures::executor::block_on(work).unwrap_or_else(|stopped| {
            let (part, reason) = (self.look.name.clone(), stopped.to_string());
            Err(PortError::Unavailable { part, reason })
        })
    }
}

impl RemoteLook {
    async fn read(&self, ask: &Ask, time: TimeRange, rows: u64) -> Result<Vec<RowBatch>, Broken> {
        let ticket = Ticket { ticket: ask.encode_to_vec().into() };
        let messages = self.client.clone().do_get(ticket).await?.into_inner();
        let mut decoder = FlightDataDecoder::new(messages.map_err(FlightError::from));
        let (mut batches, mut came) = (Vec::new(), 0);
        while let Some(decoded) = decoder.next().await.transpose()? {
            let DecodedPayload::RecordBatch(batch) = decoded.payload else { continue };
            came += batch.num_rows() as u64;
            // Who sends more than it told of is not listened to for longer.
            if came > rows {
                break;
            }
            batches.push(RowBatch { table: self.table, rows: batch, time });
        }
        if came != rows {
            return Err(Broken::Others { told: rows, came });
        }
        batches.retain(|batch| batch.rows.num_rows() > 0);
        Ok(batches)
    }
}

/// Why an ingester did not answer.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{}", said(.0))]
    Status(#[from] Status),
    #[error("its answer cannot be read: {0}")]
    Flight(#[from] FlightError),
    #[error("its answer cannot be read: {0}")]
    Said(#[from] RemoteError),
    #[error("its answer ended too soon")]
    Short,
    #[error("of {told} rows {came} came")]
    Others { told: u64, came: u64 },
    #[error("rows did not come within {READ_WITHIN:?}")]
    Late,
}

impl Broken {
    fn of(&self, part: &str) -> PortError {
        PortError::Unavailable { part: part.to_owned(), reason: self.to_string() }
    }
}

/// What a status says, down to why: `transport error` alone helps nobody.
fn said(status: &Status) -> String {
    let mut text = status.message().to_owned();
    let mut source = std::error::Error::source(status);
    while let Some(error) = source {
        let why = error.to_string();
        if !text.ends_with(&why) {
            text = format!("{text}: {why}");
        }
        source = error.source();
    }
    text
}
