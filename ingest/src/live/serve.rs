//! Live rows for other processes, over Arrow Flight: see [`icecore_store::ports::remote`].
//!
//! Invariants: a look holds its blocks, and so the log under them, until whoever asked lets go of
//! the answer, is gone, or an hour is over, and there are never more looks than the bound. Rows are
//! made by half of the threads and for so many answers at a time: ingest keeps its share.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow_flight::encode::{DictionaryHandling, FlightDataEncoderBuilder};
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{
    Action, ActionType, Criteria, Empty, FlightData, FlightDescriptor, FlightInfo,
    HandshakeRequest, HandshakeResponse, PollInfo, PutResult, SchemaResult, Ticket,
};
use axum::Router;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use icecore_store::ports::remote::{Ask, Asked, Look, Read, RemoteError, Seen};
use icecore_store::{LiveBlock, LiveSnapshot, LogPosition, PortError, RowBatch};
use prost::Message as _;
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::blocks::Blocks;
use super::read::snapshot;
use crate::metrics::LookMetrics;

/// The longest that a look is held: whoever asked may live and never let go.
const HELD_MAX: Duration = Duration::from_secs(3600);
/// The longest that the rows of one block take on their way.
const SENT_WITHIN: Duration = Duration::from_secs(60);
/// Answers with rows that are on their way at one time: each holds the rows of a block.
const ANSWERS_MAX: usize = 8;
/// Rows of one message, where a row is not more: each message repeats what texts there are.
const MESSAGE_BYTES: usize = 8 << 20;

type Answer = BoxStream<'static, Result<FlightData, Status>>;

/// The service.
#[derive(Debug)]
pub(crate) struct LiveService {
    live: Arc<Blocks>,
    looks: Arc<Looks>,
    /// Who makes rows.
    turns: Arc<Semaphore>,
    /// Whose rows are on their way.
    answers: Arc<Semaphore>,
}

impl LiveService {
    /// Over these blocks, for a process of so many threads and so many looks at a time.
    pub(crate) fn new(
        live: Arc<Blocks>,
        looks_max: usize,
        threads: usize,
        metrics: LookMetrics,
    ) -> Self {
        // Another process that had this address numbered its own otherwise.
        let state = State { held: HashMap::new(), last: rand::random() };
        let looks = Arc::new(Looks { state: Mutex::new(state), looks_max, metrics });
        let turns = Arc::new(Semaphore::new((threads / 2).max(1)));
        Self { live, looks, turns, answers: Arc::new(Semaphore::new(ANSWERS_MAX)) }
    }

    /// As routes.
    pub(crate) fn router(self) -> Router {
        tonic::service::Routes::new(FlightServiceServer::new(self)).prepare().into_axum_router()
    }

    /// Which blocks there are; the answer is open for as long as they are held.
    fn look(&self, look: &Look) -> Result<Answer, Status> {
        let (table, time) = look.wanted().map_err(|error| invalid(&error))?;
        let held = self.looks.hold(snapshot(&self.live, table, time))?;
        let told = Seen::tell(held.id, &held.snapshot).into_iter().map(|seen| {
            Ok(FlightData { app_metadata: seen.encode_to_vec().into(), ..FlightData::default() })
        });
        let until = async move {
            tokio::time::sleep(HELD_MAX).await;
            drop(held);
            Err(Status::deadline_exceeded("the look was held for an hour"))
        };
        Ok(stream::iter(told.collect::<Vec<_>>()).chain(stream::once(until)).boxed())
    }

    /// The rows of a block of a look.
    async fn read(&self, read: Read) -> Result<Answer, Status> {
        let columns = read.wanted().map_err(|error| invalid(&error))?;
        let block = self.looks.block(read.look, LogPosition(read.position))?;
        let stopped = |_closed| Status::unavailable("ingest stops");
        let answer = Arc::clone(&self.answers).acquire_owned().await.map_err(stopped)?;
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(stopped)?;
        let work = tokio::task::spawn_blocking(move || {
            let rows = block.read(columns.as_deref());
            drop(turn);
            rows
        });
        let rows = work.await.map_err(|_panic| Status::internal("rows could not be made"))?;
        let rows = rows.map_err(|error| unread(&error))?;
        self.looks.metrics.read(rows.iter().map(|rows| rows.rows.num_rows() as u64).sum());
        let (sender, messages) = mpsc::channel(1);
        // Whoever does not take the rows must not keep them for ever.
        tokio::spawn(tokio::time::timeout(SENT_WITHIN, async move {
            let mut encoded = encoded(rows);
            while let Some(message) = encoded.next().await {
                if sender.send(message).await.is_err() {
                    break;
                }
            }
            drop(answer);
        }));
        Ok(ReceiverStream::new(messages).boxed())
    }
}

