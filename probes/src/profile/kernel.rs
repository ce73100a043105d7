//! The functions of the kernel and its modules.
//!
//! Invariant: an address has the name of the last function that begins before it, as the kernel itself
//! shows addresses; where the kernel hides its addresses, none has a name.

use std::collections::HashMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::frames::{Kind, Line, Origin, Place};

/// What is read of the kernel's table: some 250,000 lines on a kernel with many modules.
const TABLE_BYTES_MAX: usize = 64 << 20;
/// The end of the last function is not told; none is longer.
const LAST_BYTES_MAX: u64 = 1 << 20;

/// The functions of the kernel.
#[derive(Debug, Default)]
pub(super) struct Kernel {
    /// In the order of addresses: where each begins, where its name is, and from which module it is.
    list: Vec<(u64, u32, u16)>,
    names: String,
    origins: Vec<Arc<Origin>>,
}

impl Kernel {
    /// Reads the table, which takes some 50 ms.
    pub(super) fn read(proc_dir: &Path) -> Self {
        let text = fs::read(proc_dir.join("kallsyms")).unwrap_or_default();
        let text = text.get(..TABLE_BYTES_MAX).unwrap_or(&text);
        parse(&String::from_utf8_lossy(text))
    }

    /// The place of an address.
    pub(super) fn place(&self, address: u64) -> Place {
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

/// A line is `address type name`, and behind a tab the module in brackets.
fn parse(text: &str) -> Kernel {
    let mut kernel = Kernel { origins: vec![Arc::new(origin("kernel"))], ..Kernel::default() };
    let mut modules: HashMap<&str, u16> = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace();
        let (Some(address), Some(kind), Some(name)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let address = u64::from_str_radix(address, 16).unwrap_or(0);
        if address == 0 || !matches!(kind, "t" | "T" | "w" | "W") {
            continue;
        }
        let module = fields.next().map_or("", |module| module.trim_matches(['[', ']']));
        let module = match module {
            "" => 0,
            module => *modules.entry(module).or_insert_with(|| {
                kernel.origins.push(Arc::new(origin(module)));
                u16::try_from(kernel.origins.len() - 1).unwrap_or(0)
            }),
        };
        let Ok(at) = u32::try_from(kernel.names.len()) else { break };
        kernel.list.push((address, at, module));
        kernel.names.push_str(name);
        kernel.names.push('\n');
    }
    kernel.list.sort_by_key(|(address, ..)| *address);
    // Of several names the first that the kernel shows is kept.
    kernel.list.dedup_by_key(|(address, ..)| *address);
    kernel.list.shrink_to_fit();
    kernel
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
        ffffffff81000000 T _stext\n\
        ffffffff81000000 T startup_64\n\
        ffffffff81000100 t vfs_read\n\
        ffffffff81000200 D some_data\n\
        ffffffffc0000000 t nf_hook\t[nf_tables]\n";

    /// Scenario: a table with two names for one address, data, and a module; then one of a kernel that
    /// hides its addresses.
    /// Guarantees: addresses have the name of their function and the name of its module; data and what is
    /// far behind the last function have none; where addresses are hidden, nothing has a name.
    #[test]
    fn addresses_have_names() {
        let kernel = parse(TABLE);
        let shown = |address| {
            let place = kernel.place(address);
            let function = place.lines.first().map(|line| line.function.to_string());
            (function, place.origin.name.to_string())
        };
        let named = |function: &str, module: &str| (Some(function.to_owned()), module.to_owned());
        assert_eq!(shown(0xffff_ffff_8100_0042), named("_stext", "[kernel]"));
        assert_eq!(shown(0xffff_ffff_8100_0208), named("vfs_read", "[kernel]"));
        assert_eq!(shown(0xffff_ffff_c000_0001), named("nf_hook", "[nf_tables]"));
        assert_eq!(shown(0xffff_ffff_d000_0000), (None, "[kernel]".to_owned()));
        assert_eq!(shown(1), (None, "[kernel]".to_owned()));
        let hidden = parse("0000000000000000 T _stext\n0000000000000000 t vfs_read\n");
        assert!(!kernel.list.is_empty() && hidden.list.is_empty());
        assert!(hidden.place(0xffff_ffff_8100_0042).lines.is_empty());
    }
}
