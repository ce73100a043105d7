//! Random commits, merges, rules, holds, erasures and starts, against a list of rows.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::bench::{Bench, forget, hours, names, wish};
use crate::bucket::faulty::Fault;
use crate::retention::HoldOutcome;
use crate::store::Store;

/// A row that was acknowledged and not yet taken.
#[derive(Debug, Clone)]
struct Row {
    name: String,
    /// Hours after the beginning.
    hour: i64,
}

/// A hold: hours, and the text that the body has.
#[derive(Debug, Clone)]
struct Held {
    name: String,
    from: i64,
    to: i64,
    text: String,
}

const RULES: [&[(u64, &str)]; 4] = [
    &[],
    &[(24, "")],
    &[(10, ""), (40, "body has -1"), (0, "body has -2")],
    &[(15, "body has -0"), (30, "body has -3")],
];

const TEXTS: [&str; 4] = ["", "-0", "-1", "-2"];

struct Model {
    rng: StdRng,
    bench: Bench,
    rules: &'static [(u64, &'static str)],
    store: Store,
    /// Another process, which last read the catalog when it last did something.
    other: Store,
    rows: Vec<Row>,
    holds: Vec<Held>,
    now: i64,
    count: u32,
    restarts: u32,
}

impl Model {
    fn is_held(&self, row: &Row) -> bool {
        let keeps =
            |hold: &Held| (hold.from..hold.to).contains(&row.hour) && row.name.contains(&hold.text);
        self.holds.iter().any(keeps)
    }

    /// Whether rules let the row go at an hour; `None` while its file may be too young or not.
    fn is_due(&self, row: &Row) -> bool {
        let selects = |text: &str| row.name.contains(text.trim_start_matches("body has "));
        let keeps = self.rules.iter().filter(|(_, text)| selects(text)).map(|(hours, _)| *hours);
        let longest = keeps.map(|hours| if hours == 0 { u64::MAX } else { hours }).max();
        let age = u64::try_from(self.now - row.hour).unwrap_or(0);
        // A file is of one hour at most: it is over at the hour's end.
        longest.is_some_and(|longest| age > longest)
    }

    async fn step(&mut self) {
        match self.rng.random_range(0..100) {
            0..30 => self.write().await,
            30..45 => drop(self.store.compact().await),
            45..60 => self.retain().await,
            60..70 => self.hold().await,
            70..75 => self.release().await,
            75..83 => self.erase().await,
            83..90 => self.pass(),
            90..94 => drop(self.store.collect_garbage().await),
            94..97 => self.restart().await,
            _ => self.break_something(),
        }
    }

    async fn write(&mut self) {
        self.store.refresh().await.unwrap();
        let hour = self.now - self.rng.random_range(0..30);
        let count = self.rng.random_range(1..5);
        self.count += 1;
        let name = format!("n{}", self.count);
        self.bench.write(&self.store, hour, &name, count).await;
        let rows = (0..count).map(|row| Row { name: format!("{name}-{row}"), hour });
        self.rows.extend(rows);
    }

    /// A pass that succeeds takes what is due, and nothing takes what is not.
    async fn retain(&mut self) {
        let passed = self.store.retain(false).await;
        let whole = passed.is_ok_and(|report| report.failed == 0);
        let there = names(&self.store).await;
        let (rows, rest): (Vec<Row>, Vec<Row>) =
            self.rows.clone().into_iter().partition(|row| there.contains(&row.name));
        for row in &rest {
            assert!(self.is_due(row) && !self.is_held(row), "{row:?} is gone");
        }
        for row in rows.iter().filter(|_| whole) {
            assert!(!self.is_due(row) || self.is_held(row), "{row:?} is there");
        }
        self.rows = rows;
    }

