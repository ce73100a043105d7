//! Ingesters by name: one, or all that a name in DNS stands for.
//!
//! Invariant: of a name that stands for many each address is an ingester, asked by itself; a name
//! that cannot be found is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use icecore_store::{Clock, LiveRows, PortError};
use tokio::runtime::Handle;
use url::Url;

use super::Source;
use super::remote_live::RemoteLive;

/// How long is believed what a name stands for.
const FOUND_FOR: Duration = Duration::from_secs(5);
/// The port that a name without one is of.
const PORT: u16 = 7072;

/// What one name stands for.
#[derive(Debug)]
pub(super) enum Ingesters {
    /// `http://host:port`: one, at whichever address answers.
    One(Source),
    /// `dns://name:port`: one at each address.
    Each(Named),
}

/// A name and what was found last.
#[derive(Debug)]
pub(super) struct Named {
    name: IngesterName,
    wait: Duration,
    clock: Arc<dyn Clock>,
    runtime: Handle,
    found: Mutex<Found>,
}

#[derive(Debug, Default)]
struct Found {
    at: Option<Duration>,
    by_address: BTreeMap<SocketAddr, Source>,
}

/// The name of one ingester, `http://host:port`, or of all at the addresses of a name in DNS,
/// `dns://name:port`. The port is 7072 where none is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IngesterName {
    text: String,
    host: String,
    port: u16,
    each: bool,
}

/// A text that names no ingester.
#[derive(Debug, thiserror::Error)]
#[error("`{name}` names no ingester: {why}")]
pub struct BadIngester {
    pub(super) name: String,
    pub(super) why: String,
}

impl FromStr for IngesterName {
    type Err = BadIngester;

    fn from_str(text: &str) -> Result<Self, BadIngester> {
        let wrong = |why: &str| BadIngester { name: text.to_owned(), why: why.to_owned() };
        let url: Url = text.parse().map_err(|error| wrong(&format!("{error}")))?;
        let each = match url.scheme() {
            "http" => false,
            "dns" => true,
            _ => return Err(wrong("it is neither `http://…` (one) nor `dns://…` (all of a name)")),
        };
        let Some(host) = url.host_str().filter(|host| !host.is_empty()) else {
            return Err(wrong("it names no host"));
        };
        let user = !url.username().is_empty() || url.password().is_some();
        if user || !matches!(url.path(), "" | "/") || url.query().is_some() {
            return Err(wrong("it has more than a scheme, a host and a port"));
        }
        let port = url.port().unwrap_or(PORT);
        Ok(Self { text: text.to_owned(), host: host.to_owned(), port, each })
    }
}

impl Ingesters {
    /// Connects to nobody yet. Nobody is waited for longer than `wait`. To be called on the runtime
    /// that connections are to be on: see [`RemoteLive::open`].
    ///
    /// # Errors
    /// Where there can be no such address.
    pub(super) fn open(
        name: &IngesterName,
        wait: Duration,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, BadIngester> {
        let (name, runtime) = (name.clone(), Handle::current());
        if !name.each {
            let authority = format!("{}:{}", name.host, name.port);
            return Ok(Self::One(source(&authority, wait, clock, runtime)?));
        }
        Ok(Self::Each(Named { name, wait, clock, runtime, found: Mutex::default() }))
    }

    /// Those that the name stands for now, as far as is known, and why it is not known better.
    pub(super) async fn now(&self) -> (Vec<Source>, Option<PortError>) {
        match self {
            Self::One(source) => (vec![source.clone()], None),
            Self::Each(named) => match named.find().await {
                Ok(found) => (found, None),
                Err(error) => (named.known(None), Some(error)),
            },
        }
    }
}

impl Named {
    async fn find(&self) -> Result<Vec<Source>, PortError> {
        let known = self.known(Some(FOUND_FOR));
        if !known.is_empty() {
            return Ok(known);
        }
        let lookup = tokio::net::lookup_host((&*self.name.host, self.name.port));
        let found = match tokio::time::timeout(self.wait, lookup).await {
            Ok(Ok(found)) => found.collect::<Vec<_>>(),
            Ok(Err(error)) => return Err(self.lost(error.to_string())),
            Err(_late) => return Err(self.lost(format!("nothing came within {:?}", self.wait))),
        };
        self.learn(&of_one_family(found))
    }

