//! The functions of the kernel and its modules.
//!
//! Invariant: an address has the name of the last function that begins before it, as the kernel itself
//! shows addresses, but for the room before a function, which counts to the one before; where the kernel hides
//! its addresses, none has a name.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read as _};
use std::path::Path;
use std::sync::Arc;

use super::frames::{Kind, Line, Origin, Place};

/// What is read of the kernel's table: some 250,000 lines on a kernel with many modules.
const TABLE_BYTES_MAX: u64 = 64 << 20;
/// The end of the last function is not told; none is longer.
const LAST_BYTES_MAX: u64 = 1 << 20;

/// What is read of the list of modules: some thousand of them.
const MODULES_BYTES_MAX: u64 = 256 << 10;
/// The table is not read again before so many nanoseconds have passed: 50 ms a minute are a twentieth of
/// what the profiler may use.
const READ_AGAIN_AFTER: u64 = 60_000_000_000;

/// What is known of the kernel's functions: read when it is first needed, and again where modules have
/// come or gone since.
#[derive(Debug, Default)]
pub(super) struct Known {
    kernel: Option<Kernel>,
    /// The modules that it knows.
    modules: Vec<u8>,
    /// When it was last looked at, if it was read: by the monotonic clock, which nobody sets back.
    read_at: u64,
}

impl Known {
    /// The place of an address.
    pub(super) fn place(&mut self, address: u64, proc_dir: &Path) -> Place {
        let Self { kernel, modules, .. } = self;
        let kernel = kernel.get_or_insert_with(|| {
            // Those that come meanwhile are seen by the next look.
            *modules = loaded(proc_dir);
            Kernel::read(proc_dir)
        });
        kernel.place(address)
    }

    /// Forgets what it knows where the modules are others by now. `now`: monotonic clock in nanoseconds.
    pub(super) fn look_again(&mut self, proc_dir: &Path, now: u64) {
        if self.kernel.is_none() || now.saturating_sub(self.read_at) < READ_AGAIN_AFTER {
            return;
        }
        if loaded(proc_dir) != self.modules {
            self.kernel = None;
            self.read_at = now;
        }
    }
}

/// The names of the modules and where they are.
fn loaded(proc_dir: &Path) -> Vec<u8> {
    let mut text = Vec::new();
    let file = fs::File::open(proc_dir.join("modules"));
    drop(file.and_then(|file| file.take(MODULES_BYTES_MAX).read_to_end(&mut text)));
    let text = String::from_utf8_lossy(&text);
    // How often a module is used changes all the time.
    let lines = text.lines().filter_map(|line| {
        Some((line.split(' ').next()?, line.split(' ').find(|field| field.starts_with("0x"))?))
    });
    lines.flat_map(|(name, address)| [name, " ", address, "\n"]).flat_map(str::bytes).collect()
}

/// The functions of the kernel.
#[derive(Debug, Default)]
struct Kernel {
    /// In the order of addresses: where each begins, where its name is, and from which module it is.
    list: Vec<(u64, u32, u16)>,
    names: String,
    origins: Vec<Arc<Origin>>,
}

impl Kernel {
    /// Reads the table, which takes some 50 ms; line by line, since it is three times as long as what is kept of it.
    fn read(proc_dir: &Path) -> Self {
        let table = fs::File::open(proc_dir.join("kallsyms"));
        let table = table.map(|table| BufReader::new(table.take(TABLE_BYTES_MAX)));
        table.map(parse).unwrap_or_default()
    }

    /// Takes what a line says of a function; false where no more can be named.
    fn add(&mut self, line: &str, modules: &mut HashMap<String, u16>) -> bool {
        let mut fields = line.split_ascii_whitespace();
        let (Some(address), Some(kind), Some(name)) = (fields.next(), fields.next(), fields.next())
        else {
            return true;
        };
        let address = u64::from_str_radix(address, 16).unwrap_or(0);
        if address == 0 || !matches!(kind, "t" | "T" | "w" | "W") || name.starts_with(PADDING) {
            return true;
        }
        let module = fields.next().map_or("", |module| module.trim_matches(['[', ']']));
        let module = match (module, modules.get(module)) {
            ("", _) => 0,
            (_, Some(known)) => *known,
            (module, None) => {
                self.origins.push(Arc::new(origin(module)));
                let number = u16::try_from(self.origins.len() - 1).unwrap_or(0);
                modules.insert(module.to_owned(), number);
                number
            }
        };
        let Ok(at) = u32::try_from(self.names.len()) else { return false };
        self.list.push((address, at, module));
        self.names.push_str(name);
        self.names.push('\n');
        true
    }

    fn place(&self, address: u64) -> Place {
        let found = self.find(address);
        let (start, name, origin) = found.unwrap_or_else(|| (0, "", Arc::new(origin("kernel"))));
        let line = || Line { function: Arc::from(name), ..Line::default() };
        let lines = if name.is_empty() { Vec::new() } else { vec![line()] };
        Place { kind: Kind::Kernel, origin, address: start, lines }
    }

