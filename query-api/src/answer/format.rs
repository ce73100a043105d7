//! Which format an answer has, by the caller's `Accept`.

use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;

use super::Encode;
use super::arrow_stream::ArrowEncoder;
use super::csv::CsvEncoder;
use super::json::{JsonEncoder, JsonLinesEncoder};
use super::parquet_file::ParquetEncoder;
use crate::Error;

/// A format of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One object with columns, rows and stats.
    Json,
    /// One object a row.
    JsonLines,
    /// RFC 4180 with a line of names.
    Csv,
    /// An Arrow IPC stream.
    Arrow,
    /// A Parquet file.
    Parquet,
}

impl Format {
    const ALL: [Self; 5] = [Self::Json, Self::JsonLines, Self::Csv, Self::Arrow, Self::Parquet];

    /// The media type.
    pub(crate) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::JsonLines => "application/x-ndjson",
            Self::Csv => "text/csv",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
        }
    }

    /// The name in errors.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::JsonLines => "NDJSON",
            Self::Csv => "CSV",
            Self::Arrow => "Arrow",
            Self::Parquet => "Parquet",
        }
    }

    /// The format that an `Accept` header wants most; JSON where it leaves the choice.
    pub(crate) fn accepted(header: Option<&str>) -> Result<Self, Error> {
        let Some(header) = header.filter(|header| !header.trim().is_empty()) else {
            return Ok(Self::Json);
        };
        let mut wanted: Vec<_> = header.split(',').filter_map(media_range).collect();
        // Stable: of equals the first counts.
        wanted.sort_by(|(_, one), (_, other)| other.total_cmp(one));
        let known = wanted.iter().find_map(|(range, _)| Self::matching(range));
        known.ok_or_else(|| {
            let types = Self::ALL.map(Self::media_type).join(", ");
            Error::Accept { accept: header.to_owned(), known: types }
        })
    }

    fn matching(range: &str) -> Option<Self> {
        let range = range.to_ascii_lowercase();
        match range.as_str() {
            "*/*" | "application/*" => Some(Self::Json),
            "text/*" => Some(Self::Csv),
            "application/ndjson" | "application/jsonl" => Some(Self::JsonLines),
            range => Self::ALL.into_iter().find(|format| format.media_type() == range),
        }
    }

    /// Writes rows of `schema`.
    pub(crate) fn encoder(self, schema: &SchemaRef) -> Result<Box<dyn Encode>, ArrowError> {
        Ok(match self {
            Self::Json => Box::new(JsonEncoder::new(schema)),
            Self::JsonLines => Box::new(JsonLinesEncoder::new(schema)),
            Self::Csv => Box::new(CsvEncoder::new(schema)),
            Self::Arrow => Box::new(ArrowEncoder::new(schema)?),
            Self::Parquet => Box::new(ParquetEncoder::new(schema)?),
        })
    }
}

/// A media range and its weight; `None` for one that is not wanted at all.
fn media_range(text: &str) -> Option<(&str, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| !range.is_empty())?;
    let weight = parts.find_map(|part| part.strip_prefix("q="));
    let weight = weight.map_or(1.0, |text| text.parse().unwrap_or(0.0));
    (weight > 0.0).then_some((range, weight))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: headers as clients send them.
    /// Guarantees: the format wanted most, JSON where any will do, a clear refusal otherwise.
    #[test]
    fn accept_chooses_the_format() {
        let check = |header, format| {
            assert_eq!(Format::accepted(header).ok(), Some(format), "{header:?}");
        };
        check(None, Format::Json);
        check(Some("*/*"), Format::Json);
        check(Some("text/html, application/xhtml+xml, */*;q=0.8"), Format::Json);
        check(Some("application/json;q=0.1, text/csv"), Format::Csv);
        check(Some("application/vnd.apache.arrow.stream"), Format::Arrow);
        check(Some("APPLICATION/vnd.apache.parquet; charset=binary"), Format::Parquet);
        check(Some("application/x-ndjson"), Format::JsonLines);
        assert!(Format::accepted(Some("image/png")).is_err());
        assert!(Format::accepted(Some("text/csv;q=0")).is_err());
    }
}