    async fn hold(&mut self) {
        let from = self.now - self.rng.random_range(0..40);
        let to = from + self.rng.random_range(1..20);
        let text = TEXTS[self.rng.random_range(0..TEXTS.len())].to_owned();
        let name = format!("h{}", self.rng.random_range(0..6));
        let condition = if text.is_empty() { String::new() } else { format!("body has {text}") };
        match self.store.hold(wish(&name, hours(from, to), &condition)).await {
            Ok(HoldOutcome::Made(_)) => self.holds.push(Held { name, from, to, text }),
            Ok(_) => {}
            // Nobody knows whether it stands: ask.
            Err(_) => {
                let standing = self.store.holds().await.unwrap();
                let stands = standing.iter().any(|held| held.hold.name.as_str() == name);
                if stands && !self.holds.iter().any(|held| held.name == name) {
                    self.holds.push(Held { name, from, to, text });
                }
            }
        }
    }

    async fn release(&mut self) {
        let name = format!("h{}", self.rng.random_range(0..6));
        while self.store.release(&name.parse().unwrap()).await.is_err() {}
        self.holds.retain(|held| held.name != name);
    }

    async fn erase(&mut self) {
        let text = format!("n{}-", self.rng.random_range(1..self.count + 2));
        let mut request = forget(&format!("body has {text}"));
        request.now = self.rng.random_bool(0.5);
        // Asked for until it ends well, as somebody would.
        while self.store.erase(request.clone(), None, &|_| {}).await.is_err() {}
        let stays = |row: &Row| !row.name.contains(&text) || self.is_held(row);
        self.rows = self.rows.iter().filter(|row| stays(row)).cloned().collect();
    }

    fn pass(&mut self) {
        let hours = self.rng.random_range(1..12);
        self.bench.pass(hours);
        self.now += hours;
    }

    async fn restart(&mut self) {
        self.restarts += 1;
        let index = if self.rng.random_bool(0.5) { "same" } else { &format!("i{}", self.restarts) };
        self.store = self.bench.open(index).await;
    }

    fn break_something(&mut self) {
        let faults = [
            Fault::BeforePut("data/"),
            Fault::AfterPut("data/"),
            Fault::BeforePut("catalog/compaction"),
            Fault::AfterPut("catalog/compaction"),
        ];
        let fault = faults[self.rng.random_range(0..faults.len())];
        // Commits are the flush's to repeat: their faults have tests of their own.
        self.bench.faults.inject(fault);
    }

    /// What is there is what the model has.
    async fn check(&mut self) {
        let mut expected: Vec<String> = self.rows.iter().map(|row| row.name.clone()).collect();
        expected.sort();
        assert_eq!(names(&self.store).await, expected);
        let mut standing: Vec<String> = self.holds.iter().map(|held| held.name.clone()).collect();
        standing.sort();
        let found = self.store.holds().await.unwrap();
        let found: Vec<_> = found.iter().map(|held| held.hold.name.to_string()).collect();
        assert_eq!(found, standing);
    }
}

async fn run(seed: u64, steps: u32) {
    let mut rng = StdRng::seed_from_u64(seed);
    let rules = RULES[rng.random_range(0..RULES.len())];
    let bench = Bench::new(rules);
    let store = bench.open("same").await;
    let other = bench.open("other").await;
    let (rows, holds) = (Vec::new(), Vec::new());
    let mut model =
        Model { rng, bench, rules, store, other, rows, holds, now: 0, count: 0, restarts: 0 };
    for _ in 0..steps {
        if model.rng.random_bool(0.3) {
            std::mem::swap(&mut model.store, &mut model.other);
        }
        model.step().await;
        model.check().await;
    }
    let report = model.store.check().await.unwrap();
    assert_eq!(report.faults, Vec::<String>::new());
}

/// Scenario: forty seeds of random commits, merges, rules, holds, releases, erasures, starts with
/// and without an index, and failing puts, by two processes in turn.
/// Guarantees: after each step exactly the rows are there that rules, holds and erasures leave,
/// each once. `ICECORE_SEED=n` runs one seed.
#[test]
fn only_what_may_go_goes() {
    let one = std::env::var("ICECORE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = one.map_or(0..40, |seed: u64| seed..seed + 1);
    for seed in seeds {
        println!("seed {seed}");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(seed, 40));
    }
}
