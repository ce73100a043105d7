//! Messages of the PostgreSQL protocol, version 3.
//!
//! Invariant: a message is read whole or not at all, and never longer than the bound; what is
//! written is one message a call.

use std::io;
use std::time::Duration;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::cell::Cells;
use super::types::Type;

/// The longest start message: names and values of a few settings.
const STARTUP_BYTES_MAX: usize = 16 << 10;
/// How long the rest of a message may take once it has begun.
const BEGUN_WAIT: Duration = Duration::from_secs(60);
const PROTOCOL_3: u32 = 3 << 16;
const CANCEL: u32 = 80_877_102;
const TLS: u32 = 80_877_103;
const GSS: u32 = 80_877_104;

/// How a connection begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Startup {
    /// Asks whether the connection can be encrypted.
    Encrypt,
    /// Ends the query of another connection.
    Cancel { process: u32, secret: u32 },
    /// Begins a session. Who asks and for which database does not matter; what is asked for beyond
    /// version 3.0 of the protocol is told not to be had.
    Session { newer: bool, options: Vec<String> },
}

/// What a client says in a session.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) tag: u8,
    pub(super) body: Bytes,
}

/// Reads how a connection begins.
pub(super) async fn read_startup<R: AsyncRead + Unpin>(from: &mut R) -> io::Result<Startup> {
    let body = read_body(from, STARTUP_BYTES_MAX).await?;
    let mut rest = Reader(body);
    match rest.u32()? {
        TLS | GSS => Ok(Startup::Encrypt),
        CANCEL => Ok(Startup::Cancel { process: rest.u32()?, secret: rest.u32()? }),
        version if version >> 16 == PROTOCOL_3 >> 16 => {
            let mut options = Vec::new();
            loop {
                let name = rest.text()?;
                if name.is_empty() {
                    return Ok(Startup::Session { newer: version > PROTOCOL_3, options });
                }
                rest.text()?;
                options.extend(Some(name).filter(|name| name.starts_with("_pq_.")));
            }
        }
        version => Err(broken(format!(
            "protocol {}.{} is not spoken here",
            version >> 16,
            version & 0xffff
        ))),
    }
}

/// Reads a message; `None` where the client has gone.
pub(super) async fn read<R: AsyncRead + Unpin>(
    from: &mut R,
    bytes_max: usize,
) -> io::Result<Option<Message>> {
    let tag = match from.read_u8().await {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        tag => tag?,
    };
    let body = tokio::time::timeout(BEGUN_WAIT, read_body(from, bytes_max)).await??;
    Ok(Some(Message { tag, body }))
}

async fn read_body<R: AsyncRead + Unpin>(from: &mut R, bytes_max: usize) -> io::Result<Bytes> {
    let length = from.read_u32().await?;
    let body = usize::try_from(length).ok().and_then(|length| length.checked_sub(4));
    let Some(length) = body.filter(|length| *length <= bytes_max) else {
        return Err(broken(format!("a message of {length} bytes; at most {bytes_max} are read")));
    };
    // Grows with what comes, not with what is announced.
    let mut body = Vec::new();
    let read = from.take(length as u64).read_to_end(&mut body).await?;
    if read < length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Bytes::from(body))
}

fn broken(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text)
}

/// Reads the parts of a message.
#[derive(Debug)]
pub(super) struct Reader(pub(super) Bytes);

impl Reader {
    fn need(&self, bytes: usize) -> io::Result<()> {
        if self.0.len() < bytes {
            Err(broken("a message ends too early".to_owned()))
        } else {
            Ok(())
        }
    }

    pub(super) fn u8(&mut self) -> io::Result<u8> {
        self.need(1)?;
        Ok(self.0.get_u8())
    }

    pub(super) fn u16(&mut self) -> io::Result<u16> {
        self.need(2)?;
        Ok(self.0.get_u16())
    }

    pub(super) fn u32(&mut self) -> io::Result<u32> {
        self.need(4)?;
        Ok(self.0.get_u32())
    }

    /// A text up to its zero.
    pub(super) fn text(&mut self) -> io::Result<String> {
        let end = self.0.iter().position(|byte| *byte == 0);
        let end = end.ok_or_else(|| broken("a text has no end".to_owned()))?;
        let text = self.0.split_to(end);
        self.0.advance(1);
        String::from_utf8(text.into()).map_err(|_not_text| broken("a text is not UTF-8".to_owned()))
    }

