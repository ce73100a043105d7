//! Apply, status and delete against an API in memory, and against a real one where there is one.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use kube::client::Body;
use serde_json::{Value, json};

use super::*;
use crate::{Deletion, ErrorKind, delete, status};

/// Objects by path, and every call in order.
#[derive(Debug, Default)]
struct Api {
    objects: BTreeMap<String, Value>,
    calls: Vec<String>,
    version: u64,
    /// Refuse applying below this path.
    forbidden: Option<&'static str>,
}

impl Api {
    fn answer(&mut self, method: &Method, path: &str, query: &str, body: &[u8]) -> (u16, Value) {
        self.calls.push(format!("{method} {path}?{query}"));
        if path.ends_with("/persistentvolumeclaims") {
            let meta = json!({"name": "data-icecore-ingest-0", "namespace": "icecore"});
            let items = json!([{"metadata": meta}]);
            return (
                200,
                json!({"kind": "PersistentVolumeClaimList", "apiVersion": "v1",
                "metadata": {}, "items": items}),
            );
        }
        let failure = |code: u16, reason: &str| {
            (
                code,
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {},
                "status": "Failure", "reason": reason, "message": reason, "code": code}),
            )
        };
        match *method {
            Method::GET => match self.objects.get(path) {
                Some(object) => (200, object.clone()),
                None => failure(404, "NotFound"),
            },
            Method::PATCH if self.forbidden.is_some_and(|part| path.contains(part)) => {
                failure(403, "Forbidden")
            }
            Method::PATCH => {
                let applied: Value = serde_json::from_slice(body).unwrap();
                (200, self.apply(path, applied))
            }
            Method::DELETE if self.objects.remove(path).is_some() => {
                (200, json!({"kind": "Status", "apiVersion": "v1", "status": "Success"}))
            }
            _ => failure(404, "NotFound"),
        }
    }

    /// Keeps the version of an object that did not change, as the real API does.
    fn apply(&mut self, path: &str, mut applied: Value) -> Value {
        if let Some(before) = self.objects.get(path) {
            applied["metadata"]["resourceVersion"] = before["metadata"]["resourceVersion"].clone();
            if *before == applied {
                return applied;
            }
        }
        self.version += 1;
        applied["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(path.to_owned(), applied.clone());
        applied
    }
}

fn cluster(api: &Arc<Mutex<Api>>) -> Cluster {
    let api = Arc::clone(api);
    let service = tower::service_fn(move |request: Request<Body>| {
        let api = Arc::clone(&api);
        async move {
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            let query = parts.uri.query().unwrap_or_default();
            let (code, value) =
                api.lock().unwrap().answer(&parts.method, parts.uri.path(), query, &body);
            let mut answer = Response::new(Full::new(Bytes::from(value.to_string())));
            *answer.status_mut() = StatusCode::from_u16(code).unwrap();
            Ok::<_, Infallible>(answer)
        }
    });
    Cluster::new(kube::Client::new(service, "default"))
}

fn options() -> Options {
    Options { storage: "s3://telemetry".to_owned(), ..Options::default() }
}

/// What `status` and `delete` are told of an installation.
fn namespace_alone() -> Options {
    Options::default()
}

async fn changes(cluster: &Cluster, options: &Options, how: ApplyOptions) -> Vec<Applied> {
    let mut changes = Vec::new();
    apply(cluster, options, how, |applied| changes.push(applied.clone())).await.unwrap();
    changes
}

/// Scenario: a first installation, the same again, then one with more query servers.
/// Guarantees: created, unchanged, and one updated; server-side apply under our name; the
/// namespace first.
#[tokio::test]
async fn objects_are_created_then_kept_then_updated() {
    let api = Arc::default();
    let cluster = cluster(&api);
    let first = changes(&cluster, &options(), ApplyOptions::default()).await;
    assert!(first.iter().all(|applied| applied.change == Change::Created));
    assert_eq!(first[0].object.to_string(), "Namespace icecore");
    assert_eq!(first.len(), objects::all(&options()).unwrap().len());
    let patches: Vec<String> =
        api.lock().unwrap().calls.iter().filter(|it| it.starts_with("PATCH")).cloned().collect();
    assert!(patches.iter().all(|call| call.contains("fieldManager=icecore")), "{patches:?}");
    assert!(patches.iter().all(|call| !call.contains("force=true")), "{patches:?}");
    let daemon_set = "/apis/apps/v1/namespaces/icecore/daemonsets/icecore-probe";
    assert!(patches.iter().any(|call| call.contains(daemon_set)), "{patches:?}");

    let second = changes(&cluster, &options(), ApplyOptions::default()).await;
    assert!(second.iter().all(|applied| applied.change == Change::Unchanged));

    let more = Options { query_replicas: 3, ..options() };
    let third = changes(&cluster, &more, ApplyOptions { force: true, dry_run: false }).await;
    let updated: Vec<String> = third
        .iter()
        .filter(|applied| applied.change == Change::Updated)
        .map(|applied| applied.object.to_string())
        .collect();
    assert_eq!(updated, ["Deployment icecore/icecore-query"]);
}

/// Scenario: an account that may not make cluster roles.
/// Guarantees: the failure names the object and its kind; what came before is applied and told.
#[tokio::test]
async fn a_refusal_names_the_object() {
    let api = Arc::new(Mutex::new(Api { forbidden: Some("clusterroles"), ..Api::default() }));
    let mut told = 0;
    let applied = apply(&cluster(&api), &options(), ApplyOptions::default(), |_| told += 1).await;
    let error = applied.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Forbidden);
    assert_eq!(error.to_string(), "cannot apply ClusterRole icecore-probe-icecore");
    assert_eq!(told, 5);
}

/// Scenario: delete, with one object of the same name that somebody else made.
/// Guarantees: ours are gone; the stranger's, the namespace and the log volumes stay and are told.
#[tokio::test]
async fn only_ours_is_deleted() {
    let api: Arc<Mutex<Api>> = Arc::default();
    let cluster = cluster(&api);
    changes(&cluster, &options(), ApplyOptions::default()).await;
    let theirs = "/api/v1/namespaces/icecore/configmaps/icecore";
    let stranger = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata":
        {"name": "icecore", "namespace": "icecore", "resourceVersion": "900"}});
    api.lock().unwrap().objects.insert(theirs.to_owned(), stranger);
    let mut kept = Vec::new();
    delete(&cluster, &namespace_alone(), |deletion| {
        if let Deletion::Kept(object) = deletion {
            kept.push(object.to_string());
        }
    })
    .await
    .unwrap();
    let left: Vec<String> = api.lock().unwrap().objects.keys().cloned().collect();
    assert_eq!(left, ["/api/v1/namespaces/icecore", theirs]);
    assert_eq!(
        kept,
        [
            "ConfigMap icecore/icecore",
            "Namespace icecore",
            "PersistentVolumeClaim icecore/data-icecore-ingest-0",
        ]
    );
}

/// Scenario: status before and after applying.
/// Guarantees: every workload is told of, none as done.
#[tokio::test]
async fn status_tells_of_every_workload() {
    let api = Arc::default();
    let cluster = cluster(&api);
    let before = status(&cluster, &namespace_alone()).await.unwrap();
    assert!(before.iter().all(|rollout| !rollout.exists && !rollout.done()));
    changes(&cluster, &options(), ApplyOptions::default()).await;
    let after = status(&cluster, &namespace_alone()).await.unwrap();
    assert_eq!((before.len(), after.len()), (4, 4));
    assert!(after.iter().all(|rollout| rollout.exists && !rollout.done()));
}
