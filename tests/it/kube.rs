//! A real Kubernetes API server: what we render is accepted, and pods are known by name.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::icecore::{PATIENCE, Start};
use crate::peers::{self, free_port};

const TOKEN: &str = "tok-admin";
const CONTAINER: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// etcd and kube-apiserver, gone with the test.
struct Cluster {
    processes: Vec<Child>,
    folder: tempfile::TempDir,
    url: String,
    client: reqwest::Client,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in &mut self.processes {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

impl Cluster {
    async fn start() -> Option<Self> {
        let (etcd, apiserver) = (peers::program("etcd")?, peers::program("kube-apiserver")?);
        let folder = tempfile::tempdir().unwrap();
        let (etcd_port, peer_port, api_port) = (free_port(), free_port(), free_port());
        let etcd = start_etcd(&etcd, folder.path(), etcd_port, peer_port);
        let api = start_apiserver(&apiserver, folder.path(), etcd_port, api_port);
        let client = reqwest::Client::builder().danger_accept_invalid_certs(true).build().unwrap();
        let url = format!("https://127.0.0.1:{api_port}");
        let cluster = Self { processes: vec![etcd, api], folder, url, client };
        cluster.ready().await;
        Some(cluster)
    }

    /// Waits until it is ready and the namespace that the tests use was made: the server makes it
    /// only after it says that it is ready.
    async fn ready(&self) {
        let end = tokio::time::Instant::now() + PATIENCE * 2;
        for path in ["/readyz", "/api/v1/namespaces/default"] {
            loop {
                let request = self.client.get(format!("{}{path}", self.url)).bearer_auth(TOKEN);
                if request.send().await.is_ok_and(|answer| answer.status().is_success()) {
                    break;
                }
                assert!(tokio::time::Instant::now() < end, "the API server has no {path}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// A kubeconfig for it.
    fn kubeconfig(&self) -> PathBuf {
        let path = self.folder.path().join("kubeconfig");
        let text = format!(
            "apiVersion: v1\nkind: Config\ncurrent-context: test\n\
             clusters: [{{name: test, cluster: {{server: \"{}\", insecure-skip-tls-verify: true}}}}]\n\
             users: [{{name: admin, user: {{token: {TOKEN}}}}}]\n\
             contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]\n",
            self.url
        );
        std::fs::write(&path, text).unwrap();
        path
    }

    async fn send(&self, method: reqwest::Method, path: &str, body: &Value) -> Value {
        let kind = if method == reqwest::Method::PATCH {
            "application/merge-patch+json"
        } else {
            "application/json"
        };
        let request = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(TOKEN);
        let answer =
            request.header("content-type", kind).body(body.to_string()).send().await.unwrap();
        let (status, text) = (answer.status(), answer.text().await.unwrap());
        assert!(status.is_success(), "{path}: {status} {text}");
        serde_json::from_str(&text).unwrap()
    }
}

fn start_etcd(program: &Path, folder: &Path, client: u16, peer: u16) -> Child {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    Command::new(program)
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("default={peer}"), "--unsafe-no-fsync"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn start_apiserver(program: &Path, folder: &Path, etcd: u16, port: u16) -> Child {
    let file = |name: &str| folder.join(name).display().to_string();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).output().unwrap();
        assert!(output.status.success(), "openssl {args:?}");
    };
    openssl(&["genrsa", "-out", &file("sa.key"), "2048"]);
    openssl(&["rsa", "-in", &file("sa.key"), "-pubout", "-out", &file("sa.pub")]);
    std::fs::write(folder.join("tokens.csv"), format!("{TOKEN},admin,admin,\"system:masters\"\n"))
        .unwrap();
    Command::new(program)
        .arg(format!("--etcd-servers=http://127.0.0.1:{etcd}"))
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", "--insecure-port=0"])
        .arg(format!("--secure-port={port}"))
        .arg(format!("--cert-dir={}", file("certs")))
        .args(["--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=Node,RBAC"])
        .args(["--service-account-issuer=https://kubernetes.default.svc"])
        .args(["--api-audiences=https://kubernetes.default.svc"])
        .arg(format!("--service-account-key-file={}", file("sa.pub")))
        .arg(format!("--service-account-signing-key-file={}", file("sa.key")))
        .arg(format!("--token-auth-file={}", file("tokens.csv")))
        .args(["--disable-admission-plugins=ServiceAccount", "--allow-privileged=true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn deploy(kubeconfig: &Path, args: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_icecore"));
    let output = command.arg("deploy").args(args).env("KUBECONFIG", kubeconfig).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    (output.status.code(), format!("{}{errors}", String::from_utf8_lossy(&output.stdout)))
}

/// Scenario: `deploy apply` on an empty cluster, again, `status`, `delete`, `status`.
/// Guarantees: the real API server takes every object; a second apply changes nothing; what was made
/// is removed again.
#[tokio::test(flavor = "multi_thread")]
async fn an_installation_comes_and_goes() {
    let _held = peers::noisy().await;
    let Some(cluster) = Cluster::start().await else { return };
    let kubeconfig = cluster.kubeconfig();
    let options = ["--storage", "s3://tele/prod", "--s3-secret", "icecore-s3"];
    let apply = [&["apply"][..], &options].concat();
    let (code, said) = deploy(&kubeconfig, &apply);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("DaemonSet") && said.contains("created"), "{said}");
    let (code, said) = deploy(&kubeconfig, &apply);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.lines().all(|line| line.ends_with("unchanged")), "{said}");
    // There is no node and no controller, so nothing rolls out; that is what must be said.
    let (code, said) = deploy(&kubeconfig, &["status"]);
    assert_eq!(code, Some(1), "{said}");
    let (code, said) = deploy(&kubeconfig, &["delete"]);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(deploy(&kubeconfig, &["status"]).0, Some(3));
}

/// A cgroup like the one that a kubelet with containerd makes; removed with the test.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(pod: &str) -> Option<Self> {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists())?;
        let pod = format!("kubepods-besteffort-pod{}.slice", pod.replace('-', "_"));
        let path = root
            .join("kubepods.slice/kubepods-besteffort.slice")
            .join(pod)
            .join(format!("cri-containerd-{CONTAINER}.scope"));
        std::fs::create_dir_all(&path).ok()?;
        Some(Self(path))
    }

    fn add(&self, pid: u32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel refuses while a process is leaving, and the parents while others use them.
        for path in self.0.ancestors().take(4) {
            drop(std::fs::remove_dir(path));
        }
    }
}

async fn pod(cluster: &Cluster) -> String {
    let spec = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "cart-6d5f", "namespace": "default", "labels": {"app.kubernetes.io/name": "cart"}},
        "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": "shop/cart:1.0"}]}
    });
    let made = cluster.send(reqwest::Method::POST, "/api/v1/namespaces/default/pods", &spec).await;
    let status = json!({"status": {"phase": "Running", "podIP": "10.1.2.3", "containerStatuses": [{
        "name": "web", "image": "shop/cart:1.0", "imageID": "x", "ready": true, "restartCount": 0,
        "containerID": format!("containerd://{CONTAINER}")}]}});
    let path = "/api/v1/namespaces/default/pods/cart-6d5f/status";
    cluster.send(reqwest::Method::PATCH, path, &status).await;
    made["metadata"]["uid"].as_str().unwrap().to_owned()
}

