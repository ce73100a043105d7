//! Handles of statements, and the values that are bound to them.

use arrow::array::{Array, RecordBatch};
use arrow::datatypes::{DataType, Field, Schema};
use arrow_flight::FlightData;
use arrow_flight::decode::FlightRecordBatchStream;
use arrow_flight::error::FlightError;
use bytes::Bytes;
use futures::future;
use futures::stream::{Stream, TryStreamExt};
use prost::Message as _;
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use tonic::Status;

use super::status;
use crate::engine::Question;
use crate::expand::{Params, places};

/// A statement and its values: all there is to know of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Handle {
    sql: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    params: Vec<Json>,
}

impl Handle {
    /// A statement without values.
    pub(super) fn of_sql(sql: &str) -> Self {
        Self { sql: sql.to_owned(), params: Vec::new() }
    }

    /// As [`Handle::to_bytes`] wrote it.
    pub(super) fn of_bytes(bytes: &[u8]) -> Result<Self, Status> {
        serde_json::from_slice(bytes)
            .map_err(|_foreign| Status::invalid_argument("this handle is of another server"))
    }

    /// For the caller to keep.
    pub(super) fn to_bytes(&self) -> Result<Bytes, Status> {
        let bytes =
            serde_json::to_vec(self).map_err(|error| Status::internal(error.to_string()))?;
        Ok(Bytes::from(bytes))
    }

    /// How many values the statement wants.
    pub(super) fn places(&self) -> usize {
        places(&self.sql)
    }

    /// With a null for each value, to learn what is answered.
    pub(super) fn with_nulls(&self, places: usize) -> Self {
        Self { sql: self.sql.clone(), params: vec![Json::Null; places] }
    }

    /// With the values of the one row that was bound.
    pub(super) fn with_row(&self, batches: &[RecordBatch]) -> Result<Self, Status> {
        let rows: usize = batches.iter().map(RecordBatch::num_rows).sum();
        let row = batches.iter().find(|batch| batch.num_rows() > 0);
        let Some(batch) = row.filter(|_| rows == 1) else {
            let text = "a query takes one row of values; ask once for each";
            return Err(Status::invalid_argument(text));
        };
        let columns = batch.schema_ref().fields().iter().zip(batch.columns());
        let params = columns.map(|(field, column)| value(field.name(), column.as_ref()));
        Ok(Self { sql: self.sql.clone(), params: params.collect::<Result<_, _>>()? })
    }

    /// The query.
    pub(super) fn question(&self) -> Result<Question, Status> {
        let params = Params::of_request(&Json::Array(self.params.clone())).map_err(status)?;
        Ok(Question { sql: self.sql.clone(), params })
    }
}

/// A value as SQL takes it: numbers and booleans as such, all else as text.
fn value(name: &str, column: &dyn Array) -> Result<Json, Status> {
    // Arrays without a null buffer of their own have nulls too: of the type null, and dictionaries.
    if column.logical_nulls().is_some_and(|nulls| nulls.is_null(0)) {
        return Ok(Json::Null);
    }
    let options = arrow::util::display::FormatOptions::default()
        .with_timestamp_tz_format(Some("%Y-%m-%dT%H:%M:%S%.9fZ"))
        .with_timestamp_format(Some("%Y-%m-%dT%H:%M:%S%.9f"));
    let wrong = |error: &dyn std::fmt::Display| {
        Status::invalid_argument(format!("the value `{name}` cannot be read: {error}"))
    };
    let shown = arrow::util::display::ArrayFormatter::try_new(column, &options);
    let text = shown.map_err(|error| wrong(&error))?.value(0).to_string();
    match column.data_type() {
        kind if kind.is_integer() || kind.is_floating() || *kind == DataType::Boolean => {
            serde_json::from_str(&text)
                .map_err(|_odd| wrong(&format!("{text} is no number of SQL")))
        }
        _ => Ok(Json::String(text)),
    }
}

/// The values that a statement wants, of any type.
pub(super) fn schema(places: usize) -> Schema {
    let field = |place: usize| Field::new(format!("${place}"), DataType::Utf8, true);
    Schema::new((1..=places).map(field).collect::<Vec<_>>())
}

fn too_long(bytes_max: usize) -> Status {
    Status::resource_exhausted(format!("the values of a statement have at most {bytes_max} bytes"))
}

