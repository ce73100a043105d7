//! `stack_frames(stack)`: a stack as the paths of a flame graph.
//!
//! Invariant: a path is the frames from the root on, joined by `;`, and so tells a frame by where
//! it was called from; a `;` within a frame is a `:` in it.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanBuilder, Int64Builder, ListArray, StringBuilder, StructArray,
};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, exec_datafusion_err};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

#[derive(Debug, PartialEq, Eq, Hash)]
struct StackFrames {
    signature: Signature,
}

/// The function.
pub(crate) fn function() -> Arc<ScalarUDF> {
    let signature = Signature::any(1, Volatility::Immutable);
    Arc::new(ScalarUDF::new_from_impl(StackFrames { signature }))
}

fn fields() -> Fields {
    Fields::from(vec![
        Field::new("path", DataType::Utf8, false),
        Field::new("frame", DataType::Utf8, false),
        Field::new("depth", DataType::Int64, false),
        Field::new("leaf", DataType::Boolean, false),
    ])
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), true))
}

impl ScalarUDFImpl for StackFrames {
    fn name(&self) -> &'static str {
        "stack_frames"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(item()))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let stacks = arrays[0].as_list_opt::<i32>();
        let stacks = stacks.ok_or_else(|| exec_datafusion_err!("stack_frames takes a list"))?;
        Ok(ColumnarValue::Array(Arc::new(paths(stacks)?)))
    }
}

fn paths(stacks: &ListArray) -> Result<ListArray> {
    let (mut path, mut frame) = (StringBuilder::new(), StringBuilder::new());
    let (mut depth, mut leaf) = (Int64Builder::new(), BooleanBuilder::new());
    let mut lengths = Vec::with_capacity(stacks.len());
    for stack in stacks.iter() {
        let frames = stack.map(|stack| cast(&stack, &DataType::Utf8)).transpose()?;
        let frames: Vec<&str> = frames
            .iter()
            .flat_map(|frames| frames.as_string::<i32>())
            .map(|frame| frame.unwrap_or("?"))
            .collect();
        let mut here = String::new();
        // Leaf first in the table, root first in a path.
        for ((at, name), depth_of) in frames.iter().enumerate().rev().zip(0_i64..) {
            if depth_of > 0 {
                here.push(';');
            }
            here.push_str(&name.replace(';', ":"));
            path.append_value(&here);
            frame.append_value(name);
            depth.append_value(depth_of);
            leaf.append_value(at == 0);
        }
        lengths.push(frames.len());
    }
    let columns: Vec<ArrayRef> = vec![
        Arc::new(path.finish()),
        Arc::new(frame.finish()),
        Arc::new(depth.finish()),
        Arc::new(leaf.finish()),
    ];
    let rows = StructArray::try_new(fields(), columns, None)?;
    Ok(ListArray::try_new(item(), OffsetBuffer::from_lengths(lengths), Arc::new(rows), None)?)
}
