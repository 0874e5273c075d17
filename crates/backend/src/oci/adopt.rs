//! Takes over what an earlier homerun left running.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::cpu::CpuState;
use super::{Instance, Shared, network};

impl Shared {
    /// Takes over what the records name; everything else in this homerun's cgroups is ended.
    pub(super) fn adopt(self: Arc<Self>) -> io::Result<()> {
        let records = self.records.all()?;
        self.forget_standbys();
        let spare = self.helpers.clone();
        let known: Vec<&str> = records
            .iter()
            .filter(|record| !record.observed.state.is_over())
            .flat_map(|record| record.containers.iter().map(|container| container.cgroup.as_str()))
            .collect();
        for name in self.cgroups.names() {
            if !known.contains(&name.as_str()) && !spare.owns(&name) {
                self.cgroups.remove(&name, Duration::from_secs(5));
            }
        }
        if let Some(outbound) = &self.outbound {
            let lives =
                |id: &str| records.iter().any(|r| r.observed.spec.id.as_str() == id && !r.observed.state.is_over());
            if let Err(error) = outbound.retain(lives) {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "interfaces of an earlier homerun cannot be removed"
                );
            }
        }
        for mut record in records {
            let id = record.observed.spec.id.clone();
            let over = record.observed.state.is_over();
            let first = record.containers.first().and_then(|container| container.process);
            let network =
                first.filter(|process| process.exists()).and_then(|process| network::of_process(process.pid).ok());
            let mut processes = record.containers.iter().filter_map(|container| container.process);
            record.observed.lost = !over && processes.any(|process| !process.runs());
            tracing::info!(instance = %id, lost = record.observed.lost, "found from an earlier homerun");
            let stop = watch::Sender::new(record.grace_left(chrono::Utc::now()));
            self.lock().insert(id.clone(), Instance { record, network, standby: None, cpu: CpuState::default(), stop });
            if !over {
                tokio::spawn(self.clone().live(id, true));
            }
        }
        Ok(())
    }
}