/// Batches as messages, each behind its own schema: one can have columns that another lacks.
fn encoded(rows: Vec<RowBatch>) -> Answer {
    let batches = stream::iter(rows).flat_map(|rows| {
        FlightDataEncoderBuilder::new()
            .with_dictionary_handling(DictionaryHandling::Resend)
            .with_max_flight_data_size(MESSAGE_BYTES)
            .build(stream::once(async move { Ok(rows.rows) }))
    });
    batches.map_err(|error| Status::internal(error.to_string())).boxed()
}

fn invalid(error: &RemoteError) -> Status {
    Status::invalid_argument(error.to_string())
}

fn unread(error: &PortError) -> Status {
    Status::data_loss(format!("{error}: {}", source_of(error)))
}

fn source_of(error: &PortError) -> String {
    std::error::Error::source(error).map(ToString::to_string).unwrap_or_default()
}

/// What other processes hold.
#[derive(Debug)]
struct Looks {
    state: Mutex<State>,
    looks_max: usize,
    metrics: LookMetrics,
}

#[derive(Debug)]
struct State {
    held: HashMap<u64, Arc<LiveSnapshot>>,
    /// The number of the last look.
    last: u64,
}

/// One look, until it is let go of.
#[derive(Debug)]
struct HeldLook {
    id: u64,
    snapshot: Arc<LiveSnapshot>,
    looks: Arc<Looks>,
}

impl Looks {
    fn hold(self: &Arc<Self>, snapshot: LiveSnapshot) -> Result<HeldLook, Status> {
        let snapshot = Arc::new(snapshot);
        let mut state = self.state();
        if state.held.len() >= self.looks_max {
            self.metrics.refused();
            let told = format!("{} looks are held, as many as there may be", self.looks_max);
            return Err(Status::resource_exhausted(told));
        }
        state.last = state.last.wrapping_add(1);
        let id = state.last;
        state.held.insert(id, Arc::clone(&snapshot));
        self.metrics.held(state.held.len());
        Ok(HeldLook { id, snapshot, looks: Arc::clone(self) })
    }

    fn block(&self, look: u64, position: LogPosition) -> Result<Arc<dyn LiveBlock>, Status> {
        let snapshot = self.state().held.get(&look).cloned();
        let snapshot = snapshot.ok_or_else(|| Status::not_found("nobody holds this look"))?;
        let block = snapshot.blocks.iter().find(|block| block.position() == position).cloned();
        block.ok_or_else(|| Status::not_found("the look found no such block"))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for HeldLook {
    fn drop(&mut self) {
        let mut state = self.looks.state();
        state.held.remove(&self.id);
        self.looks.metrics.held(state.held.len());
    }
}

fn not_served<T>() -> Result<T, Status> {
    Err(Status::unimplemented("here are live rows for queries of other processes, by DoGet alone"))
}

#[tonic::async_trait]
impl FlightService for LiveService {
    type HandshakeStream = BoxStream<'static, Result<HandshakeResponse, Status>>;
    type ListFlightsStream = BoxStream<'static, Result<FlightInfo, Status>>;
    type DoGetStream = Answer;
    type DoPutStream = BoxStream<'static, Result<PutResult, Status>>;
    type DoActionStream = BoxStream<'static, Result<arrow_flight::Result, Status>>;
    type ListActionsStream = BoxStream<'static, Result<ActionType, Status>>;
    type DoExchangeStream = Answer;

    async fn do_get(
        &self,
        request: Request<Ticket>,
    ) -> Result<Response<Self::DoGetStream>, Status> {
        let ask = Ask::parse(&request.into_inner().ticket).map_err(|error| invalid(&error))?;
        let answer = match ask {
            Asked::Look(look) => self.look(&look)?,
            Asked::Read(read) => self.read(read).await?,
        };
        Ok(Response::new(answer))
    }

    async fn handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Self::HandshakeStream>, Status> {
        not_served()
    }

    async fn list_flights(
        &self,
        _request: Request<Criteria>,
    ) -> Result<Response<Self::ListFlightsStream>, Status> {
        not_served()
    }

    async fn get_flight_info(
        &self,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        not_served()
    }

    async fn poll_flight_info(
        &self,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<PollInfo>, Status> {
        not_served()
    }

    async fn get_schema(
        &self,
        _request: Request<FlightDescriptor>,
    ) -> Result<Response<SchemaResult>, Status> {
        not_served()
    }

    async fn do_put(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoPutStream>, Status> {
        not_served()
    }

    async fn do_exchange(
        &self,
        _request: Request<Streaming<FlightData>>,
    ) -> Result<Response<Self::DoExchangeStream>, Status> {
        not_served()
    }

    async fn do_action(
        &self,
        _request: Request<Action>,
    ) -> Result<Response<Self::DoActionStream>, Status> {
        not_served()
    }

    async fn list_actions(
        &self,
        _request: Request<Empty>,
    ) -> Result<Response<Self::ListActionsStream>, Status> {
        not_served()
    }
}