    fn find(&self, address: u64) -> Option<(u64, &str, Arc<Origin>)> {
        let next = self.list.partition_point(|(start, ..)| *start <= address);
        let (start, name, module) = *self.list.get(next.checked_sub(1)?)?;
        if next == self.list.len() && address - start > LAST_BYTES_MAX {
            return None;
        }
        let name = self.names.get(usize::try_from(name).ok()?..)?.split('\n').next()?;
        Some((start, name, Arc::clone(self.origins.get(usize::from(module))?)))
    }
}

fn origin(name: &str) -> Origin {
    Origin { name: Arc::from(format!("[{name}]")), ..Origin::default() }
}

/// What the kernel calls the room before a function, into which others may be patched: nothing runs there for long.
const PADDING: &str = "__pfx_";

/// A line is `address type name`, and behind a tab the module in brackets.
fn parse(mut table: impl BufRead) -> Kernel {
    let mut kernel = Kernel { origins: vec![Arc::new(origin("kernel"))], ..Kernel::default() };
    let mut modules: HashMap<String, u16> = HashMap::new();
    let mut line = String::new();
    while table.read_line(&mut line).is_ok_and(|bytes| bytes > 0) {
        if !kernel.add(&line, &mut modules) {
            break;
        }
        line.clear();
    }
    kernel.list.sort_by_key(|(address, ..)| *address);
    // Of several names the first that the kernel shows is kept.
    kernel.list.dedup_by_key(|(address, ..)| *address);
    kernel.list.shrink_to_fit();
    kernel.names.shrink_to_fit();
    kernel
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        ffffffff81000000 T _stext\n\
        ffffffff81000000 T startup_64\n\
        ffffffff810000f0 t __pfx_vfs_read\n\
        ffffffff81000100 t vfs_read\n\
        ffffffff81000200 D some_data\n\
        ffffffffc0000000 t nf_hook\t[nf_tables]\n";

    /// Scenario: a table with two names for one address, room before a function, data, and a module; then one of a kernel that
    /// hides its addresses.
    /// Guarantees: addresses have the name of their function and the name of its module; data and what is
    /// far behind the last function have none; where addresses are hidden, nothing has a name.
    #[test]
    fn addresses_have_names() {
        let kernel = parse(TABLE.as_bytes());
        let shown = |address| {
            let place = kernel.place(address);
            let function = place.lines.first().map(|line| line.function.to_string());
            (function, place.origin.name.to_string())
        };
        let named = |function: &str, module: &str| (Some(function.to_owned()), module.to_owned());
        assert_eq!(shown(0xffff_ffff_8100_0042), named("_stext", "[kernel]"));
        assert_eq!(shown(0xffff_ffff_8100_00f8), named("_stext", "[kernel]"));
        assert_eq!(shown(0xffff_ffff_8100_0208), named("vfs_read", "[kernel]"));
        assert_eq!(shown(0xffff_ffff_c000_0001), named("nf_hook", "[nf_tables]"));
        assert_eq!(shown(0xffff_ffff_d000_0000), (None, "[kernel]".to_owned()));
        assert_eq!(shown(1), (None, "[kernel]".to_owned()));
        let hidden = "0000000000000000 T _stext\n0000000000000000 t vfs_read\n";
        let hidden = parse(hidden.as_bytes());
        assert!(!kernel.list.is_empty() && hidden.list.is_empty());
        assert!(hidden.place(0xffff_ffff_8100_0042).lines.is_empty());
    }
    /// Scenario: a module is loaded after the table was read, is used more, and goes again.
    /// Guarantees: its functions have their names once a minute has passed, and none when it is gone; the
    /// table is not read again for a figure that says how often a module is used.
    #[test]
    fn modules_come_and_go() {
        let proc_dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| fs::write(proc_dir.path().join(name), text).unwrap();
        let shown = |known: &mut Known| {
            let place = known.place(0xffff_ffff_c000_2001, proc_dir.path());
            place.lines.first().map(|line| line.function.to_string())
        };
        write("kallsyms", "ffffffff81000000 T _stext\n");
        write("modules", "");
        let mut known = Known::default();
        assert_eq!(shown(&mut known), None);
        write("kallsyms", &format!("{TABLE}ffffffffc0002000 t later\t[new]\n"));
        write("modules", "new 16384 0 - Live 0xffffffffc0002000\n");
        known.look_again(proc_dir.path(), READ_AGAIN_AFTER);
        assert_eq!(shown(&mut known).as_deref(), Some("later"));
        write("kallsyms", "ffffffff81000000 T _stext\n");
        write("modules", "new 16384 7 - Live 0xffffffffc0002000\n");
        known.look_again(proc_dir.path(), 3 * READ_AGAIN_AFTER);
        assert_eq!(shown(&mut known).as_deref(), Some("later"));
        write("modules", "");
        known.look_again(proc_dir.path(), READ_AGAIN_AFTER + 1);
        assert_eq!(shown(&mut known).as_deref(), Some("later"), "too early");
        known.look_again(proc_dir.path(), 3 * READ_AGAIN_AFTER);
        assert_eq!(shown(&mut known), None);
    }
}
