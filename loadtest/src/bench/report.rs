//! The figures of a run, and the tables that set them beside what they must be and what others need.
//!
//! Invariant: a figure is shown as it was measured; where a part was measured several times, as the
//! median with the least and the most.

use std::fmt;

use serde::Serialize;

use super::machine::Machine;
use super::targets::{Bound, OTHERS, Target};
use crate::cli::Part;

/// One line, measured once.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) target: &'static Target,
    pub(super) figures: Vec<f64>,
}

/// What one part came to, once.
#[derive(Debug, Clone, Default)]
pub(super) struct Measured {
    pub(super) rows: Vec<Row>,
    /// What explains the figures.
    pub(super) notes: Vec<String>,
    /// What was lost, doubled or answered wrongly. Slowness is no fault.
    pub(super) faults: Vec<String>,
}

impl Measured {
    pub(super) fn add(&mut self, target: &'static Target, figures: &[f64]) {
        self.rows.push(target.row(figures));
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Takes down a fault unless `right`.
    pub(super) fn check(&mut self, right: bool, fault: impl FnOnce() -> String) {
        if !right {
            self.faults.push(fault());
        }
    }
}

/// A line of a table, over all runs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Line {
    pub(super) what: &'static str,
    pub(super) icecore: String,
    pub(super) must: &'static str,
    /// By the medians; nothing where the line is told only.
    pub(super) met: Option<bool>,
    pub(super) others: &'static [&'static str],
    /// The figures of each run.
    pub(super) runs: Vec<Vec<f64>>,
}

/// A part, over all runs.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Section {
    pub(super) part: Part,
    pub(super) seconds: f64,
    pub(super) table: Vec<Line>,
    /// Of the last run.
    pub(super) notes: Vec<String>,
    pub(super) faults: Vec<String>,
}

impl Section {
    /// Sets the runs of a part side by side. A line that a run did not get to has fewer figures.
    pub(super) fn new(part: Part, seconds: f64, runs: Vec<Measured>) -> Self {
        let mut table: Vec<Line> = Vec::new();
        let mut targets: Vec<&'static Target> = Vec::new();
        for row in runs.iter().flat_map(|run| &run.rows) {
            if !targets.iter().any(|known| std::ptr::eq(*known, row.target)) {
                targets.push(row.target);
            }
        }
        for target in targets {
            let rows = runs.iter().flat_map(|run| &run.rows);
            let of_target = rows.filter(|row| std::ptr::eq(row.target, target));
            table.push(Line::new(target, of_target.map(|row| row.figures.clone()).collect()));
        }
        let faults = runs.iter().flat_map(|run| run.faults.clone()).collect();
        let notes = runs.into_iter().next_back().unwrap_or_default().notes;
        Self { part, seconds, table, notes, faults }
    }
}

impl Line {
    fn new(target: &'static Target, runs: Vec<Vec<f64>>) -> Self {
        let Target { what, bounds, must, others } = *target;
        let spreads: Vec<Spread> =
            (0..bounds.len()).map(|at| Spread::of(runs.iter().map(|run| run[at]))).collect();
        let icecore: Vec<String> = spreads.iter().map(ToString::to_string).collect();
        let met = bounds.iter().zip(&spreads).all(|(bound, spread)| bound.holds(spread.median));
        let told = bounds.iter().all(|bound| matches!(bound, Bound::Told));
        let icecore = icecore.join(" / ");
        Self { what, icecore, must, met: (!told).then_some(met), others, runs }
    }
}

/// One figure over all runs.
#[derive(Debug, Clone, Copy)]
struct Spread {
    median: f64,
    least: f64,
    most: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let at = |at: usize| figures.get(at).copied().unwrap_or(f64::NAN);
        let median = f64::midpoint(at(figures.len().saturating_sub(1) / 2), at(figures.len() / 2));
        Self { median, least: at(0), most: at(figures.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { median, least, most } = *self;
        let (median, least, most) = (short(median), short(least), short(most));
        if least == most {
            write!(f, "{median}")
        } else {
            write!(f, "{median} ({least} to {most})")
        }
    }
}

/// Three figures or more, none behind the point that are only noise.
fn short(figure: f64) -> String {
    let places = match figure.abs() {
        _ if figure.fract() == 0.0 => 0,
        0.0..10.0 => 2,
        10.0..1_000.0 => 1,
        _ => 0,
    };
    format!("{figure:.places$}")
}

/// All that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(super) machine: Machine,
    pub(super) runs: usize,
    pub(super) parts: Vec<Section>,
}

impl Report {
    /// Whether nothing was lost, doubled or answered wrongly, and every part came to its end. Says
    /// nothing of speed.
    pub(crate) fn whole(&self) -> bool {
        self.parts.iter().all(|section| section.faults.is_empty())
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { cpu, cores, kernel, load_before } = &self.machine;
        writeln!(f, "# Bench\n")?;
        if cfg!(debug_assertions) {
            writeln!(f, "A debug build measured this: CPU figures say nothing.\n")?;
        }
        writeln!(f, "On {cores} cores of {cpu}, Linux {kernel}, load {load_before} before.")?;
        if self.runs > 1 {
            let runs = self.runs;
            writeln!(f, "Medians of {runs} runs, the least and the most in brackets.")?;
        }
        self.parts.iter().try_for_each(|section| write!(f, "\n{section}"))
    }
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "## {} ({:.0} s)\n", self.part.title(), self.seconds)?;
        let columns: &[&str] = if self.part == Part::Engine { &OTHERS } else { &["others"] };
        writeln!(f, "| | Icecore | must be | met | {} |", columns.join(" | "))?;
        writeln!(f, "|---|---|---|---|{}", "---|".repeat(columns.len()))?;
        for Line { what, icecore, must, met, others, runs: _ } in &self.table {
            let met = met.map_or("-", |met| if met { "yes" } else { "no" });
            let must = if must.is_empty() { "-" } else { must };
            let others = match (columns.len(), others) {
                (_, []) => vec!["-"; columns.len()].join(" | "),
                (1, others) => others.join("; "),
                (_, others) => others.join(" | "),
            };
            writeln!(f, "| {what} | **{icecore}** | {must} | {met} | {others} |")?;
        }
        writeln!(f)?;
        self.faults.iter().try_for_each(|fault| writeln!(f, "- WRONG: {fault}"))?;
        self.notes.iter().try_for_each(|note| writeln!(f, "- {note}"))
    }
}
