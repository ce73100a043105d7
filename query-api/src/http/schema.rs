//! `GET /api/v1/schema`: what a query can name, for those who complete what is typed.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use icecore_store::Table;
use icecore_store::schema::MapColumn;
use serde_json::{Value, json};

use super::{Shared, json_response};
use crate::Error;
use crate::expand::TABLE_FUNCTIONS;
use crate::table::columns::table_columns;
use crate::views::VIEWS;

/// Tables with their columns and keys, views, and functions.
pub(super) async fn answer(State(shared): State<Arc<Shared>>) -> Result<Response, Error> {
    let answers = Arc::clone(&shared.answers);
    let snapshot = answers.engine.snapshot(&Table::ALL).await;
    let described = tokio::task::spawn_blocking(move || {
        let tables: Vec<Value> = Table::ALL
            .into_iter()
            .map(|table| {
                let keys = snapshot.keys(table);
                json!({
                    "name": table.name(),
                    "columns": columns(table),
                    "attributes": of_map(&keys, MapColumn::Attributes),
                    "resource": of_map(&keys, MapColumn::Resource),
                })
            })
            .collect();
        let views = VIEWS.iter().map(|view| json!({"name": view.name, "of": view.of.name()}));
        let table_functions = TABLE_FUNCTIONS.iter().map(|function| function.name);
        json!({
            "tables": tables,
            "views": views.collect::<Vec<_>>(),
            "table_functions": table_functions.collect::<Vec<_>>(),
            "functions": answers.engine.functions(),
        })
    });
    let described = described.await.map_err(|_panic| Error::Lost)?;
    Ok(json_response(StatusCode::OK, &described))
}

fn columns(table: Table) -> Vec<Value> {
    let columns = table_columns(table);
    let described = columns.iter().map(|column| {
        json!({"name": column.field.name(), "type": crate::answer::type_name(&column.field)})
    });
    described.collect()
}

fn of_map(keys: &BTreeSet<(MapColumn, String)>, map: MapColumn) -> Vec<&str> {
    keys.iter().filter(|(of, _)| *of == map).map(|(_, key)| key.as_str()).collect()
}
