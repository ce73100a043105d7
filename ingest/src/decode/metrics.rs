//! Metrics to rows, one a data point.
//!
//! Invariant: what a metric says of all its points is filled in after them, as the wire may say it
//! last. A metric without points has no rows: there is nothing that was measured.

mod columns;
mod exemplars;
mod points;

use arrow::error::ArrowError;
use icecore_store::Table;

use self::columns::Columns;
pub(in crate::decode) use self::points::Parts;
use self::points::Point;
use super::columns::{Bools, Named, Names, Texts};
use super::rows::{Items, Rows};
use super::shape::{self, Shape};
use super::value::ObjectText;
use super::wire::{Broken, Pieces, Reader, delimited, fields, varint};

const TEMPORALITIES: &[&str] = &["UNSPECIFIED", "DELTA", "CUMULATIVE"];

/// The columns of the metrics table.
#[derive(Debug)]
pub(super) struct Metrics {
    name: Texts,
    kind: Texts,
    unit: Texts,
    description: Texts,
    temporality: Names,
    is_monotonic: Bools,
    metadata: Texts,
    object: ObjectText,
    points: Columns,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            name: Texts::default(),
            kind: Texts::default(),
            unit: Texts::default(),
            description: Texts::default(),
            temporality: Names::new(TEMPORALITIES),
            is_monotonic: Bools::default(),
            metadata: Texts::default(),
            object: ObjectText::default(),
            points: Columns::default(),
        }
    }
}

/// The five kinds of points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Gauge => "GAUGE",
            Self::Sum => "SUM",
            Self::Histogram => "HISTOGRAM",
            Self::ExponentialHistogram => "EXPONENTIAL_HISTOGRAM",
            Self::Summary => "SUMMARY",
        }
    }

    /// Of the message around the points, and of a point.
    const fn shapes(self) -> (&'static Shape, &'static Shape) {
        match self {
            Self::Gauge => (&shape::GAUGE, &shape::NUMBER_POINT),
            Self::Sum => (&shape::SUM, &shape::NUMBER_POINT),
            Self::Histogram => (&shape::HISTOGRAM, &shape::HISTOGRAM_POINT),
            Self::ExponentialHistogram => (&shape::EXPONENTIAL, &shape::EXPONENTIAL_POINT),
            Self::Summary => (&shape::SUMMARY, &shape::SUMMARY_POINT),
        }
    }

    const fn has_temporality(self) -> bool {
        matches!(self, Self::Sum | Self::Histogram | Self::ExponentialHistogram)
    }
}

#[derive(Debug, Default)]
struct Metric<'a> {
    name: &'a [u8],
    description: &'a [u8],
    unit: &'a [u8],
    metadata: Vec<&'a [u8]>,
    data: Option<(Kind, Pieces<'a>)>,
}

impl Items for Metrics {
    const TABLE: Table = Table::Metrics;

    type Parts<'a> = Parts<'a>;

    fn put<'a>(
        &mut self,
        parts: &mut Parts<'a>,
        bytes: &'a [u8],
        limit: u32,
        rows: &mut Rows,
    ) -> Result<(), Broken> {
        let metric = Metric::read(bytes, limit)?;
        let first = rows.len;
        let Some((kind, pieces)) = &metric.data else {
            return shape::check(&shape::METRIC, bytes, limit);
        };
        let put = |point: &Point, parts: &Parts<'a>, bytes: &'a [u8], limit: u32| {
            self.put_point(*kind, point, parts, bytes, limit, rows)
        };
        let (temporality, is_monotonic) = read_points(*kind, pieces, limit - 1, parts, put)?;
        let points = rows.len - first;
        if points == 0 {
            return shape::check(&shape::METRIC, bytes, limit);
        }
        self.name.extend(Some(metric.name), points);
        self.kind.extend(Some(kind.name().as_bytes()), points);
        self.unit.extend(Some(metric.unit), points);
        self.description.extend(Some(metric.description), points);
        self.temporality.extend(kind.has_temporality().then_some(temporality), points);
        self.is_monotonic.extend((*kind == Kind::Sum).then_some(is_monotonic), points);
        self.object.push_all(&metric.metadata, limit - 1)?;
        self.object.finish(|metadata| self.metadata.extend(metadata, points));
        Ok(())
    }

    fn finish(self, rows: usize) -> Result<Named, ArrowError> {
        let mut arrays = self.points.finish(rows)?;
        arrays.extend([
            ("metric_name", self.name.finish()?),
            ("kind", self.kind.finish()?),
            ("unit", self.unit.finish()?),
            ("description", self.description.finish()?),
            ("temporality", self.temporality.finish()?),
            ("is_monotonic", self.is_monotonic.finish()),
            ("metadata", self.metadata.finish()?),
        ]);
        Ok(arrays)
    }
}

impl Metrics {
    fn put_point(
        &mut self,
        kind: Kind,
        point: &Point,
        parts: &Parts<'_>,
        bytes: &[u8],
        limit: u32,
        rows: &mut Rows,
    ) -> Result<(), Broken> {
        match point.check(parts, rows.admit(parts.attributes.len(), parts.nested())) {
            Ok(times) => {
                self.points.push(kind, point, times, parts, limit)?;
                rows.push(times.time, &parts.attributes, limit - 1, 0, parts.nested())
            }
            Err(refusal) => {
                rows.quota.reject(&refusal);
                shape::check(kind.shapes().1, bytes, limit)
            }
        }
    }
}

