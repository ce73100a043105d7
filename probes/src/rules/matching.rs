//! Whom and what a rule is about.
//!
//! Invariants: pure; a rule matches where all that it asks for is known and fits; what is not known
//! fits nothing, not even a star.

use std::ops::RangeInclusive;

use crate::pattern::Pattern;
use crate::pipeline::ConnectionInfo;
use crate::protocol::{Exchange, Role, Said};
use crate::span::http;

/// Whose requests they are. A text that is empty is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Subject {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) container: String,
    /// The file name of the program.
    pub(crate) process: String,
    /// Its whole path.
    pub(crate) executable: String,
    pub(crate) service: String,
}

/// What a request is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Call<'a> {
    pub(crate) role: Role,
    pub(crate) protocol: &'a str,
    /// The server's.
    pub(crate) port: u16,
    /// Of HTTP, or the method of a remote procedure call; empty elsewhere.
    pub(crate) path: &'a str,
}

impl<'a> Call<'a> {
    pub(crate) fn of(connection: &ConnectionInfo, exchange: &'a Exchange) -> Self {
        let (protocol, path) = match &exchange.said {
            Said::Http(call) => ("http", http::path(&call.method, &call.target)),
            Said::Socket(call) => ("websocket", http::path("GET", &call.target)),
            Said::Rpc(call) => (call.system, call.method.as_str()),
            Said::Database(call) => (call.system, ""),
            Said::Messaging(call) => (call.system, ""),
            Said::Dns(_) => ("dns", ""),
        };
        let port = connection.server(exchange.role).port();
        Self { role: exchange.role, protocol, port, path }
    }
}

/// Texts of which one must fit; none of them: everything fits.
#[derive(Debug, Clone, Default)]
pub(crate) struct OneOf(pub(crate) Vec<Pattern>);

impl OneOf {
    fn matches(&self, text: &str) -> bool {
        self.0.is_empty() || !text.is_empty() && self.0.iter().any(|one| one.matches(text))
    }
}

/// What a rule asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Matcher {
    pub(crate) namespace: OneOf,
    pub(crate) pod: OneOf,
    /// All of them.
    pub(crate) label: Vec<(String, OneOf)>,
    pub(crate) container: OneOf,
    /// With a slash the whole path is meant.
    pub(crate) process: OneOf,
    pub(crate) executable: OneOf,
    pub(crate) service: OneOf,
    pub(crate) role: Option<Role>,
    pub(crate) protocol: OneOf,
    pub(crate) port: Vec<RangeInclusive<u16>>,
    pub(crate) path: OneOf,
}

impl Matcher {
    /// It asks for something that only a request has.
    pub(crate) fn asks_for_call(&self) -> bool {
        let Self { role, protocol, port, path, .. } = self;
        role.is_some() || !protocol.0.is_empty() || !port.is_empty() || !path.0.is_empty()
    }

    /// Without a call, only what is asked for of the process counts.
    pub(crate) fn matches(&self, subject: &Subject, call: Option<&Call<'_>>) -> bool {
        call.is_none_or(|call| self.fits_call(call)) && self.fits_subject(subject)
    }

    fn fits_call(&self, call: &Call<'_>) -> bool {
        let Self { role, protocol, port, path, .. } = self;
        role.is_none_or(|role| role == call.role)
            && (port.is_empty() || port.iter().any(|range| range.contains(&call.port)))
            && protocol.matches(call.protocol)
            && path.matches(call.path)
    }

    fn fits_subject(&self, subject: &Subject) -> bool {
        let Self { namespace, pod, label, container, process, executable, service, .. } = self;
        let labelled = |(key, wanted): &(String, OneOf)| {
            let found = subject.labels.iter().find(|(one, _)| one == key);
            found.is_some_and(|(_, value)| wanted.matches(value))
        };
        namespace.matches(&subject.namespace)
            && pod.matches(&subject.pod)
            && container.matches(&subject.container)
            && process.matches(&subject.process)
            && executable.matches(&subject.executable)
            && service.matches(&subject.service)
            && label.iter().all(labelled)
    }
}
