//! The layers under the settings, and where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches};
use toml::Value;

use super::Settings;
use crate::error::{Failure, chain};

const DEFAULTS: &str = include_str!("../defaults.toml");
const HEADING: &str = "Settings (also ICECORE_… in the environment, or in the file of --config)";

/// Settings whose values are never shown.
const SECRETS: [&str; 2] = ["forward_headers", "probe_headers"];

/// How much a variable may differ from a setting's to be taken for it, and how long it must be.
const MISSPELT_DISTANCE_MAX: usize = 2;
const MISSPELT_LETTERS_MIN: usize = 6;

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// `defaults.toml`.
    Default,
    /// The file given by `--config`.
    File(PathBuf),
    /// A variable of the environment.
    Environment(String),
    /// A flag on the command line.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path) => write!(f, "file {}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// Every setting with its value in force and its origin.
#[derive(Debug)]
pub(crate) struct Layers {
    values: BTreeMap<String, (Value, Source)>,
}

/// One entry of `defaults.toml`.
struct Entry {
    key: String,
    doc: String,
    default: Value,
}

/// The flags of every setting, made from `defaults.toml`, and `--config`.
pub(crate) fn args() -> Vec<Arg> {
    let config = Arg::new("config")
        .long("config")
        .env("ICECORE_CONFIG")
        .value_name("FILE")
        .help("A TOML file with settings")
        .help_heading(HEADING);
    entries().into_iter().map(setting_arg).chain([config]).collect()
}

impl Layers {
    /// Reads defaults, file, environment and flags, weakest first.
    ///
    /// # Errors
    /// Names the key or file at fault, and what it should be.
    pub(crate) fn read(matches: &ArgMatches) -> Result<Self, Failure> {
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        Self::read_beside(matches, names)
    }

    /// As [`Self::read`], in an environment with variables of these names.
    pub(super) fn read_beside(
        matches: &ArgMatches,
        mut names: impl Iterator<Item = String>,
    ) -> Result<Self, Failure> {
        let mut values: BTreeMap<_, _> = entries()
            .into_iter()
            .map(|entry| (entry.key, (entry.default, Source::Default)))
            .collect();
        names.try_for_each(|name| misspelt(&name, &values))?;
        if let Some(path) = matches.get_one::<String>("config") {
            read_file(&PathBuf::from(path), &mut values)?;
        }
        for (key, (value, source)) in &mut values {
            let Some((texts, origin)) = given(matches, key) else { continue };
            *value =
                typed(value, &texts).map_err(|why| Failure::usage(format!("{origin}: {why}")))?;
            *source = origin;
        }
        Ok(Self { values })
    }

    /// The settings, typed and checked.
    ///
    /// # Errors
    /// Names the setting, where it came from, and what is wrong with it.
    pub(crate) fn settings(&self) -> Result<Settings, Failure> {
        let mut table: toml::Table =
            self.values.iter().map(|(key, (value, _))| (key.clone(), value.clone())).collect();
        Settings::deserialize_table(table.clone()).map_err(|error| {
            // One bad value is told with its key and origin: find the one that the defaults mend.
            for (key, (_, source)) in &self.values {
                let given = table.insert(key.clone(), default_of(key));
                if Settings::deserialize_table(table.clone()).is_ok() {
                    let why = error.message().trim();
                    return Failure::usage(format!("`{key}` ({source}): {why}"));
                }
                if let Some(given) = given {
                    table.insert(key.clone(), given);
                }
            }
            Failure::usage(format!("settings: {}", error.message().trim()))
        })
    }

    /// Gives a setting another value where nobody gave it one.
    #[cfg(feature = "ingest")]
    pub(crate) fn unless_given(&mut self, key: &str, value: &str) {
        if let Some((slot, Source::Default)) = self.values.get_mut(key) {
            *slot = Value::String(value.to_owned());
        }
    }

    /// What is in force as TOML, each value with its origin; secrets hidden.
    pub(crate) fn report(&self) -> String {
        let mut out = String::new();
        for entry in entries() {
            let Some((value, source)) = self.values.get(&entry.key) else { continue };
            let shown =
                if SECRETS.contains(&entry.key.as_str()) { hidden(value) } else { masked(value) };
            out.push_str(&format!("{} = {shown}  # {source}\n", entry.key));
        }
        out
    }
}

impl Settings {
    fn deserialize_table(table: toml::Table) -> Result<Self, toml::de::Error> {
        serde::Deserialize::deserialize(Value::Table(table))
    }
}

/// The entries of `defaults.toml` in order, each with the comment above it.
fn entries() -> Vec<Entry> {
    let mut defaults: toml::Table = DEFAULTS.parse().expect("defaults.toml is TOML (tested)");
    let mut entries = Vec::new();
    let mut doc = Vec::new();
    for line in DEFAULTS.lines() {
        if let Some(comment) = line.strip_prefix('#') {
            doc.push(comment.trim());
        } else if let Some((key, _)) = line.split_once(" = ") {
            let default = defaults.remove(key).expect("each key is on a line of its own (tested)");
            entries.push(Entry { key: key.to_owned(), doc: doc.join(" "), default });
        } else {
            doc.clear();
        }
    }
    entries
}

fn default_of(key: &str) -> Value {
    let entry = entries().into_iter().find(|entry| entry.key == key);
    entry.map_or_else(|| Value::String(String::new()), |entry| entry.default)
}

