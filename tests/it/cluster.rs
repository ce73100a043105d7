//! etcd and a Kubernetes API server, real ones, gone with the test.
//!
//! Invariant: needs tokio and curl alone, since tests of several crates use it.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

/// The token of somebody who may do everything.
pub(crate) const ADMIN: &str = "tok-admin";

/// How long the server may take to be ready on a loaded machine.
const READY_WITHIN: Duration = Duration::from_secs(120);

/// One cluster without nodes.
pub(crate) struct Cluster {
    etcd: Child,
    api: Child,
    program: PathBuf,
    etcd_port: u16,
    port: u16,
    folder: tempfile::TempDir,
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in [&mut self.api, &mut self.etcd] {
            drop(process.kill());
            drop(process.wait());
        }
    }
}

impl Cluster {
    /// Starts both, on these ports, and waits until they are ready.
    pub(crate) async fn start(etcd: &Path, apiserver: &Path, ports: [u16; 3]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [etcd_port, peer_port, port] = ports;
        keys(folder.path());
        let cluster = Self {
            etcd: start_etcd(etcd, folder.path(), etcd_port, peer_port),
            api: start_apiserver(apiserver, folder.path(), etcd_port, port),
            program: apiserver.to_owned(),
            etcd_port,
            port,
            folder,
        };
        cluster.ready().await;
        cluster
    }

    /// Ends the API server; what it knows stays in etcd.
    pub(crate) fn api_goes(&mut self) {
        self.api.kill().unwrap();
        self.api.wait().unwrap();
    }

    /// Starts it again where it was.
    pub(crate) async fn api_comes(&mut self) {
        let Self { program, folder, etcd_port, port, .. } = self;
        self.api = start_apiserver(program, folder.path(), *etcd_port, *port);
        self.ready().await;
    }

    /// Waits until it is ready and the namespace that the tests use was made: the server makes it
    /// only after it says that it is ready.
    async fn ready(&self) {
        let end = tokio::time::Instant::now() + READY_WITHIN;
        for path in ["/readyz", "/api/v1/namespaces/default"] {
            while self.ask("GET", path, &Value::Null).is_err() {
                assert!(tokio::time::Instant::now() < end, "the API server has no {path}");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// A kubeconfig for whoever has this token.
    pub(crate) fn kubeconfig(&self, token: &str) -> PathBuf {
        let path = self.folder.path().join(format!("kubeconfig-{}", token.len()));
        let config = json!({
            "apiVersion": "v1", "kind": "Config", "current-context": "test",
            "clusters": [{"name": "test", "cluster": {
                "server": format!("https://127.0.0.1:{}", self.port),
                "insecure-skip-tls-verify": true,
            }}],
            "users": [{"name": "user", "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "user"}}],
        });
        std::fs::write(&path, config.to_string()).unwrap();
        path
    }

    /// Asks the API, which must agree.
    pub(crate) fn send(&self, method: &str, path: &str, body: &Value) -> Value {
        self.ask(method, path, body).unwrap_or_else(|answer| panic!("{method} {path}: {answer}"))
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let kind = if method == "PATCH" { "merge-patch+json" } else { "json" };
        let mut curl = Command::new("curl")
            .args(["--silent", "--insecure", "--max-time", "20", "--request", method])
            .args(["--header", &format!("Authorization: Bearer {ADMIN}")])
            .args(["--header", &format!("Content-Type: application/{kind}")])
            .args(["--write-out", "\n%{http_code}", "--data-binary", "@-"])
            .arg(format!("https://127.0.0.1:{}{path}", self.port))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        curl.stdin.take().unwrap().write_all(body.as_bytes()).unwrap();
        let output = curl.wait_with_output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (answer, code) = text.rsplit_once('\n').unwrap_or_default();
        if !code.starts_with('2') {
            return Err(text);
        }
        Ok(serde_json::from_str(answer).unwrap_or_default())
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

fn keys(folder: &Path) {
    let file = |name: &str| folder.join(name).display().to_string();
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).output().unwrap();
        assert!(output.status.success(), "openssl {args:?}");
    };
    openssl(&["genrsa", "-out", &file("sa.key"), "2048"]);
    openssl(&["rsa", "-in", &file("sa.key"), "-pubout", "-out", &file("sa.pub")]);
    std::fs::write(folder.join("tokens.csv"), format!("{ADMIN},admin,admin,\"system:masters\"\n"))
        .unwrap();
}

fn start_apiserver(program: &Path, folder: &Path, etcd: u16, port: u16) -> Child {
    let file = |name: &str| folder.join(name).display().to_string();
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

/// A control group as a kubelet makes it; removed with the test.
pub(crate) struct Cgroup(PathBuf);

impl Cgroup {
    /// At this path below the root of version 2; none where this machine does not allow it.
    pub(crate) fn new(path: &str) -> Option<Self> {
        let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.procs").exists())?;
        let path = root.join(path);
        std::fs::create_dir_all(&path).ok()?;
        Some(Self(path))
    }

    /// Puts a process into it.
    pub(crate) fn add(&self, pid: u32) {
        std::fs::write(self.0.join("cgroup.procs"), pid.to_string()).unwrap();
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel refuses while a process is leaving, and the parents while others use them.
        for path in self.0.ancestors().take_while(|path| *path != Path::new("/sys/fs/cgroup")) {
            drop(std::fs::remove_dir(path));
        }
    }
}

/// A pod with one container that runs; gives back its uid.
pub(crate) fn run_pod(cluster: &Cluster, metadata: &Value, container: &str) -> String {
    run_pod_at(cluster, metadata, container, "10.1.2.3")
}

/// The same at this address.
pub(crate) fn run_pod_at(
    cluster: &Cluster,
    metadata: &Value,
    container: &str,
    address: &str,
) -> String {
    let name = metadata["name"].as_str().unwrap();
    let spec = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata,
        "spec": {"nodeName": "node-1", "containers": [{"name": "web", "image": "shop/cart:1.0"}]},
    });
    let made = cluster.send("POST", "/api/v1/namespaces/default/pods", &spec);
    let status = json!({"status": {"phase": "Running", "podIP": address, "containerStatuses": [{
        "name": "web", "image": "shop/cart:1.0", "ready": true, "restartCount": 2,
        "imageID": "docker.io/shop/cart@sha256:abcd", "containerID": format!("containerd://{container}"),
    }]}});
    let path = format!("/api/v1/namespaces/default/pods/{name}/status");
    cluster.send("PATCH", &path, &status);
    made["metadata"]["uid"].as_str().unwrap().to_owned()
}
