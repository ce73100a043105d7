//! What is merged with what: rows that are in order, with those that are near them in time.
//!
//! A row group is in order by itself. Those that were written at about the same time have the spans
//! of the same traces, so they become row groups of their own, one after the other: a trace stays
//! within few of them, its id is in few dictionaries, and what a merge holds does not grow with its
//! files. Points are better off with their whole series together, so that of metrics all is merged
//! with all.
//!
//! Invariant: each row of each input is in one lane.

use std::collections::HashMap;
use std::ops::Range;

use super::super::encoding::row_group_rows;
use super::input::Input;
use super::keys::key_roots;
use super::{FILES_SHARE, MergeRequest};
use crate::model::Table;

/// Row groups of a merge have so many times the rows of others: of many files they are few, and
/// what is asked of one service is in few places.
const GROUP_TIMES: usize = 4;

/// About what the rows of a row group may take when they are decoded.
const GROUP_BYTES_MAX: u64 = 64 << 20;

/// Of the memory that a merge may use, the part that a window's encoded input may take: its output
/// takes as much, twice for a moment.
const WINDOW_SHARE: u64 = 16;

/// Of the memory that a merge may use, the part that the decoded rows of one column of a row group
/// may take: the column is there decoded, in pages, packed, and twice more on its way out. Only
/// columns of long texts come near it.
const COLUMN_SHARE: u64 = 12;

/// Rows of one input that are in order.
#[derive(Debug, Clone)]
pub(super) struct Lane {
    /// Which input.
    pub(super) input: usize,
    /// Its rows.
    pub(super) rows: Range<u64>,
}

/// Lanes that become row groups of the output by themselves.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) lanes: Vec<Lane>,
    /// Rows of a row group.
    pub(super) group_rows: usize,
    /// Row groups that are made at a time.
    pub(super) groups: usize,
}

/// Whether all rows are merged with all others.
const fn is_one_layer(table: Table) -> bool {
    matches!(table, Table::Metrics)
}

/// The first files, two at least, of which no more is held all the time than there is memory for.
pub(super) fn within(mut inputs: Vec<Input>, request: &MergeRequest) -> Vec<Input> {
    let mut held = 0;
    let fits = |input: &&Input| {
        held += input.footer_bytes();
        if is_one_layer(input.entry.table) {
            held += lane_bytes(input, &(0..input.entry.rows), request);
        }
        held <= request.memory_bytes_max / FILES_SHARE
    };
    let fitting = inputs.iter().take_while(fits).count();
    inputs.truncate(fitting.max(2));
    inputs
}

fn lane_bytes(input: &Input, rows: &Range<u64>, request: &MergeRequest) -> u64 {
    input.lane_bytes(rows, &key_roots(input, request.keep.is_some()))
}

/// All rows in layers, oldest first.
pub(super) fn layers(inputs: &[Input], request: &MergeRequest) -> std::vec::IntoIter<Layer> {
    let Some(table) = inputs.first().map(|input| input.entry.table) else {
        return Vec::new().into_iter();
    };
    let shape = Shape::new(table, inputs, request);
    let layers = if is_one_layer(table) {
        let whole = inputs.iter().enumerate();
        let lanes = whole.map(|(input, of)| Lane { input, rows: 0..of.entry.rows });
        vec![lanes.collect()]
    } else {
        near_in_time(inputs, request, shape.group_rows_max)
    };
    layers.into_iter().map(|lanes| shape.layer(lanes)).collect::<Vec<_>>().into_iter()
}

/// Row groups of about the same time, together about as many rows as a row group is to have.
fn near_in_time(inputs: &[Input], request: &MergeRequest, group_rows_max: u64) -> Vec<Vec<Lane>> {
    let mut lanes: Vec<(i64, Lane)> = Vec::new();
    for (at, input) in inputs.iter().enumerate() {
        let groups = input.groups().filter(|(_, rows)| rows.start < rows.end);
        lanes.extend(groups.map(|(group, rows)| (input.until(group), Lane { input: at, rows })));
    }
    // Rows come in as they end, so the last of them tell when that was; the first may be late.
    lanes.sort_by_key(|(until, _)| *until);
    let footers: u64 = inputs.iter().map(Input::footer_bytes).sum();
    let held_max = (request.memory_bytes_max / FILES_SHARE).saturating_sub(footers);
    let rows: u64 = lanes.iter().map(|(_, lane)| lane.rows.end - lane.rows.start).sum();
    let share = rows.div_ceil(groups_of(rows, group_rows_max)).max(1);
    let mut layers: Vec<Vec<Lane>> = Vec::new();
    let (mut before, mut held, mut nth) = (0, 0, None);
    for (_, lane) in lanes {
        let rows = lane.rows.end - lane.rows.start;
        let bytes = lane_bytes(&inputs[lane.input], &lane.rows, request);
        let place = Some((before + rows / 2) / share);
        before += rows;
        held += bytes;
        match layers.last_mut() {
            Some(layer) if place == nth && held <= held_max => layer.push(lane),
            _ => {
                layers.push(vec![lane]);
                (held, nth) = (bytes, place);
            }
        }
    }
    layers
}

/// Into how many row groups so many rows go, as many as come closest: a few rows more or less, and
/// no row group of a few rows.
fn groups_of(rows: u64, group_rows_max: u64) -> u64 {
    ((rows + group_rows_max / 2) / group_rows_max).max(1)
}

/// What the largest column of all inputs takes when it is decoded.
fn largest_column_bytes(inputs: &[Input]) -> u64 {
    let mut columns: HashMap<&str, u64> = HashMap::new();
    for (root, bytes) in inputs.iter().flat_map(Input::decoded_bytes) {
        *columns.entry(root).or_default() += bytes;
    }
    columns.into_values().max().unwrap_or_default()
}

/// How much goes into a row group and into a window.
struct Shape {
    group_rows_max: u64,
    window_rows_max: u64,
}

impl Shape {
    fn new(table: Table, inputs: &[Input], request: &MergeRequest) -> Self {
        let rows: u64 = inputs.iter().map(|input| input.entry.rows).sum::<u64>().max(1);
        let bytes: u64 = inputs.iter().map(|input| input.entry.bytes).sum();
        let decoded: u64 = inputs.iter().flat_map(Input::decoded_bytes).map(|(_, it)| it).sum();
        let memory = request.memory_bytes_max;
        let by_bytes = GROUP_BYTES_MAX.min(memory / 2) * rows / decoded.max(1);
        let by_column = memory / COLUMN_SHARE * rows / largest_column_bytes(inputs).max(1);
        let most = row_group_rows(table, request.row_group_rows_max).saturating_mul(GROUP_TIMES);
        let window_rows_max = memory / WINDOW_SHARE * rows / bytes.max(1);
        Self { group_rows_max: (most as u64).min(by_bytes).min(by_column).max(1), window_rows_max }
    }

    fn layer(&self, lanes: Vec<Lane>) -> Layer {
        let rows: u64 = lanes.iter().map(|lane| lane.rows.end - lane.rows.start).sum();
        let group_rows = rows.div_ceil(groups_of(rows, self.group_rows_max)).max(1);
        let count = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
        let groups = count(self.window_rows_max / group_rows).max(1);
        Layer { lanes, group_rows: count(group_rows), groups }
    }
}