    /// A value; `None` for null.
    pub(super) fn value(&mut self) -> io::Result<Option<Bytes>> {
        let length = self.u32()?;
        if length == u32::MAX {
            return Ok(None);
        }
        let length = length as usize;
        self.need(length)?;
        Ok(Some(self.0.split_to(length)))
    }

    /// A list whose length stands before it.
    pub(super) fn list<T>(
        &mut self,
        mut one: impl FnMut(&mut Self) -> io::Result<T>,
    ) -> io::Result<Vec<T>> {
        let length = self.u16()?;
        (0..length).map(|_| one(self)).collect()
    }
}

/// Messages to be sent.
#[derive(Debug, Default)]
pub(super) struct Writer {
    out: BytesMut,
}

/// A column as it is told before its rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ColumnHead {
    pub(super) name: String,
    pub(super) of: Type,
    pub(super) binary: bool,
}

/// An error as it is told.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    pub(super) code: &'static str,
    pub(super) message: String,
    pub(super) hint: String,
    /// The character of the query, from one on.
    pub(super) position: Option<usize>,
}

impl Writer {
    fn message(&mut self, tag: u8, body: impl FnOnce(&mut BytesMut)) {
        self.out.put_u8(tag);
        let length_at = self.out.len();
        self.out.put_u32(0);
        body(&mut self.out);
        let length = u32::try_from(self.out.len() - length_at).unwrap_or(u32::MAX);
        if let Some(place) = self.out.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }

