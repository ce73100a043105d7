//! More and more is said of what a service is called.

use std::sync::Arc;

use super::super::cgroup::Cgroup;
use super::super::docker::Docker;
use super::*;

fn called(executable: &str, arguments: &[&str]) -> Process {
    Process {
        executable: Some(executable.to_owned()),
        arguments: arguments.iter().map(|&one| one.to_owned()).collect(),
        comm: "comm".to_owned(),
        ..Process::default()
    }
}

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

fn naming() -> Naming {
    Naming { service_labels: vec!["app.kubernetes.io/name".to_owned()], ..Naming::default() }
}

/// Scenario: programs called in the usual ways, as units and in containers of Docker.
/// Guarantees: the strongest word wins, and there always is one.
#[test]
fn without_kubernetes() {
    let name = |process: &Process| name(&naming(), process, None);
    let python = called("/usr/bin/python3.11", &["python3", "-m", "http.server"]);
    assert_eq!(name(&python), "python3");
    let nginx = called("/usr/sbin/nginx", &["nginx: worker process"]);
    assert_eq!(name(&nginx), "nginx");
    assert_eq!(name(&Process { comm: "curl".to_owned(), ..Process::default() }), "curl");
    assert_eq!(name(&Process::default()), "unknown_service");
    let cgroup = Cgroup { unit: Some("shop".to_owned()), ..Cgroup::default() };
    let mut process = Process { cgroup, ..nginx };
    assert_eq!(name(&process), "nginx", "started by hand from within a unit");
    process.started_by_init = true;
    assert_eq!(name(&process), "shop");
    process.docker = Some(Docker { name: "web".to_owned(), ..Docker::default() });
    assert_eq!(name(&process), "web");
    let docker = process.docker.as_mut().unwrap();
    docker.service = Some("cart".to_owned());
    docker.project = Some("prod".to_owned());
    docker.image = Image::parse("shop/cart:2.1");
    assert_eq!(name(&process), "cart");
    assert_eq!(namespace(&process, None).as_deref(), Some("prod"));
    assert_eq!(version(&process, None).as_deref(), Some("2.1"));
    process.given = pairs(&[("service.name", "named"), ("service.version", "3")]);
    assert_eq!(name(&process), "named");
    assert_eq!(version(&process, None).as_deref(), Some("3"));
}

/// Scenario: programs that are links to a file for several, one with a title of its own, one with a long name; a
/// script under its interpreter; a program that a caller gave another name.
/// Guarantees: a program goes by the name of its link, and by no other that somebody made up.
#[test]
fn by_links() {
    let name = |comm: &str, process: Process| {
        name(&naming(), &Process { comm: comm.to_owned(), ..process }, None)
    };
    let redis = called("/usr/bin/redis-check-rdb", &["redis-server *:6379"]);
    assert_eq!(name("redis-server", redis), "redis-server");
    let applet = || called("/bin/busybox", &["/usr/sbin/httpd", "-f"]);
    assert_eq!(name("httpd", applet()), "httpd");
    let long = called("/bin/box", &["/bin/a-name-of-many-letters"]);
    assert_eq!(name("a-name-of-many-", long), "a-name-of-many-letters");
    let script = called("/usr/bin/python3.11", &["/usr/bin/python3", "/usr/bin/serve"]);
    assert_eq!(name("serve", script), "python3");
    assert_eq!(name("busybox", applet()), "busybox");
    assert_eq!(name("", called("/bin/app", &[""])), "app");
}

/// Scenario: a pod of which more and more is known.
/// Guarantees: the order of the conventions for Kubernetes: annotation, label, owner, pod; the
/// process's own environment before all.
#[test]
fn in_kubernetes() {
    let mut process = called("/app", &["/app"]);
    let mut pod =
        Pod { name: "cart-abc-x".to_owned(), namespace: "shop".to_owned(), ..Pod::default() };
    let check = |process: &Process, pod: &Pod, wanted: [&str; 4]| {
        let host = Host::default();
        let placed = Placed::in_pod(Arc::new(pod.clone()));
        let placed = Some(&placed);
        assert_eq!(name(&naming(), process, placed), wanted[0]);
        assert_eq!(namespace(process, placed).unwrap(), wanted[1]);
        assert_eq!(version(process, placed).unwrap_or_default(), wanted[2]);
        assert_eq!(instance(&host, 7, process, placed), wanted[3]);
    };
    check(&process, &pod, ["cart-abc-x", "shop", "", "shop.cart-abc-x."]);
    pod.owners = vec![("k8s.replicaset.name", "cart-abc".to_owned())];
    check(&process, &pod, ["cart-abc", "shop", "", "shop.cart-abc-x."]);
    pod.owners.push(("k8s.deployment.name", "cart".to_owned()));
    pod.labels = pairs(&[("app", "not asked for")]);
    check(&process, &pod, ["cart", "shop", "", "shop.cart-abc-x."]);
    pod.labels = pairs(&[("app.kubernetes.io/name", "labelled"), (VERSION_LABEL, "1")]);
    check(&process, &pod, ["labelled", "shop", "1", "shop.cart-abc-x."]);
    pod.given = pairs(&[
        ("service.name", "annotated"),
        ("service.namespace", "ns"),
        ("service.version", "2"),
        ("service.instance.id", "i"),
    ]);
    check(&process, &pod, ["annotated", "ns", "2", "i"]);
    process.given = pairs(&[("service.name", "own"), ("service.namespace", "mine")]);
    check(&process, &pod, ["own", "mine", "2", "i"]);
}
