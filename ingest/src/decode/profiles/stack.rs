//! A stack, frame by frame, and as the texts that rows have of it.
//!
//! Invariants: a location is as many frames as it has lines, inlined functions first, and one where it has
//! none. The names and the details have as many entries as there are frames, leaf first.

use super::super::wire::{Broken, LIMIT, Reader, delimited, varint};
use super::attributes::{Attributes, Chosen};
use super::dictionary::{Dictionary, Table, each_index};
use super::fault::{Budget, Fault};
use super::text::{StackText, written_max};

/// What a frame takes beside its texts.
const FRAME_BYTES: usize = 64;

/// Where a frame is in the machine.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Location<'a> {
    bytes: &'a [u8],
    mapping: i32,
    pub(super) address: u64,
    lines: usize,
}

/// A file that is mapped into memory.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Mapping<'a> {
    bytes: &'a [u8],
    pub(super) start: u64,
    pub(super) limit: u64,
    pub(super) offset: u64,
    pub(super) file: &'a [u8],
}

/// Where a frame is in the source.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Line<'a> {
    pub(super) name: &'a [u8],
    pub(super) system_name: &'a [u8],
    pub(super) file: &'a [u8],
    pub(super) start_line: i64,
    pub(super) line: i64,
    pub(super) column: i64,
}

/// What all walks over stacks of a request share.
#[derive(Debug)]
pub(super) struct Walk<'d, 'a> {
    pub(super) dictionary: &'d Dictionary<'a>,
    pub(super) attributes: &'d mut Attributes,
    pub(super) budget: &'d mut Budget,
    pub(super) chosen: Chosen,
}

