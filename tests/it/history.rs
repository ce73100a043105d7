//! Random questions over random histories, each answer compared with that of a plain list of spans.
//!
//! A seed decides what is sent, in which order flushes, merges, stops and crashes come, what goes on
//! while a question is asked, and the questions. `HISTORY_SEEDS=1000` (from `HISTORY_FROM`) tries
//! more of them, as `./dev histories` does on all cores, `HISTORY_SEED=n` one; one that fails says its
//! number and its story, and goes into [`FAILED`].

mod chance;
mod condition;
mod life;
mod model;
mod question;

use std::collections::BTreeSet;

use serde_json::{Value, json};

use self::chance::Chance;
use self::life::Life;
use self::model::{Row, encode};
use self::question::Question;

/// Seeds that every run tries.
const SEEDS: u64 = 12;
/// Seeds that once failed, which every run tries too.
const FAILED: [u64; 0] = [];
/// Steps of a history.
const STEPS: u64 = 14;

/// What has happened so far.
struct History {
    seed: u64,
    chance: Chance,
    folder: tempfile::TempDir,
    life: Option<Life>,
    /// Every span that was acknowledged.
    rows: Vec<Row>,
    next: u64,
    /// What happened, to be told where an answer is wrong.
    told: Vec<String>,
}

/// Whether queries are in a process of their own.
const fn is_far(seed: u64) -> bool {
    seed % 2 == 1
}

impl History {
    fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let life = Some(Life::begin(folder.path(), is_far(seed)));
        let chance = Chance::new(seed);
        Self { seed, chance, folder, life, rows: Vec::new(), next: 1, told: Vec::new() }
    }

    fn life(&self) -> &Life {
        self.life.as_ref().unwrap()
    }

    fn tell(&mut self, what: String) {
        self.told.push(what);
    }

    fn request(&mut self) -> Vec<Row> {
        let rows = Row::request(&mut self.chance, self.next);
        self.next += rows.len() as u64;
        rows
    }

    fn send(&mut self) {
        let rows = self.request();
        let life = self.life();
        assert!(life.run(life.send(encode(&rows))), "nothing is in the way of a request");
        self.tell(format!("{} spans were sent", rows.len()));
        self.rows.extend(rows);
    }

    /// One thing that happens.
    fn step(&mut self) {
        match self.chance.below(20) {
            0..=6 => self.send(),
            7..=9 => {
                self.life().run(self.life().flush.flush()).unwrap();
                self.tell("flushed".to_owned());
            }
            10 | 11 => {
                let report = self.life().run(self.life().store.compact()).unwrap();
                self.tell(format!("merged: {report:?}"));
            }
            12 => {
                self.life.take().unwrap().stop();
                self.tell("stopped".to_owned());
                self.life = Some(Life::begin(self.folder.path(), is_far(self.seed)));
            }
            13 | 14 => self.crash(),
            _ => self.ask_amid(),
        }
    }

    /// The process ends in the middle of a request, a flush and a merge. What of the request was
    /// there shows afterwards, and it is all of it or nothing.
    fn crash(&mut self) {
        let rows = self.request();
        let life = self.life.take().unwrap();
        let patience = std::time::Duration::from_micros(self.chance.below(30_000));
        let acknowledged = life.run(async {
            let (sent, flushed, merged) =
                (life.send(encode(&rows)), life.flush.flush(), life.store.compact());
            let all = async {
                let (sent, _flushed, _merged) = tokio::join!(sent, flushed, merged);
                sent
            };
            // Not acknowledged as far as its sender knows.
            tokio::time::timeout(patience, Box::pin(all)).await.unwrap_or(false)
        });
        life.crash();
        self.life = Some(Life::begin(self.folder.path(), is_far(self.seed)));
        let first = rows[0].span_id();
        let sql = format!("SELECT count(*) FROM spans WHERE span_id >= '{first}'");
        let life = self.life();
        let found = life.run(life.ask(&sql))[0][0].as_u64().unwrap();
        self.tell(format!("crashed after {patience:?} amid a request of {}: {found}", rows.len()));
        let whole = found == rows.len() as u64;
        assert!(whole || (found == 0 && !acknowledged), "{found} of {} spans", rows.len());
        if found > 0 {
            self.rows.extend(rows);
        }
    }

    /// Asks while something else goes on. Of a request that comes meanwhile an answer has all or
    /// nothing.
    fn ask_amid(&mut self) {
        let question = Question::random(&mut self.chance);
        let amid = self.chance.below(3);
        let rows = if amid == 0 { self.request() } else { Vec::new() };
        let before = question.answer(&self.rows);
        let life = self.life();
        let answer = life.run(async {
            let other = async {
                match amid {
                    0 => assert!(life.send(encode(&rows)).await),
                    1 => drop(life.flush.flush().await.unwrap()),
                    _ => drop(life.store.compact().await.unwrap()),
                }
            };
            tokio::join!(life.ask(&question.sql), other).0
        });
        self.rows.extend(rows);
        let answer = as_rows(&answer);
        if !alike(&answer, &before) {
            self.compare(&question, &answer);
        }
    }

    fn ask(&mut self) {
        let question = Question::random(&mut self.chance);
        let life = self.life();
        let answer = life.run(life.ask(&question.sql));
        self.compare(&question, &as_rows(&answer));
    }

    fn compare(&self, question: &Question, answer: &[Vec<Value>]) {
        let expected = question.answer(&self.rows);
        if alike(answer, &expected) {
            return;
        }
        let differs = answer.iter().zip(&expected).position(|(one, other)| {
            !alike(std::slice::from_ref(one), std::slice::from_ref(other))
        });
        let at = differs.unwrap_or(answer.len().min(expected.len()));
        panic!(
            "{}\nrow {at} of {} is {:?}, and of {} must be {:?}",
            question.sql,
            answer.len(),
            answer.get(at),
            expected.len(),
            expected.get(at)
        );
    }

    /// Every span once, and nothing else.
    fn end(mut self) {
        let life = self.life();
        let found = life.run(life.ask("SELECT span_id FROM spans ORDER BY span_id"));
        let ids: BTreeSet<String> = self.rows.iter().map(Row::span_id).collect();
        let expected: Vec<Value> = ids.into_iter().map(|id| json!([id])).collect();
        assert_eq!(found, expected, "every span once");
        self.life.take().unwrap().stop();
    }
}

