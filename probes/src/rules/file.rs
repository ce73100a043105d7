//! The file of rules, as it is written.
//!
//! Invariants: what is not understood is refused, with its line; length, number and cost of what is
//! in it are bounded before it is used.

use std::collections::{BTreeMap, HashMap};
use std::io::Read as _;
use std::ops::RangeInclusive;
use std::path::Path;
use std::sync::Arc;

use regex::{Regex, RegexBuilder};
use serde::Deserialize;

use super::matching::{Matcher, OneOf};
use super::sampling::Share;
use super::{Rule, Rules, RulesConfig, RulesError, Says};
use crate::foreign::Found;
use crate::pattern::Pattern;
use crate::protocol::Role;
use crate::redact::Redaction;

const FILE_BYTES_MAX: u64 = 1 << 20;
const RULES_MAX: usize = 1_000;
const PATTERNS_MAX: usize = 64;
/// A compiled pattern is no larger, nor is what it makes while it searches.
const PATTERN_BYTES_MAX: usize = 1 << 20;
/// More of a body is never kept.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What rules may call protocols.
const PROTOCOLS: [&str; 15] = [
    "http",
    "grpc",
    "websocket",
    "dns",
    "postgresql",
    "mysql",
    "mariadb",
    "redis",
    "memcached",
    "mongodb",
    "cassandra",
    "kafka",
    "rabbitmq",
    "mqtt",
    "nats",
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    pattern: Vec<WrittenPattern>,
    #[serde(default)]
    rule: Vec<WrittenRule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenPattern {
    name: String,
    regex: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenRule {
    #[serde(default)]
    when: When,
    trace: Option<bool>,
    sample: Option<f64>,
    body_bytes: Option<Size>,
    redact: Option<Vec<String>>,
    service_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct When {
    namespace: Some_,
    pod: Some_,
    label: BTreeMap<String, Some_>,
    container: Some_,
    process: Some_,
    service: Some_,
    role: Option<RoleWord>,
    protocol: Some_,
    port: Ports,
    path: Some_,
}

/// One text or several.
#[derive(Deserialize)]
#[serde(untagged, expecting = "this must be a text or a list of texts")]
enum Some_ {
    One(String),
    Several(Vec<String>),
}

impl Default for Some_ {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Some_ {
    fn texts(self) -> Vec<String> {
        match self {
            Self::One(text) => vec![text],
            Self::Several(texts) => texts,
        }
    }

    fn one_of(self) -> OneOf {
        OneOf(self.texts().iter().map(|text| Pattern::new(text)).collect())
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum RoleWord {
    Server,
    Client,
}

#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "this must be a port, a range such as \"8000-8999\", or a list of them"
)]
enum Ports {
    One(Port),
    Several(Vec<Port>),
}

impl Default for Ports {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "this must be a port or a range such as \"8000-8999\"")]
enum Port {
    Number(u16),
    Range(String),
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "this must be a size such as 4096 or \"4KiB\"")]
enum Size {
    Number(usize),
    Text(String),
}

/// The bytes of a file, if they are not too many.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, RulesError> {
    let failed = |source| RulesError::Read { file: path.display().to_string(), source };
    let mut text = Vec::new();
    // Often a link: that is how a mounted file is replaced at once.
    let file = Found::at(path).and_then(|found| found.open()).map_err(failed)?;
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        let kind = std::io::ErrorKind::FileTooLarge;
        return Err(failed(std::io::Error::new(
            kind,
            format!("it has over {FILE_BYTES_MAX} bytes"),
        )));
    }
    Ok(text)
}

/// No rule at all.
pub(super) fn none(config: &RulesConfig) -> Rules {
    let redaction = Redaction { sql: config.sql, ..Redaction::default() };
    let body_bytes = config.body_bytes.min(BODY_BYTES_MAX);
    Rules { body_bytes, redaction: Arc::new(redaction), ..Rules::default() }
}

/// The rules that a text says.
pub(super) fn parse(path: &Path, text: &[u8], config: &RulesConfig) -> Result<Rules, RulesError> {
    let fault = |reason: String| RulesError::Fault { file: path.display().to_string(), reason };
    let text = std::str::from_utf8(text).map_err(|error| fault(error.to_string()))?;
    let written: Written = toml::from_str(text).map_err(|error| fault(error.to_string()))?;
    rules(written, config).map_err(fault)
}

fn rules(written: Written, config: &RulesConfig) -> Result<Rules, String> {
    let Written { pattern, rule } = written;
    bounded("patterns", pattern.len(), PATTERNS_MAX)?;
    bounded("rules", rule.len(), RULES_MAX)?;
    let patterns = patterns(pattern)?;
    let everything = Redaction {
        patterns: patterns.values().cloned().collect(),
        sql: config.sql,
        ..Redaction::default()
    };
    let numbered = rule.into_iter().enumerate();
    let one =
        |(at, rule)| self::rule(rule, &patterns).map_err(|why| format!("rule {}: {why}", at + 1));
    Ok(Rules {
        list: numbered.map(one).collect::<Result<_, _>>()?,
        patterns: patterns.len(),
        redaction: Arc::new(everything),
        ..none(config)
    })
}

fn bounded(what: &str, count: usize, most: usize) -> Result<(), String> {
    if count > most {
        Err(format!("there are {count} {what}, at most {most} may be"))
    } else {
        Ok(())
    }
}

