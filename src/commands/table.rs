//! Rows as a table, one line a row.
//!
//! Invariants: on a terminal no line is wider than it; what was cut ends in an ellipsis, and a
//! figure is never cut. Anywhere else every value stands whole and exact.

use std::io::Write as _;

use serde_json::Value;

use super::terminal::{one_line, shortened, width};
use super::units::Unit;

/// Between two columns.
const GAP: usize = 2;
/// What a column keeps at least, where its values are longer.
const COLUMN_MIN: usize = 10;

/// A column of a table.
#[derive(Debug, Clone)]
struct Column {
    name: String,
    right: bool,
    unit: Unit,
}

/// Rows that are to be shown.
#[derive(Debug, Clone)]
pub(super) struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
    /// Columns of the terminal; `None` for anything else.
    fits: Option<usize>,
    /// One line a value, whatever fits.
    pub(super) expanded: bool,
}

impl Table {
    /// Of texts, with these names; shown on a terminal of so many columns.
    pub(super) fn of_texts<const N: usize>(names: [&str; N], fits: Option<usize>) -> Self {
        let column = |name: &str| Column { name: name.to_owned(), right: false, unit: Unit::Plain };
        Self {
            columns: names.iter().map(|name| column(name)).collect(),
            rows: Vec::new(),
            fits,
            expanded: false,
        }
    }

    /// Of an answer: `columns` and `rows`.
    pub(super) fn of_answer(answer: &Value, fits: Option<usize>) -> Self {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let columns: Vec<Column> = list(&answer["columns"]).iter().map(Column::of).collect();
        let mut table = Self { columns, rows: Vec::new(), fits, expanded: false };
        for row in list(&answer["rows"]) {
            let cells = list(&row);
            let shown = table.columns.iter().zip(&cells).map(|(column, cell)| match fits {
                Some(_) => column.shown(cell),
                None => exact(cell),
            });
            table.rows.push(shown.collect());
        }
        table
    }

    /// Adds a row of texts.
    pub(super) fn add<const N: usize>(&mut self, row: [String; N]) {
        self.rows.push(row.iter().map(|text| one_line(text)).collect());
    }

    /// The text of the table, a line break behind each line.
    pub(super) fn render(&self) -> String {
        let natural = self.natural();
        match self.fits {
            _ if self.expanded => self.records(),
            Some(columns) => match fitted(&natural, &self.fixed(), columns) {
                Some(widths) => self.lines(&widths),
                None => self.records(),
            },
            None => self.lines(&natural),
        }
    }

    /// The widths at which nothing is cut.
    fn natural(&self) -> Vec<usize> {
        let of = |at: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell));
            cells.chain([width(&self.columns[at].name)]).max().unwrap_or_default()
        };
        (0..self.columns.len()).map(of).collect()
    }

    fn fixed(&self) -> Vec<bool> {
        self.columns.iter().map(|column| column.right).collect()
    }

    fn lines(&self, widths: &[usize]) -> String {
        let mut out = Vec::new();
        let names: Vec<String> = self.columns.iter().map(|column| column.name.clone()).collect();
        self.line(&mut out, &names, widths);
        let rules: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        self.line(&mut out, &rules, widths);
        for row in &self.rows {
            self.line(&mut out, row, widths);
        }
        String::from_utf8_lossy(&out).into_owned()
    }

    fn line(&self, out: &mut Vec<u8>, cells: &[String], widths: &[usize]) {
        let mut line = String::new();
        for (at, ((cell, column), width_max)) in
            cells.iter().zip(&self.columns).zip(widths).enumerate()
        {
            let cell = shortened(cell, *width_max);
            let room = " ".repeat(width_max - width(&cell));
            let gap = if at == 0 { "" } else { "  " };
            line.push_str(gap);
            let (before, after) =
                if column.right { (room.as_str(), "") } else { ("", room.as_str()) };
            line.push_str(&format!("{before}{cell}{after}"));
        }
        // Into memory, which takes all of it.
        drop(writeln!(out, "{}", line.trim_end()));
    }

    /// One value a line, for rows that are too wide.
    fn records(&self) -> String {
        let name_width = self.columns.iter().map(|column| width(&column.name)).max().unwrap_or(0);
        let mut out = String::new();
        for (at, row) in self.rows.iter().enumerate() {
            let title = format!("─ row {} ", at + 1);
            let rule = "─".repeat(self.fits.unwrap_or(40).min(40).saturating_sub(width(&title)));
            out.push_str(&format!("{title}{rule}\n"));
            for (cell, column) in row.iter().zip(&self.columns).filter(|(cell, _)| !cell.is_empty())
            {
                let room = " ".repeat(name_width - width(&column.name) + GAP);
                let line = format!("{}{room}{cell}", column.name);
                let line = self.fits.map_or(line.clone(), |columns| shortened(&line, columns));
                out.push_str(&line);
                out.push('\n');
            }
        }
        out
    }
}

