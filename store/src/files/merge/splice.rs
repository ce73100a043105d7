//! One column of the output, spliced from the lanes run by run.
//!
//! Invariant: a column of every lane is decoded once, in order; of each a batch is held.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, DictionaryArray, FixedSizeBinaryArray, Int32Array, MutableArrayData,
    StringArray, make_array, new_null_array,
};
use arrow::buffer::{MutableBuffer, NullBuffer};
use arrow::compute::{cast, interleave};
use arrow::datatypes::{DataType, Int32Type};
use arrow::error::ArrowError;
use hashbrown::HashMap;
use parquet::arrow::arrow_reader::ParquetRecordBatchReader;

use super::attributes::Make;
use super::input::Input;
use super::keys::{Run, STEP_ROWS};
use crate::error::Error;

/// Runs shorter than this on average are gathered row by row.
const RUN_ROWS_MIN: usize = 4;

/// A dictionary is begun anew beyond this many texts, or bytes.
const TEXTS_MAX: usize = 16_384;
const TEXT_BYTES_MAX: usize = 1 << 20;

/// One lane's part in a column.
pub(super) struct Source<'a> {
    input: &'a Input,
    make: Make,
    reader: ParquetRecordBatchReader,
    batch: ArrayRef,
    at: usize,
}

impl<'a> Source<'a> {
    /// From a reader of the columns that `make` asks for.
    pub(super) fn new(
        input: &'a Input,
        make: Make,
        reader: ParquetRecordBatchReader,
        data_type: &DataType,
    ) -> Self {
        Self { input, make, reader, batch: new_null_array(data_type, 0), at: 0 }
    }

    /// Rows at hand; decodes the next batch where there are none.
    fn at_hand(&mut self) -> Result<usize, Error> {
        while self.at == self.batch.len() {
            let batch = self.reader.next().ok_or_else(|| {
                self.input.damaged("a column ends before the last row".to_owned())
            })?;
            let failed = |source| Error::Arrow {
                action: format!("decode `{}`", self.input.entry.path()),
                source,
            };
            let batch = self.make.apply(self.input, &batch.map_err(failed)?)?;
            self.batch = match batch.data_type() == self.batch.data_type() {
                true => batch,
                false => cast(&batch, self.batch.data_type()).map_err(failed)?,
            };
            self.at = 0;
        }
        Ok(self.batch.len() - self.at)
    }

    fn skip(&mut self, mut rows: usize) -> Result<(), Error> {
        while rows > 0 {
            let here = self.at_hand()?.min(rows);
            self.at += here;
            rows -= here;
        }
        Ok(())
    }
}

/// Rows of one array.
#[derive(Debug, Clone, Copy)]
struct Piece {
    array: usize,
    start: usize,
    rows: usize,
}

/// Rows of the output: which rows of which arrays, and from which lane each array is.
#[derive(Default)]
struct Pieces {
    arrays: Vec<ArrayRef>,
    lanes: Vec<usize>,
    pieces: Vec<Piece>,
    rows: usize,
}

/// See the module.
pub(super) struct Splicer<'a> {
    data_type: DataType,
    /// One a lane; none where it has nothing of the column.
    sources: Vec<Option<Source<'a>>>,
    absent: ArrayRef,
    texts: Texts,
}

impl<'a> Splicer<'a> {
    pub(super) fn new(data_type: &DataType, sources: Vec<Option<Source<'a>>>) -> Self {
        Self {
            data_type: data_type.clone(),
            absent: new_null_array(data_type, STEP_ROWS as usize),
            texts: Texts::new(sources.len() + 1),
            sources,
        }
    }

    /// The column at the next runs.
    pub(super) fn take(&mut self, runs: &[&[Run]]) -> Result<ArrayRef, Error> {
        let pieces = self.pieces(runs)?;
        let spliced = match &self.data_type {
            DataType::Dictionary(_, _) => self.texts.splice(&pieces),
            DataType::FixedSizeBinary(width) => splice_ids(&pieces, *width),
            _ => splice_any(&pieces),
        };
        spliced.map_err(|source| Error::Arrow { action: "splice a column".to_owned(), source })
    }

    fn pieces(&mut self, runs: &[&[Run]]) -> Result<Pieces, Error> {
        let mut pieces = Pieces::default();
        let absent = self.sources.len();
        // Where each lane's batch at hand is among the arrays.
        let mut places: Vec<Option<usize>> = vec![None; absent + 1];
        for run in runs.iter().copied().flatten() {
            let lane = run.lane as usize;
            let mut left = run.take as usize;
            let Some(source) = &mut self.sources[lane] else {
                let place = *places[absent]
                    .get_or_insert_with(|| pieces.add(Arc::clone(&self.absent), absent));
                pieces.push(place, 0, left);
                continue;
            };
            source.skip(run.skip as usize)?;
            while left > 0 {
                let decoded = source.at == source.batch.len();
                let rows = source.at_hand()?.min(left);
                if decoded || places[lane].is_none() {
                    places[lane] = Some(pieces.add(Arc::clone(&source.batch), lane));
                }
                let place = places[lane].unwrap_or_default();
                pieces.push(place, source.at, rows);
                source.at += rows;
                left -= rows;
            }
        }
        Ok(pieces)
    }
}

impl Pieces {
    fn add(&mut self, array: ArrayRef, lane: usize) -> usize {
        self.arrays.push(array);
        self.lanes.push(lane);
        self.arrays.len() - 1
    }

    fn push(&mut self, array: usize, start: usize, rows: usize) {
        self.pieces.push(Piece { array, start, rows });
        self.rows += rows;
    }
}

