//! `path_template`, `path_clusters` and `sql_template`: what many paths or statements have in common.
//!
//! Invariant: equal texts have equal templates, and a template of a template is itself.

mod path;
mod statement;

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, ListArray, StringViewArray, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Fields};
use datafusion::common::{Result, ScalarValue, exec_datafusion_err};
use datafusion::logical_expr::{
    AggregateUDF, ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    Volatility,
};

use super::collect::bytes::{Reader, Write};
use super::collect::{self, Collect};

/// A function of one text.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Template {
    of: Of,
    signature: Signature,
}

/// What a template is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Of {
    Path,
    Statement,
}

/// `path_template(path)` and `sql_template(statement)`.
pub(crate) fn functions() -> [Arc<ScalarUDF>; 2] {
    [Of::Path, Of::Statement].map(|of| {
        let signature = Signature::any(1, Volatility::Immutable);
        Arc::new(ScalarUDF::new_from_impl(Template { of, signature }))
    })
}

/// `path_clusters(path)`.
pub(crate) fn clusters() -> Arc<AggregateUDF> {
    collect::function::<Paths>()
}

impl ScalarUDFImpl for Template {
    fn name(&self) -> &'static str {
        match self.of {
            Of::Path => "path_template",
            Of::Statement => "sql_template",
        }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8View)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let texts = cast(&args.args[0].to_array(args.number_rows)?, &DataType::Utf8View)?;
        let texts = texts.as_string_view();
        let template = match self.of {
            Of::Path => path::template,
            Of::Statement => statement::template,
        };
        let templates: StringViewArray = texts.iter().map(|text| text.map(template)).collect();
        Ok(ColumnarValue::Array(Arc::new(templates)))
    }
}

/// The paths of one group, and how often each was asked for.
#[derive(Debug, Default)]
struct Paths {
    counts: HashMap<String, u64>,
    bytes: usize,
}

impl Paths {
    fn count(&mut self, path: &str, by: u64) {
        if let Some(count) = self.counts.get_mut(path) {
            *count += by;
            return;
        }
        self.bytes += path.len() + size_of::<(String, u64)>();
        self.counts.insert(path.to_owned(), by);
    }
}

fn fields() -> Fields {
    let text = |name| Field::new(name, DataType::Utf8View, false);
    Fields::from(vec![text("path"), text("template")])
}

fn item() -> Arc<Field> {
    Arc::new(Field::new_list_field(DataType::Struct(fields()), true))
}

impl Collect for Paths {
    const NAME: &'static str = "path_clusters";
    const ARGUMENTS_SHOWN: usize = 1;

    fn signature() -> Signature {
        Signature::exact(vec![DataType::Utf8View], Volatility::Immutable)
    }

    fn answer_type() -> DataType {
        DataType::List(item())
    }

    fn add(&mut self, columns: &[ArrayRef]) -> Result<()> {
        columns[0].as_string_view().iter().flatten().for_each(|path| self.count(path, 1));
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        for (path, count) in &self.counts {
            out.u64(*count);
            out.u64(path.len() as u64);
            out.bytes(path.as_bytes());
        }
    }

    fn read(&mut self, bytes: &mut Reader<'_>) -> Result<()> {
        while !bytes.is_empty() {
            let count = bytes.u64()?;
            let path = String::from_utf8(bytes.list(Reader::byte)?);
            let path = path.map_err(|_broken| exec_datafusion_err!("rows broke off"))?;
            self.count(&path, count);
        }
        Ok(())
    }

    fn answer(&mut self) -> Result<ScalarValue> {
        self.bytes = 0;
        let clusters = path::clusters(std::mem::take(&mut self.counts));
        let (paths, templates): (Vec<_>, Vec<_>) = clusters.into_iter().unzip();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringViewArray::from_iter_values(&paths)),
            Arc::new(StringViewArray::from_iter_values(&templates)),
        ];
        let rows = StructArray::try_new(fields(), columns, None)?;
        let offsets = OffsetBuffer::from_lengths([paths.len()]);
        let list = ListArray::try_new(item(), offsets, Arc::new(rows), None)?;
        Ok(ScalarValue::List(Arc::new(list)))
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}
