//! `GET /api/v1/openapi.json`: the HTTP API, for those who generate clients.

use axum::response::{IntoResponse, Response};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

/// The document.
const DOCUMENT: &str = include_str!("../../openapi.json");

/// Answers with the document.
pub(super) async fn answer() -> Response {
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT).into_response()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Scenario: the document, and the routes as they are written down.
    /// Guarantees: each route with each of its methods is in the document, and nothing else is but
    /// what the process itself serves; every reference leads somewhere.
    #[test]
    fn the_document_has_every_route() {
        let document: Value = serde_json::from_str(DOCUMENT).unwrap();
        let mut told: Vec<String> = Vec::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            let methods = methods.as_object().unwrap().keys();
            told.extend(methods.map(|method| format!("{method} {path}")));
        }
        told.retain(|it| !["get /healthz", "get /readyz", "get /metrics"].contains(&it.as_str()));
        let mut routes: Vec<String> = Vec::new();
        for line in include_str!("../http.rs").lines() {
            let Some(route) = line.trim().strip_prefix(".route(\"") else { continue };
            let (path, handlers) = route.split_once('"').unwrap();
            let is_method = |method: &&str| handlers.contains(&format!("{method}("));
            let methods = ["get", "put", "post", "delete"].into_iter().filter(is_method);
            routes.extend(methods.map(|method| format!("{method} {path}")));
        }
        told.sort();
        routes.sort();
        assert_eq!(told, routes);
        for reference in DOCUMENT.split("\"#/").skip(1) {
            let path = reference.split('"').next().unwrap();
            assert!(document.pointer(&format!("/{path}")).is_some(), "{path}");
        }
        let fault = &document["components"]["schemas"]["Fault"]["properties"];
        let codes = fault["code"]["enum"].to_string();
        for kind in crate::ErrorKind::ALL {
            assert!(codes.contains(&format!("\"{}\"", kind.code())), "{}", kind.code());
        }
    }
}
