//! Arrow Flight SQL: queries and prepared statements, as drivers ask for them.
//!
//! Invariant: nothing is kept between two calls. A handle of a statement is its text and its
//! parameters, so that there is none to lose, to bound or to clean up.

mod metadata;
mod params;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow_flight::encode::FlightDataEncoderBuilder;
use arrow_flight::error::FlightError;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::sql::server::{FlightSqlService, PeekableFlightDataStream};
use arrow_flight::sql::{
    ActionClosePreparedStatementRequest, ActionCreatePreparedStatementRequest,
    ActionCreatePreparedStatementResult, CommandGetCatalogs, CommandGetDbSchemas,
    CommandGetSqlInfo, CommandGetTableTypes, CommandGetTables, CommandPreparedStatementQuery,
    CommandStatementQuery, DoPutPreparedStatementResult, ProstMessageExt as _, SqlInfo,
    TicketStatementQuery,
};
use arrow_flight::{
    Action, FlightData, FlightDescriptor, FlightEndpoint, FlightInfo, HandshakeRequest,
    HandshakeResponse, IpcMessage, SchemaAsIpc, Ticket,
};
use axum::serve::Listener;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use prost::Message as _;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic::transport::server::TcpConnectInfo;
use tonic::{Request, Response, Status, Streaming};

use crate::answer::{Answers, Batches, plain_schema};
use crate::http::log;
use crate::running::Caller;
use crate::views::VIEWS;
use crate::{Error, ErrorKind};

use self::params::Handle;

/// Calls that one connection may have under way.
const STREAMS_MAX: u32 = 100;

type Rows = BoxStream<'static, Result<RecordBatch, FlightError>>;
type Messages = <FlightSql as FlightService>::DoGetStream;
type DoGet = Response<Messages>;
type Handshakes = Pin<Box<dyn Stream<Item = Result<HandshakeResponse, Status>> + Send>>;

/// The service, over the answers that all protocols share.
#[derive(Debug, Clone)]
pub(crate) struct FlightSql {
    answers: Arc<Answers>,
    request_bytes_max: usize,
}

impl FlightSql {
    /// Over these answers; a request is at most so long, and so are the values bound in one call.
    pub(crate) fn new(answers: Arc<Answers>, request_bytes_max: usize) -> Self {
        Self { answers, request_bytes_max }
    }

    /// Serves until `stop`, then lets the answers under way end.
    pub(crate) async fn run(
        self,
        listener: TcpListener,
        stop: CancellationToken,
    ) -> Result<(), tonic::transport::Error> {
        let bytes_max = self.request_bytes_max;
        let begins_within = self.answers.limits.begins_within();
        let service = FlightServiceServer::new(self).max_decoding_message_size(bytes_max);
        Server::builder()
            .max_concurrent_streams(STREAMS_MAX)
            // Until an answer begins; its rows are bounded as those of any query.
            .timeout(begins_within)
            .add_service(service)
            .serve_with_incoming_shutdown(incoming(listener), stop.cancelled_owned())
            .await
    }

    /// What a query would answer, without running it.
    async fn describe(&self, handle: &Handle, caller: &Caller) -> Result<SchemaRef, Status> {
        let schema = self.answers.describe(handle.question()?, caller).await.map_err(status)?;
        Ok(plain_schema(&schema))
    }

    async fn rows(&self, handle: &Handle, caller: &Caller) -> Result<DoGet, Status> {
        let batches = self.answers.batches(handle.question()?, caller).await.map_err(status)?;
        let Batches { id, head, schema, rows, marked: _ } = batches;
        let rows = rows.map_err(|error| FlightError::from(status(error)));
        let metrics = self.answers.metrics.clone();
        let mut answer = sent(schema, rows.boxed()).map(|messages| -> Messages {
            let count = move |sent: &FlightData| metrics.sent(0, sent.encoded_len() as u64);
            Box::pin(messages.inspect_ok(count))
        });
        for (name, text) in head.describe(id) {
            if let Some(value) = text.parse().ok().filter(|_| !text.is_empty()) {
                answer.metadata_mut().insert(name, value);
            }
        }
        Ok(answer)
    }

    async fn info(
        &self,
        handle: &Handle,
        ticket: Vec<u8>,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let schema = self.describe(handle, &caller(&request)).await?;
        flight_info(&schema, ticket, request.into_inner())
    }
}

