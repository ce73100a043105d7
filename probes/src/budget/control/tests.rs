//! Levels under loads that come, stay and go.

use proptest::prelude::*;

use super::*;

const SECOND: f64 = 1e9;
/// 5 % of a CPU over a minute, as by default.
const ALLOWED: Allowed = Allowed { cpu: 0.05, window: 60.0 * SECOND, most: Level::MOST };

/// A load: what it costs a second with nothing shed, in CPU seconds.
#[derive(Debug, Clone, Copy)]
struct Load {
    base: f64,
    bodies: f64,
    spans: f64,
}

const QUIET: Load = Load { base: 0.001, bodies: 0.0, spans: 0.0 };

impl Load {
    fn cost(self, level: Level) -> f64 {
        let bodies = if level.keeps_bodies() { self.bodies } else { 0.0 };
        self.base + bodies + self.spans * level.share()
    }
}

/// A clock that looks once a second; gives back the levels and costs of so many seconds under a load.
fn run(control: &mut Control, load: Load, seconds: usize) -> Vec<(Level, f64)> {
    let look = |_| {
        let cost = load.cost(control.level());
        let spent = Spent { elapsed: SECOND, cpu: cost * SECOND, memory: 0.0 };
        *control = control.after(spent, ALLOWED);
        (control.level(), cost)
    };
    (0..seconds).map(look).collect()
}

fn mean(costs: &[(Level, f64)]) -> f64 {
    costs.iter().map(|(_, cost)| cost).sum::<f64>() / costs.len() as f64
}

/// Scenario: ten seconds at four times the budget, after quiet.
/// Guarantees: nothing is shed: over the minute it is within the budget.
#[test]
fn a_burst_is_let_through() {
    let mut control = Control::new(ALLOWED);
    run(&mut control, QUIET, 30);
    let burst = Load { spans: 0.2, ..QUIET };
    assert!(run(&mut control, burst, 10).iter().all(|(level, _)| *level == Level::default()));
}

/// Scenario: a load of eight times the budget that stays for ten minutes, and goes.
/// Guarantees: bodies go first, then spans; the cost stays near the budget from then on, without a level that
/// comes and goes; afterwards everything is told again within a minute.
#[test]
fn a_load_that_stays_is_kept_within_the_budget() {
    let mut control = Control::new(ALLOWED);
    let load = Load { base: 0.01, bodies: 0.05, spans: 0.34 };
    let first = run(&mut control, load, 60);
    let levels: Vec<u32> = first.iter().map(|(level, _)| level.number()).collect();
    let began = levels.iter().position(|level| *level > 0).unwrap();
    assert!((5..15).contains(&began), "{levels:?}");
    assert_eq!(levels[began], 1);
    let rest = run(&mut control, load, 540);
    assert!((0.03..=0.05).contains(&mean(&rest)), "{}", mean(&rest));
    let changes = rest.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
    assert!(changes <= 2, "{changes}");
    let after = run(&mut control, QUIET, 60);
    assert_eq!(after.last().map(|(level, _)| level.number()), Some(0));
}

/// Scenario: bodies alone make the cost, so that leaving them out makes room, and taking them in again does not.
/// Guarantees: the longer it goes on the seldomer it is tried; spans are never left out.
#[test]
fn what_does_not_last_is_tried_less_and_less() {
    let mut control = Control::new(ALLOWED);
    let load = Load { base: 0.01, bodies: 0.2, spans: 0.01 };
    let costs = run(&mut control, load, 1_800);
    assert!(costs.iter().all(|(level, _)| level.number() <= 1));
    assert!(mean(&costs) <= 0.055, "{}", mean(&costs));
    let last = costs.split_at(1_200).1;
    let changes = last.windows(2).filter(|pair| pair[0].0 != pair[1].0).count();
    assert!(changes <= 20, "{changes}");
}

/// Scenario: a load whose durations alone cost more than is allowed.
/// Guarantees: everything that can be shed is, and stays so.
#[test]
fn durations_are_never_shed() {
    let mut control = Control::new(ALLOWED);
    let load = Load { base: 0.3, bodies: 0.0, spans: 1.0 };
    let costs = run(&mut control, load, 120);
    assert_eq!(costs.last().map(|(level, _)| *level), Some(Level::MOST));
}

/// Scenario: memory over its bound, with hardly any CPU used, and then half of it.
/// Guarantees: it sheds at once, step by step, and takes back when there is room.
#[test]
fn memory_sheds_as_well() {
    let mut control = Control::new(ALLOWED);
    let full = Spent { elapsed: SECOND, cpu: 0.0, memory: 1.1 };
    for _ in 0..10 {
        control = control.after(full, ALLOWED);
    }
    assert!(control.level().number() >= 3, "{:?}", control.level());
    for _ in 0..30 {
        control = control.after(Spent { memory: 0.3, ..full }, ALLOWED);
    }
    assert_eq!(control.level(), Level::default());
}

/// Scenario: no bound on the CPU.
/// Guarantees: nothing is shed for it.
#[test]
fn without_a_bound_nothing_is_shed() {
    let allowed = Allowed { cpu: f64::INFINITY, ..ALLOWED };
    let mut control = Control::new(allowed);
    for _ in 0..100 {
        let spent = Spent { elapsed: SECOND, cpu: 64.0 * SECOND, memory: 0.0 };
        control = control.after(spent, allowed);
        assert_eq!(control.level(), Level::default());
    }
}

proptest! {
    /// Scenario: any load that stays for long.
    /// Guarantees: in the end the cost is within the budget, or nothing is left to shed; and where the whole load
    /// would be within two thirds of it, nothing is shed.
    #[test]
    fn any_load_finds_its_level(base in 0.0..0.04, bodies in 0.0..0.4, spans in 0.0..2.0) {
        let mut control = Control::new(ALLOWED);
        let load = Load { base, bodies, spans };
        run(&mut control, load, 900);
        let costs = run(&mut control, load, 900);
        prop_assert!(mean(&costs) <= 0.056 || control.level() == Level::MOST, "{}", mean(&costs));
        if load.cost(Level::default()) < 0.033 {
            prop_assert_eq!(control.level(), Level::default());
        }
    }
}
