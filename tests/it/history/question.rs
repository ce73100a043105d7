//! Random questions, as SQL and as what a plain list of spans answers.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::chance::Chance;
use super::condition::Condition;
use super::model::{Row, SERVICES, TRACES, time};

type Answer = Box<dyn Fn(&[Row]) -> Vec<Vec<Value>>>;

/// A question whose answer has one order.
pub(super) struct Question {
    pub(super) sql: String,
    answer: Answer,
}

impl Question {
    /// What must come back when these are the spans.
    pub(super) fn answer(&self, rows: &[Row]) -> Vec<Vec<Value>> {
        (self.answer)(rows)
    }

    fn new(sql: String, answer: impl Fn(&[Row]) -> Vec<Vec<Value>> + 'static) -> Self {
        Self { sql, answer: Box::new(answer) }
    }

    /// Any of those below.
    pub(super) fn random(chance: &mut Chance) -> Self {
        match chance.below(14) {
            0..=2 => rows(chance),
            3..=6 => groups(chance),
            7 => buckets(chance),
            8 => parents(chance),
            9 => places(chance),
            10 => relatives(chance),
            11 => percentiles(chance),
            12 => several(chance),
            _ => trace(chance),
        }
    }
}

fn id(text: Option<u64>) -> Value {
    text.map_or(Value::Null, |id| json!(format!("{id:016x}")))
}

