//! Paths as container runtimes, kubelets and systemd make them.

use super::*;

const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const NODE: &str = "e123456789abcdefe123456789abcdefe123456789abcdefe123456789abcdef";
const UID: &str = "8dbc5577-d0e2-4706-8787-57d52c03ddf2";
/// Of a static pod: the hash of its manifest.
const HASH: &str = "9b3ee1b4a1bdd9d7b53ea4f4e7e0e3a5";

/// Paths, and the container, the pod and the unit that they say.
const CASES: &[(&str, &str, &str, &str)] = &[
    ("0::/", "", "", ""),
    ("garbage\n:\n::", "", "", ""),
    ("0::/podman/g123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", "", "", ""),
    // systemd.
    ("0::/system.slice/nginx.service", "", "", "nginx"),
    ("0::/user.slice/user-0.slice/user@0.service/app.slice/x.service", "", "", "x"),
    ("0::/user.slice/user-0.slice/user@0.service/init.scope", "", "", ""),
    // Its hierarchy says where the process is, that of a controller only in what.
    ("5:memory:/\n1:name=systemd:/system.slice/cron.service\n0::/system.slice", "", "", "cron"),
    // Docker, by systemd and by itself, of both versions; and systemd inside.
    ("0::/system.slice/docker-{id}.scope", ID, "", ""),
    ("12:memory:/docker/{id}\n1:name=systemd:/docker/{id}", ID, "", ""),
    ("0::/docker/{id}/init.scope", ID, "", ""),
    ("0::/system.slice/docker-{id}.scope/system.slice/nginx.service", ID, "", "nginx"),
    // Podman, and containerd without Kubernetes.
    ("0::/machine.slice/libpod-{id}.scope", ID, "", ""),
    ("0::/machine.slice/libpod-{id}.scope/container", ID, "", ""),
    ("0::/machine.slice/libpod-conmon-{id}.scope", "", "", ""),
    ("0::/default/{id}", ID, "", ""),
    ("0::/system.slice/nerdctl-{id}.scope", ID, "", ""),
    // Kubernetes: containerd and CRI-O, by systemd and by themselves.
    ("0::/kubepods/besteffort/pod{uid}/{id}", ID, UID, ""),
    (
        "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{_uid}.slice/cri-containerd-{id}.scope",
        ID,
        UID,
        "",
    ),
    ("0::/kubepods.slice/kubepods-pod{_uid}.slice/crio-{id}.scope/container", ID, UID, ""),
    ("0::/kubepods.slice/kubepods-pod{_uid}.slice/crio-conmon-{id}.scope", "", UID, ""),
    ("0::/kubepods.slice/kubepods-pod{hash}.slice/crio-{id}.scope", ID, HASH, ""),
    ("0::/kubepods/pod{uid}/{id}/system.slice/nginx.service", ID, UID, "nginx"),
    (
        "11:cpu:/system.slice/containerd.service/kubepods-besteffort-pod{_uid}.slice:cri-containerd:{id}",
        ID,
        UID,
        "",
    ),
    // As an agent sees it that has a namespace of control groups of its own.
    ("0::/../../kubepods-besteffort-pod{_uid}.slice/cri-containerd-{id}.scope", ID, UID, ""),
    ("0::/../cri-containerd-{id}.scope", ID, "", ""),
    // kind: the node is a container of Docker.
    (
        "0::/system.slice/docker-{node}.scope/kubelet.slice/kubelet-kubepods.slice/\
         kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod{_uid}.slice/cri-containerd-{id}.scope",
        ID,
        UID,
        "",
    ),
    (
        "9:pids:/docker/{node}\n8:cpu:/docker/{node}/kubelet/kubepods/besteffort/pod{uid}/{id}\n\
         0::/system.slice/docker.service",
        ID,
        UID,
        "",
    ),
    ("0::/docker/{node}/kubelet.slice/kubelet.service", NODE, "", "kubelet"),
];

/// Scenario: the paths that container runtimes and systemd make, of both versions.
/// Guarantees: container, pod and unit where they are, the innermost of each, and nothing where they
/// are not.
#[test]
fn paths() {
    for (path, container, pod, unit) in CASES {
        let path = path.replace("{id}", ID).replace("{node}", NODE).replace("{uid}", UID);
        let path = path.replace("{_uid}", &UID.replace('-', "_")).replace("{hash}", HASH);
        let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let wanted = Cgroup { container_id: some(container), pod_uid: some(pod), unit: some(unit) };
        assert_eq!(parse(&path), wanted, "{path}");
    }
}
