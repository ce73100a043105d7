//! The probe on every node: root within its container, with five named capabilities and no more.

use k8s_openapi::api::apps::v1::{
    DaemonSet, DaemonSetSpec, DaemonSetUpdateStrategy, RollingUpdateDaemonSet,
};
use k8s_openapi::api::core::v1::{
    Capabilities, HostPathVolumeSource, PodSecurityContext, Toleration, Volume, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use super::config::{of_pod, otlp_endpoint, variable};
use super::labels::Component;
use super::pods::{DATA, DATA_DIR, container, mount, pod, resources, scratch, seccomp};
use super::services::HTTP;
use crate::Options;

/// What the probe may do beyond an ordinary process, and what for. `SYS_ADMIN` is not among them:
/// since Linux 5.8 loading and attaching has capabilities of its own.
const CAPABILITIES: [&str; 5] = [
    "BPF",             // load programs and make maps
    "PERFMON",         // attach them to tracepoints
    "NET_ADMIN", // load the one that is told from whom datagrams are; the network is the pod's own
    "SYS_PTRACE", // read /proc/<pid>/exe, maps and fd of other users' processes
    "DAC_READ_SEARCH", // read tracefs and executables that only their owner may read
];

/// Folders of the host, read only: tracepoint ids, and the cgroups that containers are told by.
const HOST_FOLDERS: [(&str, &str); 2] =
    [("tracing", "/sys/kernel/tracing"), ("cgroup", "/sys/fs/cgroup")];

pub(super) fn daemon_set(options: &Options) -> DaemonSet {
    DaemonSet {
        metadata: Component::Probe.meta(options),
        spec: DaemonSetSpec {
            selector: Component::Probe.selector(options),
            template: template(options),
            update_strategy: Some(DaemonSetUpdateStrategy {
                type_: Some("RollingUpdate".to_owned()),
                rolling_update: Some(RollingUpdateDaemonSet {
                    max_unavailable: Some(IntOrString::String("10%".to_owned())),
                    ..RollingUpdateDaemonSet::default()
                }),
            }),
            ..DaemonSetSpec::default()
        },
        status: None,
    }
}

fn template(options: &Options) -> k8s_openapi::api::core::v1::PodTemplateSpec {
    let args = ["probe", "--data-dir", DATA_DIR, "--http-addr", "0.0.0.0:7070"];
    let mut container = container(options, &args, &[HTTP]);
    container.resources = Some(resources("50m", "64Mi", &options.resources.probe_memory));
    // The probe has no business with the bucket: neither its settings nor its credentials.
    container.env_from = None;
    container.env = Some(vec![
        variable("ICECORE_PROBE_ENDPOINT", otlp_endpoint(options)),
        of_pod("NODE_NAME", "spec.nodeName"),
        of_pod("POD_NAME", "metadata.name"),
        of_pod("POD_NAMESPACE", "metadata.namespace"),
    ]);
    if let Some(context) = &mut container.security_context {
        let add = CAPABILITIES.map(str::to_owned).to_vec();
        context.capabilities =
            Some(Capabilities { add: Some(add), drop: Some(vec!["ALL".to_owned()]) });
    }
    let read_only = |name, path| VolumeMount { read_only: Some(true), ..mount(name, path) };
    let folders = HOST_FOLDERS.map(|(name, path)| read_only(name, path));
    container.volume_mounts.get_or_insert_default().extend(folders);
    let mut volumes = vec![scratch(DATA)];
    volumes.extend(HOST_FOLDERS.map(|(name, path)| host_folder(name, path)));
    let mut template = pod(options, Component::Probe, container, volumes);
    if let Some(spec) = &mut template.spec {
        // Other processes are seen under the host's /proc, by the host's process ids.
        spec.host_pid = Some(true);
        spec.automount_service_account_token = Some(true);
        spec.tolerations =
            Some(vec![Toleration { operator: Some("Exists".to_owned()), ..Toleration::default() }]);
        spec.security_context = Some(PodSecurityContext {
            // Capabilities that are added reach root only. Container runtimes before containerd
            // 1.7 refuse bpf(2) in their default profile, whatever the capabilities.
            run_as_user: Some(0),
            seccomp_profile: Some(seccomp("Unconfined")),
            ..PodSecurityContext::default()
        });
    }
    template
}

fn host_folder(name: &str, path: &str) -> Volume {
    let source =
        HostPathVolumeSource { path: path.to_owned(), type_: Some("Directory".to_owned()) };
    Volume { name: name.to_owned(), host_path: Some(source), ..Volume::default() }
}
