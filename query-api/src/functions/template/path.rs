//! Templates of URL paths: `/users/42/cart` is `/users/{id}/cart`.
//!
//! Two things tell that a part of a path is a value. It may look like one: a number, a UUID, a long
//! hex text, a token with digits. Or, among many paths, it takes so many different values at its
//! place that it cannot be the name of an endpoint.

use std::collections::{BTreeMap, HashMap};

/// What stands for a value.
const VALUE: &str = "{id}";

/// Names at one place that are values whatever else: no service has so many endpoints side by side.
const NAMES_MAX: usize = 100;

/// Names at one place that are values where each is hardly asked for twice.
const NAMES_RARE: usize = 12;

/// Requests a name, on average, below which it is hardly asked for.
const RARE_BELOW: u64 = 3;

/// The path without its query, values by their look replaced.
pub(super) fn template(path: &str) -> String {
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let parts = path.split('/').map(|part| if is_value(part) { VALUE } else { part });
    parts.collect::<Vec<_>>().join("/")
}

/// Each path with its template, in order of the paths.
pub(super) fn clusters(counts: HashMap<String, u64>) -> Vec<(String, String)> {
    let mut known: BTreeMap<String, (Vec<String>, u64)> = BTreeMap::new();
    for (path, count) in counts {
        let parts = template(&path).split('/').map(str::to_owned).collect();
        known.insert(path, (parts, count));
    }
    let mut places: Vec<Place<'_>> = known
        .values()
        .map(|(parts, count)| Place { parts, count: *count, out: Vec::new() })
        .collect();
    // Paths of one length are alike or not; of two, never.
    let mut by_length: BTreeMap<usize, Vec<&mut Place<'_>>> = BTreeMap::new();
    for place in &mut places {
        by_length.entry(place.parts.len()).or_default().push(place);
    }
    by_length.into_values().for_each(|group| settle(group));
    let templates: Vec<String> = places.into_iter().map(|place| place.out.join("/")).collect();
    known.into_keys().zip(templates).collect()
}

/// A path on its way to a template.
struct Place<'p> {
    parts: &'p [String],
    count: u64,
    /// The template so far.
    out: Vec<&'p str>,
}

/// Settles part after part of paths that are alike so far.
fn settle(group: Vec<&mut Place<'_>>) {
    let mut waiting = vec![group];
    while let Some(mut group) = waiting.pop() {
        let at = group.first().map_or(0, |place| place.out.len());
        if group.first().is_none_or(|place| place.parts.len() <= at) {
            continue;
        }
        let many = are_values(&group, at);
        let mut next: BTreeMap<&str, Vec<&mut Place<'_>>> = BTreeMap::new();
        for place in group.drain(..) {
            let part = if many { VALUE } else { place.parts[at].as_str() };
            place.out.push(part);
            next.entry(part).or_default().push(place);
        }
        waiting.extend(next.into_values());
    }
}

/// Whether what stands at a place is values, by their number.
fn are_values(group: &[&mut Place<'_>], at: usize) -> bool {
    let mut names: Vec<&str> =
        group.iter().map(|place| place.parts[at].as_str()).filter(|part| *part != VALUE).collect();
    names.sort_unstable();
    names.dedup();
    let requests: u64 = group.iter().map(|place| place.count).sum();
    let rare = requests < RARE_BELOW * names.len() as u64;
    names.len() > NAMES_MAX || (names.len() > NAMES_RARE && rare)
}

/// Whether a part of a path looks like a value.
fn is_value(part: &str) -> bool {
    let digits = part.bytes().filter(u8::is_ascii_digit).count();
    let letters = part.bytes().filter(u8::is_ascii_alphabetic).count();
    if part.is_empty() || digits == 0 {
        // An address of mail, or text that is escaped.
        return part.contains('@') || part.contains("%40");
    }
    let is_number = letters == 0;
    let bare: Vec<u8> = part.bytes().filter(|byte| *byte != b'-').collect();
    let is_hex = bare.len() >= 8 && bare.iter().all(u8::is_ascii_hexdigit);
    let is_version =
        part.len() <= 4 && part.starts_with('v') && part.get(1..).is_some_and(is_digits);
    let is_token = part.len() >= 16 && digits >= 2;
    let is_prefixed = digits >= 3 && digits * 2 >= part.len();
    !is_version && (is_number || is_hex || is_token || is_prefixed)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: values of the usual kinds, names with digits, a query.
    /// Guarantees: values go, names stay, and a template stays as it is.
    #[test]
    fn values_are_told_by_their_look() {
        let check = |path: &str, expected: &str| {
            assert_eq!(template(path), expected, "{path}");
            assert_eq!(template(expected), expected);
        };
        check("/users/42/cart", "/users/{id}/cart");
        check("/api/v1/users/42?x=1", "/api/v1/users/{id}");
        check("/o/550e8400-e29b-41d4-a716-446655440000", "/o/{id}");
        check("/o/01JD3ZK8V0QW5T7Y9B2C4D6E8F/items", "/o/{id}/items");
        check("/t/4bf92f3577b34da6a3ce929d0e0e4736", "/t/{id}");
        check("/sku-10045", "/{id}");
        check("/d/2026-11-25", "/d/{id}");
        check("/mail/a@b.example", "/mail/{id}");
        check("/oauth2/s3/utf8.js", "/oauth2/s3/utf8.js");
        check("/", "/");
        check("", "");
    }

    /// Scenario: users by name, each asked for once or twice, beside endpoints that are asked for
    /// often; and a service with many endpoints.
    /// Guarantees: the names of users are values, endpoints are not.
    #[test]
    fn values_are_told_by_their_number() {
        const NAMES: [&str; 16] = [
            "ann", "bob", "cid", "dan", "eve", "fay", "gus", "hal", "ida", "jon", "kim", "lea",
            "max", "ned", "oda", "pia",
        ];
        let mut counts: HashMap<String, u64> =
            NAMES.iter().map(|name| (format!("/users/{name}/cart"), 2)).collect();
        counts.extend(NAMES.iter().map(|name| (format!("/{name}"), 50)));
        counts.insert("/users/search".to_owned(), 9);
        let found: HashMap<String, String> = clusters(counts).into_iter().collect();
        assert_eq!(found["/users/ann/cart"], "/users/{id}/cart");
        assert_eq!(found["/users/search"], "/users/search");
        assert_eq!(found["/ann"], "/ann");
        let files = (0..200).map(|file| (format!("/img/{}", "x".repeat(file + 1)), 1)).collect();
        assert!(clusters(files).iter().all(|(_, template)| template == "/img/{id}"));
    }
}
