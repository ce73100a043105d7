//! Which owner's records count, in the plainest way: read from the text of the newest fence.

use std::collections::BTreeMap;

use serde_json::Value;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    /// Name and epoch of the newest fence.
    newest: Option<(String, String)>,
    /// By folder: from which number on which epoch counts, in order.
    starts: BTreeMap<String, Vec<(u64, String)>>,
}

impl Epochs {
    /// The epoch that a number is of; none where records have plain names.
    pub(super) fn at(&self, folder: &str, number: u64) -> Option<String> {
        let Some(starts) = self.starts.get(folder) else {
            return self.newest.as_ref().map(|(_, epoch)| epoch.clone());
        };
        starts
            .iter()
            .filter(|(first, _)| *first <= number)
            .map(|(_, epoch)| epoch.clone())
            .next_back()
    }

    /// A fence landed; whether it is newer than any before.
    pub(super) fn fence(&mut self, path: &str, bytes: &[u8]) -> bool {
        if self.newest.as_ref().is_some_and(|(newest, _)| path <= newest.as_str()) {
            return false;
        }
        let name = path.strip_suffix(".fence.json").expect("it is a fence");
        let (_, epoch) = name.rsplit_once('-').expect("a fence is of an epoch");
        self.newest = Some((path.to_owned(), epoch.to_owned()));
        let fence: Value = serde_json::from_slice(bytes).expect("a fence is JSON");
        let starts = fence["starts"].as_array().expect("a fence has starts").iter();
        self.starts = starts.map(|it| (folder(&it[0]), starts_of(&it[1]))).collect();
        true
    }
}

fn folder(sequence: &Value) -> String {
    let name = sequence["Writer"].as_str().unwrap_or("compaction");
    format!("catalog/{name}")
}

fn starts_of(starts: &Value) -> Vec<(u64, String)> {
    let starts = starts.as_array().expect("starts are a list").iter();
    let start = |it: &Value| Some((it[0].as_u64()?, it[1].as_str()?.to_owned()));
    starts.map(|it| start(it).expect("a start is a number and an epoch")).collect()
}