impl<'a> Walk<'_, 'a> {
    /// Whether all that the stack refers to is there, and paid for.
    pub(super) fn check(&mut self, stack: i32) -> Result<(), Fault> {
        self.locations(stack, |walk, location, mapping| {
            walk.chosen.clear();
            walk.add_attributes(mapping.bytes, MAPPING_ATTRIBUTES)?;
            walk.add_attributes(location.bytes, LOCATION_ATTRIBUTES)?;
            walk.lines(location, |_walk, _line, _left| Ok(()))
        })
    }

    /// Writes a stack that was checked.
    pub(super) fn write(&mut self, stack: i32, out: &mut StackText) -> Result<(), Fault> {
        out.clear();
        self.locations(stack, |walk, location, mapping| {
            if location.lines == 0 {
                return walk.write_frame(out, location, mapping, None, 0);
            }
            walk.lines(location, |walk, line, left| {
                walk.write_frame(out, location, mapping, Some(line), left)
            })
        })?;
        out.finish();
        Ok(())
    }

    fn locations(
        &mut self,
        stack: i32,
        mut each: impl FnMut(&mut Self, &Location<'a>, &Mapping<'a>) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        const LOCATIONS: u32 = 1;
        let stack = self.dictionary.get(Table::Stack, "stack_index", stack)?;
        each_index(stack, LOCATIONS, |index| {
            let location = self.dictionary.get(Table::Location, "location_indices", index)?;
            self.budget.spend(FRAME_BYTES + location.len())?;
            let location = Location::read(location)?;
            let mapping = self.mapping(location.mapping)?;
            each(self, &location, &mapping)
        })
    }

    fn mapping(&mut self, index: i32) -> Result<Mapping<'a>, Fault> {
        const START: u32 = varint(1);
        const LIMIT_ADDRESS: u32 = varint(2);
        const OFFSET: u32 = varint(3);
        const FILE: u32 = varint(4);
        let bytes = self.dictionary.get(Table::Mapping, "mapping_index", index)?;
        self.budget.spend(bytes.len())?;
        let (mut mapping, mut file) = (Mapping { bytes, ..Mapping::default() }, 0);
        let mut reader = Reader::new(bytes, LIMIT);
        while let Some(key) = reader.key()? {
            match key {
                START => mapping.start = reader.varint()?,
                LIMIT_ADDRESS => mapping.limit = reader.varint()?,
                OFFSET => mapping.offset = reader.varint()?,
                FILE => file = reader.int32()?,
                _ => reader.skip(key, 0)?,
            }
        }
        mapping.file = self.dictionary.string("filename_strindex", file)?;
        self.budget.spend(written_max(mapping.file))?;
        Ok(mapping)
    }

    /// Calls `each` with every line of a location, and how many there are behind it.
    fn lines(
        &mut self,
        location: &Location<'a>,
        mut each: impl FnMut(&mut Self, &Line<'a>, usize) -> Result<(), Fault>,
    ) -> Result<(), Fault> {
        let mut left = location.lines;
        let mut reader = Reader::new(location.bytes, LIMIT);
        while let Some(key) = reader.key()? {
            if key == LINE {
                left -= 1;
                let line = self.line(reader.bytes()?)?;
                each(self, &line, left)?;
            } else {
                reader.skip(key, 0)?;
            }
        }
        Ok(())
    }

    fn line(&mut self, bytes: &[u8]) -> Result<Line<'a>, Fault> {
        const FUNCTION: u32 = varint(1);
        const LINE_NUMBER: u32 = varint(2);
        const COLUMN: u32 = varint(3);
        const NAME: u32 = varint(1);
        const SYSTEM_NAME: u32 = varint(2);
        const FILE: u32 = varint(3);
        const START_LINE: u32 = varint(4);
        let (mut line, mut function) = (Line::default(), 0);
        let mut reader = Reader::new(bytes, LIMIT);
        while let Some(key) = reader.key()? {
            match key {
                FUNCTION => function = reader.int32()?,
                LINE_NUMBER => line.line = reader.varint()?.cast_signed(),
                COLUMN => line.column = reader.varint()?.cast_signed(),
                _ => reader.skip(key, 0)?,
            }
        }
        let bytes = self.dictionary.get(Table::Function, "function_index", function)?;
        self.budget.spend(FRAME_BYTES + bytes.len())?;
        let (mut name, mut system_name, mut file) = (0, 0, 0);
        let mut reader = Reader::new(bytes, LIMIT);
        while let Some(key) = reader.key()? {
            match key {
                NAME => name = reader.int32()?,
                SYSTEM_NAME => system_name = reader.int32()?,
                FILE => file = reader.int32()?,
                START_LINE => line.start_line = reader.varint()?.cast_signed(),
                _ => reader.skip(key, 0)?,
            }
        }
        line.name = self.dictionary.string("name_strindex", name)?;
        line.system_name = self.dictionary.string("system_name_strindex", system_name)?;
        line.file = self.dictionary.string("filename_strindex", file)?;
        let texts = [line.name, line.system_name, line.file];
        self.budget.spend(texts.into_iter().map(written_max).sum())?;
        Ok(line)
    }

    fn add_attributes(&mut self, message: &[u8], field: u32) -> Result<(), Fault> {
        let Self { dictionary, attributes, budget, chosen } = self;
        each_index(message, field, |index| {
            attributes.choose(chosen, index, dictionary, budget, Budget::spend)
        })
    }

    /// The attributes that a message refers to, as one JSON object; empty where there are none.
    fn attributes_text(&mut self, message: &[u8], field: u32) -> Result<String, Fault> {
        self.chosen.clear();
        self.add_attributes(message, field)?;
        Ok(self.attributes.text(&self.chosen)?)
    }

    /// `left` frames of the same location follow. What is said of the location is said with the last.
    fn write_frame(
        &mut self,
        out: &mut StackText,
        location: &Location<'a>,
        mapping: &Mapping<'a>,
        line: Option<&Line<'a>>,
        left: usize,
    ) -> Result<(), Fault> {
        out.begin_frame();
        out.name(line, location, mapping)?;
        match line {
            Some(line) => out.line(line)?,
            None => out.detail("unsymbolized").push_str("true"),
        }
        if left > 0 {
            out.detail("inlined").push_str("true");
        } else {
            self.write_location(out, location, mapping)?;
        }
        out.end_frame();
        Ok(())
    }

    fn write_location(
        &mut self,
        out: &mut StackText,
        location: &Location<'a>,
        mapping: &Mapping<'a>,
    ) -> Result<(), Fault> {
        out.address("address", location.address);
        let attributes = self.attributes_text(location.bytes, LOCATION_ATTRIBUTES)?;
        out.object("attributes", &attributes);
        out.text("mapping", mapping.file)?;
        out.address("mapping_start", mapping.start);
        out.address("mapping_limit", mapping.limit);
        out.address("mapping_offset", mapping.offset);
        let attributes = self.attributes_text(mapping.bytes, MAPPING_ATTRIBUTES)?;
        out.object("mapping_attributes", &attributes);
        Ok(())
    }
}

const MAPPING_ATTRIBUTES: u32 = 5;
const LOCATION_ATTRIBUTES: u32 = 4;
const LINE: u32 = delimited(3);

impl<'a> Location<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, Broken> {
        const MAPPING: u32 = varint(1);
        const ADDRESS: u32 = varint(2);
        let mut location = Self { bytes, ..Self::default() };
        let mut reader = Reader::new(bytes, LIMIT);
        while let Some(key) = reader.key()? {
            match key {
                MAPPING => location.mapping = reader.int32()?,
                ADDRESS => location.address = reader.varint()?,
                LINE => {
                    reader.bytes()?;
                    location.lines += 1;
                }
                _ => reader.skip(key, 0)?,
            }
        }
        Ok(location)
    }
}