    /// All of it, to be sent.
    pub(super) fn take(&mut self) -> Bytes {
        self.out.split().freeze()
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    /// What of a newer protocol is not spoken here.
    pub(super) fn older(&mut self, options: &[String]) {
        self.message(b'v', |out| {
            out.put_u32(PROTOCOL_3);
            out.put_u32(u32::try_from(options.len()).unwrap_or(u32::MAX));
            options.iter().for_each(|name| put_text(out, name));
        });
    }

    /// Who may ask is decided by the address.
    pub(super) fn authenticated(&mut self) {
        self.message(b'R', |out| out.put_u32(0));
    }

    pub(super) fn setting(&mut self, name: &str, value: &str) {
        self.message(b'S', |out| {
            put_text(out, name);
            put_text(out, value);
        });
    }

    pub(super) fn cancel_key(&mut self, process: u32, secret: u32) {
        self.message(b'K', |out| {
            out.put_u32(process);
            out.put_u32(secret);
        });
    }

    /// Ready for a query: idle, in a transaction, or in one that failed.
    pub(super) fn ready(&mut self, state: u8) {
        self.message(b'Z', |out| out.put_u8(state));
    }

    /// A message without a body.
    pub(super) fn plain(&mut self, tag: u8) {
        self.message(tag, |_| ());
    }

    pub(super) fn complete(&mut self, tag: &str) {
        self.message(b'C', |out| put_text(out, tag));
    }

    pub(super) fn parameters(&mut self, types: &[Type]) {
        self.message(b't', |out| {
            put_count(out, types.len());
            types.iter().for_each(|of| out.put_u32(of.oid()));
        });
    }

    pub(super) fn columns(&mut self, columns: &[ColumnHead]) {
        self.message(b'T', |out| {
            put_count(out, columns.len());
            for ColumnHead { name, of, binary } in columns {
                put_text(out, name);
                out.put_u32(0);
                out.put_i16(0);
                out.put_u32(of.oid());
                out.put_i16(of.bytes());
                out.put_i32(-1);
                out.put_i16(i16::from(*binary));
            }
        });
    }

    /// A row, its cells in the forms that `binary` says.
    pub(super) fn row(&mut self, cells: &mut [Cells<'_>], row: usize, binary: &[bool]) {
        self.message(b'D', |out| {
            put_count(out, cells.len());
            for (cell, binary) in cells.iter_mut().zip(binary) {
                put_sized(out, |out| {
                    let is_value = !cell.is_null(row);
                    if is_value {
                        cell.write(row, *binary, out);
                    }
                    is_value
                });
            }
        });
    }

    /// A row of texts.
    pub(super) fn texts(&mut self, cells: &[Option<String>]) {
        self.message(b'D', |out| {
            put_count(out, cells.len());
            for cell in cells {
                put_sized(out, |out| {
                    out.put_slice(cell.as_deref().unwrap_or_default().as_bytes());
                    cell.is_some()
                });
            }
        });
    }

    pub(super) fn fault(&mut self, fault: &Fault) {
        self.message(b'E', |out| fault.put("ERROR", out));
    }

    /// Something to know of an answer that is one all the same.
    pub(super) fn notice(&mut self, fault: &Fault) {
        self.message(b'N', |out| fault.put("WARNING", out));
    }
}

impl Fault {
    fn put(&self, severity: &str, out: &mut BytesMut) {
        let position = self.position.map(|position| position.to_string());
        let parts = [
            (b'S', severity),
            (b'V', severity),
            (b'C', self.code),
            (b'M', &self.message),
            (b'H', &self.hint),
            (b'P', position.as_deref().unwrap_or_default()),
        ];
        for (tag, text) in parts.into_iter().filter(|(_, text)| !text.is_empty()) {
            out.put_u8(tag);
            put_text(out, text);
        }
        out.put_u8(0);
    }
}

/// A value behind its length, or the mark of none where `write` says that there is none.
pub(super) fn put_sized(out: &mut BytesMut, write: impl FnOnce(&mut BytesMut) -> bool) {
    let length_at = out.len();
    out.put_i32(-1);
    if write(out) {
        let length = u32::try_from(out.len() - length_at - 4).unwrap_or(u32::MAX);
        if let Some(place) = out.get_mut(length_at..length_at + 4) {
            place.copy_from_slice(&length.to_be_bytes());
        }
    }
}

/// Only what fits is counted: no answer of ours has so many columns.
fn put_count(out: &mut BytesMut, count: usize) {
    out.put_u16(u16::try_from(count).unwrap_or(u16::MAX));
}

/// A text up to a zero, which it must not have itself.
fn put_text(out: &mut BytesMut, text: &str) {
    out.extend(text.bytes().filter(|byte| *byte != 0));
    out.put_u8(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: starts of every kind, messages that are too long, cut off, or end too early.
    /// Guarantees: what is whole is read; all else is an error, and nothing panics.
    #[tokio::test]
    async fn messages_are_read_whole_or_not() {
        let start = |words: &[u32]| {
            let mut bytes = BytesMut::new();
            bytes.put_u32(4 + 4 * u32::try_from(words.len()).unwrap());
            words.iter().for_each(|word| bytes.put_u32(*word));
            bytes
        };
        let read_start = async |bytes: &[u8]| read_startup(&mut &*bytes).await;
        assert_eq!(read_start(&start(&[TLS])).await.unwrap(), Startup::Encrypt);
        let cancel = read_start(&start(&[CANCEL, 7, 8])).await.unwrap();
        assert_eq!(cancel, Startup::Cancel { process: 7, secret: 8 });
        let begins = |newer, options| Startup::Session { newer, options };
        let mut plain = start(&[PROTOCOL_3, 0x7573_6572, 0x0061_0000]);
        assert_eq!(read_start(&plain).await.unwrap(), begins(false, vec![]));
        plain[7] = 2;
        assert_eq!(read_start(&plain).await.unwrap(), begins(true, vec![]));
        let option = [&start(&[PROTOCOL_3 + 2, 0, 0])[..8], b"_pq_.x\0\0\0"].concat();
        let option = [&17_u32.to_be_bytes()[..], &option[4..]].concat();
        assert_eq!(read_start(&option).await.unwrap(), begins(true, vec!["_pq_.x".to_owned()]));
        for wrong in
            [&start(&[2 << 16])[..], &start(&[CANCEL, 7]), &[0, 0, 0, 1], &[0xff; 8], b"GET / HT"]
        {
            assert!(read_start(wrong).await.is_err(), "{wrong:?}");
        }
        let message = b"Q\x00\x00\x00\x0dSELECT 1\x00";
        let whole = read(&mut &message[..], 100).await.unwrap().unwrap();
        assert_eq!((whole.tag, Reader(whole.body).text().unwrap().as_str()), (b'Q', "SELECT 1"));
        assert!(read(&mut &message[..0], 100).await.unwrap().is_none());
        for end in 1..message.len() {
            assert!(read(&mut &message[..end], 100).await.is_err(), "{end}");
        }
        assert!(read(&mut &message[..], 8).await.is_err());
    }
}
