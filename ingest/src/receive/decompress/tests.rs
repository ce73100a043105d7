//! Compressed bodies: whole, broken, and made to explode.

use std::sync::Arc;

use prometheus_client::registry::Registry;

use super::super::admit::Admission;
use super::super::harness::encoded;
use super::*;
use crate::metrics::Metrics;

const ENCODINGS: [(&str, Encoding); 3] =
    [("gzip", Encoding::Gzip), ("deflate", Encoding::Deflate), ("zstd", Encoding::Zstd)];

fn open(encoding: Encoding, body: &[u8], bytes_max: usize) -> Result<Vec<u8>, Reason> {
    let metrics = Metrics::new(&mut Registry::default());
    let admission = Arc::new(Admission::new(1 << 20, metrics));
    let opened = decompress(encoding, body, bytes_max, &mut admission.ticket());
    opened.map_err(|refusal| refusal.reason)
}

/// Scenario: bodies of many sizes around the step of the output, up to the bound and beyond.
/// Guarantees: what fits comes out as it was; one byte more is refused.
#[test]
fn bodies_come_out_up_to_the_bound() {
    for (name, encoding) in ENCODINGS {
        for size in [0, 1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 200_000] {
            let plain: Vec<u8> = (0..=250).cycle().take(size).collect();
            let body = encoded(name, &plain);
            assert_eq!(open(encoding, &body, size), Ok(plain), "{name} of {size}");
            if size > 0 {
                assert_eq!(open(encoding, &body, size - 1), Err(Reason::TooLarge), "{name}");
            }
        }
    }
}

/// Scenario: a few bytes that stand for a hundred megabytes.
/// Guarantees: refused at the bound of the request, or of all requests, whichever is first.
#[test]
fn a_bomb_stops_at_the_bound() {
    let plain = vec![0; 20 << 20];
    for (name, encoding) in ENCODINGS {
        let bomb = encoded(name, &plain);
        assert!(bomb.len() < plain.len() / 100, "{name}: {}", bomb.len());
        assert_eq!(open(encoding, &bomb, 500_000), Err(Reason::TooLarge), "{name}");
        assert_eq!(open(encoding, &bomb, usize::MAX), Err(Reason::Busy), "{name}");
    }
}

/// Scenario: bodies cut at every byte, and bodies that are something else.
/// Guarantees: refused as broken; never a panic, never half of it.
#[test]
fn broken_bodies_are_refused() {
    for (name, encoding) in ENCODINGS {
        let body = encoded(name, b"some spans, some more spans, and some more spans again");
        for len in 1..body.len() {
            let opened = open(encoding, &body[..len], 1000);
            assert_eq!(opened, Err(Reason::BrokenCompression), "{name} cut at {len}");
        }
        assert_eq!(open(encoding, b"plain text", 1000), Err(Reason::BrokenCompression), "{name}");
    }
}

/// Scenario: a gzip body of two members, as some senders make them.
/// Guarantees: both come out.
#[test]
fn gzip_members_are_joined() {
    let mut body = encoded("gzip", b"one, ");
    body.extend(encoded("gzip", b"two"));
    assert_eq!(open(Encoding::Gzip, &body, 1000), Ok(b"one, two".to_vec()));
}

/// Scenario: a zstd body that asks for a window of 128 MiB.
/// Guarantees: refused, because the window is memory that nobody granted.
#[test]
fn a_huge_zstd_window_is_refused() {
    let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    io::copy(&mut io::repeat(7).take(1 << 20), &mut encoder).unwrap();
    let body = encoder.finish().unwrap();
    assert_eq!(open(Encoding::Zstd, &body, 2 << 20), Err(Reason::BrokenCompression));
}

/// Scenario: the names of encodings in headers.
/// Guarantees: known ones of either case are taken, none means identity, others are refused.
#[test]
fn encodings_have_names() {
    let of = |value: &'static str| {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_ENCODING, value.parse().unwrap());
        Encoding::of(&headers, &http::header::CONTENT_ENCODING).map_err(|refusal| refusal.reason)
    };
    assert_eq!(of("GZIP"), Ok(Encoding::Gzip));
    assert_eq!(of(" zstd "), Ok(Encoding::Zstd));
    assert_eq!(of("identity"), Ok(Encoding::Identity));
    for unknown in ["br", "gzip, gzip", "snappy"] {
        assert_eq!(of(unknown), Err(Reason::UnsupportedEncoding), "{unknown}");
    }
    let none = Encoding::of(&HeaderMap::new(), &http::header::CONTENT_ENCODING);
    assert_eq!(none, Ok(Encoding::Identity));
}
