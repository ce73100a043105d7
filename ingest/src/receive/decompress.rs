//! Decompression that stops: the only place where compressed bytes are opened.
//!
//! Invariant: the output never exceeds its bound, nor what its ticket was granted.

use std::io::{self, Read};

use http::HeaderMap;
use http::header::HeaderName;

use super::admit::Ticket;
use super::answer::{Reason, Refusal};

/// The output grows by this much at a time.
const STEP_BYTES: usize = 64 << 10;
/// The largest zstd window: 8 MiB, what RFC 8878 asks of decoders. It bounds the decoder's own
/// memory.
const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// How a body is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// Not at all.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 1950, as HTTP's `deflate` is.
    Deflate,
    /// RFC 8878.
    Zstd,
}

impl Encoding {
    /// The encodings that are known, as a header lists them.
    pub(crate) const KNOWN: &str = "identity,gzip,deflate,zstd";

    /// What the header says; identity where it is missing.
    pub(crate) fn of(headers: &HeaderMap, name: &HeaderName) -> Result<Self, Refusal> {
        let Some(value) = headers.get(name) else { return Ok(Self::Identity) };
        let text = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
        match text.as_str() {
            "" | "identity" => Ok(Self::Identity),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            // The Collector calls the same format `zlib` as well.
            "deflate" | "zlib" => Ok(Self::Deflate),
            "zstd" => Ok(Self::Zstd),
            _ => {
                let known = Self::KNOWN;
                let text = format!("the encoding `{text}` is not one of {known}");
                Err(Refusal::new(Reason::UnsupportedEncoding, text))
            }
        }
    }
}

/// Opens a body. Costs CPU: call it off the runtime.
pub(crate) fn decompress(
    encoding: Encoding,
    body: &[u8],
    bytes_max: usize,
    ticket: &mut Ticket,
) -> Result<Vec<u8>, Refusal> {
    match encoding {
        Encoding::Identity => Ok(body.to_vec()),
        Encoding::Gzip => read_capped(flate2::read::MultiGzDecoder::new(body), bytes_max, ticket),
        Encoding::Deflate => read_capped(flate2::read::ZlibDecoder::new(body), bytes_max, ticket),
        Encoding::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(body).map_err(broken)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX).map_err(broken)?;
            read_capped(decoder, bytes_max, ticket)
        }
    }
}

fn read_capped(
    mut decoder: impl Read,
    bytes_max: usize,
    ticket: &mut Ticket,
) -> Result<Vec<u8>, Refusal> {
    let mut out = Vec::new();
    loop {
        ticket.grow(STEP_BYTES)?;
        let filled = out.len();
        out.resize(filled + STEP_BYTES, 0);
        let read = read_full(&mut decoder, &mut out[filled..]).map_err(broken)?;
        out.truncate(filled + read);
        if out.len() > bytes_max {
            let text = format!("the request has more than {bytes_max} bytes once decompressed");
            return Err(Refusal::new(Reason::TooLarge, text));
        }
        if read < STEP_BYTES {
            return Ok(out);
        }
    }
}

/// Fills `out` unless the input ends; returns how much was read.
fn read_full(decoder: &mut impl Read, out: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < out.len() {
        match decoder.read(&mut out[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn broken(error: io::Error) -> Refusal {
    Refusal::new(Reason::BrokenCompression, format!("the body cannot be decompressed: {error}"))
}

#[cfg(test)]
mod tests;
