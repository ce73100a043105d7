//! Types of parameters and columns of scripts, and values as they are given.

use std::str::FromStr;

use datafusion::sql::sqlparser::ast::Expr;
use icecore_store::{UnixNanos, parse_when};
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::expand::{literal, text_literal, time_literal};

/// What a value is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Text; null stands for "any" as a parameter.
    Text,
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// True or false.
    Bool,
    /// A point in time: RFC 3339, `now`, or how long ago.
    Time,
    /// JSON, of columns only.
    Json,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(match text {
            "text" => Self::Text,
            "int" => Self::Int,
            "float" => Self::Float,
            "bool" => Self::Bool,
            "time" => Self::Time,
            "json" => Self::Json,
            _ => {
                return Err(format!(
                    "`{text}` is none of the types text, int, float, bool, time, json"
                ));
            }
        })
    }
}

impl Kind {
    /// A value that is written as text, as in a head or on a command line.
    pub(crate) fn read(self, text: &str) -> Result<Json, String> {
        if text == "null" {
            return Ok(Json::Null);
        }
        let no = |what: &str| format!("`{text}` is no {what}");
        Ok(match self {
            Self::Int => json!(text.parse::<i64>().map_err(|_bad| no("whole number"))?),
            Self::Float => json!(text.parse::<f64>().map_err(|_bad| no("number"))?),
            Self::Bool => json!(text.parse::<bool>().map_err(|_bad| no("`true` or `false`"))?),
            Self::Text | Self::Time | Self::Json => json!(text.trim_matches('\'')),
        })
    }

    /// The value as SQL, at the moment `now`. Numbers and flags may come as texts.
    pub(crate) fn value(self, value: &Json, now: UnixNanos) -> Result<Expr, String> {
        let value = match value {
            Json::String(text) => self.read(text)?,
            other => other.clone(),
        };
        let fits = match (self, &value) {
            (_, Json::Null) => true,
            (Self::Int, value) => value.is_i64(),
            (Self::Float, value) => value.is_number(),
            (Self::Bool, value) => value.is_boolean(),
            (Self::Text | Self::Time | Self::Json, value) => value.is_string(),
        };
        match (self, &value) {
            _ if !fits => Err(format!("`{value}` is no {}", self.name())),
            (Self::Time, Json::String(text)) => {
                parse_when(text, now).map(time_literal).map_err(|error| error.to_string())
            }
            (Self::Text, Json::String(text)) => Ok(text_literal(text)),
            (_, value) => literal(value).ok_or_else(|| format!("`{value}` is no value")),
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Int => "whole number",
            Self::Float => "number",
            Self::Bool => "`true` or `false`",
            Self::Time => "time",
            Self::Json => "JSON",
        }
    }
}
