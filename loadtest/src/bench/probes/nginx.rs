//! nginx with one worker, one short answer, and connections that stay open.
//!
//! Invariant: it ends with the value.

use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::error::Error;

/// It starts in some milliseconds.
const READY_WITHIN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Nginx {
    _child: Child,
    pub(super) port: u16,
}

impl Nginx {
    /// None where it is not installed.
    pub(super) async fn start(folder: &Path) -> Result<Option<Self>, Error> {
        let file = |action| move |source| Error::File { action, path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(file("make"))?;
        let folder = std::fs::canonicalize(folder).map_err(file("find"))?;
        let port = free_port().map_err(file("find a port for"))?;
        let config = folder.join("nginx.conf");
        std::fs::write(&config, settings(&folder, port)).map_err(file("write to"))?;
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder).arg("-c").arg(&config);
        command.stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let child = match command.spawn() {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Spawn { path: "nginx".into(), source }),
        };
        let answers = async {
            while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
                sleep(Duration::from_millis(10)).await;
            }
        };
        let ready = timeout(READY_WITHIN, answers).await;
        let late = |_| Error::NotReady { path: "nginx".into(), said: String::new() };
        ready.map_err(late)?;
        Ok(Some(Self { _child: child, port }))
    }
}

/// A process of its own, so that killing it leaves no worker behind.
fn settings(folder: &Path, port: u16) -> String {
    let folder = folder.display();
    format!(
        "daemon off; master_process off; pid {folder}/pid; error_log stderr;\n\
         events {{ worker_connections 256; }}\n\
         http {{ access_log off; keepalive_requests 100000000;\n\
         client_body_temp_path {folder}/a; proxy_temp_path {folder}/b;\n\
         fastcgi_temp_path {folder}/c; uwsgi_temp_path {folder}/d; scgi_temp_path {folder}/e;\n\
         server {{ listen 127.0.0.1:{port};\n\
         location / {{ return 200 'an answer of some forty bytes, and no more'; }} }} }}\n"
    )
}

fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
