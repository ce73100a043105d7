//! The page, embedded: it needs nothing but this server.

use axum::Router;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_FRAME_OPTIONS,
};

/// Nothing from elsewhere, no inline code, in nobody's frame.
const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

struct Asset {
    path: &'static str,
    media_type: &'static str,
    text: &'static str,
}

const ASSETS: [Asset; 6] = [
    Asset {
        path: "/",
        media_type: "text/html; charset=utf-8",
        text: include_str!("../../ui/index.html"),
    },
    Asset {
        path: "/ui/app.js",
        media_type: "text/javascript; charset=utf-8",
        text: include_str!("../../ui/app.js"),
    },
    Asset {
        path: "/ui/trace.js",
        media_type: "text/javascript; charset=utf-8",
        text: include_str!("../../ui/trace.js"),
    },
    Asset {
        path: "/ui/flame.js",
        media_type: "text/javascript; charset=utf-8",
        text: include_str!("../../ui/flame.js"),
    },
    Asset {
        path: "/ui/style.css",
        media_type: "text/css; charset=utf-8",
        text: include_str!("../../ui/style.css"),
    },
    Asset {
        path: "/ui/icon.svg",
        media_type: "image/svg+xml",
        text: include_str!("../../ui/icon.svg"),
    },
];

/// The page and what it loads.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().fold(Router::new(), |routes, asset| {
        routes.route(asset.path, get(move || async move { serve(asset) }))
    })
}

fn serve(asset: &'static Asset) -> Response {
    let headers = [
        (CONTENT_TYPE, asset.media_type),
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "no-referrer"),
        // A new version of the program is a new page at once.
        (CACHE_CONTROL, "no-cache"),
    ];
    (headers, asset.text).into_response()
}
