//! What is inside a tunnel that a proxy makes.

use super::*;

const OPENED: [&str; 2] =
    ["CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "HTTP/1.1 200 Connection established\r\n\r\n"];

fn opened() -> Vec<Step> {
    let [asked, answered] = OPENED;
    vec![requests(asked), responses(answered)]
}

/// Scenario: requests inside a tunnel, cut at every byte; the first comes before the tunnel stands, or behind it.
/// Guarantees: they are told like those outside, and numbered on.
#[test]
fn requests_inside() {
    let inside = [
        requests("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"),
        responses("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        requests("POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"),
        responses("HTTP/1.1 204 No\r\n\r\n"),
    ];
    let steps = [opened(), inside.to_vec()].concat();
    check(&steps, Closing::Orderly, &["CONNECT a:80 200 0>0", "GET /a 200 0>2", "POST /b 204 3>0"]);
    let mut watched = Watched::new(Role::Client, Limits::default());
    steps.iter().for_each(|step| watched.step(step));
    watched.end(Closing::Orderly);
    let ordinals: Vec<_> = watched.out.iter().map(|exchange| exchange.ordinal).collect();
    assert_eq!(ordinals, [Some(0), Some(1), Some(2)]);
}

/// Scenario: TLS inside a tunnel, and what nobody understands.
/// Guarantees: the tunnel is told, nothing inside is made up, every byte counts as passed, and the connection is let go in
/// the end.
#[test]
fn what_is_not_understood_inside() {
    for noise in [&b"\x16\x03\x01\x00\x05hello"[..], b"\0\x01\x02\x03", b"hello there\n"] {
        let mut watched = Watched::new(Role::Client, Limits::default());
        opened().iter().for_each(|step| watched.step(step));
        for _ in 0..64 {
            assert_ne!(watched.following.followed(), Followed::Ignored);
            watched.segment(true, noise, 3, false);
        }
        assert_eq!(watched.following.followed(), Followed::Ignored);
        let counts = watched.following.take_counts();
        assert_eq!(
            (counts.unparsed_bytes, counts.passed_bytes),
            (0, 64 * (noise.len() as u64 + 3))
        );
        watched.fed = 0;
        assert_eq!(watched.close(Closing::Orderly), ["CONNECT a:80 200 0>0"]);
    }
}

/// Scenario: ten thousand tunnels, each inside the one before, then a request in the innermost.
/// Guarantees: as many are told as may be looked into, and the one that is not; what is further in counts as passed, and the
/// connection is let go.
#[test]
fn tunnels_inside_tunnels_have_an_end() {
    let mut watched = Watched::new(Role::Client, Limits::default());
    for _ in 0..10_000 {
        opened().iter().for_each(|step| watched.step(step));
    }
    watched.step(&requests("GET /a HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(watched.following.followed(), Followed::Ignored);
    watched.fed = 0;
    watched.following.take_counts();
    assert_eq!(watched.close(Closing::Orderly), ["CONNECT a:80 200 0>0"; 4]);
}