/// Connections as they come, which end only with the service: where descriptors have run out, the
/// listener waits for a moment before it tries again. Rows go out at once, as over HTTP.
fn incoming(listener: TcpListener) -> impl Stream<Item = Result<TcpStream, std::io::Error>> {
    stream::unfold(listener, async |mut listener| {
        let (stream, _from) = Listener::accept(&mut listener).await;
        // A connection that is gone already shows where it is read.
        drop(stream.set_nodelay(true));
        Some((Ok(stream), listener))
    })
}

/// Where the rows of `ticket` are to be had: here.
fn flight_info(
    schema: &Schema,
    ticket: Vec<u8>,
    descriptor: FlightDescriptor,
) -> Result<Response<FlightInfo>, Status> {
    let endpoint = FlightEndpoint::new().with_ticket(Ticket::new(ticket));
    let info = FlightInfo::new()
        .try_with_schema(schema)
        .map_err(|error| Status::internal(format!("the schema cannot be sent: {error}")))?;
    Ok(Response::new(info.with_endpoint(endpoint).with_descriptor(descriptor)))
}

/// Rows as they are sent.
fn sent(schema: SchemaRef, rows: Rows) -> DoGet {
    let encoder = FlightDataEncoderBuilder::new().with_schema(schema).build(rows);
    Response::new(Box::pin(encoder.map_err(Status::from)))
}

/// A table that is known at once.
fn one(batch: Result<RecordBatch, FlightError>) -> Result<DoGet, Status> {
    let batch = batch?;
    let schema = batch.schema();
    Ok(sent(schema, stream::iter([Ok(batch)]).boxed()))
}

/// Who asks: the same as over HTTP.
fn caller<T>(request: &Request<T>) -> Caller {
    let from = request.extensions().get::<TcpConnectInfo>().and_then(TcpConnectInfo::remote_addr);
    let client =
        from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from: SocketAddr| from.ip().to_canonical());
    let id = request.metadata().get("icecore-query-id").and_then(|id| id.to_str().ok());
    Caller { client, id: id.map(str::to_owned) }
}

/// An error in the words of gRPC: fact, then hint. It is told here, and so it is logged here.
fn status(error: Error) -> Status {
    log(&error);
    let text = format!("{error}; {}", error.hint());
    match error.kind() {
        ErrorKind::Invalid => Status::invalid_argument(text),
        ErrorKind::Refused => Status::permission_denied(text),
        ErrorKind::NotFound => Status::not_found(text),
        ErrorKind::Busy
        | ErrorKind::MemoryLimit
        | ErrorKind::SpillLimit
        | ErrorKind::SpillFull
        | ErrorKind::ScanLimit
        | ErrorKind::RowLimit => Status::resource_exhausted(text),
        ErrorKind::TimeLimit => Status::deadline_exceeded(text),
        ErrorKind::Cancelled => Status::cancelled(text),
        ErrorKind::Unavailable => Status::unavailable(text),
        ErrorKind::Internal => Status::internal(text),
    }
}

fn ipc(schema: &Schema) -> Result<bytes::Bytes, Status> {
    let options = arrow::ipc::writer::IpcWriteOptions::default();
    let message: Result<IpcMessage, _> = SchemaAsIpc::new(schema, &options).try_into();
    Ok(message.map_err(arrow_status)?.0)
}

fn arrow_status(error: ArrowError) -> Status {
    Status::internal(error.to_string())
}

#[tonic::async_trait]
impl FlightSqlService for FlightSql {
    type FlightService = Self;

    /// There is nobody to be told apart: the address decides who reaches it, as over HTTP.
    async fn do_handshake(
        &self,
        _request: Request<Streaming<HandshakeRequest>>,
    ) -> Result<Response<Handshakes>, Status> {
        let answer = HandshakeResponse { protocol_version: 0, payload: bytes::Bytes::new() };
        Ok(Response::new(Box::pin(stream::iter([Ok(answer)]))))
    }

    async fn get_flight_info_statement(
        &self,
        query: CommandStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let handle = Handle::of_sql(&query.query);
        let ticket = TicketStatementQuery { statement_handle: handle.to_bytes()? };
        self.info(&handle, ticket.as_any().encode_to_vec(), request).await
    }

    async fn do_get_statement(
        &self,
        ticket: TicketStatementQuery,
        request: Request<Ticket>,
    ) -> Result<DoGet, Status> {
        let handle = Handle::of_bytes(&ticket.statement_handle)?;
        self.rows(&handle, &caller(&request)).await
    }

