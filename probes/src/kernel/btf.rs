//! Reads the type information of a kernel: where the fields of its structures are.
//!
//! Invariant: whatever bytes it is given, reading ends with an answer or with `None`.

use std::collections::HashMap;

const MAGIC: u16 = 0xeb9f;
const TYPE_BYTES: usize = 12;
const MEMBER_BYTES: usize = 12;
const ENUMERATOR_BYTES: usize = 8;
const PARAMETER_BYTES: usize = 8;
/// Anonymous structures within structures are followed this deep.
const DEPTH_MAX: u32 = 8;

/// The structures of a kernel and the names of its types.
#[derive(Debug)]
pub(crate) struct Types<'a> {
    strings: &'a [u8],
    /// Where each type begins in `types`; the first has number 1.
    starts: Vec<usize>,
    types: &'a [u8],
    structures: HashMap<&'a [u8], u32>,
    typedefs: HashMap<&'a [u8], u32>,
    enumerations: HashMap<&'a [u8], u32>,
    functions: HashMap<&'a [u8], u32>,
}

#[derive(Debug, Clone, Copy)]
struct Head {
    name: u32,
    kind: u32,
    members: usize,
    /// Members keep the size of bit fields beside their offset.
    packed_offsets: bool,
}

impl<'a> Types<'a> {
    /// Reads `/sys/kernel/btf/vmlinux` as loaded into memory.
    pub(crate) fn parse(data: &'a [u8]) -> Option<Self> {
        if data.get(..2)? != MAGIC.to_ne_bytes() {
            return None;
        }
        let header_bytes = number(data, 4)?;
        let section = |offset_at: usize| {
            let start = header_bytes.checked_add(number(data, offset_at)?)?;
            data.get(start..)?.get(..number(data, offset_at + 4)?)
        };
        let (types, strings) = (section(8)?, section(16)?);
        let mut all = Self {
            strings,
            starts: Vec::new(),
            types,
            structures: HashMap::new(),
            typedefs: HashMap::new(),
            enumerations: HashMap::new(),
            functions: HashMap::new(),
        };
        all.index()?;
        Some(all)
    }

    fn index(&mut self) -> Option<()> {
        let mut at = 0;
        while at < self.types.len() {
            let head = self.head(at)?;
            self.starts.push(at);
            let id = u32::try_from(self.starts.len()).ok()?;
            let name = self.name(head.name)?;
            match head.kind {
                4 | 5 if !name.is_empty() => drop(self.structures.entry(name).or_insert(id)),
                6 if !name.is_empty() => drop(self.enumerations.entry(name).or_insert(id)),
                8 => drop(self.typedefs.insert(name, id)),
                12 => drop(self.functions.entry(name).or_insert(id)),
                _ => {}
            }
            at = at.checked_add(TYPE_BYTES + tail_bytes(head)?)?;
        }
        Some(())
    }

    /// A tracepoint of this name exists and can be attached to by type.
    pub(crate) fn has_tracepoint(&self, name: &str) -> bool {
        self.typedefs.contains_key(format!("btf_trace_{name}").as_bytes())
    }

    /// At which place a function takes an argument of this name, from 0 on.
    pub(crate) fn argument(&self, function: &str, name: &str) -> Option<usize> {
        let at = self.start(*self.functions.get(function.as_bytes())?)?;
        let signature = self.start(self.word(at + 8)?)?;
        let head = self.head(signature)?;
        let parameter = |index: usize| signature + TYPE_BYTES + index * PARAMETER_BYTES;
        let named = |index: &usize| {
            let text = self.word(parameter(*index)).and_then(|offset| self.name(offset));
            text == Some(name.as_bytes())
        };
        (0..head.members).filter(|_| head.kind == 13).find(named)
    }

