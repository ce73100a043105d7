//! The services that the load comes from: 20 with 3 pods each, 200 HTTP operations, 60 SQL
//! statements.

use opentelemetry_proto::tonic::resource::v1::Resource;

use super::attributes::text;
use super::chance::Chance;

const SERVICES: [&str; 20] = [
    "frontend",
    "checkout",
    "cart",
    "catalog",
    "payment",
    "shipping",
    "search",
    "account",
    "inventory",
    "pricing",
    "recommendation",
    "review",
    "notification",
    "auth",
    "session",
    "invoice",
    "fraud",
    "warehouse",
    "currency",
    "media",
];

const THINGS: [&str; 10] = [
    "orders", "items", "users", "prices", "carts", "payments", "reviews", "stock", "images",
    "sessions",
];

const TABLES: [&str; 12] = [
    "orders",
    "order_items",
    "customers",
    "products",
    "prices",
    "stock_levels",
    "payments",
    "addresses",
    "sessions",
    "reviews",
    "shipments",
    "invoices",
];

pub(super) const PODS_PER_SERVICE: usize = 3;

/// A method and a route.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) method: &'static str,
    pub(super) route: String,
}

/// A SQL statement with its short forms.
#[derive(Debug)]
pub(super) struct Statement {
    pub(super) verb: &'static str,
    pub(super) table: &'static str,
    pub(super) text: String,
}

#[derive(Debug)]
pub(super) struct Service {
    pub(super) name: &'static str,
    pub(super) operations: Vec<Operation>,
}

/// One instance of a service.
#[derive(Debug)]
pub(super) struct Pod {
    pub(super) service: usize,
    pub(super) ip: String,
    pub(super) resource: Resource,
}

#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) services: Vec<Service>,
    /// [`PODS_PER_SERVICE`] for each service, in their order.
    pub(super) pods: Vec<Pod>,
    pub(super) statements: Vec<Statement>,
}

impl Fleet {
    pub(super) fn new(seed: u64, run: &str) -> Self {
        let mut chance = Chance::new(seed, "fleet");
        let mut pods = Vec::new();
        for (service, name) in SERVICES.iter().enumerate() {
            for _ in 0..PODS_PER_SERVICE {
                pods.push(pod(&mut chance, service, name, run));
            }
        }
        let services = SERVICES.map(|name| Service { name, operations: operations(name) });
        Self { services: services.into(), pods, statements: statements() }
    }

    /// A pod of a service; the first ones of the list are used more.
    pub(super) fn any_pod(&self, chance: &mut Chance) -> usize {
        let (one, other) = (chance.index(self.pods.len()), chance.index(self.pods.len()));
        if chance.happens(0.6) { one } else { one.min(other) }
    }

    pub(super) fn service(&self, pod: usize) -> &Service {
        &self.services[self.pods[pod].service]
    }
}

/// Ten operations of a service: five routes that are read, five that are changed.
fn operations(service: &str) -> Vec<Operation> {
    let operation = |(at, thing): (usize, &&str)| {
        let (method, route) = match at % 5 {
            0 => ("GET", format!("/api/v1/{service}/{thing}")),
            1 => ("GET", format!("/api/v1/{service}/{thing}/{{id}}")),
            2 => ("POST", format!("/api/v1/{service}/{thing}")),
            3 => ("PUT", format!("/api/v1/{service}/{thing}/{{id}}")),
            _ => ("DELETE", format!("/api/v1/{service}/{thing}/{{id}}")),
        };
        Operation { method, route }
    };
    THINGS.iter().enumerate().map(operation).collect()
}

/// Five statements for each of twelve tables.
fn statements() -> Vec<Statement> {
    let of_table = |table: &&'static str| {
        let table = *table;
        let all = [
            (
                "SELECT",
                format!(
                    "SELECT id, name, status, owner, created_at, updated_at, version FROM {table} WHERE id = $1"
                ),
            ),
            (
                "SELECT",
                format!(
                    "SELECT id, name, status FROM {table} WHERE owner = $1 AND status <> $2 ORDER BY id LIMIT 50"
                ),
            ),
            (
                "INSERT",
                format!(
                    "INSERT INTO {table} (id, name, status, owner, created_at, version) VALUES ($1, $2, $3, $4, now(), 1)"
                ),
            ),
            (
                "UPDATE",
                format!(
                    "UPDATE {table} SET status = $1, updated_at = now(), version = version + 1 WHERE id = $2 AND version = $3"
                ),
            ),
            ("DELETE", format!("DELETE FROM {table} WHERE id = $1 AND status = $2")),
        ];
        all.map(|(verb, text)| Statement { verb, table, text })
    };
    TABLES.iter().flat_map(of_table).collect()
}

fn pod(chance: &mut Chance, service: usize, name: &str, run: &str) -> Pod {
    let pod_name = format!("{name}-{}-{}", chance.hex(10), chance.hex(5));
    let uid = [8, 4, 4, 4, 12].map(|digits| chance.hex(digits)).join("-");
    let node = format!("ip-10-0-{}-{}.internal", chance.below(4), chance.below(250));
    let ip = format!("10.42.{}.{}", chance.below(250), chance.below(250));
    let attributes = vec![
        text("service.name", name),
        text("service.namespace", "shop"),
        text("service.version", format!("2.{}.{}", chance.below(9), chance.below(30))),
        text("service.instance.id", uid.clone()),
        text("deployment.environment.name", "production"),
        text("k8s.cluster.name", "eu-west-1a"),
        text("k8s.namespace.name", "shop"),
        text("k8s.deployment.name", name),
        text("k8s.pod.name", pod_name),
        text("k8s.pod.uid", uid),
        text("k8s.node.name", node),
        text("container.id", chance.hex(64)),
        text("telemetry.sdk.language", "java"),
        text("telemetry.sdk.name", "opentelemetry"),
        text("telemetry.sdk.version", "1.42.1"),
        text("loadtest.run", run),
    ];
    let resource = Resource { attributes, ..Resource::default() };
    Pod { service, ip, resource }
}

impl Fleet {
    /// The address of any pod.
    pub(super) fn any_ip(&self, chance: &mut Chance) -> String {
        chance.pick(&self.pods).ip.clone()
    }
}
