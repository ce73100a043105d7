//! Somebody makes holds and lets them go, and asks for rows to be forgotten.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::oracle::bodies;
use super::process::Process;
use crate::catalog::collect::id_of;
use crate::model::{TimeRange, UnixNanos};
use crate::retention::{EraseReport, EraseRequest, HoldOutcome, HoldRequest};
use crate::sample::HOUR;
use crate::store::Store;

impl Process {
    pub(super) async fn hold(self, store: Arc<Store>) {
        while !self.world.is_calm() {
            self.pause(20, 250).await;
            let name = format!("h{}", self.world.below(4)).parse().unwrap();
            if self.world.below(3) == 0 {
                match store.release(&name).await {
                    Ok(released) => {
                        let what = format!("releases {name}: {}", released.is_some());
                        self.world.note(&self.name, &what);
                    }
                    Err(error) => self.tolerate("release", &error),
                }
                continue;
            }
            let began = self.world.schedule.now();
            let condition = (self.world.below(2) == 0).then(|| {
                let digit = self.world.below(10);
                format!("body has {digit}")
            });
            let time = self.window();
            let request = HoldRequest { name, time, condition, tables: Vec::new() };
            match store.hold(request).await {
                Ok(HoldOutcome::Made(hold)) => {
                    self.world.note(&self.name, &format!("holds {}", hold.name));
                    let made = self.world.inside().oracle.grounds.was_made(&hold.name, began);
                    assert!(made, "{} was acknowledged and is not there", hold.name);
                }
                Ok(_) => {}
                Err(error) => self.tolerate("hold", &error),
            }
        }
    }

    /// Some stretch from two hours ago to half an hour from now.
    fn window(&self) -> TimeRange {
        let now = i64::try_from(self.world.schedule.now().as_nanos()).unwrap();
        let back = i64::try_from(self.world.below(7200)).unwrap() * 1_000_000_000;
        let long = i64::try_from(60 + self.world.below(7200)).unwrap() * 1_000_000_000;
        let from = HOUR + now - back;
        TimeRange::new(UnixNanos(from), UnixNanos(from + long)).unwrap()
    }

    pub(super) async fn erase(self, store: Arc<Store>) {
        while !self.world.is_calm() {
            self.pause(60, 500).await;
            let (text, now) = (format!("{:02}", self.world.below(100)), self.world.below(2) == 0);
            self.erase_once(&store, &text, now).await;
        }
    }

    /// Erases, and looks whether what the report says is so. None where it did not come to an end.
    pub(super) async fn erase_once(
        &self,
        store: &Store,
        text: &str,
        now: bool,
    ) -> Option<EraseReport> {
        let began = self.world.schedule.now();
        self.world.note(&self.name, &format!("erases {text}, at once: {now}"));
        let rows: BTreeSet<String> = {
            let oracle = &mut self.world.inside().oracle;
            oracle.grounds.ask(text, now);
            oracle.rows_with(text).into_iter().collect()
        };
        let request = EraseRequest {
            condition: format!("body has {text}"),
            tables: Vec::new(),
            time: TimeRange::ALL,
            by: "somebody".to_owned(),
            trial: false,
            now,
            wait: false,
        };
        match store.erase(request, None, &|_| {}).await {
            Ok(report) => {
                let (gone, left) = (report.deleted.rows().0, report.left);
                self.world.note(&self.name, &format!("erased {gone} rows, {left} are left"));
                if left == 0 {
                    self.check_erased(&rows, began, &report);
                }
                Some(report)
            }
            Err(error) => {
                self.tolerate_gone("erase", &error, began);
                None
            }
        }
    }

    /// Rows that were there when it began count no more, but for those that a hold kept; objects
    /// that still have them are named.
    fn check_erased(&self, rows: &BTreeSet<String>, began: Duration, report: &EraseReport) {
        let inside = self.world.inside();
        let oracle = &inside.oracle;
        let kept = |body: &String| oracle.grounds.was_held(body, began);
        for body in rows {
            assert!(!oracle.has(body) || kept(body), "{body} was erased and is there");
        }
        for (path, object) in &inside.objects {
            let Some(id) = id_of(path).filter(|id| !oracle.is_live(*id)) else { continue };
            if object.modified > began {
                continue;
            }
            let named = report.leftovers.iter().any(|leftover| leftover.path == *path);
            if named || report.unreadable.contains(path) {
                continue;
            }
            for body in bodies(&object.bytes).iter() {
                let erased = rows.contains(body) && !kept(body);
                assert!(!erased, "{body} was erased, and {id} has it and is not named");
            }
        }
    }
}
