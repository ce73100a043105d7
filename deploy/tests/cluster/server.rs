//! A real Kubernetes API: etcd and kube-apiserver on loopback, in a folder that goes with them.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use icecore_deploy::Cluster;
use kube::config::{KubeConfigOptions, Kubeconfig};
use tempfile::TempDir;

/// A running API; its processes end with it.
pub(crate) struct Server {
    children: Vec<Child>,
    kubeconfig: String,
    folder: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in self.children.iter_mut().rev() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The programs, or why there are none.
pub(crate) fn programs() -> Result<[PathBuf; 2], String> {
    let home = || std::env::var("HOME").map(|home| format!("{home}/.cache/icecore"));
    let cache = std::env::var("ICECORE_CACHE").or_else(|_| home()).unwrap_or_default();
    let program = |name: &str| {
        let path = Path::new(&cache).join("bin").join(name);
        if path.exists() { Ok(path) } else { Err(format!("{} is not there", path.display())) }
    };
    Ok([program("etcd")?, program("kube-apiserver")?])
}

impl Server {
    pub(crate) async fn start([etcd, apiserver]: [PathBuf; 2]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let [client, peer, secure] = free_ports();
        let etcd_url = format!("http://127.0.0.1:{client}");
        let peer_url = format!("http://127.0.0.1:{peer}");
        let mut children = vec![spawn(
            &etcd,
            folder.path(),
            &[
                format!("--data-dir={}", at("etcd")),
                format!("--listen-client-urls={etcd_url}"),
                format!("--advertise-client-urls={etcd_url}"),
                format!("--listen-peer-urls={peer_url}"),
                format!("--initial-advertise-peer-urls={peer_url}"),
                format!("--initial-cluster=default={peer_url}"),
                "--unsafe-no-fsync".to_owned(),
            ],
        )];
        openssl(&["genrsa", "-out", &at("sa.key"), "2048"]);
        openssl(&["rsa", "-in", &at("sa.key"), "-pubout", "-out", &at("sa.pub")]);
        fs::write(at("tokens.csv"), "admin-token,admin,admin,\"system:masters\"\n").unwrap();
        children.push(spawn(
            &apiserver,
            folder.path(),
            &[
                format!("--etcd-servers={etcd_url}"),
                "--bind-address=127.0.0.1".to_owned(),
                "--advertise-address=127.0.0.1".to_owned(),
                format!("--secure-port={secure}"),
                "--insecure-port=0".to_owned(),
                format!("--cert-dir={}", at("certs")),
                "--service-cluster-ip-range=10.96.0.0/16".to_owned(),
                "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
                format!("--service-account-key-file={}", at("sa.pub")),
                format!("--service-account-signing-key-file={}", at("sa.key")),
                "--api-audiences=https://kubernetes.default.svc".to_owned(),
                "--authorization-mode=Node,RBAC".to_owned(),
                format!("--token-auth-file={}", at("tokens.csv")),
                "--disable-admission-plugins=ServiceAccount".to_owned(),
            ],
        ));
        let kubeconfig = kubeconfig(secure, &at("certs/apiserver.crt"));
        Self { children, kubeconfig, folder }
    }

    /// A connection as the administrator, once the API is ready.
    pub(crate) async fn client(&self) -> kube::Client {
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let Ok(file) = Kubeconfig::from_yaml(&self.kubeconfig) else { continue };
            let options = KubeConfigOptions::default();
            // Fails until the server has made its certificate.
            let Ok(config) = kube::Config::from_custom_kubeconfig(file, &options).await else {
                continue;
            };
            let client = kube::Client::try_from(config).unwrap();
            let ready = http::Request::get("/readyz").body(Vec::new()).unwrap();
            if client.request_text(ready).await.is_ok() {
                return client;
            }
        }
        let log = fs::read_to_string(self.folder.path().join("kube-apiserver.log"));
        panic!("the API did not become ready:\n{}", log.unwrap_or_default());
    }

    pub(crate) async fn cluster(&self) -> Cluster {
        Cluster::new(self.client().await)
    }
}

/// Starts a program with its output in a file beside its data.
fn spawn(program: &Path, folder: &Path, arguments: &[String]) -> Child {
    let name = program.file_name().unwrap().to_str().unwrap();
    let log = File::create(folder.join(format!("{name}.log"))).unwrap();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null());
    command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
}

fn openssl(arguments: &[&str]) {
    let done = Command::new("openssl").args(arguments).stderr(Stdio::null()).status().unwrap();
    assert!(done.success(), "openssl {arguments:?}");
}

/// Ports that were free a moment ago.
fn free_ports() -> [u16; 3] {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn kubeconfig(port: u16, certificate: &str) -> String {
    format!(
        "apiVersion: v1
kind: Config
current-context: test
clusters: [{{name: test, cluster: {{server: 'https://127.0.0.1:{port}', certificate-authority: '{certificate}'}}}}]
users: [{{name: admin, user: {{token: admin-token}}}}]
contexts: [{{name: test, context: {{cluster: test, user: admin}}}}]
"
    )
}