fn patterns(written: Vec<WrittenPattern>) -> Result<HashMap<String, Arc<Regex>>, String> {
    let mut patterns = HashMap::new();
    for WrittenPattern { name, regex } in written {
        let built = RegexBuilder::new(&regex)
            .size_limit(PATTERN_BYTES_MAX)
            .dfa_size_limit(PATTERN_BYTES_MAX)
            .build()
            .map_err(|error| format!("pattern `{name}`: {error}"))?;
        if built.is_match("") {
            return Err(format!("pattern `{name}` matches the empty text, and so everywhere"));
        }
        if BUILT_IN.contains(&name.as_str()) || patterns.contains_key(&name) {
            return Err(format!("there are two patterns called `{name}`"));
        }
        patterns.insert(name, Arc::new(built));
    }
    Ok(patterns)
}

fn rule(written: WrittenRule, patterns: &HashMap<String, Arc<Regex>>) -> Result<Rule, String> {
    let WrittenRule { when, trace, sample, body_bytes, redact, service_name } = written;
    let when = matcher(when)?;
    if service_name.is_some() && when.asks_for_call() {
        return Err(
            "service_name is of a process: `when` may not ask for role, protocol, port or path"
                .to_owned(),
        );
    }
    let share = match sample {
        Some(share) => Some(Share::new(share).ok_or("sample must be between 0 and 1")?),
        None => None,
    };
    let says = Says {
        trace,
        share,
        body_bytes: body_bytes.map(bytes).transpose()?,
        redaction: redact.map(|kinds| redaction(&kinds, patterns)).transpose()?.map(Arc::new),
        service_name: service_name.filter(|name| !name.is_empty()),
    };
    let Says { trace, share, body_bytes, redaction, service_name } = &says;
    let silent = trace.is_none() && share.is_none() && body_bytes.is_none();
    if silent && redaction.is_none() && service_name.is_none() {
        return Err("it says nothing: trace, sample, body_bytes, redact or service_name".to_owned());
    }
    Ok(Rule { when, says })
}

fn matcher(when: When) -> Result<Matcher, String> {
    let When { namespace, pod, label, container, process, service, role, protocol, port, path } =
        when;
    let (executables, names): (Vec<_>, Vec<_>) =
        process.texts().into_iter().partition(|text| text.contains('/'));
    if !executables.is_empty() && !names.is_empty() {
        return Err("process: either names or paths, not both".to_owned());
    }
    let protocol = protocol.texts();
    if let Some(unknown) = protocol.iter().find(|one| !PROTOCOLS.contains(&one.as_str())) {
        return Err(format!(
            "there is no protocol `{unknown}`; there are {}",
            PROTOCOLS.join(", ")
        ));
    }
    let ports = match port {
        Ports::One(port) => vec![port],
        Ports::Several(ports) => ports,
    };
    Ok(Matcher {
        namespace: namespace.one_of(),
        pod: pod.one_of(),
        label: label.into_iter().map(|(key, value)| (key, value.one_of())).collect(),
        container: container.one_of(),
        process: Some_::Several(names).one_of(),
        executable: Some_::Several(executables).one_of(),
        service: service.one_of(),
        role: role.map(|word| match word {
            RoleWord::Server => Role::Server,
            RoleWord::Client => Role::Client,
        }),
        protocol: Some_::Several(protocol).one_of(),
        port: ports.into_iter().map(range).collect::<Result<_, _>>()?,
        path: path.one_of(),
    })
}

fn range(port: Port) -> Result<RangeInclusive<u16>, String> {
    let text = match port {
        Port::Number(port) => return Ok(port..=port),
        Port::Range(text) => text,
    };
    let (first, last) = text.split_once('-').unwrap_or((&text, &text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err(format!("port `{text}` is no port and no range such as 8000-8999")),
    }
}

fn bytes(size: Size) -> Result<usize, String> {
    let bytes = match &size {
        Size::Number(bytes) => Some(*bytes),
        Size::Text(text) => {
            let (number, unit) =
                text.split_at(text.find(|it: char| !it.is_ascii_digit()).unwrap_or(text.len()));
            let scale = match unit.trim() {
                "" | "B" => Some(1),
                "KiB" => Some(1 << 10),
                "MiB" => Some(1 << 20),
                _ => None,
            };
            scale.and_then(|scale: usize| number.parse::<usize>().ok()?.checked_mul(scale))
        }
    };
    bytes.filter(|bytes| *bytes <= BODY_BYTES_MAX).ok_or_else(|| {
        "body_bytes must be a size such as 4096 or \"4KiB\", and at most 1MiB".to_owned()
    })
}

/// What a rule can name beside its own patterns.
const BUILT_IN: [&str; 4] = ["card", "token", "email", "sql"];

fn redaction(
    kinds: &[String],
    patterns: &HashMap<String, Arc<Regex>>,
) -> Result<Redaction, String> {
    let none = Redaction::default();
    let mut wanted = Redaction { cards: false, tokens: false, emails: false, sql: false, ..none };
    for kind in kinds {
        match (kind.as_str(), patterns.get(kind)) {
            ("card", _) => wanted.cards = true,
            ("token", _) => wanted.tokens = true,
            ("email", _) => wanted.emails = true,
            ("sql", _) => wanted.sql = true,
            (_, Some(pattern)) => wanted.patterns.push(Arc::clone(pattern)),
            (unknown, None) => {
                let known = BUILT_IN.join(", ");
                return Err(format!(
                    "redact: there is no `{unknown}`; there are {known} and the patterns of this file"
                ));
            }
        }
    }
    Ok(wanted)
}
