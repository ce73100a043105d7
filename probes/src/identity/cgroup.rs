//! Container, pod and unit from the path of a control group.
//!
//! Invariant: pure; only a whole 64-digit id counts as a container's, so that no other name is
//! taken for one.

/// What the control groups of a process say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cgroup {
    pub(crate) container_id: Option<String>,
    pub(crate) pod_uid: Option<String>,
    /// The systemd service, without `.service`: of the machine, or of what runs inside the container.
    pub(crate) unit: Option<String>,
}

const CONTAINER_ID_DIGITS: usize = 64;
const POD_UID_BYTES: usize = 36;
/// Processes that container runtimes start beside a container, and that are none of its own.
const MONITORS: [&str; 2] = ["crio-conmon-", "libpod-conmon-"];

/// Reads `/proc/<pid>/cgroup`, of either version.
pub(crate) fn parse(text: &str) -> Cgroup {
    // `hierarchy:controllers:path`; the path may hold colons.
    let paths = text.lines().filter_map(|line| line.splitn(3, ':').nth(2)).map(of_path);
    // Of version 1 there is a path for each controller, and some controllers may not be used below
    // some level: the one that says the most counts.
    paths.fold(Cgroup::default(), |best, one| if one.says() > best.says() { one } else { best })
}

/// The innermost of each: a node that is itself a container (kind) has its pods below its own
/// container, and a unit below a container is one of that container's.
fn of_path(path: &str) -> Cgroup {
    let mut found = Cgroup::default();
    for part in path.split('/') {
        if let Some(uid) = pod_uid(part) {
            // Whatever is above is the node's.
            found = Cgroup { pod_uid: Some(uid), ..Cgroup::default() };
        }
        if let Some(id) = container_id(part) {
            // That of the runtime or the kubelet, not of what runs inside.
            found.unit = None;
            found.container_id = Some(id);
        }
        // The innermost unit: a user's own service is below the user manager's.
        if let Some(unit) = part.strip_suffix(".service") {
            found.unit = Some(unit.to_owned()).filter(|unit| !unit.starts_with("user@"));
        }
    }
    found
}

impl Cgroup {
    /// How much is known, and of that the most telling first.
    fn says(&self) -> (bool, bool, bool) {
        (self.pod_uid.is_some(), self.container_id.is_some(), self.unit.is_some())
    }
}

/// `<id>`, `docker-<id>.scope`, `cri-containerd-<id>.scope`, `kubepods-….slice:cri-containerd:<id>`.
fn container_id(part: &str) -> Option<String> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    if MONITORS.iter().any(|monitor| name.starts_with(monitor)) {
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
mod tests;