type Order = (&'static str, fn(&Row) -> i64);

const ORDERS: [Order; 4] = [
    ("start_time", |row| row.start),
    ("start_time", |row| row.start),
    ("end_time", Row::end),
    ("duration_ns", |row| row.duration),
];

/// Spans in order, some of them.
fn rows(chance: &mut Chance) -> Question {
    let condition = Condition::random(chance);
    let (limit, offset) = (chance.below(30) + 1, chance.below(10));
    let (key, value): Order = chance.of(&ORDERS);
    let descends = chance.below(2) == 0;
    let order = if descends { "DESC" } else { "ASC" };
    let sql = format!(
        "SELECT span_id, trace_id, parent_span_id, service_name, name, kind, start_time, end_time, \
         duration_ns, attributes['http.route'], attributes['size'], attributes['share'], attributes['odd'] \
         FROM spans WHERE {} ORDER BY {key} {order}, span_id LIMIT {limit} OFFSET {offset}",
        condition.sql
    );
    Question::new(sql, move |all| {
        let mut chosen: Vec<&Row> = all.iter().filter(|row| condition.holds(row)).collect();
        chosen.sort_by_key(|row| (if descends { -value(row) } else { value(row) }, row.span));
        let row = |row: &Row| {
            vec![
                json!(row.span_id()),
                json!(row.trace_id()),
                id(row.parent),
                json!(row.service),
                json!(row.name),
                json!(row.kind.1),
                time(row.start),
                time(row.end()),
                json!(row.duration),
                json!(row.text("http.route")),
                json!(row.int("size")),
                json!(row.double("share")),
                json!(row.text("odd")),
            ]
        };
        let (skipped, taken) = (usize::try_from(offset).unwrap(), usize::try_from(limit).unwrap());
        chosen.into_iter().skip(skipped).take(taken).map(row).collect()
    })
}

type Key = (&'static str, fn(&Row) -> Value);

const KEYS: [Key; 6] = [
    ("service_name", |row| json!(row.service)),
    ("name", |row| json!(row.name)),
    ("status_code", |row| json!(row.status.1)),
    ("attributes['http.route']", |row| json!(row.text("http.route"))),
    ("attributes['size']", |row| json!(row.int("size"))),
    ("attributes['odd']", |row| json!(row.text("odd"))),
];

/// The smallest and the largest of some values, and how many there are.
fn span_of<T: Copy + PartialOrd + serde::Serialize>(values: impl Iterator<Item = T>) -> [Value; 2] {
    let values: Vec<T> = values.collect();
    let less = |a: &&T, b: &&T| a.partial_cmp(b).unwrap();
    [json!(values.iter().min_by(less)), json!(values.iter().max_by(less))]
}

/// Groups by one or two keys, or by none.
fn groups(chance: &mut Chance) -> Question {
    let condition = Condition::random(chance);
    let keys: Vec<Key> = match chance.below(4) {
        0 => Vec::new(),
        1 | 2 => vec![chance.of(&KEYS)],
        _ => vec![
            KEYS[usize::try_from(chance.below(3)).unwrap()],
            KEYS[usize::try_from(3 + chance.below(3)).unwrap()],
        ],
    };
    let least = if keys.is_empty() { 0 } else { chance.below(4) };
    let names: Vec<&str> = keys.iter().map(|(sql, _)| *sql).collect();
    let by = |clause: &str, end: &str| {
        let names: Vec<String> = names.iter().map(|name| format!("{name}{end}")).collect();
        if names.is_empty() { String::new() } else { format!("{clause}{}", names.join(", ")) }
    };
    let sql = format!(
        "SELECT {}count(*), sum(duration_ns), min(start_time), max(end_time), count(attributes['size']), \
         sum(attributes['size']), min(attributes['share']), max(attributes['share']), count(DISTINCT name), \
         avg(duration_ns), min(name) FROM spans WHERE {}{} HAVING count(*) >= {least}{}",
        names.iter().map(|name| format!("{name}, ")).collect::<String>(),
        condition.sql,
        by(" GROUP BY ", ""),
        by(" ORDER BY ", " NULLS FIRST"),
    );
    Question::new(sql, move |all| {
        let chosen = all.iter().filter(|row| condition.holds(row));
        let mut groups: BTreeMap<Vec<Sorted>, Vec<&Row>> = BTreeMap::new();
        if keys.is_empty() {
            groups.insert(Vec::new(), Vec::new());
        }
        for row in chosen {
            let key = keys.iter().map(|(_, value)| Sorted(value(row))).collect();
            groups.entry(key).or_default().push(row);
        }
        let groups = groups.into_iter().filter(|(_, rows)| rows.len() as u64 >= least);
        groups.map(|(key, rows)| group(key, &rows)).collect()
    })
}

fn group(key: Vec<Sorted>, rows: &[&Row]) -> Vec<Value> {
    let total: i64 = rows.iter().map(|row| row.duration).sum();
    let sizes: Vec<i64> = rows.iter().filter_map(|row| row.int("size")).collect();
    let [least_share, most_share] = span_of(rows.iter().filter_map(|row| row.double("share")));
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name).collect();
    let sum = |values: i64, count: usize| if count == 0 { Value::Null } else { json!(values) };
    let mean = total as f64 / rows.len() as f64;
    let mut answer: Vec<Value> = key.into_iter().map(|Sorted(value)| value).collect();
    answer.extend([
        json!(rows.len()),
        sum(total, rows.len()),
        rows.iter().map(|row| row.start).min().map_or(Value::Null, time),
        rows.iter().map(|row| row.end()).max().map_or(Value::Null, time),
        json!(sizes.len()),
        sum(sizes.iter().sum(), sizes.len()),
        least_share,
        most_share,
        json!(names.len()),
        if rows.is_empty() { Value::Null } else { json!(mean) },
        json!(names.first()),
    ]);
    answer
}

/// A value in the order of SQL: nulls first, numbers by size, texts by their bytes.
#[derive(Debug, Clone, PartialEq)]
struct Sorted(Value);

impl Eq for Sorted {}

impl PartialOrd for Sorted {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Sorted {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let key = |value: &Value| (value.as_i64(), value.as_str().map(str::to_owned));
        key(&self.0).cmp(&key(&other.0))
    }
}

/// Counts by stretches of time.
fn buckets(chance: &mut Chance) -> Question {
    let condition = Condition::random(chance);
    let seconds = chance.of(&[60_i64, 600, 3600]);
    let sql = format!(
        "SELECT date_bin(INTERVAL '{seconds} seconds', start_time), count(*), max(duration_ns) FROM spans \
         WHERE {} GROUP BY 1 ORDER BY 1",
        condition.sql
    );
    Question::new(sql, move |all| {
        let width = seconds * 1_000_000_000;
        let mut bins: BTreeMap<i64, (u64, i64)> = BTreeMap::new();
        for row in all.iter().filter(|row| condition.holds(row)) {
            let bin = bins.entry(row.start.div_euclid(width) * width).or_default();
            *bin = (bin.0 + 1, bin.1.max(row.duration));
        }
        bins.into_iter()
            .map(|(at, (count, most))| vec![time(at), json!(count), json!(most)])
            .collect()
    })
}

/// Spans joined with their parents.
fn parents(chance: &mut Chance) -> Question {
    let condition = Condition::random(chance);
    let sql = format!(
        "WITH chosen AS (SELECT * FROM spans WHERE {}) SELECT p.service_name, count(*), \
         sum(c.duration_ns - p.duration_ns) FROM chosen AS c JOIN spans AS p ON c.parent_span_id = p.span_id \
         GROUP BY 1 ORDER BY 1",
        condition.sql
    );
    Question::new(sql, move |all| {
        let by_id: BTreeMap<u64, &Row> = all.iter().map(|row| (row.span, row)).collect();
        let mut groups: BTreeMap<&str, (u64, i64)> = BTreeMap::new();
        for row in all.iter().filter(|row| condition.holds(row)) {
            let Some(parent) = row.parent.and_then(|id| by_id.get(&id)) else { continue };
            let group = groups.entry(parent.service).or_default();
            *group = (group.0 + 1, group.1 + row.duration - parent.duration);
        }
        groups
            .into_iter()
            .map(|(name, (count, sum))| vec![json!(name), json!(count), json!(sum)])
            .collect()
    })
}

/// The first spans of each service.
fn places(chance: &mut Chance) -> Question {
    let condition = Condition::random(chance);
    let most = chance.below(3) + 1;
    let sql = format!(
        "SELECT service_name, place, span_id FROM (SELECT service_name, span_id, row_number() OVER \
         (PARTITION BY service_name ORDER BY duration_ns DESC, span_id) AS place FROM spans WHERE {}) \
         WHERE place <= {most} ORDER BY service_name, place",
        condition.sql
    );
    Question::new(sql, move |all| {
        let mut services: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in all.iter().filter(|row| condition.holds(row)) {
            services.entry(row.service).or_default().push(row);
        }
        let mut answer = Vec::new();
        for (service, mut rows) in services {
            rows.sort_by_key(|row| (-row.duration, row.span));
            for (place, row) in rows.into_iter().enumerate().take(usize::try_from(most).unwrap()) {
                answer.push(vec![json!(service), json!(place + 1), json!(row.span_id())]);
            }
        }
        answer
    })
}

/// Spans whose parent in their trace is of a service.
fn relatives(chance: &mut Chance) -> Question {
    let condition = Condition::random(chance);
    let service = chance.of(&SERVICES);
    let sql = format!(
        "SELECT span_id FROM spans WHERE {} AND child_of(service_name = '{service}', INTERVAL '1 day') \
         ORDER BY span_id",
        condition.sql
    );
    Question::new(sql, move |all| {
        let by_id: BTreeMap<(u64, u64), &Row> =
            all.iter().map(|row| ((row.trace, row.span), row)).collect();
        let is_child = |row: &&Row| {
            let parent = row.parent.and_then(|id| by_id.get(&(row.trace, id)));
            condition.holds(row) && parent.is_some_and(|parent| parent.service == service)
        };
        let mut ids: Vec<String> = all.iter().filter(is_child).map(Row::span_id).collect();
        ids.sort_unstable();
        ids.into_iter().map(|id| vec![json!(id)]).collect()
    })
}

/// Percentiles, which are exact where so few have them.
fn percentiles(chance: &mut Chance) -> Question {
    let condition = Condition::random(chance);
    let percent = chance.of(&[0_u64, 10, 50, 99, 100]);
    let share = percent as f64 / 100.0;
    let sql = format!(
        "SELECT service_name, approx_percentile(duration_ns, {share:?}), approx_percentile(attributes['share'], {share:?}) \
         FROM spans WHERE {} GROUP BY 1 ORDER BY 1",
        condition.sql
    );
    Question::new(sql, move |all| {
        let mut services: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in all.iter().filter(|row| condition.holds(row)) {
            services.entry(row.service).or_default().push(row);
        }
        let row = |(service, rows): (&str, Vec<&Row>)| {
            let durations = rows.iter().map(|row| row.duration as f64).collect();
            let shares = rows.iter().filter_map(|row| row.double("share")).collect();
            vec![json!(service), json!(at(durations, percent)), json!(at(shares, percent))]
        };
        services.into_iter().map(row).collect()
    })
}

/// What so many of a hundred values are not above, between two of them where it is.
fn at(mut values: Vec<f64>, percent: u64) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let hundredths = percent * values.len().checked_sub(1)? as u64;
    let value = |place: u64| values[usize::try_from(place).unwrap()];
    let (below, above) = (value(hundredths / 100), value(hundredths.div_ceil(100)));
    Some(below + (above - below) * (hundredths % 100) as f64 / 100.0)
}

