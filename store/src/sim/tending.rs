//! What processes do to the bucket by themselves: merges, retention, garbage, checkpoints.

use std::sync::Arc;

use super::process::Process;
use super::world::GRACE;
use crate::store::Store;

impl Process {
    pub(super) async fn refresh(self, store: Arc<Store>) {
        while !self.world.is_calm() {
            self.pause(1, 20).await;
            if let Err(error) = store.refresh().await {
                self.tolerate("refresh", &error);
            }
        }
    }

    pub(super) async fn compact(self, store: Arc<Store>) {
        loop {
            self.pause(10, 120).await;
            let (calm, began) = (self.world.is_calm(), self.world.schedule.now());
            match store.compact().await {
                Ok(report) if calm && report.merges == 0 && report.void == 0 => return,
                Ok(report) => {
                    let (merges, void) = (report.merges, report.void);
                    self.world.note(&self.name, &format!("merged {merges}, void {void}"));
                }
                Err(error) => self.tolerate_gone("compact", &error, began),
            }
        }
    }

    pub(super) async fn retain(self, store: Arc<Store>) {
        while !self.world.is_calm() {
            self.pause(30, 200).await;
            let began = self.world.schedule.now();
            match store.retain(false).await {
                Ok(report) => {
                    let (rows, held) = report.rows();
                    self.world.note(&self.name, &format!("{rows} rows go, {held} are held"));
                }
                Err(error) => self.tolerate_gone("retain", &error, began),
            }
        }
    }

    pub(super) async fn collect(self, store: Arc<Store>) {
        while !self.world.is_calm() {
            self.pause(GRACE.as_secs() / 8, GRACE.as_secs() / 2).await;
            match store.collect_garbage().await {
                Ok(deleted) => self.world.note(&self.name, &format!("deleted {deleted}")),
                Err(error) => self.tolerate("collect", &error),
            }
        }
    }

    pub(super) async fn checkpoint(self, store: Arc<Store>) {
        while !self.world.is_calm() {
            self.pause(60, 600).await;
            let records_min = 1 + self.world.below(10);
            if let Err(error) = store.checkpoint_when_due(records_min).await {
                self.tolerate("checkpoint", &error);
            }
        }
    }

    pub(super) async fn rebuild(self, store: Arc<Store>) {
        while !self.world.is_calm() {
            self.pause(60, 600).await;
            match store.rebuild_index(|_| {}).await {
                Ok(()) => self.world.note(&self.name, "made its index anew"),
                Err(error) => self.tolerate("rebuild", &error),
            }
        }
    }
}
