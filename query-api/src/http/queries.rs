//! `GET /api/v1/queries`, `GET` and `DELETE /api/v1/queries/{id}`: what runs, how far it is, and
//! its end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::extract::{ConnectInfo, FromRequestParts, Path, State};
use axum::response::Response;
use http::StatusCode;
use http::request::Parts;
use serde_json::json;

use super::{Shared, json_response};
use crate::Error;
use crate::running::Caller;

/// The header in which a caller names its query, to look after it.
const QUERY_ID: &str = "icecore-query-id";

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Error> {
        let from = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        // An IPv4 address that comes by an IPv6 socket is the same caller.
        let client =
            from.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |from| from.0.ip().to_canonical());
        let id = parts.headers.get(QUERY_ID).map(|value| value.to_str());
        let id = id.transpose().map_err(|_not_text| {
            Error::Request(format!("the header `{QUERY_ID}` is not plain text"))
        })?;
        Ok(Self { client, id: id.map(str::to_owned) })
    }
}

/// Lists the queries under way.
pub(super) async fn list(State(shared): State<Arc<Shared>>) -> Response {
    json_response(StatusCode::OK, &json!({ "queries": shared.answers.queries.all() }))
}

/// Shows one.
pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    let Some(query) = shared.answers.queries.one(&id) else { return Err(Error::UnknownQuery(id)) };
    Ok(json_response(StatusCode::OK, &json!({ "query": query })))
}

/// Ends one.
pub(super) async fn end(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
) -> Result<Response, Error> {
    let Some(query) = shared.answers.queries.end(&id) else { return Err(Error::UnknownQuery(id)) };
    tracing::info!(id = %query.id, "query cancelled");
    Ok(json_response(StatusCode::OK, &json!({ "cancelled": query })))
}
