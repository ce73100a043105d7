//! Random conditions, as SQL and as what is true of a span.

use super::chance::Chance;
use super::model::{Any, HOUR, KINDS, NAMES, ROUTES, Row, SERVICES, START, STATUSES, TRACES, time};

type Test = Box<dyn Fn(&Row) -> Option<bool>>;

/// A condition: true, false or, where a value is missing, neither.
pub(super) struct Condition {
    pub(super) sql: String,
    test: Test,
}

impl Condition {
    /// Whether a span is among those that the condition asks for.
    pub(super) fn holds(&self, row: &Row) -> bool {
        (self.test)(row) == Some(true)
    }

    /// One that is joined of up to three.
    pub(super) fn random(chance: &mut Chance) -> Self {
        let mut whole = Self::simple(chance);
        for _ in 0..chance.below(3) {
            let other = Self::simple(chance);
            whole = match chance.below(3) {
                0 => Self::or(whole, other),
                _ => Self::and(whole, other),
            };
        }
        if chance.below(6) == 0 { whole.not() } else { whole }
    }

    fn new(sql: String, test: impl Fn(&Row) -> Option<bool> + 'static) -> Self {
        Self { sql, test: Box::new(test) }
    }

    fn and(one: Self, other: Self) -> Self {
        let sql = format!("({} AND {})", one.sql, other.sql);
        Self::new(sql, move |row| match ((one.test)(row), (other.test)(row)) {
            (Some(false), _) | (_, Some(false)) => Some(false),
            (Some(true), Some(true)) => Some(true),
            _ => None,
        })
    }

    fn or(one: Self, other: Self) -> Self {
        let sql = format!("({} OR {})", one.sql, other.sql);
        Self::new(sql, move |row| match ((one.test)(row), (other.test)(row)) {
            (Some(true), _) | (_, Some(true)) => Some(true),
            (Some(false), Some(false)) => Some(false),
            _ => None,
        })
    }

    fn not(self) -> Self {
        let sql = format!("NOT ({})", self.sql);
        Self::new(format!("({sql})"), move |row| (self.test)(row).map(|holds| !holds))
    }

    fn simple(chance: &mut Chance) -> Self {
        match chance.below(3) {
            0 => Self::of_attributes(chance),
            1 => Self::of_times(chance),
            _ => Self::of_columns(chance),
        }
    }

    fn of_columns(chance: &mut Chance) -> Self {
        let (service, name) = (chance.of(&SERVICES), chance.of(&NAMES));
        let (kind, status) = (chance.of(&KINDS).1, chance.of(&STATUSES).1);
        let trace = chance.below(TRACES) + 1;
        match chance.below(8) {
            0 => Self::new(format!("service_name = '{service}'"), move |row| {
                Some(row.service == service)
            }),
            1 => Self::new(format!("service_name IN ('{service}', 'pay', 'nobody')"), move |row| {
                Some(row.service == service || row.service == "pay")
            }),
            2 => Self::new(format!("name <> '{name}'"), move |row| Some(row.name != name)),
            3 => Self::new("name LIKE 'GET%'".to_owned(), |row| Some(row.name.starts_with("GET"))),
            4 => Self::new(format!("kind = '{kind}'"), move |row| Some(row.kind.1 == kind)),
            5 => Self::new(format!("status_code = '{status}'"), move |row| {
                Some(row.status.1 == status)
            }),
            6 => {
                Self::new(format!("trace_id = '{trace:032x}'"), move |row| Some(row.trace == trace))
            }
            _ => Self::new("parent_span_id IS NULL".to_owned(), |row| Some(row.parent.is_none())),
        }
    }

    fn of_times(chance: &mut Chance) -> Self {
        let duration = chance.below(2_000_000).cast_signed();
        let from = START + chance.below(3 * HOUR.cast_unsigned()).cast_signed();
        let to = from + chance.below(HOUR.cast_unsigned()).cast_signed();
        let text = |nanos| format!("TIMESTAMP '{}'", time(nanos).as_str().unwrap());
        match chance.below(5) {
            0 => Self::new(format!("duration_ns > {duration}"), move |row| {
                Some(row.duration > duration)
            }),
            1 => Self::new(
                format!("duration_ns BETWEEN {} AND {duration}", duration / 3),
                move |row| Some((duration / 3..=duration).contains(&row.duration)),
            ),
            2 => Self::new(format!("start_time >= {}", text(from)), move |row| {
                Some(row.start >= from)
            }),
            3 => Self::new(
                format!("start_time >= {} AND start_time < {}", text(from), text(to)),
                move |row| Some((from..to).contains(&row.start)),
            ),
            _ => Self::new(format!("end_time <= {}", text(to)), move |row| Some(row.end() <= to)),
        }
    }

    fn of_attributes(chance: &mut Chance) -> Self {
        let route = chance.of(&ROUTES);
        let quoted = route.replace('\'', "''");
        let size = chance.below(9).cast_signed() - 2;
        let key = chance.of(&["http.route", "size", "share", "odd", "rare", "nowhere"]);
        match chance.below(8) {
            0 => Self::new(format!("attributes['http.route'] = '{quoted}'"), move |row| {
                Some(row.text("http.route")? == route)
            }),
            1 => Self::new(format!("attributes['size'] >= {size}"), move |row| {
                Some(row.int("size")? >= size)
            }),
            2 => Self::new(format!("attributes['share'] < {}", size as f64 / 4.0), move |row| {
                Some(row.double("share")? < size as f64 / 4.0)
            }),
            3 => {
                Self::new("attributes['odd'] = '7'".to_owned(), |row| Some(row.text("odd")? == "7"))
            }
            4 => Self::new("attributes['odd'] IN ('true', 'x')".to_owned(), |row| {
                let odd = row.text("odd")?;
                Some(odd == "true" || odd == "x")
            }),
            5 => Self::new("attributes['rare']".to_owned(), |row| match row.attribute("rare")? {
                Any::Bool(value) => Some(*value),
                _ => None,
            }),
            6 => Self::new(format!("attributes['{key}'] IS NULL"), move |row| {
                Some(row.attribute(key).is_none())
            }),
            _ => Self::new(format!("attributes['{key}'] IS NOT NULL"), move |row| {
                Some(row.attribute(key).is_some())
            }),
        }
    }
}