    /// The names of an enumeration of 32 bits, by their numbers.
    pub(crate) fn names(&self, enumeration: &str) -> Vec<(u32, &'a str)> {
        let all = || {
            let at = self.start(*self.enumerations.get(enumeration.as_bytes())?)?;
            let head = self.head(at)?;
            let one = |index: usize| {
                let at = at + TYPE_BYTES + index * ENUMERATOR_BYTES;
                let name = std::str::from_utf8(self.name(self.word(at)?)?).ok()?;
                Some((self.word(at + 4)?, name))
            };
            Some((0..head.members).filter_map(one).collect())
        };
        all().unwrap_or_default()
    }

    /// The offset in bytes of a field, through named fields and anonymous structures.
    pub(crate) fn offset(&self, structure: &str, path: &[&str]) -> Option<u32> {
        self.bits(structure, path).filter(|bits| bits % 8 == 0).map(|bits| bits / 8)
    }

    /// The same in bits, for a field that may be a part of a byte.
    pub(crate) fn bits(&self, structure: &str, path: &[&str]) -> Option<u32> {
        let mut id = *self.structures.get(structure.as_bytes())?;
        let mut bits = 0;
        for name in path {
            let (field_bits, field_type) = self.member(id, name.as_bytes(), DEPTH_MAX)?;
            bits += field_bits;
            id = field_type;
        }
        Some(bits)
    }

    /// Offset in bits and type of a member.
    fn member(&self, id: u32, wanted: &[u8], depth: u32) -> Option<(u32, u32)> {
        let at = self.start(self.resolved(id)?)?;
        let head = self.head(at)?;
        if !matches!(head.kind, 4 | 5) || depth == 0 {
            return None;
        }
        for index in 0..head.members {
            let member = at + TYPE_BYTES + index * MEMBER_BYTES;
            let name = self.name(self.word(member)?)?;
            let kind = self.word(member + 4)?;
            let raw = self.word(member + 8)?;
            let bits = if head.packed_offsets { raw & 0x00ff_ffff } else { raw };
            if name == wanted {
                return Some((bits, kind));
            }
            if name.is_empty()
                && let Some((inner, found)) = self.member(kind, wanted, depth - 1)
            {
                return Some((bits + inner, found));
            }
        }
        None
    }

    /// Goes through names and qualifiers to what they stand for.
    fn resolved(&self, mut id: u32) -> Option<u32> {
        for _ in 0..DEPTH_MAX {
            let at = self.start(id)?;
            match self.head(at)?.kind {
                8..=11 | 18 => id = self.word(at + 8)?,
                _ => return Some(id),
            }
        }
        None
    }

    fn start(&self, id: u32) -> Option<usize> {
        self.starts.get(usize::try_from(id).ok()?.checked_sub(1)?).copied()
    }

    fn head(&self, at: usize) -> Option<Head> {
        let info = self.word(at + 4)?;
        Some(Head {
            name: self.word(at)?,
            kind: (info >> 24) & 0x1f,
            members: usize::try_from(info & 0xffff).ok()?,
            packed_offsets: info >> 31 == 1,
        })
    }

    fn word(&self, at: usize) -> Option<u32> {
        Some(u32::from_ne_bytes(*self.types.get(at..)?.first_chunk()?))
    }

    fn name(&self, offset: u32) -> Option<&'a [u8]> {
        let text = self.strings.get(usize::try_from(offset).ok()?..)?;
        text.get(..memchr::memchr(0, text)?)
    }
}

fn number(data: &[u8], at: usize) -> Option<usize> {
    usize::try_from(u32::from_ne_bytes(*data.get(at..)?.first_chunk()?)).ok()
}

/// What follows the common part of a type; none for a kind that is not known.
fn tail_bytes(head: Head) -> Option<usize> {
    Some(match head.kind {
        1 | 14 | 17 => 4,
        2 | 7..=12 | 16 | 18 => 0,
        3 => 12,
        4 | 5 | 15 | 19 => 12 * head.members,
        6 | 13 => 8 * head.members,
        _ => return None,
    })
}
