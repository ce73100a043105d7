//! Who may ask.
//!
//! A browser on this machine can be made to send requests here by any page that it shows. Such a
//! request either says so in `Origin`, or comes under a name of the attacker's that was pointed at
//! this machine, which `Host` shows.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::HeaderMap;
use http::header::{HOST, ORIGIN};

use crate::Error;

/// The rules for one address.
#[derive(Debug)]
pub(super) struct Guard {
    /// Only callers on this machine reach the address, so that only its names can be meant.
    names_checked: bool,
    hosts: Vec<String>,
}

impl Guard {
    /// Names are checked on a loopback address; elsewhere an operator chose to be reached by any.
    pub(super) fn new(address: SocketAddr, hosts: &[String]) -> Self {
        let hosts = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        Self { names_checked: address.ip().is_loopback(), hosts }
    }

    fn refusal(&self, headers: &HeaderMap, authority: Option<&str>) -> Option<String> {
        let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
        let host = text(HOST).or(authority).unwrap_or_default();
        if self.names_checked && !self.is_ours(name_of(host)) {
            return Some(format!("for the host `{host}`"));
        }
        let origin = text(ORIGIN)?;
        let from = origin.split_once("://").map_or(origin, |(_, from)| from);
        (!from.eq_ignore_ascii_case(host)).then(|| format!("from pages of `{origin}`"))
    }

    fn is_ours(&self, name: &str) -> bool {
        let name = name.to_ascii_lowercase();
        name == "localhost" || name.parse::<IpAddr>().is_ok() || self.hosts.contains(&name)
    }
}

/// The name in `name`, `name:port`, `[address]` or `[address]:port`.
fn name_of(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    host.rsplit_once(':').map_or(host, |(name, _port)| name)
}

/// Refuses a request that a page of another site may have sent.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    match guard.refusal(request.headers(), authority) {
        Some(what) => Error::Foreign(what).into_response(),
        None => next.run(request).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(address: &str, host: &str, origin: Option<&str>, passes: bool) {
        let guard = Guard::new(address.parse().unwrap(), &["icecore.internal".to_owned()]);
        let mut headers = HeaderMap::new();
        headers.insert(HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(ORIGIN, origin.parse().unwrap());
        }
        assert_eq!(guard.refusal(&headers, None).is_none(), passes, "{host} {origin:?}");
    }

    /// Scenario: names that are and are not this machine's, pages of this and of another site.
    /// Guarantees: on loopback only own names pass; foreign pages pass nowhere.
    #[test]
    fn foreign_names_and_pages_are_refused() {
        let local = "127.0.0.1:7070";
        check(local, "127.0.0.1:7070", None, true);
        check(local, "localhost:7070", Some("http://localhost:7070"), true);
        check(local, "[::1]:7070", None, true);
        check(local, "Icecore.Internal", None, true);
        check(local, "evil.example:7070", None, false);
        check(local, "localhost:7070", Some("http://evil.example"), false);
        check(local, "localhost:7070", Some("null"), false);
        check("0.0.0.0:7070", "icecore.svc:7070", None, true);
        check("0.0.0.0:7070", "icecore.svc:7070", Some("https://evil.example"), false);
    }
}
