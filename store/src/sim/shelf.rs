//! Indexes between two lives of a process: whole, old, torn, of another version, or lost.
//!
//! An index that somebody has is written by threads of its own. So each life has a copy of one
//! that an earlier life left, and never the very folder.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::world::World;

/// The folder of one life, which is there for others when that is over.
#[derive(Debug)]
pub(super) struct Shelf {
    world: Arc<World>,
    pub(super) folder: PathBuf,
}

impl Drop for Shelf {
    fn drop(&mut self) {
        self.world.inside().shelves.left.push(self.folder.clone());
    }
}

/// The folders of all lives.
#[derive(Debug, Default)]
pub(super) struct Shelves {
    home: Option<tempfile::TempDir>,
    made: usize,
    left: Vec<PathBuf>,
}

impl Shelves {
    fn folder(&mut self) -> PathBuf {
        let home = self.home.get_or_insert_with(|| tempfile::TempDir::new().unwrap());
        self.made += 1;
        home.path().join(self.made.to_string())
    }
}

impl Shelf {
    /// A folder with what some earlier life left, of whatever process, or with what became of it.
    pub(super) fn new(world: &Arc<World>, who: &str) -> Self {
        let (folder, left) = {
            let shelves = &mut world.inside().shelves;
            (shelves.folder(), shelves.left.clone())
        };
        fs::create_dir(&folder).unwrap();
        let shelf = Self { world: Arc::clone(world), folder };
        if left.is_empty() {
            return shelf;
        }
        let found = usize::try_from(world.below(left.len() as u64)).unwrap();
        let mishap = world.below(8);
        if mishap > 0 {
            copy(&left[found].join("catalog"), &shelf.folder.join("catalog"));
        }
        let index = shelf.folder.join("catalog");
        let what = match mishap {
            _ if !index.exists() => "no index",
            1 => {
                fs::write(index.join("db"), b"").unwrap();
                "an index that was cut short"
            }
            2 => {
                fs::write(index.join("conf"), [0xA5; 64]).unwrap();
                "an index that is rubbish"
            }
            3 => {
                crate::index::tests::outdate(&shelf.folder);
                "an index of another version"
            }
            _ => "an index that is whole",
        };
        world.note(who, &format!("finds {what}, {found} of {}", left.len()));
        shelf
    }
}

fn copy(from: &Path, to: &Path) {
    if !from.exists() {
        return;
    }
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let place = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &place),
            false => drop(fs::copy(entry.path(), &place).unwrap()),
        }
    }
}
