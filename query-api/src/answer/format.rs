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
        self.names()[0]
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
        let is_refused = |format: &Self| {
            let own = wanted.iter().find(|(range, _)| format.names().contains(&range.as_str()));
            own.is_some_and(|(_, weight)| *weight <= 0.0)
        };
        let mut ranges = wanted.iter().filter(|(_, weight)| *weight > 0.0);
        let known = ranges.find_map(|(range, _)| {
            Self::matching(range).iter().copied().find(|format| !is_refused(format))
        });
        known.ok_or_else(|| {
            let types = Self::ALL.map(Self::media_type).join(", ");
            Error::Accept { accept: header.to_owned(), known: types }
        })
    }

    /// Under which media types it is asked for.
    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["application/json"],
            Self::JsonLines => &["application/x-ndjson", "application/ndjson", "application/jsonl"],
            Self::Csv => &["text/csv"],
            Self::Arrow => &["application/vnd.apache.arrow.stream"],
            Self::Parquet => &["application/vnd.apache.parquet"],
        }
    }

    /// The formats of a media range, the likeliest first.
    fn matching(range: &str) -> &'static [Self] {
        match range {
            "*/*" => &Self::ALL,
            "application/*" => &[Self::Json, Self::JsonLines, Self::Arrow, Self::Parquet],
            "text/*" => &[Self::Csv],
            range => {
                let all: &'static [Self] = &Self::ALL;
                let place = all.iter().position(|format| format.names().contains(&range));
                place.map_or(&[], |place| &all[place..=place])
            }
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

/// A media range and its weight, which is 0 for what is not wanted at all.
fn media_range(text: &str) -> Option<(String, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| !range.is_empty())?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or(part.strip_prefix("Q=")));
    let weight = weight.map_or(1.0, |text| text.trim().parse().unwrap_or(0.0));
    Some((range.to_ascii_lowercase(), weight))
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
        check(Some("application/json;q=0, */*"), Format::JsonLines);
        check(Some("*/*, application/json; q=0.0, application/x-ndjson;q=0"), Format::Csv);
        check(Some("application/*, application/JSON;q=0, application/jsonl;q=0"), Format::Arrow);
        check(Some("text/*;q=0, */*"), Format::Json);
        assert!(Format::accepted(Some("application/json;q=0")).is_err());
        assert!(Format::accepted(Some("application/json;q=0, application/json;q=0")).is_err());
    }
}
