//! The head of a script: comment lines before its SQL.
//!
//! ```text
//! -- title: Requests by service
//! -- about: How much each service answers, how often it fails and how long it takes.
//! -- param: since time = 15m; from when
//! -- column: p99_ms float ms; 99 of 100 are faster
//! -- draw: bars x=service y=p99_ms
//! ```

use serde::Serialize;
use serde_json::Value as Json;

use super::value::Kind;

/// A script that can be run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Script {
    /// The name of its file.
    pub(crate) name: String,
    /// A few words.
    pub(crate) title: String,
    /// What it answers.
    pub(crate) about: String,
    /// Whether it is of the operator's own folder.
    pub(crate) own: bool,
    /// What it asks for.
    pub(crate) parameters: Vec<Parameter>,
    /// What it answers, in order.
    pub(crate) columns: Vec<Column>,
    /// How to draw the answer.
    pub(crate) draw: Draw,
    /// The query; parameters are `$name` in it.
    pub(crate) sql: String,
}

/// A value that a script asks for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Parameter {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// Where none is given.
    pub(crate) default: Json,
    pub(crate) about: String,
}

/// A column of the answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Column {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) kind: Kind,
    /// None where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) unit: Option<String>,
    pub(crate) about: String,
}

/// How an answer is drawn: a kind of picture, and which column goes where.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Draw {
    pub(crate) kind: String,
    #[serde(flatten)]
    pub(crate) roles: std::collections::BTreeMap<String, String>,
}

/// Pictures, and the roles that each needs.
const PICTURES: [(&str, &[&str]); 6] = [
    ("table", &[]),
    ("bars", &["x", "y"]),
    ("lines", &["x", "y"]),
    ("points", &["x", "y"]),
    ("graph", &["from", "to", "weight"]),
    ("flamegraph", &["path", "value"]),
];

/// Units that numbers may have, as UCUM writes them where it knows them.
const UNITS: [&str; 11] = ["ns", "us", "ms", "s", "By", "By/s", "1", "1/s", "%", "{cpu}", "x"];

impl Script {
    /// Reads a script.
    ///
    /// # Errors
    /// With what is missing or wrong in its head, and the line.
    pub(crate) fn parse(name: &str, text: &str, own: bool) -> Result<Self, String> {
        let lines = text.lines().take_while(|line| line.starts_with("--"));
        let (mut title, mut about, mut draw) = (None, String::new(), None);
        let (mut parameters, mut columns) = (Vec::new(), Vec::new());
        for (at, line) in lines.enumerate() {
            let line = line.trim_start_matches('-').trim();
            let fault = |why: String| format!("line {}: {why}", at + 1);
            let Some((word, rest)) = line.split_once(':') else {
                return Err(fault(format!("`{line}` is not `word: …`")));
            };
            let rest = rest.trim();
            match word {
                "title" => title = Some(rest.to_owned()),
                "about" if about.is_empty() => about = rest.to_owned(),
                "about" => about = format!("{about} {rest}"),
                "param" => parameters.push(parameter(rest).map_err(fault)?),
                "column" => columns.push(column(rest).map_err(fault)?),
                "draw" => draw = Some(picture(rest).map_err(fault)?),
                _ => {
                    return Err(fault(format!(
                        "`{word}` is none of title, about, param, column, draw"
                    )));
                }
            }
        }
        let head = text.lines().take_while(|line| line.starts_with("--")).count();
        let sql: Vec<&str> = text.lines().skip(head).collect();
        let script = Self {
            name: name.to_owned(),
            title: title.ok_or("it has no `title`")?,
            about,
            own,
            parameters,
            columns,
            draw: draw.ok_or("it does not say how to `draw` it")?,
            sql: sql.join("\n").trim().to_owned(),
        };
        script.check()?;
        Ok(script)
    }

    fn check(&self) -> Result<(), String> {
        if self.about.is_empty() {
            return Err("it does not say what it is `about`".to_owned());
        }
        if self.columns.is_empty() {
            return Err("it names no `column`".to_owned());
        }
        if self.sql.is_empty() {
            return Err("it has no SQL".to_owned());
        }
        if let Some(unused) =
            self.parameters.iter().find(|p| !self.sql.contains(&format!("${}", p.name)))
        {
            return Err(format!("its SQL does not use `${}`", unused.name));
        }
        let is_column = |name: &&String| self.columns.iter().any(|column| column.name == **name);
        match self.draw.roles.values().find(|name| !is_column(name)) {
            Some(name) => Err(format!("it draws `{name}`, which is none of its columns")),
            None => Ok(()),
        }
    }
}

/// `name type = default; about`.
fn parameter(text: &str) -> Result<Parameter, String> {
    let shape = "a parameter is written `name type = default; what it is`";
    let (head, about) = text.split_once(';').ok_or(shape)?;
    let (head, default) = head.split_once('=').ok_or(shape)?;
    let (name, kind) = head.trim().split_once(' ').ok_or(shape)?;
    let kind: Kind = kind.trim().parse()?;
    let default = kind.read(default.trim())?;
    Ok(Parameter { name: name.to_owned(), kind, default, about: about.trim().to_owned() })
}

/// `name type unit; about`, the unit left out where there is none.
fn column(text: &str) -> Result<Column, String> {
    let shape = "a column is written `name type unit; what it is`";
    let (head, about) = text.split_once(';').ok_or(shape)?;
    let mut words = head.split_whitespace();
    let (name, kind) = (words.next().ok_or(shape)?, words.next().ok_or(shape)?);
    let unit = words.next().map(str::to_owned);
    if let Some(unit) = unit.as_deref().filter(|unit| !UNITS.contains(unit)) {
        return Err(format!("`{unit}` is none of the units {}", UNITS.join(", ")));
    }
    let (name, kind) = (name.to_owned(), kind.parse()?);
    Ok(Column { name, kind, unit, about: about.trim().to_owned() })
}

/// `kind role=column role=column`.
fn picture(text: &str) -> Result<Draw, String> {
    let mut words = text.split_whitespace();
    let kind = words.next().unwrap_or_default();
    let Some((_, needed)) = PICTURES.iter().find(|(known, _)| *known == kind) else {
        let known = PICTURES.map(|(known, _)| known).join(", ");
        return Err(format!("`{kind}` is none of the pictures {known}"));
    };
    let roles = words.map(|word| {
        let (role, column) =
            word.split_once('=').ok_or(format!("`{word}` is not `role=column`"))?;
        Ok((role.to_owned(), column.to_owned()))
    });
    let roles = roles.collect::<Result<std::collections::BTreeMap<_, _>, String>>()?;
    match needed.iter().find(|role| !roles.contains_key(**role)) {
        Some(role) => Err(format!("`{kind}` needs `{role}=`")),
        None => Ok(Draw { kind: kind.to_owned(), roles }),
    }
}
