//! `related_spans('descendants' | 'ancestors', span_id, parent_span_id, found)`: the spans of a
//! trace that are below, or above, one that was found.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, StringViewArray};
use arrow::datatypes::{DataType, Field};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{Result, ScalarValue, exec_err};
use datafusion::logical_expr::{AggregateUDF, Signature, Volatility};

use super::collect::bytes::{Reader, Write};
use super::collect::{self, Collect};
use super::tree::id_of;

/// A span as the walk needs it.
#[derive(Debug, Clone, Copy)]
struct Member {
    id: u64,
    parent: u64,
    found: bool,
}

/// The spans of one trace.
#[derive(Debug, Default)]
pub(crate) struct Related {
    /// Whether those above are asked for.
    up: bool,
    members: Vec<Member>,
}

/// The function.
pub(crate) fn function() -> Arc<AggregateUDF> {
    collect::function::<Related>()
}

impl Collect for Related {
    const NAME: &'static str = "related_spans";
    const ARGUMENTS_SHOWN: usize = 4;

    fn signature() -> Signature {
        let text = DataType::Utf8View;
        let types = vec![text.clone(), text.clone(), text, DataType::Boolean];
        Signature::exact(types, Volatility::Immutable)
    }

    fn answer_type() -> DataType {
        DataType::List(Arc::new(Field::new_list_field(DataType::Utf8View, true)))
    }

    fn add(&mut self, columns: &[ArrayRef]) -> Result<()> {
        let walk = columns[0].as_string_view();
        self.up = match walk.iter().next().flatten() {
            Some("ancestors") => true,
            Some("descendants") => false,
            _ => return exec_err!("related_spans knows 'descendants' and 'ancestors'"),
        };
        let (ids, parents) = (columns[1].as_string_view(), columns[2].as_string_view());
        let rows = ids.iter().zip(parents).zip(columns[3].as_boolean());
        self.members.extend(rows.map(|((id, parent), found)| Member {
            id: id_of(id),
            parent: id_of(parent),
            found: found.unwrap_or_default(),
        }));
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.flag(self.up);
        for Member { id, parent, found } in &self.members {
            out.u64(*id);
            out.u64(*parent);
            out.flag(*found);
        }
    }

    fn read(&mut self, bytes: &mut Reader<'_>) -> Result<()> {
        let up = bytes.flag()?;
        self.up |= up;
        while !bytes.is_empty() {
            let (id, parent, found) = (bytes.u64()?, bytes.u64()?, bytes.flag()?);
            self.members.push(Member { id, parent, found });
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<ScalarValue> {
        let mut related: Vec<u64> = related(&self.members, self.up).into_iter().collect();
        related.sort_unstable();
        let ids = StringViewArray::from_iter_values(related.iter().map(|id| format!("{id:016x}")));
        Ok(SingleRowListArrayBuilder::new(Arc::new(ids)).build_list_scalar())
    }

    fn bytes(&self) -> usize {
        self.members.capacity() * size_of::<Member>()
    }
}

/// The ids that a walk from those that were found comes by.
fn related(members: &[Member], up: bool) -> HashSet<u64> {
    let mut next: HashMap<u64, Vec<u64>> = HashMap::new();
    for Member { id, parent, .. } in members.iter().filter(|member| member.parent != 0) {
        let (from, to) = if up { (*id, *parent) } else { (*parent, *id) };
        next.entry(from).or_default().push(to);
    }
    let mut reached = HashSet::new();
    let mut stack: Vec<u64> =
        members.iter().filter(|member| member.found).map(|member| member.id).collect();
    while let Some(id) = stack.pop() {
        let further = next.get(&id).into_iter().flatten().copied();
        stack.extend(further.filter(|id| reached.insert(*id)));
    }
    reached
}
