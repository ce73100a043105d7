//! An installation in a real Kubernetes API: what a mock lets pass, a schema may not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![allow(clippy::panic, reason = "a test may panic")]
#![allow(clippy::print_stdout, reason = "a test says why it was skipped")]

mod server;

use icecore_deploy::{
    Applied, ApplyOptions, Change, Cluster, Deletion, Options, apply, delete, status,
};
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, PostParams};
use server::Server;

fn options() -> Options {
    Options {
        namespace: "observability".to_owned(),
        storage: "s3://telemetry/prod".to_owned(),
        credentials_secret: Some("bucket-keys".to_owned()),
        ..Options::default()
    }
}

async fn changes(cluster: &Cluster, options: &Options) -> Vec<Applied> {
    let mut changes = Vec::new();
    let how = ApplyOptions::default();
    apply(cluster, options, how, |applied| changes.push(applied.clone())).await.unwrap();
    changes
}

/// Whether an account of the installation may do something everywhere.
async fn may(client: &kube::Client, account: &str, verb: &str, resource: &str) -> bool {
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:observability:{account}")),
            resource_attributes: Some(ResourceAttributes {
                verb: Some(verb.to_owned()),
                resource: Some(resource.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await.unwrap();
    answer.status.unwrap().allowed
}

/// Scenario: install, install again, change, look, delete, on a real API server.
/// Guarantees: every object passes its schema; nothing changes twice; the probe's rights are
/// those that it needs; delete leaves the namespace and what others put there.
#[tokio::test]
async fn an_installation_comes_and_goes() {
    let programs = match server::programs() {
        Ok(programs) => programs,
        Err(why) => return println!("skipped: {why}"),
    };
    drop(rustls::crypto::ring::default_provider().install_default());
    let server = Server::start(programs).await;
    let (client, cluster) = (server.client().await, server.cluster().await);

    let first = changes(&cluster, &options()).await;
    assert!(first.iter().all(|it| it.change == Change::Created), "{first:?}");
    let second = changes(&cluster, &options()).await;
    assert!(second.iter().all(|it| it.change == Change::Unchanged), "{second:?}");
    let more = Options { query_replicas: 2, ..options() };
    let third = changes(&cluster, &more).await;
    let updated = third.iter().filter(|it| it.change == Change::Updated);
    let updated: Vec<String> = updated.map(|it| it.object.to_string()).collect();
    assert_eq!(updated, ["Deployment observability/icecore-query"]);

    let daemon_sets: Api<DaemonSet> = Api::namespaced(client.clone(), "observability");
    let probe = daemon_sets.get("icecore-probe").await.unwrap();
    assert_eq!(probe.spec.template.spec.unwrap().host_pid, Some(true));
    assert!(may(&client, "icecore-probe", "watch", "pods").await);
    for (account, verb, resource) in [
        ("icecore-probe", "delete", "pods"),
        ("icecore-probe", "list", "secrets"),
        ("icecore-ingest", "list", "pods"),
        ("icecore-query", "list", "secrets"),
    ] {
        assert!(!may(&client, account, verb, resource).await, "{account} {verb} {resource}");
    }
    let rollouts = status(&cluster, &options()).await.unwrap();
    assert_eq!(rollouts.len(), 4);
    assert!(rollouts.iter().all(|rollout| rollout.exists && !rollout.done()));

    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), "observability");
    let mut theirs = ConfigMap::default();
    theirs.metadata.name = Some("theirs".to_owned());
    maps.create(&PostParams::default(), &theirs).await.unwrap();
    let mut told = Vec::new();
    delete(&cluster, &options(), |deletion| told.push(deletion.clone())).await.unwrap();
    let deleted = told.iter().filter(|deletion| matches!(deletion, Deletion::Deleted(_))).count();
    assert_eq!(deleted, first.len() - 1, "{told:?}");
    assert!(maps.get_opt("theirs").await.unwrap().is_some());
    assert!(maps.get_opt("icecore").await.unwrap().is_none());
    let rollouts = status(&cluster, &options()).await.unwrap();
    assert!(rollouts.iter().all(|rollout| !rollout.exists), "{rollouts:?}");
}