impl Column {
    fn of(column: &Value) -> Self {
        let name = one_line(column["name"].as_str().unwrap_or_default());
        let kind = column["type"].as_str().unwrap_or_default();
        let numbers = ["Int", "UInt", "Float", "Decimal"];
        let right = numbers.iter().any(|number| kind.starts_with(number));
        let unit = if right { Unit::of_column(&name) } else { Unit::Plain };
        Self { name, right, unit }
    }

    fn shown(&self, cell: &Value) -> String {
        match cell {
            Value::Number(_) => self.unit.show(cell),
            _ => exact(cell),
        }
    }
}

fn exact(cell: &Value) -> String {
    match cell {
        Value::Null => String::new(),
        Value::String(text) => one_line(text),
        other => one_line(&other.to_string()),
    }
}

/// The widths at which columns fit into `room`: the widest give way first, down to
/// [`COLUMN_MIN`], figures never. `None` where that is not enough.
fn fitted(natural: &[usize], fixed: &[bool], room: usize) -> Option<Vec<usize>> {
    let gaps = GAP * natural.len().saturating_sub(1);
    let room = room.checked_sub(gaps)?;
    let at = |most: usize| -> Vec<usize> {
        let width =
            |(width, fixed): (&usize, &bool)| if *fixed { *width } else { (*width).min(most) };
        natural.iter().zip(fixed).map(width).collect()
    };
    let widest = natural.iter().copied().max().unwrap_or_default();
    let most = (COLUMN_MIN.min(widest)..=widest)
        .rev()
        .find(|most| at(*most).iter().sum::<usize>() <= room)?;
    let mut widths = at(most);
    let mut left = room - widths.iter().sum::<usize>();
    for ((width, natural), fixed) in widths.iter_mut().zip(natural).zip(fixed) {
        if left > 0 && !fixed && *width < *natural {
            *width += 1;
            left -= 1;
        }
    }
    Some(widths)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer() -> Value {
        json!({
            "columns": [
                {"name": "name", "type": "Utf8"}, {"name": "duration_ns", "type": "Int64"},
                {"name": "attributes", "type": "Json"},
            ],
            "rows": [
                ["GET /cart\n", 1_234_567, {"k": "a long text that does not fit"}],
                [null, 5, null],
            ],
        })
    }

    /// Scenario: one answer on terminals of every width, and in a pipe.
    /// Guarantees: no line is wider than the terminal, figures are whole and stand right; in the
    /// pipe every value is exact and whole; in too few columns there is a line a value.
    #[test]
    fn tables_fit() {
        for columns in 12..120 {
            let text = Table::of_answer(&answer(), Some(columns)).render();
            assert!(text.lines().all(|line| width(line) <= columns), "{columns}\n{text}");
        }
        let wide = Table::of_answer(&answer(), Some(50)).render();
        let lines: Vec<&str> = wide.lines().collect();
        assert_eq!(lines[0], "name         duration_ns  attributes");
        assert_eq!(lines[2], "GET /cart\\n      1.23 ms  {\"k\":\"a long text that …");
        assert_eq!(lines[3], "                    5 ns");
        let piped = Table::of_answer(&answer(), None).render();
        assert!(
            piped.contains("    1234567  {\"k\":\"a long text that does not fit\"}\n"),
            "{piped}"
        );
        let narrow = Table::of_answer(&answer(), Some(24)).render();
        assert!(
            narrow.starts_with("─ row 1 ────────────────\nname         GET /cart\\n\n"),
            "{narrow}"
        );
    }

    /// Scenario: no columns, no rows, more columns than a terminal has.
    /// Guarantees: no panic, and no figure is cut.
    #[test]
    fn odd_tables_are_shown() {
        assert_eq!(Table::of_answer(&json!({}), Some(10)).render(), "\n\n");
        let column = |at: usize| json!({"name": format!("c{at}"), "type": "Int64"});
        let many: Vec<Value> = (0..30).map(column).collect();
        let answer = json!({"columns": many, "rows": [vec![123_456_789_u64; 30]]});
        let text = Table::of_answer(&answer, Some(40)).render();
        assert_eq!(text.matches("123456789").count(), 30, "{text}");
    }
}