/// Any column; runs are copied whole where they are long enough.
fn splice_any(pieces: &Pieces) -> Result<ArrayRef, ArrowError> {
    let Pieces { arrays, lanes: _, pieces, rows } = pieces;
    if let [Piece { array, start, rows }] = pieces.as_slice() {
        return Ok(arrays[*array].slice(*start, *rows));
    }
    if *rows < pieces.len() * RUN_ROWS_MIN {
        let arrays: Vec<&dyn Array> = arrays.iter().map(AsRef::as_ref).collect();
        let places = pieces.iter().flat_map(|piece| {
            let &Piece { array, start, rows } = piece;
            (start..start + rows).map(move |row| (array, row))
        });
        return interleave(&arrays, &places.collect::<Vec<_>>());
    }
    let data: Vec<_> = arrays.iter().map(|array| array.to_data()).collect();
    let mut out = MutableArrayData::new(data.iter().collect(), false, *rows);
    for Piece { array, start, rows } in pieces {
        out.try_extend(*array, *start, start + rows)?;
    }
    Ok(make_array(out.freeze()))
}

fn splice_ids(pieces: &Pieces, width: i32) -> Result<ArrayRef, ArrowError> {
    let Pieces { arrays, lanes: _, pieces, rows } = pieces;
    let bytes = usize::try_from(width).unwrap_or_default();
    let arrays: Vec<&FixedSizeBinaryArray> =
        arrays.iter().map(|array| array.as_fixed_size_binary()).collect();
    let mut values = MutableBuffer::with_capacity(rows * bytes);
    for Piece { array, start, rows } in pieces {
        values
            .extend_from_slice(&arrays[*array].value_data()[start * bytes..(start + rows) * bytes]);
    }
    let nulls = arrays.iter().any(|array| array.null_count() > 0).then(|| {
        NullBuffer::from_iter(pieces.iter().flat_map(|piece| {
            let array = arrays[piece.array];
            (piece.start..piece.start + piece.rows).map(|row| array.is_valid(row))
        }))
    });
    Ok(Arc::new(FixedSizeBinaryArray::try_new(width, values.into(), nulls)?))
}

/// The texts of a column, over all lanes, and where each lane's own are among them.
struct Texts {
    places: HashMap<Arc<str>, i32>,
    texts: Vec<Arc<str>>,
    bytes: usize,
    values: Option<ArrayRef>,
    /// One a lane: its dictionary, and the places found so far.
    known: Vec<Option<(ArrayRef, Vec<i32>)>>,
}

/// Of a text that was not looked for yet.
const UNKNOWN: i32 = -1;

impl Texts {
    fn new(lanes: usize) -> Self {
        Self {
            places: HashMap::new(),
            texts: Vec::new(),
            bytes: 0,
            values: None,
            known: (0..lanes).map(|_| None).collect(),
        }
    }

    fn splice(&mut self, pieces: &Pieces) -> Result<ArrayRef, ArrowError> {
        if self.texts.len() > TEXTS_MAX || self.bytes > TEXT_BYTES_MAX {
            *self = Self::new(self.known.len());
        }
        let Pieces { arrays, lanes, pieces, rows } = pieces;
        let mut keys = Vec::with_capacity(*rows);
        for Piece { array, start, rows } in pieces {
            let shared = arrays[*array].as_dictionary::<Int32Type>();
            self.translate(lanes[*array], shared, *start..start + rows, &mut keys);
        }
        let nulls = keys.iter().map(|key| *key != UNKNOWN).collect::<NullBuffer>();
        let nulls = Some(nulls).filter(|nulls| nulls.null_count() > 0);
        // Behind a null is any place that there is.
        keys.iter_mut().for_each(|key| *key = (*key).max(0));
        let values = self.values.get_or_insert_with(|| {
            Arc::new(StringArray::from_iter_values(self.texts.iter().map(|text| &**text)))
        });
        let keys = Int32Array::new(keys.into(), nulls);
        Ok(Arc::new(DictionaryArray::try_new(keys, Arc::clone(values))?))
    }

    /// Appends the places of a lane's texts; [`UNKNOWN`] for null.
    fn translate(
        &mut self,
        lane: usize,
        shared: &DictionaryArray<Int32Type>,
        rows: Range<usize>,
        out: &mut Vec<i32>,
    ) {
        let values = shared.values();
        let mut known = match self.known[lane].take() {
            Some((dictionary, known)) if Arc::ptr_eq(&dictionary, values) => known,
            _ => vec![UNKNOWN; values.len()],
        };
        let texts = values.as_string::<i32>();
        let nulls = shared.keys().nulls();
        for (row, key) in rows.clone().zip(&shared.keys().values()[rows]) {
            let key = usize::try_from(*key).unwrap_or_default();
            if nulls.is_some_and(|nulls| nulls.is_null(row)) || texts.is_null(key) {
                out.push(UNKNOWN);
                continue;
            }
            if known[key] == UNKNOWN {
                known[key] = self.place(texts.value(key));
            }
            out.push(known[key]);
        }
        self.known[lane] = Some((Arc::clone(values), known));
    }

    fn place(&mut self, text: &str) -> i32 {
        if let Some(place) = self.places.get(text) {
            return *place;
        }
        let place = i32::try_from(self.texts.len()).expect("a step and the bound are far below it");
        let text: Arc<str> = text.into();
        self.bytes += text.len();
        self.places.insert(Arc::clone(&text), place);
        self.texts.push(text);
        self.values = None;
        place
    }
}