    async fn do_action_create_prepared_statement(
        &self,
        query: ActionCreatePreparedStatementRequest,
        request: Request<Action>,
    ) -> Result<ActionCreatePreparedStatementResult, Status> {
        let handle = Handle::of_sql(&query.query);
        let places = handle.places();
        let dataset_schema =
            match self.describe(&handle.with_nulls(places), &caller(&request)).await {
                Ok(schema) => ipc(&schema)?,
                // What is answered may depend on a value that is yet to come: it is told then.
                Err(_unknown) if places > 0 => bytes::Bytes::new(),
                Err(error) => return Err(error),
            };
        let parameter_schema = ipc(&params::schema(places))?;
        let prepared_statement_handle = handle.to_bytes()?;
        Ok(ActionCreatePreparedStatementResult {
            prepared_statement_handle,
            dataset_schema,
            parameter_schema,
        })
    }

    async fn do_put_prepared_statement_query(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<PeekableFlightDataStream>,
    ) -> Result<DoPutPreparedStatementResult, Status> {
        let handle = Handle::of_bytes(&query.prepared_statement_handle)?;
        let messages = request.into_inner().into_peekable();
        let batches = params::read(messages, self.request_bytes_max).await?;
        let prepared_statement_handle = Some(handle.with_row(&batches)?.to_bytes()?);
        Ok(DoPutPreparedStatementResult { prepared_statement_handle })
    }

    async fn get_flight_info_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let handle = Handle::of_bytes(&query.prepared_statement_handle)?;
        self.info(&handle, query.as_any().encode_to_vec(), request).await
    }

    async fn do_get_prepared_statement(
        &self,
        query: CommandPreparedStatementQuery,
        request: Request<Ticket>,
    ) -> Result<DoGet, Status> {
        let handle = Handle::of_bytes(&query.prepared_statement_handle)?;
        self.rows(&handle, &caller(&request)).await
    }

    async fn do_action_close_prepared_statement(
        &self,
        _query: ActionClosePreparedStatementRequest,
        _request: Request<Action>,
    ) -> Result<(), Status> {
        Ok(())
    }

    async fn get_flight_info_catalogs(
        &self,
        query: CommandGetCatalogs,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        flight_info(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_catalogs(
        &self,
        query: CommandGetCatalogs,
        _request: Request<Ticket>,
    ) -> Result<DoGet, Status> {
        one(metadata::catalogs(query))
    }

    async fn get_flight_info_schemas(
        &self,
        query: CommandGetDbSchemas,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        flight_info(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_schemas(
        &self,
        query: CommandGetDbSchemas,
        _request: Request<Ticket>,
    ) -> Result<DoGet, Status> {
        one(metadata::schemas(query))
    }

    async fn get_flight_info_tables(
        &self,
        query: CommandGetTables,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        flight_info(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_tables(
        &self,
        query: CommandGetTables,
        request: Request<Ticket>,
    ) -> Result<DoGet, Status> {
        let mut views = Vec::new();
        for view in VIEWS {
            let all = Handle::of_sql(&format!("SELECT * FROM {}", view.name));
            let schema = match query.include_schema {
                true => self.describe(&all, &caller(&request)).await?,
                false => SchemaRef::new(Schema::empty()),
            };
            views.push((view.name, schema));
        }
        one(metadata::tables(query, &views))
    }

    async fn get_flight_info_table_types(
        &self,
        query: CommandGetTableTypes,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        flight_info(&query.into_builder().schema(), ticket, request.into_inner())
    }

    async fn do_get_table_types(
        &self,
        query: CommandGetTableTypes,
        _request: Request<Ticket>,
    ) -> Result<DoGet, Status> {
        one(metadata::table_types(query))
    }

    async fn get_flight_info_sql_info(
        &self,
        query: CommandGetSqlInfo,
        request: Request<FlightDescriptor>,
    ) -> Result<Response<FlightInfo>, Status> {
        let ticket = query.as_any().encode_to_vec();
        let info = metadata::sql_info()?;
        flight_info(&query.into_builder(&info).schema(), ticket, request.into_inner())
    }

    async fn do_get_sql_info(
        &self,
        query: CommandGetSqlInfo,
        _request: Request<Ticket>,
    ) -> Result<DoGet, Status> {
        let info = metadata::sql_info()?;
        one(query.into_builder(&info).build())
    }

    async fn register_sql_info(&self, _id: i32, _result: &SqlInfo) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: two clients connect.
    /// Guarantees: both are taken, and what is sent to them does not wait to be put together.
    #[tokio::test]
    async fn connections_send_at_once() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut incoming = std::pin::pin!(incoming(listener));
        for _ in 0..2 {
            let client = TcpStream::connect(address).await.unwrap();
            let taken = incoming.next().await.unwrap().unwrap();
            assert_eq!(taken.peer_addr().unwrap(), client.local_addr().unwrap());
            assert!(taken.nodelay().unwrap());
        }
    }
}
