//! A real Kubernetes API server: what we render is accepted, and gives the probe the rights that it
//! needs to know pods by name.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use crate::cluster::{ADMIN, Cgroup, Cluster, run_pod};
use crate::icecore::{PATIENCE, Start};
use crate::peers::{self, free_port};

const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

async fn cluster() -> Option<Cluster> {
    let (etcd, apiserver) = (peers::program("etcd")?, peers::program("kube-apiserver")?);
    let ports = [free_port(), free_port(), free_port()];
    Some(Cluster::start(&etcd, &apiserver, ports).await)
}

fn deploy(kubeconfig: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_icecore"));
    let output = command.arg("deploy").args(args).env("KUBECONFIG", kubeconfig).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), format!("{}{errors}", String::from_utf8_lossy(&output.stdout)))
}

const OPTIONS: [&str; 5] = ["apply", "--storage", "s3://tele/prod", "--s3-secret", "icecore-s3"];

/// Scenario: `deploy apply` on an empty cluster, again, `status`, `delete`, `status`.
/// Guarantees: the real API server takes every object; a second apply changes nothing; what was made
/// is removed again.
#[tokio::test(flavor = "multi_thread")]
async fn an_installation_comes_and_goes() {
    let _held = peers::noisy().await;
    let Some(cluster) = cluster().await else { return };
    let kubeconfig = cluster.kubeconfig(ADMIN);
    let (code, said) = deploy(&kubeconfig, &OPTIONS);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("DaemonSet") && said.contains("created"), "{said}");
    let (code, said) = deploy(&kubeconfig, &OPTIONS);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.lines().all(|line| line.ends_with("unchanged")), "{said}");
    // There is no node and no controller, so nothing rolls out; that is what must be said.
    let (code, said) = deploy(&kubeconfig, &["status"]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = deploy(&kubeconfig, &["delete"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(deploy(&kubeconfig, &["status"]).0, Some(3));
}

/// A token of the probe's own account, as a pod of it would get.
fn probe_token(cluster: &Cluster) -> String {
    let path = "/api/v1/namespaces/icecore/serviceaccounts/icecore-probe/token";
    let request = json!({"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {
        "audiences": ["https://kubernetes.default.svc"],
    }});
    let answer = cluster.send("POST", path, &request);
    answer["status"]["token"].as_str().unwrap().to_owned()
}

/// Scenario: a server in the cgroup of a pod of a cron job, which the API server knows to be on this
/// node; the API server is away when the probe starts; the probe asks with the account and the rights that `deploy apply` has made for it.
/// Guarantees: its spans carry pod, namespace, node, container, image and both owners.
#[tokio::test(flavor = "multi_thread")]
async fn spans_carry_their_pod_by_the_rights_of_the_probe() {
    let _held = peers::noisy().await;
    let (Some(python), true) = (peers::python(), peers::root()) else { return };
    let Some(mut cluster) = cluster().await else { return };
    let (code, said) = deploy(&cluster.kubeconfig(ADMIN), &OPTIONS);
    assert_eq!(code, Some(0), "{said}");
    let uid = pod_of_a_cron_job(&cluster);
    let slice = format!("kubepods-besteffort-pod{}.slice", uid.replace('-', "_"));
    let group = format!(
        "kubepods.slice/kubepods-besteffort.slice/{slice}/cri-containerd-{CONTAINER}.scope"
    );
    let Some(cgroup) = Cgroup::new(&group) else { return peers::skip("no cgroup can be made") };
    let port = free_port();
    let server =
        Command::new(python).arg(peers::script("http_server.py")).arg(port.to_string()).spawn();
    let server = peers::Running(server.unwrap());
    cgroup.add(server.0.id());
    peers::listening(port).await;
    let folder = tempfile::tempdir().unwrap();
    let kubeconfig = cluster.kubeconfig(&probe_token(&cluster));
    cluster.api_goes();
    let icecore = Start::new(folder.path())
        .arg("probes", "true")
        .arg("kubeconfig", kubeconfig.to_str().unwrap())
        .env("NODE_NAME", "node-1")
        .run();
    cluster.api_comes().await;
    // The first requests may come before the pods have been listed and their owners asked for.
    let query = format!(
        "SELECT count(*) FROM spans WHERE kind = 'SERVER' AND attributes['server.port'] = {port} \
         AND resource['k8s.cronjob.name'] = 'report'"
    );
    let end = tokio::time::Instant::now() + PATIENCE;
    while icecore.count(&query).await == 0 {
        assert!(tokio::time::Instant::now() < end, "no span names what made its pod");
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/bytes/10")).await.unwrap();
        assert!(answer.status().is_success());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let keys = [
        ("k8s.namespace.name", "default"),
        ("k8s.node.name", "node-1"),
        ("k8s.pod.name", "report-1-x"),
        ("k8s.pod.uid", uid.as_str()),
        ("k8s.container.name", "web"),
        ("k8s.job.name", "report-1"),
        ("container.id", CONTAINER),
        ("container.image.name", "shop/cart"),
        ("service.name", "report"),
        ("service.namespace", "default"),
        ("service.version", "1.0"),
    ];
    let columns = keys.map(|(key, _)| format!("resource['{key}']")).join(", ");
    let row = &icecore
        .sql(&format!(
            "SELECT {columns} FROM spans WHERE attributes['server.port'] = {port} \
             AND resource['k8s.cronjob.name'] IS NOT NULL LIMIT 1"
        ))
        .await[0];
    assert_eq!(row, &keys.map(|(_, value)| json!(value)));
    icecore.stop();
}

fn pod_of_a_cron_job(cluster: &Cluster) -> String {
    let template =
        json!({"spec": {"restartPolicy": "Never", "containers": [{"name": "web", "image": "i"}]}});
    let made = cluster.send(
        "POST",
        "/apis/batch/v1/namespaces/default/jobs",
        &json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {
            "name": "report-1", "ownerReferences": [{"apiVersion": "batch/v1", "kind": "CronJob",
            "name": "report", "uid": "11111111-2222-3333-4444-555555555555", "controller": true}],
        }, "spec": {"template": template}}),
    );
    let job = json!({"apiVersion": "batch/v1", "kind": "Job", "name": "report-1",
        "uid": made["metadata"]["uid"], "controller": true});
    run_pod(cluster, &json!({"name": "report-1-x", "ownerReferences": [job]}), CONTAINER)
}
