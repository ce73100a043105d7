//! Merging random files.

use arrow::array::AsArray;
use arrow::datatypes::UInt32Type;
use object_store::memory::InMemory;
use object_store::{ObjectStoreExt, path::Path};
use ulid::Ulid;

use super::*;
use crate::files::tests::generate::{Generator, canonical};
use crate::model::UnixNanos;

fn origin() -> FileOrigin {
    FileOrigin { record: "catalog/compactions/1".to_owned(), log: None }
}

/// Three files of differing attribute columns in one bucket, and their rows.
async fn inputs(bucket: &Arc<dyn ObjectStore>) -> (Vec<Arc<FileEntry>>, Vec<RecordBatch>) {
    let mut generator = Generator::new(600);
    let (mut inputs, mut all) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let rows: Vec<_> = (0..2).map(|_| generator.batch(Table::Metrics, 200)).collect();
        all.extend(rows.clone());
        let request = WriteRequest {
            id: FileId(Ulid::from(rand::random::<u128>())),
            table: Table::Metrics,
            hour: UnixNanos(0),
            rows,
            origin: origin(),
            row_group_rows_max: 100,
        };
        let file = write(request).unwrap();
        let path = Path::from(file.entry.path());
        bucket.put(&path, file.bytes.into()).await.unwrap();
        inputs.push(Arc::new(file.entry));
    }
    (inputs, all)
}

async fn merged(
    bucket: &Arc<dyn ObjectStore>,
    inputs: Vec<Arc<FileEntry>>,
    keep: Option<Arc<dyn Keep>>,
) -> Result<Merged<WrittenFile>, Error> {
    let id = FileId(Ulid::from(rand::random::<u128>()));
    let request = MergeRequest { inputs, keep, id, origin: origin(), row_group_rows_max: 150 };
    merge(Arc::clone(bucket), request).await
}

/// Puts what a merge made and reads it back.
async fn read_back(bucket: &Arc<dyn ObjectStore>, file: WrittenFile) -> Vec<RecordBatch> {
    let path = Path::from(file.entry.path());
    bucket.put(&path, file.bytes.into()).await.unwrap();
    whole_file(bucket, &Arc::new(file.entry)).await.unwrap()
}

/// Scenario: three files whose attribute columns differ become one.
/// Guarantees: its rows are theirs, no more and no less, and it covers their time.
#[tokio::test]
async fn a_merge_keeps_every_row() {
    let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (inputs, rows) = inputs(&bucket).await;
    let time = inputs.iter().map(|input| input.time).reduce(|one, other| one.union(&other));
    let merged = merged(&bucket, inputs, None).await.unwrap();
    let file = merged.output.unwrap();
    assert_eq!((Some(file.entry.time), merged.dropped), (time, 0));
    let read = read_back(&bucket, file).await;
    assert_eq!(canonical(Table::Metrics, &read), canonical(Table::Metrics, &rows));
}

/// Scenario: the catalog says of an input that it has more rows than are in it; no input at all.
/// Guarantees: no merge, so that no row is dropped for good.
#[tokio::test]
async fn an_input_that_lacks_rows_stops_the_merge() {
    let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (mut inputs, _) = inputs(&bucket).await;
    let rows = inputs[1].rows;
    inputs[1] = Arc::new(FileEntry { rows: rows + 1, ..FileEntry::clone(&inputs[1]) });
    let error = merged(&bucket, inputs, None).await.unwrap_err();
    assert!(error.to_string().contains(&format!("it holds {rows} rows")), "{error}");
    assert!(merged(&bucket, Vec::new(), None).await.is_err());
}

/// Keeps the rows whose flags are 0, or none.
#[derive(Debug)]
enum Drops {
    Flagged,
    Everything,
}

impl Keep for Drops {
    fn keeps(&self, rows: &RecordBatch) -> Result<BooleanArray, Error> {
        let flags = rows.column_by_name("flags").unwrap().as_primitive::<UInt32Type>();
        let keep = |flags: &u32| matches!(self, Self::Flagged) && *flags == 0;
        Ok(flags.values().iter().map(keep).map(Some).collect())
    }
}

/// Scenario: a merge of three files, and of one, that is to leave rows out; one that leaves none.
/// Guarantees: exactly the rows that stay are in the output, the others are counted, and where
/// nothing stays there is no file.
#[tokio::test]
async fn a_merge_drops_what_is_to_go_and_counts_it() {
    let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (inputs, rows) = inputs(&bucket).await;
    let before: u64 = inputs.iter().map(|input| input.rows).sum();
    let stay = kept(Table::Metrics, &Drops::Flagged, &rows).unwrap();
    let made = merged(&bucket, inputs.clone(), Some(Arc::new(Drops::Flagged))).await.unwrap();
    let file = made.output.unwrap();
    assert!(made.dropped > 0 && file.entry.rows + made.dropped == before);
    let read = read_back(&bucket, file).await;
    assert_eq!(canonical(Table::Metrics, &read), canonical(Table::Metrics, &stay));
    let one = inputs[0].rows;
    let nothing = merged(&bucket, inputs[..1].to_vec(), Some(Arc::new(Drops::Everything)));
    let nothing = nothing.await.unwrap();
    assert!(nothing.output.is_none() && nothing.dropped == one);
}