/// What was bound, in messages of at most so many bytes together; of more than a row no more is
/// read than shows that, and batches without rows are not kept.
pub(super) async fn read(
    messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static,
    bytes_max: usize,
) -> Result<Vec<RecordBatch>, Status> {
    let mut bytes = 0;
    let messages = messages.and_then(move |message| {
        bytes += message.encoded_len();
        future::ready(if bytes <= bytes_max { Ok(message) } else { Err(too_long(bytes_max)) })
    });
    let mut bound =
        FlightRecordBatchStream::new_from_flight_data(messages.map_err(FlightError::from));
    let mut batches: Vec<RecordBatch> = Vec::new();
    while let Some(batch) = bound.try_next().await? {
        match batch.num_rows() {
            0 => {}
            1 if batches.is_empty() => batches.push(batch),
            _ => {
                batches.push(batch);
                break;
            }
        }
    }
    Ok(batches)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{
        ArrayRef, DictionaryArray, Float64Array, Int32Array, Int64Array, NullArray, StringArray,
        TimestampNanosecondArray,
    };
    use arrow::datatypes::Int32Type;
    use arrow_flight::utils::batches_to_flight_data;
    use futures::stream;
    use serde_json::json;

    use super::*;

    /// Scenario: statements with places, with dollars in texts, with values of each type bound.
    /// Guarantees: places are counted, values keep their type, a handle survives its travel.
    #[test]
    fn values_are_bound() {
        let handle = Handle::of_sql("SELECT $2, '$9 it''s $8' /* $7 */ WHERE a > $1 AND b = $name");
        assert_eq!(handle.places(), 2);
        let time = TimestampNanosecondArray::from(vec![1_500_000_000]).with_timezone("+00:00");
        let columns: [(&str, ArrayRef); 4] = [
            ("1", Arc::new(Int64Array::from(vec![i64::MAX]))),
            ("2", Arc::new(Float64Array::from(vec![0.5]))),
            ("3", Arc::new(StringArray::from(vec![Some("it's")]))),
            ("4", Arc::new(time)),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let bound = handle.with_row(&[batch]).unwrap();
        let expected = json!([i64::MAX, 0.5, "it's", "1970-01-01T00:00:01.500000000Z"]);
        assert_eq!(json!(bound.params), expected);
        assert_eq!(Handle::of_bytes(&bound.to_bytes().unwrap()).unwrap(), bound);
        assert!(Handle::of_bytes(b"\x00").is_err());
        assert!(handle.with_row(&[]).is_err());
    }

    /// Scenario: nulls of several types, among them the type null and dictionaries whose key or
    /// whose value is null, and a dictionary's text.
    /// Guarantees: each null is bound as null, never as an empty text; the text stays one.
    #[test]
    fn nulls_are_bound_as_nulls() {
        let values: ArrayRef = Arc::new(StringArray::from(vec![None, Some("x")]));
        let dictionary = |key: Option<i32>| {
            let keys = Int32Array::from(vec![key]);
            DictionaryArray::<Int32Type>::try_new(keys, Arc::clone(&values)).unwrap()
        };
        let columns: [(&str, ArrayRef); 6] = [
            ("1", Arc::new(NullArray::new(1))),
            ("2", Arc::new(StringArray::from(vec![None::<&str>]))),
            ("3", Arc::new(Int64Array::from(vec![None]))),
            ("4", Arc::new(dictionary(None))),
            ("5", Arc::new(dictionary(Some(0)))),
            ("6", Arc::new(dictionary(Some(1)))),
        ];
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let bound = Handle::of_sql("SELECT $1").with_row(&[batch]).unwrap();
        assert_eq!(json!(bound.params), json!([null, null, null, null, null, "x"]));
    }

    /// Messages as a driver sends them, in these batches.
    fn messages(batches: Vec<RecordBatch>) -> Vec<FlightData> {
        let schema = batches[0].schema();
        batches_to_flight_data(&schema, batches).unwrap()
    }

    /// Scenario: a row amid batches without any, two rows, rows without end, and messages that have
    /// one byte more than they may.
    /// Guarantees: the row alone is kept; of more than one no more is read than shows it; the byte too
    /// many is refused with the bound.
    #[tokio::test]
    async fn what_is_bound_is_bounded() {
        let rows = |values: Vec<i64>| {
            RecordBatch::try_from_iter([("1", Arc::new(Int64Array::from(values)) as _)]).unwrap()
        };
        let amid = messages(vec![rows(vec![]), rows(vec![7]), rows(vec![]), rows(vec![])]);
        assert_eq!(amid.len(), 5, "the schema, and a message for each");
        let bytes = amid.iter().map(prost::Message::encoded_len).sum::<usize>();
        let sent = |messages: Vec<FlightData>| stream::iter(messages.into_iter().map(Ok));
        let bound = read(sent(amid.clone()), bytes).await.unwrap();
        assert_eq!(bound, [rows(vec![7])]);
        let refused = read(sent(amid), bytes - 1).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
        assert!(refused.message().contains(&format!("{} bytes", bytes - 1)), "{refused}");
        let one = messages(vec![rows(vec![1])]);
        let many = one.iter().chain(one.iter().skip(1).cycle()).cloned();
        let bound = read(sent(many.take(10_000).collect()), usize::MAX).await.unwrap();
        assert_eq!(bound.len(), 2);
        assert!(Handle::of_sql("SELECT $1").with_row(&bound).is_err());
    }
}
