//! Named questions: SQL with a head that says what it asks for, what it answers and how to draw it.
//!
//! Invariants: a script's head is whole or the script is not there; a parameter is a value of its
//! declared type. A script of the operator's own folder stands before one of the same name here, and
//! is read anew each time, so that what is saved is what is run.

mod catalogue;
mod folder;
mod head;
mod value;

use std::path::{Path, PathBuf};

use icecore_store::UnixNanos;
use serde_json::{Map, Value as Json};

use self::head::Parameter;
pub(crate) use self::head::Script;
use crate::Error;
use crate::engine::Question;
use crate::expand::Params;
use crate::hint::nearest;

/// All scripts that can be run.
#[derive(Debug, Clone)]
pub(crate) struct Scripts {
    folder: Option<PathBuf>,
}

/// What is there, by name, and what is wrong with files that are no scripts.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    pub(crate) scripts: Vec<Script>,
    pub(crate) faults: Vec<String>,
}

impl Scripts {
    /// Those of the catalogue and of a folder. Reads the folder, to say early what is wrong with it.
    pub(crate) fn open(folder: Option<&Path>) -> Result<Self, Error> {
        folder.map_or(Ok(()), Self::check_folder)?;
        let scripts = Self { folder: folder.map(Path::to_owned) };
        for fault in scripts.list().faults {
            tracing::warn!(fault, "a script cannot be run");
        }
        Ok(scripts)
    }

    /// Whether the folder can be read.
    pub(crate) fn check_folder(folder: &Path) -> Result<(), Error> {
        let unreadable = |source| Error::ScriptFolder { folder: folder.to_owned(), source };
        std::fs::read_dir(folder).map(drop).map_err(unreadable)
    }

    /// All of them. Reads files: not for a thread that must not wait.
    pub(crate) fn list(&self) -> Listed {
        let mut listed = self.folder.as_deref().map(folder::read).unwrap_or_default();
        for script in catalogue::scripts() {
            if !listed.scripts.iter().any(|own| own.name == script.name) {
                listed.scripts.push(script);
            }
        }
        listed.scripts.sort_by(|one, other| one.name.cmp(&other.name));
        listed
    }

    /// One of them, or which name was meant.
    pub(crate) fn find(&self, name: &str) -> Result<Script, Error> {
        let Listed { scripts, faults } = self.list();
        let close = nearest(name, scripts.iter().map(|script| script.name.as_str()));
        let close = close.map(str::to_owned);
        let found = scripts.into_iter().find(|script| script.name == name);
        found.ok_or_else(|| Error::UnknownScript { name: name.to_owned(), close, faults })
    }
}

impl Script {
    /// The query, with these values for its parameters at the moment `now`.
    pub(crate) fn question(
        &self,
        given: &Map<String, Json>,
        now: UnixNanos,
    ) -> Result<Question, Error> {
        let known = |name: &String| self.parameters.iter().any(|known| known.name == *name);
        if let Some(name) = given.keys().find(|name| !known(name)) {
            let names: Vec<_> = self.parameters.iter().map(|p| p.name.as_str()).collect();
            let text = format!("`{}` has no parameter `{name}`", self.name);
            return Err(Error::Script {
                parameter: name.clone(),
                message: text,
                hint: format!("it has {}", names.join(", ")),
            });
        }
        let mut params = Params::default();
        for parameter in &self.parameters {
            let value = given.get(&parameter.name).unwrap_or(&parameter.default);
            params.put(&parameter.name, self.value(parameter, value, now)?);
        }
        Ok(Question { sql: self.sql.clone(), params })
    }

    fn value(
        &self,
        parameter: &Parameter,
        value: &Json,
        now: UnixNanos,
    ) -> Result<datafusion::sql::sqlparser::ast::Expr, Error> {
        parameter.kind.value(value, now).map_err(|why| {
            let name = &parameter.name;
            let message = format!("parameter `{name}` of `{}`: {why}", self.name);
            let about = &parameter.about;
            let hint = format!("`{name}` is {about}");
            Error::Script { parameter: name.clone(), message, hint }
        })
    }
}

#[cfg(test)]
mod tests;
