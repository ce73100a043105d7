//! Scripts of the operator's own: `NAME.sql` in a folder.

use std::fs;
use std::path::Path;

use super::{Listed, Script};

/// Files of the folder that are looked at.
const FILES_MAX: usize = 1_000;

/// A longer file is no script.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// The scripts of a folder, in no order.
pub(super) fn read(folder: &Path) -> Listed {
    let mut listed = Listed::default();
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) => {
            listed.faults.push(format!("`{}` cannot be read: {error}", folder.display()));
            return listed;
        }
    };
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let scripts = paths.filter(|path| path.extension().is_some_and(|ending| ending == "sql"));
    for (at, path) in scripts.enumerate() {
        if at == FILES_MAX {
            listed.faults.push(format!("only {FILES_MAX} scripts of the folder are looked at"));
            break;
        }
        match script(&path) {
            Ok(script) => listed.scripts.push(script),
            Err(why) => listed.faults.push(format!("`{}` is no script: {why}", path.display())),
        }
    }
    listed
}

fn script(path: &Path) -> Result<Script, String> {
    let name = path.file_stem().and_then(|name| name.to_str()).ok_or("its name is no text")?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if name.is_empty() || !name.chars().all(is_plain) {
        return Err("its name has more than letters, digits, - and _".to_owned());
    }
    let bytes = fs::metadata(path).map_err(|error| error.to_string())?.len();
    if bytes > FILE_BYTES_MAX {
        return Err(format!("it has {bytes} bytes, at most {FILE_BYTES_MAX}"));
    }
    let text = fs::read_to_string(path).map_err(|error| error.to_string())?;
    Script::parse(name, &text, true)
}
