//! Arrow Flight SQL: the same answers, bounds and doubts as over HTTP.

use std::time::Duration;

use arrow::datatypes::Schema;
use arrow_flight::sql::client::FlightSqlServiceClient;
use arrow_flight::sql::{CommandPreparedStatementQuery, ProstMessageExt as _};
use arrow_flight::utils::batches_to_flight_data;
use arrow_flight::{FlightDescriptor, Ticket};
use futures::stream::{self, StreamExt as _, TryStreamExt as _};
use icecore_query::Config;
use prost::Message as _;
use tonic::transport::{Channel, Endpoint};

use crate::bench::{Bench, Place, config};
use crate::places::fixture;

/// A driver that is connected.
pub(crate) async fn client(bench: &Bench) -> FlightSqlServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", bench.flight)).unwrap();
    FlightSqlServiceClient::new(endpoint.connect().await.unwrap())
}

/// What the rows of a query are asked for with.
pub(crate) async fn ticket(client: &mut FlightSqlServiceClient<Channel>, sql: &str) -> Ticket {
    let mut info = client.execute(sql.to_owned(), None).await.unwrap();
    assert!(info.flight_descriptor.take() != Some(FlightDescriptor::default()));
    info.endpoint.remove(0).ticket.unwrap()
}

/// The rows of an answer, or what its error says.
async fn rows(bench: &Bench, sql: &str) -> Result<usize, String> {
    let mut client = client(bench).await;
    let ticket = ticket(&mut client, sql).await;
    let batches = client.do_get(ticket).await.map_err(|error| error.to_string())?;
    let batches: Vec<_> = batches.try_collect().await.map_err(|error| error.to_string())?;
    Ok(batches.iter().map(|batch| batch.num_rows()).sum())
}

/// Scenario: a table in memory, in files and in both; more rows than an answer may have.
/// Guarantees: each row once; the row too many ends the answer in the words of HTTP.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_are_those_of_http() {
    for place in Place::ALL {
        let bench = Bench::start(fixture(), place).await;
        assert_eq!(rows(&bench, "SELECT * FROM spans").await, Ok(4), "{place:?}");
    }
    let config = Config { query_rows_max: 3, ..config() };
    let bench = Bench::with(fixture(), Place::Live, config, false).await;
    assert_eq!(rows(&bench, "SELECT value FROM generate_series(1, 3)").await, Ok(3));
    let refused = rows(&bench, "SELECT value FROM generate_series(1, 4)").await.unwrap_err();
    assert!(refused.contains("query_rows_max"), "{refused}");
}

/// Scenario: an ingester does not answer in time.
/// Guarantees: the header `icecore-incomplete` of the answer names what is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_said() {
    let config = Config { live_wait: Duration::from_millis(50), ..config() };
    let bench = Bench::with(fixture(), Place::Files, config, true).await;
    let mut client = client(&bench).await;
    let ticket = ticket(&mut client, "SELECT * FROM spans").await;
    let answer = client.inner_mut().do_get(ticket).await.unwrap();
    let said = answer.metadata().get("icecore-incomplete").unwrap().to_str().unwrap();
    assert!(said.contains("source 0 did not answer: nothing came within "), "{said}");
    assert!(answer.metadata().get("icecore-query-id").is_some());
}

/// Scenario: a few rows of a wide table, and all of a long one.
/// Guarantees: `icecore_query_answer_bytes` says of each answer what the driver received.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bytes_are_counted_as_they_are_sent() {
    let bench = Bench::start(fixture(), Place::Files).await;
    let mut client = client(&bench).await;
    let mut counted = 0;
    for sql in ["SELECT * FROM spans LIMIT 1", "SELECT value FROM generate_series(1, 100000)"] {
        let ticket = ticket(&mut client, sql).await;
        let messages = client.inner_mut().do_get(ticket).await.unwrap().into_inner();
        let sizes = messages.map_ok(|message| message.encoded_len() as u64);
        let received = sizes.try_fold(0, async |sum, bytes| Ok(sum + bytes)).await.unwrap();
        let now = bench.figure("icecore_query_answer_bytes_total");
        assert_eq!(now - counted, received, "{sql}");
        counted = now;
    }
}

/// Scenario: a driver begins to bind values, and sends nothing more.
/// Guarantees: the call is ended once no query could still wait or run, before anything is sent and
/// after the first message.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_sends_nothing_is_ended() {
    let (query_wait, query_time_max) = (Duration::from_millis(100), Duration::from_millis(200));
    let config = Config { query_wait, query_time_max, ..config() };
    let bench = Bench::with(fixture(), Place::Live, config, false).await;
    let mut client = client(&bench).await;
    // A handle as the server writes it, which the client keeps to itself.
    let prepared_statement_handle = r#"{"sql":"SELECT $1"}"#.into();
    let command = CommandPreparedStatementQuery { prepared_statement_handle };
    let mut begins = batches_to_flight_data(&Schema::empty(), Vec::new()).unwrap();
    begins[0].flight_descriptor = Some(FlightDescriptor::new_cmd(command.as_any().encode_to_vec()));
    for sent in [vec![], begins] {
        let messages = stream::iter(sent.clone()).chain(stream::pending());
        let start = tokio::time::Instant::now();
        let call = client.inner_mut().do_put(messages);
        let ended = tokio::time::timeout(Duration::from_secs(20), call).await.unwrap();
        assert!(ended.is_err(), "{sent:?}");
        assert!(start.elapsed() >= query_wait + query_time_max, "{sent:?}: {:?}", start.elapsed());
    }
    assert_eq!(rows(&bench, "SELECT 1").await, Ok(1));
}