impl Drop for History {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("HISTORY_SEED={}\n{}", self.seed, self.told.join("\n"));
        }
    }
}

fn as_rows(answer: &[Value]) -> Vec<Vec<Value>> {
    answer.iter().map(|row| row.as_array().unwrap().clone()).collect()
}

/// Equal, but for the last digits of what was added up in another order.
fn alike(one: &[Vec<Value>], other: &[Vec<Value>]) -> bool {
    let cell = |(one, other): (&Value, &Value)| match (one, other) {
        (Value::Number(one), Value::Number(other)) if one.is_f64() || other.is_f64() => {
            let (one, other) = (one.as_f64().unwrap(), other.as_f64().unwrap());
            (one - other).abs() <= 1e-9 * one.abs().max(other.abs()).max(1.0)
        }
        _ => one == other,
    };
    let row = |(one, other): (&Vec<Value>, &Vec<Value>)| {
        one.len() == other.len() && one.iter().zip(other).all(cell)
    };
    one.len() == other.len() && one.iter().zip(other).all(row)
}

fn live_through(seed: u64) {
    let mut history = History::new(seed);
    history.send();
    for _ in 0..STEPS {
        history.step();
        for _ in 0..2 {
            history.ask();
        }
    }
    history.end();
}

/// Scenario: requests, flushes, merges, stops and crashes as a seed has them, some while a question is
/// asked; questions of every shape in between: chosen rows in order, groups, stretches of time, joins,
/// windows, relatives, traces; attributes of one type, of two and of many; every second history with
/// queries that look at the rows of another process.
/// Guarantees: every answer is that of a plain list of the acknowledged spans: none is missing or
/// there twice, whatever goes on; of a request that came meanwhile an answer has all or nothing.
#[test]
fn answers_are_those_of_a_plain_list() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    if let Some(seed) = number("HISTORY_SEED") {
        return live_through(seed);
    }
    let from = number("HISTORY_FROM").unwrap_or(0);
    let seeds = number("HISTORY_SEEDS").unwrap_or(SEEDS);
    for seed in FAILED.into_iter().chain(from..from + seeds) {
        live_through(seed);
    }
}
