//! Protobuf, field by field, out of borrowed bytes.
//!
//! Invariant: a message is accepted here exactly where `prost` accepts it: ten-byte varints, keys
//! within 32 bits, no field 0, unknown fields and groups skipped, a known field of another wire
//! type refused, messages and groups nested at most [`LIMIT`] deep.

/// How deep messages may be nested, the request itself not counted.
pub(super) const LIMIT: u32 = 100;

/// What is wrong with the bytes, and the address of the place.
#[derive(Debug, Clone, Copy)]
pub(super) struct Broken {
    pub(super) fault: &'static str,
    pub(super) address: usize,
}

impl Broken {
    #[cold]
    pub(super) fn at(fault: &'static str, place: &[u8]) -> Self {
        Self { fault, address: place.as_ptr().addr() }
    }
}

/// A text that was not looked at before.
#[inline]
pub(super) fn text(bytes: &[u8]) -> Result<&str, Broken> {
    std::str::from_utf8(bytes).map_err(|_invalid| Broken::at("text is not UTF-8", bytes))
}

/// As [`text`], where the text is not needed. Nearly all are short and ASCII, which is seen in a
/// third of the time.
#[inline]
pub(super) fn check_text(bytes: &[u8]) -> Result<(), Broken> {
    if bytes.is_ascii() { Ok(()) } else { text(bytes).map(drop) }
}

/// The key of a varint field.
pub(super) const fn varint(field: u32) -> u32 {
    field << 3
}

/// The key of a field of eight bytes.
pub(super) const fn fixed64(field: u32) -> u32 {
    (field << 3) | 1
}

/// The key of a field that says its length: text, bytes, message, packed numbers.
pub(super) const fn delimited(field: u32) -> u32 {
    (field << 3) | 2
}

/// The key of a field of four bytes.
pub(super) const fn fixed32(field: u32) -> u32 {
    (field << 3) | 5
}

const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;

/// Reads the fields of one message.
#[derive(Debug, Clone)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
    limit: u32,
}

impl<'a> Reader<'a> {
    /// `limit` says how much deeper messages in this one may be nested.
    #[inline]
    pub(super) const fn new(bytes: &'a [u8], limit: u32) -> Self {
        Self { rest: bytes, limit }
    }

    /// What was not read yet.
    #[inline]
    pub(super) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether the message ends here.
    #[inline]
    pub(super) const fn at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// The key of the next field, `None` at the end of the message.
    #[inline]
    pub(super) fn key(&mut self) -> Result<Option<u32>, Broken> {
        match self.rest {
            [] => Ok(None),
            // One byte, a field number, and one of the four wire types that carry a value.
            [byte @ 8..0x80, rest @ ..] if matches!(byte & 7, 0 | 1 | 2 | 5) => {
                self.rest = rest;
                Ok(Some(u32::from(*byte)))
            }
            _ => self.any_key().map(Some),
        }
    }

    fn any_key(&mut self) -> Result<u32, Broken> {
        let place = self.rest;
        let number = self.varint()?;
        let key = u32::try_from(number)
            .map_err(|_large| Broken::at("field key is over 32 bits", place))?;
        match (key >> 3, key & 7) {
            (0, _) => Err(Broken::at("field number is 0", place)),
            (_, 6 | 7) => Err(Broken::at("wire type is unknown", place)),
            _ => Ok(key),
        }
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u64, Broken> {
        match *self.rest {
            [byte @ ..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            [low, high @ ..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | (u64::from(high) << 7))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Broken> {
        let mut number = 0;
        for (at, byte) in self.rest.iter().enumerate().take(10) {
            number |= u64::from(byte & 0x7f) << (7 * at);
            if *byte < 0x80 {
                if at == 9 && *byte > 1 {
                    break;
                }
                self.rest = self.rest.get(at + 1..).unwrap_or_default();
                return Ok(number);
            }
        }
        Err(Broken::at("varint is cut off or too long", self.rest))
    }

    #[inline]
    pub(super) fn fixed64(&mut self) -> Result<u64, Broken> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(Broken::at("eight bytes are cut off", self.rest));
        };
        self.rest = rest;
        Ok(u64::from_le_bytes(*bytes))
    }

    #[inline]
    pub(super) fn fixed32(&mut self) -> Result<u32, Broken> {
        let Some((bytes, rest)) = self.rest.split_first_chunk() else {
            return Err(Broken::at("four bytes are cut off", self.rest));
        };
        self.rest = rest;
        Ok(u32::from_le_bytes(*bytes))
    }

    /// The low 32 bits of a varint, which is what `uint32` keeps of a larger number.
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "what protobuf says of too large numbers")]
    pub(super) fn uint32(&mut self) -> Result<u32, Broken> {
        Ok(self.varint()? as u32)
    }