/// Scenario: a server in the cgroup of a pod that the API server knows to be on this node.
/// Guarantees: its spans carry pod, namespace, node, container and container id.
#[tokio::test(flavor = "multi_thread")]
async fn spans_carry_their_pod() {
    let _held = peers::noisy().await;
    let (Some(python), true) = (peers::python(), peers::root()) else { return };
    let Some(cluster) = Cluster::start().await else { return };
    let uid = pod(&cluster).await;
    let Some(cgroup) = Cgroup::new(&uid) else { return peers::skip("no cgroup can be made") };
    let port = free_port();
    let server =
        Command::new(python).arg(peers::script("http_server.py")).arg(port.to_string()).spawn();
    let server = peers::Running(server.unwrap());
    cgroup.add(server.0.id());
    peers::listening(port).await;
    let folder = tempfile::tempdir().unwrap();
    let icecore = Start::new(folder.path())
        .arg("probes", "true")
        .arg("kubeconfig", cluster.kubeconfig().to_str().unwrap())
        .arg("node-name", "node-1")
        .run();
    // The first requests may come before the pods have been listed.
    let query = format!(
        "SELECT count(*) FROM spans WHERE kind = 'SERVER' AND attributes['server.port'] = {port} \
         AND resource['k8s.pod.name'] = 'cart-6d5f'"
    );
    let end = tokio::time::Instant::now() + PATIENCE;
    while icecore.count(&query).await == 0 {
        assert!(tokio::time::Instant::now() < end, "no span names its pod");
        let answer = reqwest::get(format!("http://127.0.0.1:{port}/bytes/10")).await.unwrap();
        assert!(answer.status().is_success());
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let row = &icecore
        .sql(&format!(
            "SELECT resource['k8s.namespace.name'], resource['k8s.node.name'], resource['k8s.container.name'], \
             resource['container.id'], resource['k8s.pod.uid'] FROM spans \
             WHERE attributes['server.port'] = {port} AND resource['k8s.pod.name'] IS NOT NULL LIMIT 1"
        ))
        .await[0];
    assert_eq!(
        row,
        &[json!("default"), json!("node-1"), json!("web"), json!(CONTAINER), json!(uid)]
    );
    icecore.stop();
}
