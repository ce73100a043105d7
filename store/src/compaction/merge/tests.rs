//! Merging random files.

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
        let path = Path::from(file.entry.path.as_str());
        bucket.put(&path, file.bytes.into()).await.unwrap();
        inputs.push(Arc::new(file.entry));
    }
    (inputs, all)
}

async fn merged(
    bucket: &Arc<dyn ObjectStore>,
    inputs: Vec<Arc<FileEntry>>,
) -> Result<WrittenFile, Error> {
    let id = FileId(Ulid::from(rand::random::<u128>()));
    let request = MergeRequest { inputs, id, origin: origin(), row_group_rows_max: 150 };
    merge(Arc::clone(bucket), request).await
}

/// Scenario: three files whose attribute columns differ become one.
/// Guarantees: its rows are theirs, no more and no less, and it covers their time.
#[tokio::test]
async fn a_merge_keeps_every_row() {
    let bucket: Arc<dyn ObjectStore> = Arc::new(InMemory::new());
    let (inputs, rows) = inputs(&bucket).await;
    let time = inputs.iter().map(|input| input.time).reduce(|one, other| one.union(&other));
    let file = merged(&bucket, inputs).await.unwrap();
    assert_eq!(Some(file.entry.time), time);
    let path = Path::from(file.entry.path.as_str());
    bucket.put(&path, file.bytes.into()).await.unwrap();
    let entry = Arc::new(file.entry);
    let read = whole_file(&bucket, &entry).await.unwrap();
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
    let error = merged(&bucket, inputs).await.unwrap_err();
    assert!(error.to_string().contains(&format!("it holds {rows} rows")), "{error}");
    assert!(merged(&bucket, Vec::new()).await.is_err());
}