    /// `int32` and enumerations, cut as [`Self::uint32`] is.
    #[inline]
    pub(super) fn int32(&mut self) -> Result<i32, Broken> {
        Ok(self.uint32()?.cast_signed())
    }

    /// `sint32`: zigzag.
    pub(super) fn sint32(&mut self) -> Result<i32, Broken> {
        let number = self.uint32()?;
        Ok((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    #[inline]
    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Broken> {
        let place = self.rest;
        let length = self.varint()?;
        let parts = usize::try_from(length).ok().and_then(|at| self.rest.split_at_checked(at));
        let Some((bytes, rest)) = parts else {
            return Err(Broken::at("length goes beyond the end", place));
        };
        self.rest = rest;
        Ok(bytes)
    }

    /// A text that takes the place of the one before it; which is then never looked at again, and
    /// must be valid all the same. The new one is yet to be looked at.
    #[inline]
    pub(super) fn text_into(&mut self, slot: &mut &'a [u8]) -> Result<(), Broken> {
        check_text(slot)?;
        *slot = self.bytes()?;
        Ok(())
    }

    /// The bytes of a message within this one.
    #[inline]
    pub(super) fn message(&mut self) -> Result<&'a [u8], Broken> {
        if self.limit == 0 {
            return Err(Broken::at("messages are nested too deep", self.rest));
        }
        self.bytes()
    }

    /// Goes on behind a field that the caller does not read. `known` has the bit of each field
    /// number that it does read, with another wire type.
    #[cold]
    pub(super) fn skip(&mut self, key: u32, known: u32) -> Result<(), Broken> {
        let field = key >> 3;
        if field < 32 && known & (1 << field) != 0 {
            return Err(Broken::at("field has another wire type", self.rest));
        }
        self.skip_value(key, self.limit)
    }

    fn skip_value(&mut self, key: u32, limit: u32) -> Result<(), Broken> {
        if limit == 0 {
            return Err(Broken::at("messages are nested too deep", self.rest));
        }
        match key & 7 {
            0 => self.varint().map(drop),
            1 => self.fixed64().map(drop),
            2 => self.bytes().map(drop),
            START_GROUP => self.skip_group(key >> 3, limit),
            END_GROUP => Err(Broken::at("a group ends that never began", self.rest)),
            _ => self.fixed32().map(drop),
        }
    }

    fn skip_group(&mut self, field: u32, limit: u32) -> Result<(), Broken> {
        loop {
            let key = self.any_key()?;
            if key & 7 != END_GROUP {
                self.skip_value(key, limit - 1)?;
            } else if key >> 3 == field {
                return Ok(());
            } else {
                return Err(Broken::at("another group ends than began", self.rest));
            }
        }
    }
}

/// The occurrences of a singular message: read one after the other, they are the message merged.
#[derive(Debug, Clone, Default)]
pub(super) enum Pieces<'a> {
    #[default]
    None,
    One(&'a [u8]),
    Many(Vec<&'a [u8]>),
}

impl<'a> Pieces<'a> {
    pub(super) fn push(&mut self, piece: &'a [u8]) {
        match self {
            Self::None => *self = Self::One(piece),
            Self::One(first) => *self = Self::Many(vec![*first, piece]),
            Self::Many(pieces) => pieces.push(piece),
        }
    }

    pub(super) fn as_slice(&self) -> &[&'a [u8]] {
        match self {
            Self::None => &[],
            Self::One(piece) => std::slice::from_ref(piece),
            Self::Many(pieces) => pieces,
        }
    }
}

/// The set of field numbers, for [`Reader::skip`].
pub(super) const fn fields(numbers: &[u32]) -> u32 {
    let mut set = 0;
    let mut at = 0;
    while at < numbers.len() {
        set |= 1 << numbers[at];
        at += 1;
    }
    set
}
