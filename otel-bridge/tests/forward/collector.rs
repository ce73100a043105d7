//! The real OpenTelemetry Collector between the bridge and a receiver that counts.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A running Collector; it is killed when dropped.
pub(crate) struct Collector(Child);

impl Drop for Collector {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The program, or why there is none.
pub(crate) fn program() -> Result<PathBuf, String> {
    let home = || std::env::var("HOME").map(|home| format!("{home}/.cache/icecore"));
    let cache = std::env::var("ICECORE_CACHE").or_else(|_| home()).unwrap_or_default();
    let path = Path::new(&cache).join("bin/otelcol");
    if path.exists() { Ok(path) } else { Err(format!("{} is not there", path.display())) }
}

/// A port for gRPC and one for HTTP, free a moment ago.
pub(crate) fn ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

impl Collector {
    /// Starts one that sends on to `receiver`. Without a queue of its own, it accepts only what
    /// the receiver has, so that killing it loses nothing that it accepted.
    pub(crate) fn start(program: &Path, folder: &Path, ports: [u16; 2], to: SocketAddr) -> Self {
        let [grpc, http] = ports;
        let config = format!(
            "receivers:
  otlp:
    protocols:
      grpc: {{endpoint: '127.0.0.1:{grpc}'}}
      http: {{endpoint: '127.0.0.1:{http}'}}
exporters:
  otlp_http:
    endpoint: 'http://{to}'
    sending_queue: {{enabled: false}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [otlp_http]}}
"
        );
        let path = folder.join("collector.yaml");
        fs::write(&path, config).unwrap();
        let log = fs::File::create(folder.join("collector.log")).unwrap();
        let mut command = Command::new(program);
        command.arg("--config").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Self(command.spawn().unwrap())
    }
}
