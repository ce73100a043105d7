//! Rules: of whom requests are traced, how many, with which part of their bodies, and what is taken
//! out of them.
//!
//! Invariants: of a matter the first rule decides that matches and speaks of it; durations are counted
//! whatever the rules say; a file that has a fault changes nothing, at no time.

mod file;
mod matching;
mod metrics;
pub(crate) mod sampling;
#[cfg(test)]
mod tests;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::registry::Registry;

use crate::redact::Redaction;
use matching::Matcher;
pub(crate) use matching::{Call, Subject};
pub(crate) use sampling::Share;
pub use watch::RulesTask;

/// Where rules come from, and what holds where none speaks.
#[derive(Debug, Clone)]
pub struct RulesConfig {
    /// A TOML file; without one there are no rules.
    pub file: Option<PathBuf>,
    /// How often the file is read; what it says is in force once it was the same twice.
    pub every: Duration,
    /// Bytes of each body that are told where no rule says how many.
    pub body_bytes: usize,
    /// Values are taken out of statements where no rule says whether.
    pub sql: bool,
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self { file: None, every: Duration::from_secs(1), body_bytes: 0, sql: true }
    }
}

/// Why rules cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RulesError {
    /// The file cannot be read, or is too long.
    #[error("cannot read the rules in `{file}`")]
    Read {
        /// Its path.
        file: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Something in it is wrong.
    #[error("the rules in `{file}` have a fault: {reason}")]
    Fault {
        /// Its path.
        file: String,
        /// Where, and in words.
        reason: String,
    },
}

/// What one rule says. Nothing of a matter: the next rule that matches decides it.
#[derive(Debug, Clone, Default)]
struct Says {
    trace: Option<bool>,
    share: Option<Share>,
    body_bytes: Option<usize>,
    redaction: Option<Arc<Redaction>>,
    service_name: Option<String>,
}

#[derive(Debug, Clone)]
struct Rule {
    when: Matcher,
    says: Says,
}

/// All rules, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Rules {
    list: Vec<Rule>,
    /// Where no rule speaks; everything is traced then.
    body_bytes: usize,
    redaction: Arc<Redaction>,
    patterns: usize,
}

/// What becomes of one exchange.
#[derive(Debug, Clone)]
pub(crate) struct Decision {
    pub(crate) trace: bool,
    /// Which share of traces has spans.
    pub(crate) share: Share,
    pub(crate) body_bytes: usize,
    pub(crate) redaction: Arc<Redaction>,
}

impl Rules {
    /// What becomes of an exchange of this process.
    pub(crate) fn decide(&self, subject: &Subject, call: &Call<'_>) -> Decision {
        let mut said = Says::default();
        for rule in self.list.iter().filter(|rule| rule.when.matches(subject, Some(call))) {
            let Says { trace, share, body_bytes, redaction, service_name: _ } = &rule.says;
            said.trace = said.trace.or(*trace);
            said.share = said.share.or(*share);
            said.body_bytes = said.body_bytes.or(*body_bytes);
            said.redaction = said.redaction.or_else(|| redaction.clone());
        }
        Decision {
            trace: said.trace.unwrap_or(true),
            share: said.share.unwrap_or_default(),
            body_bytes: said.body_bytes.unwrap_or(self.body_bytes),
            redaction: said.redaction.unwrap_or_else(|| Arc::clone(&self.redaction)),
        }
    }

    /// The name that a rule gives to the service of a process.
    pub(crate) fn service_name(&self, subject: &Subject) -> Option<&str> {
        let mut named = self.list.iter().filter(|rule| rule.says.service_name.is_some());
        let first = named.find(|rule| rule.when.matches(subject, None))?;
        first.says.service_name.as_deref()
    }

    /// The most that any exchange may want of a body.
    pub(crate) fn body_bytes_max(&self) -> usize {
        let wanted = self.list.iter().filter_map(|rule| rule.says.body_bytes);
        wanted.chain([self.body_bytes]).max().unwrap_or_default()
    }
}

/// The rules that are in force. Cheap to clone; all clones see the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct InForce {
    rules: Arc<RwLock<Arc<Rules>>>,
    version: Arc<AtomicU64>,
}

impl InForce {
    fn new(rules: Rules) -> Self {
        Self { rules: Arc::new(RwLock::new(Arc::new(rules))), version: Arc::default() }
    }

    /// Changes whenever the rules do.
    pub(crate) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    pub(crate) fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.rules.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn replace(&self, rules: Rules) {
        *self.rules.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        self.version.fetch_add(1, Ordering::Release);
    }
}

/// Reads the rules for the first time: a file that is named must be there and without fault.
pub(crate) fn open(
    config: RulesConfig,
    registry: &mut Registry,
) -> Result<(InForce, RulesTask), RulesError> {
    let (text, rules) = match &config.file {
        Some(file) => file::read(file).and_then(|text| {
            let rules = file::parse(file, &text, &config)?;
            Ok((text, rules))
        })?,
        None => (Vec::new(), file::none(&config)),
    };
    let metrics = metrics::RulesMetrics::new(registry);
    metrics.in_force(rules.list.len());
    let in_force = InForce::new(rules);
    let task = RulesTask::new(config, text, in_force.clone(), metrics);
    Ok((in_force, task))
}

/// Checks a file of rules and says in a line what is in it.
///
/// # Errors
/// Says what is wrong, and in which line.
pub fn check(file: &Path) -> Result<String, RulesError> {
    let text = file::read(file)?;
    let rules = file::parse(file, &text, &RulesConfig::default())?;
    let Rules { list, patterns, .. } = &rules;
    Ok(format!("{}: {} rules, {patterns} patterns, no fault", file.display(), list.len()))
}