/// Calls `each` with every point of a metric, its bytes and the limit within it.
pub(super) fn points<'a>(
    bytes: &'a [u8],
    limit: u32,
    parts: &mut Parts<'a>,
    mut each: impl FnMut(&Point, &Parts<'a>),
) -> Result<(), Broken> {
    let Some((kind, pieces)) = Metric::read(bytes, limit)?.data else { return Ok(()) };
    let each = |point: &Point, parts: &Parts<'a>, _: &'a [u8], _: u32| {
        each(point, parts);
        Ok(())
    };
    read_points(kind, &pieces, limit - 1, parts, each).map(drop)
}

/// Calls `each` with every point of a `Gauge`, `Sum` and so on, its bytes and the limit within it;
/// `limit` is that within the whole. Gives back its temporality and whether it is monotonic.
fn read_points<'a>(
    kind: Kind,
    pieces: &Pieces<'a>,
    limit: u32,
    parts: &mut Parts<'a>,
    mut each: impl FnMut(&Point, &Parts<'a>, &'a [u8], u32) -> Result<(), Broken>,
) -> Result<(i32, bool), Broken> {
    const POINT: u32 = delimited(1);
    const TEMPORALITY: u32 = varint(2);
    const IS_MONOTONIC: u32 = varint(3);
    let known = match kind {
        Kind::Gauge | Kind::Summary => fields(&[1]),
        Kind::Histogram | Kind::ExponentialHistogram => fields(&[1, 2]),
        Kind::Sum => fields(&[1, 2, 3]),
    };
    let (mut temporality, mut is_monotonic) = (0, false);
    for piece in pieces.as_slice() {
        let mut reader = Reader::new(piece, limit);
        while let Some(key) = reader.key()? {
            match key {
                POINT => {
                    let bytes = reader.message()?;
                    each(&read_point(kind, bytes, limit - 1, parts)?, parts, bytes, limit - 1)?;
                }
                TEMPORALITY if kind.has_temporality() => temporality = reader.int32()?,
                IS_MONOTONIC if kind == Kind::Sum => is_monotonic = reader.varint()? != 0,
                _ => reader.skip(key, known)?,
            }
        }
    }
    Ok((temporality, is_monotonic))
}

fn read_point<'a>(
    kind: Kind,
    bytes: &'a [u8],
    limit: u32,
    parts: &mut Parts<'a>,
) -> Result<Point, Broken> {
    parts.clear();
    match kind {
        Kind::Gauge | Kind::Sum => Point::read_number(bytes, limit, parts),
        Kind::Histogram => Point::read_histogram(bytes, limit, parts),
        Kind::ExponentialHistogram => Point::read_exponential(bytes, limit, parts),
        Kind::Summary => Point::read_summary(bytes, limit, parts),
    }
}

impl<'a> Metric<'a> {
    fn read(bytes: &'a [u8], limit: u32) -> Result<Self, Broken> {
        const NAME: u32 = delimited(1);
        const DESCRIPTION: u32 = delimited(2);
        const UNIT: u32 = delimited(3);
        const GAUGE: u32 = delimited(5);
        const SUM: u32 = delimited(7);
        const HISTOGRAM: u32 = delimited(9);
        const EXPONENTIAL: u32 = delimited(10);
        const SUMMARY: u32 = delimited(11);
        const METADATA: u32 = delimited(12);
        const KNOWN: u32 = fields(&[1, 2, 3, 5, 7, 9, 10, 11, 12]);
        let mut metric = Self::default();
        let mut reader = Reader::new(bytes, limit);
        while let Some(key) = reader.key()? {
            let kind = match key {
                NAME => {
                    reader.text_into(&mut metric.name)?;
                    continue;
                }
                DESCRIPTION => {
                    reader.text_into(&mut metric.description)?;
                    continue;
                }
                UNIT => {
                    reader.text_into(&mut metric.unit)?;
                    continue;
                }
                METADATA => {
                    metric.metadata.push(reader.message()?);
                    continue;
                }
                GAUGE => Kind::Gauge,
                SUM => Kind::Sum,
                HISTOGRAM => Kind::Histogram,
                EXPONENTIAL => Kind::ExponentialHistogram,
                SUMMARY => Kind::Summary,
                _ => {
                    reader.skip(key, KNOWN)?;
                    continue;
                }
            };
            metric.put_data(kind, reader.message()?, limit - 1)?;
        }
        Ok(metric)
    }

    /// The last kind counts; two of one kind in a row are one. `limit` is that within them.
    fn put_data(&mut self, kind: Kind, piece: &'a [u8], limit: u32) -> Result<(), Broken> {
        match &mut self.data {
            Some((same, pieces)) if *same == kind => pieces.push(piece),
            data => {
                if let Some((replaced, pieces)) = data.replace((kind, Pieces::One(piece))) {
                    let shape = replaced.shapes().0;
                    let mut pieces = pieces.as_slice().iter();
                    pieces.try_for_each(|piece| shape::check(shape, piece, limit))?;
                }
            }
        }
        Ok(())
    }
}