/// Two sets put together, and what of one is not in the other.
fn several(chance: &mut Chance) -> Question {
    let (one, other) = (Condition::random(chance), Condition::random(chance));
    let (word, keep): (&str, fn(bool, bool) -> bool) = chance.of(&[
        ("UNION", (|one, other| one || other) as fn(bool, bool) -> bool),
        ("EXCEPT", |one, other| one && !other),
        ("INTERSECT", |one, other| one && other),
    ]);
    let sql = format!(
        "SELECT span_id FROM spans WHERE {} {word} SELECT span_id FROM spans WHERE {} ORDER BY 1",
        one.sql, other.sql
    );
    Question::new(sql, move |all| {
        let kept = all.iter().filter(|row| keep(one.holds(row), other.holds(row)));
        let ids: BTreeSet<String> = kept.map(Row::span_id).collect();
        ids.into_iter().map(|id| vec![json!(id)]).collect()
    })
}

/// A trace by its id.
fn trace(chance: &mut Chance) -> Question {
    let trace = chance.below(TRACES + 1) + 1;
    let sql = format!(
        "SELECT span_id, name, duration_ns FROM spans_of_trace('{trace:032x}') ORDER BY span_id"
    );
    Question::new(sql, move |all| {
        let mut rows: Vec<&Row> = all.iter().filter(|row| row.trace == trace).collect();
        rows.sort_by_key(|row| row.span);
        let row = |row: &Row| vec![json!(row.span_id()), json!(row.name), json!(row.duration)];
        rows.into_iter().map(row).collect()
    })
}
