//! Which partition of a scan reads what.

use std::sync::Arc;

use icecore_store::{FileEntry, LiveBlock};

/// What is read on one thread.
#[derive(Debug, Clone)]
pub(super) enum Part {
    /// Files, in this order, some at a time.
    Files(Vec<Arc<FileEntry>>),
    /// Live rows, in this order.
    Live(Vec<Arc<dyn LiveBlock>>),
}

impl Part {
    /// Spreads files over at most `partitions` parts of about the same bytes; live rows are a part
    /// of their own. At least one part.
    pub(super) fn split(
        mut files: Vec<Arc<FileEntry>>,
        live: Vec<Arc<dyn LiveBlock>>,
        partitions: usize,
    ) -> Vec<Self> {
        files.sort_by_key(|file| std::cmp::Reverse(file.bytes));
        let mut groups = vec![(0_u64, Vec::new()); partitions.clamp(1, files.len().max(1))];
        for file in files {
            if let Some((bytes, group)) = groups.iter_mut().min_by_key(|(bytes, _)| *bytes) {
                *bytes += file.bytes.max(1);
                group.push(file);
            }
        }
        let files = groups.into_iter().map(|(_, group)| group).filter(|group| !group.is_empty());
        let mut parts: Vec<Self> = files.map(Self::Files).collect();
        if !live.is_empty() || parts.is_empty() {
            parts.push(Self::Live(live));
        }
        parts
    }

    /// The same files and rows in as many parts, the latest or the earliest of each part first, so
    /// that the rest can be passed over soon.
    pub(super) fn by_time(parts: &[Self], latest_first: bool) -> Vec<Self> {
        let files = |part: &Self| match part {
            Self::Files(files) => files.clone(),
            Self::Live(_) => Vec::new(),
        };
        let mut all: Vec<_> = parts.iter().flat_map(files).collect();
        if latest_first {
            all.sort_by_key(|file| std::cmp::Reverse(file.time.end()));
        } else {
            all.sort_by_key(|file| file.time.start());
        }
        let of_files = parts.iter().filter(|part| matches!(part, Self::Files(_))).count().max(1);
        let mut nth = 0..of_files;
        let dealt = parts.iter().map(|part| match part {
            Self::Live(blocks) => Self::Live(live_by_time(blocks, latest_first)),
            Self::Files(_) => {
                let nth = nth.next().unwrap_or_default();
                Self::Files(all.iter().skip(nth).step_by(of_files).cloned().collect())
            }
        });
        dealt.collect()
    }

    /// How many rows it has before conditions.
    pub(super) fn rows(&self) -> usize {
        let rows: u64 = match self {
            Self::Files(files) => files.iter().map(|file| file.rows).sum(),
            Self::Live(blocks) => blocks.iter().map(|block| block.rows()).sum(),
        };
        usize::try_from(rows).unwrap_or(usize::MAX)
    }
}

fn live_by_time(blocks: &[Arc<dyn LiveBlock>], latest_first: bool) -> Vec<Arc<dyn LiveBlock>> {
    let mut blocks = blocks.to_vec();
    if latest_first {
        blocks.sort_by_key(|block| std::cmp::Reverse(block.time().end()));
    } else {
        blocks.sort_by_key(|block| block.time().start());
    }
    blocks
}