    /// What was found last, where that is not longer ago.
    fn known(&self, within: Option<Duration>) -> Vec<Source> {
        let found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = |at: Duration| within.is_some_and(|max| self.clock.elapsed() >= at + max);
        if found.at.is_none_or(stale) {
            return Vec::new();
        }
        found.by_address.values().cloned().collect()
    }

    /// Keeps the connections to those that are there still.
    fn learn(&self, addresses: &[SocketAddr]) -> Result<Vec<Source>, PortError> {
        if addresses.is_empty() {
            return Err(self.lost("the name has no address".to_owned()));
        }
        let mut found = self.found.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = std::mem::take(&mut found.by_address);
        for address in addresses {
            let source =
                known.remove(address).map_or_else(|| self.source(&address.to_string()), Ok);
            let source = source.map_err(|error| self.lost(error.to_string()))?;
            found.by_address.insert(*address, source);
        }
        found.at = Some(self.clock.elapsed());
        Ok(found.by_address.values().cloned().collect())
    }

    fn source(&self, authority: &str) -> Result<Source, BadIngester> {
        source(authority, self.wait, Arc::clone(&self.clock), self.runtime.clone())
    }

    fn lost(&self, reason: String) -> PortError {
        PortError::Unavailable { part: format!("ingesters of {}", self.name.text), reason }
    }
}

/// The IPv4 addresses where there are some: one that has both is one ingester.
fn of_one_family(mut found: Vec<SocketAddr>) -> Vec<SocketAddr> {
    if found.iter().any(SocketAddr::is_ipv4) {
        found.retain(SocketAddr::is_ipv4);
    }
    found
}

/// The ingester at an address.
fn source(
    authority: &str,
    wait: Duration,
    clock: Arc<dyn Clock>,
    runtime: Handle,
) -> Result<Source, BadIngester> {
    let name = format!("ingester {authority}");
    let rows = RemoteLive::open(&name, authority, wait, runtime)?;
    Ok(Source::new(name, Arc::new(rows) as Arc<dyn LiveRows>, wait, clock))
}

#[cfg(test)]
mod tests {
    use icecore_store::SystemClock;

    use super::*;

    fn open(url: &str) -> Result<Ingesters, BadIngester> {
        Ingesters::open(&url.parse()?, Duration::from_secs(1), Arc::new(SystemClock::new()))
    }

    /// Scenario: names of one and of many, with and without ports, and what is no name of one.
    /// Guarantees: the first are taken, the others refused with the reason.
    #[tokio::test]
    async fn names_are_checked() {
        for url in
            ["http://ingest-0", "http://127.0.0.1:7072", "http://[::1]:1", "dns://ingest:80/"]
        {
            assert!(open(url).is_ok(), "{url}");
        }
        let check = |url: &str, why: &str| {
            let text = open(url).unwrap_err().to_string();
            assert!(text.contains(why) && text.contains(url), "{text}");
        };
        check("https://ingest:7072/", "neither");
        check("ingest:7072", "neither");
        check("ingest", "relative URL");
        check("http://ingest/live", "more than");
        check("http://me@ingest/", "more than");
        check("dns:ingest", "no host");
    }

    /// Scenario: a name that stands for this machine, and one that stands for nothing.
    /// Guarantees: one ingester by its address, known again; an error that names the other.
    #[tokio::test]
    async fn names_stand_for_addresses() {
        let here = open("dns://localhost").unwrap();
        for _ in 0..2 {
            let (found, lost) = here.now().await;
            assert!(lost.is_none());
            let names: Vec<_> = found.iter().map(|source| source.name.as_str()).collect();
            assert_eq!(names, ["ingester 127.0.0.1:7072"]);
        }
        let (found, lost) = open("dns://nobody.invalid").unwrap().now().await;
        let error = lost.unwrap();
        assert!(found.is_empty() && error.to_string().contains("dns://nobody.invalid"), "{error}");
    }

    /// Scenario: a machine with addresses of both families, and one with IPv6 alone.
    /// Guarantees: it is one ingester.
    #[test]
    fn an_ingester_has_one_address() {
        let [four, six] = ["10.0.0.1:1", "[fd00::1]:1"].map(|text| text.parse().unwrap());
        assert_eq!(of_one_family(vec![six, four]), [four]);
        assert_eq!(of_one_family(vec![six]), [six]);
    }
}
