//! Container, pod and unit from the path of a control group.
//!
//! Invariant: pure; only a whole 64-digit id counts as a container's, so that no other name is
//! taken for one.

/// What the control groups of a process say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cgroup {
    pub(crate) container_id: Option<String>,
    pub(crate) pod_uid: Option<String>,
    /// The systemd service, without `.service`.
    pub(crate) unit: Option<String>,
}

const CONTAINER_ID_DIGITS: usize = 64;
const POD_UID_BYTES: usize = 36;

/// Reads `/proc/<pid>/cgroup`, of either version.
pub(crate) fn parse(text: &str) -> Cgroup {
    let mut found = Cgroup::default();
    // `hierarchy:controllers:path`; the path may hold colons.
    for path in text.lines().filter_map(|line| line.splitn(3, ':').nth(2)) {
        for part in path.split('/') {
            found.container_id = found.container_id.or_else(|| container_id(part));
            found.pod_uid = found.pod_uid.or_else(|| pod_uid(part));
            // The innermost unit: a user's own service is below the user manager's.
            if let Some(unit) = part.strip_suffix(".service") {
                found.unit = Some(unit.to_owned()).filter(|unit| !unit.starts_with("user@"));
            }
        }
    }
    if found.container_id.is_some() {
        // That of the runtime or the kubelet, not of what runs inside.
        found.unit = None;
    }
    found
}

/// `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `kubepods-….slice:cri-containerd:<id>`.
fn container_id(part: &str) -> Option<String> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    if name.starts_with("crio-conmon-") {
        return None;
    }
    let id = name.rsplit(['-', ':']).next()?;
    let hex = id.bytes().all(|byte| byte.is_ascii_hexdigit());
    (hex && id.len() == CONTAINER_ID_DIGITS).then(|| id.to_ascii_lowercase())
}

/// `pod<uid>`, `kubepods-burstable-pod<uid>.slice` with `_` for `-`.
fn pod_uid(part: &str) -> Option<String> {
    let part = part.split(':').next().unwrap_or(part);
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match name.rsplit_once("-pod") {
        Some((_, uid)) => uid,
        None => name.strip_prefix("pod")?,
    };
    // A static pod's is the hash of its manifest: 32 digits without dashes.
    let shaped = uid.len() == POD_UID_BYTES || uid.len() == 32;
    let allowed = uid.bytes().all(|byte| byte.is_ascii_hexdigit() || b"-_".contains(&byte));
    (shaped && allowed).then(|| uid.replace('_', "-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
    const UID: &str = "8dbc5577-d0e2-4706-8787-57d52c03ddf2";

    /// Scenario: the paths that container runtimes and systemd make, of both versions.
    /// Guarantees: container, pod and unit where they are, and nothing where they are not.
    #[test]
    fn paths() {
        let slice_uid = UID.replace('-', "_");
        let cases = [
            ("0::/".to_owned(), None, None, None),
            ("0::/system.slice/nginx.service".to_owned(), None, None, Some("nginx")),
            (
                "0::/user.slice/user-0.slice/user@0.service/app.slice/x.service".to_owned(),
                None,
                None,
                Some("x"),
            ),
            ("0::/user.slice/user-0.slice/user@0.service/init.scope".to_owned(), None, None, None),
            (format!("0::/system.slice/docker-{ID}.scope"), Some(ID), None, None),
            (format!("12:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}"), Some(ID), None, None),
            (format!("0::/docker/{ID}/init.scope"), Some(ID), None, None),
            (format!("0::/kubepods/besteffort/pod{UID}/{ID}"), Some(ID), Some(UID), None),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{slice_uid}.slice/cri-containerd-{ID}.scope"
                ),
                Some(ID),
                Some(UID),
                None,
            ),
            (
                format!(
                    "0::/kubepods.slice/kubepods-pod{slice_uid}.slice/crio-{ID}.scope/container"
                ),
                Some(ID),
                Some(UID),
                None,
            ),
            (
                format!("0::/kubepods.slice/kubepods-pod{slice_uid}.slice/crio-conmon-{ID}.scope"),
                None,
                Some(UID),
                None,
            ),
            (
                format!(
                    "11:cpu:/system.slice/containerd.service/kubepods-besteffort-pod{slice_uid}.slice:cri-containerd:{ID}"
                ),
                Some(ID),
                Some(UID),
                None,
            ),
            (format!("0::/machine.slice/libpod-{ID}.scope"), Some(ID), None, None),
            (format!("0::/podman/{}", ID.replace('a', "g")), None, None, None),
            ("garbage\n:\n::".to_owned(), None, None, None),
        ];
        for (text, container_id, pod_uid, unit) in cases {
            let wanted = Cgroup {
                container_id: container_id.map(str::to_owned),
                pod_uid: pod_uid.map(str::to_owned),
                unit: unit.map(str::to_owned),
            };
            assert_eq!(parse(&text), wanted, "{text}");
        }
    }
}