fn setting_arg(entry: Entry) -> Arg {
    let Entry { key, doc, default } = entry;
    let shown = match &default {
        Value::String(text) if text.is_empty() => String::new(),
        Value::Array(_) => String::new(),
        value => format!(" [default: {}]", value.to_string().trim_matches('"')),
    };
    let arg = Arg::new(key.clone())
        .long(key.replace('_', "-"))
        .env(format!("ICECORE_{}", key.to_ascii_uppercase()))
        .hide_env(true)
        .hide_env_values(true)
        .help(format!("{doc}{shown}"))
        .help_heading(HEADING);
    match default {
        Value::Array(_) => {
            // A comma belongs to the SQL of a rule.
            let delimiter = if key == "retention" { ';' } else { ',' };
            arg.value_name("VALUE").action(ArgAction::Append).value_delimiter(delimiter)
        }
        Value::Boolean(_) => arg
            .overrides_with(key)
            .value_name("BOOL")
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true"),
        // Given twice, the last one counts: a wrapper's flags can be overridden.
        _ => arg.value_name("VALUE").overrides_with(key),
    }
}

/// The texts given for a key by flag or environment, and by which.
fn given(matches: &ArgMatches, key: &str) -> Option<(Vec<String>, Source)> {
    let texts: Vec<String> = matches.get_many::<String>(key)?.cloned().collect();
    let source = match matches.value_source(key)? {
        ValueSource::EnvVariable => {
            Source::Environment(format!("ICECORE_{}", key.to_ascii_uppercase()))
        }
        _ => Source::Flag(format!("--{}", key.replace('_', "-"))),
    };
    Some((texts, source))
}

/// Texts as a value of the same type as the default.
fn typed(like: &Value, texts: &[String]) -> Result<Value, String> {
    let text = texts.last().map(String::as_str).unwrap_or_default();
    match like {
        Value::Boolean(_) => {
            text.parse().map(Value::Boolean).map_err(|_bad: std::str::ParseBoolError| {
                format!("`{text}` is neither true nor false")
            })
        }
        Value::Integer(_) => {
            text.parse().map(Value::Integer).map_err(|error: std::num::ParseIntError| {
                format!("`{text}` is not a number ({error})")
            })
        }
        Value::Array(_) => {
            let given = texts.iter().filter(|text| !text.is_empty());
            Ok(Value::Array(given.map(|text| Value::String(text.clone())).collect()))
        }
        _ => Ok(Value::String(text.to_owned())),
    }
}

/// Lays a file over the defaults; refuses keys that the defaults do not name.
fn read_file(
    path: &PathBuf,
    values: &mut BTreeMap<String, (Value, Source)>,
) -> Result<(), Failure> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| {
        Failure::usage(format!("cannot read the settings file {name}: {error}"))
    })?;
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| {
        Failure::usage(format!("{name} is not TOML: {}", chain(&error).trim()))
    })?;
    for (key, value) in table {
        let Some(slot) = values.get_mut(&key) else {
            let hint = nearest(&key, values.keys()).map_or_else(
                || "`icecore config` lists all".to_owned(),
                |near| format!("did you mean `{near}`?"),
            );
            return Err(Failure::usage(format!("{name}: there is no setting `{key}`; {hint}")));
        };
        *slot = (value, Source::File(path.clone()));
    }
    Ok(())
}

/// Refuses a variable of the environment that is nearly a setting's. Others that begin alike may be
/// anybody's: Kubernetes makes `ICECORE_SERVICE_HOST` and more for a service of that name.
fn misspelt(name: &str, values: &BTreeMap<String, (Value, Source)>) -> Result<(), Failure> {
    let Some(key) = name.strip_prefix("ICECORE_").map(str::to_ascii_lowercase) else {
        return Ok(());
    };
    if key.len() < MISSPELT_LETTERS_MIN || values.contains_key(&key) {
        return Ok(());
    }
    let meant = values.keys().find(|known| distance(&key, known) <= MISSPELT_DISTANCE_MAX);
    meant.map_or(Ok(()), |meant| {
        let meant = meant.to_ascii_uppercase();
        Err(Failure::usage(format!(
            "environment {name}: there is no setting `{key}`; did you mean ICECORE_{meant}?"
        )))
    })
}

/// The known key that differs least, where it is near enough to be meant.
pub(super) fn nearest<'k>(
    key: &str,
    known: impl Iterator<Item = &'k String>,
) -> Option<&'k String> {
    known
        .map(|name| (distance(key, name), name))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, name)| name)
}

/// Letters to insert, delete or replace to make one text of the other.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let replace = diagonal + usize::from(a != *b);
            diagonal = row[j + 1];
            row[j + 1] = replace.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

fn hidden(value: &Value) -> String {
    match value {
        Value::Array(items) if items.is_empty() => "[]".to_owned(),
        _ => "\"<secret>\"".to_owned(),
    }
}

/// A value as TOML, with the headers and passwords inside hidden.
fn masked(value: &Value) -> String {
    let mut value = value.clone();
    mask(&mut value);
    value.to_string()
}

fn mask(value: &mut Value) {
    match value {
        Value::String(text) => *text = without_password(text),
        Value::Array(items) => items.iter_mut().for_each(mask),
        Value::Table(entries) => {
            for (key, value) in entries.iter_mut() {
                if key == "headers" {
                    *value = Value::String("<secret>".to_owned());
                } else {
                    mask(value);
                }
            }
        }
        _ => {}
    }
}

/// An address without the user and password before its host.
fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    match authority.rsplit_once('@') {
        Some((_, host)) => format!("{scheme}://<secret>@{host}{path}"),
        None => text.to_owned(),
    }
}
