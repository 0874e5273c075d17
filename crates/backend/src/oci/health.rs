//! The probes of an instance that is ready, and what they say of it.

use std::sync::Arc;

use homerun_model::container::Probe;
use homerun_model::instance::{ContainerSpec, InstanceSpec, STARTUP_BOOST};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::Shared;
use super::life::{Event, say};
use super::start::Dialer;
use crate::probe::{self, Readiness};

/// An instance whose probes run.
#[derive(Clone)]
pub(super) struct Health {
    pub(super) shared: Arc<Shared>,
    pub(super) spec: Arc<InstanceSpec>,
}

impl Health {
    /// Runs every liveness and readiness probe until the tasks are aborted.
    pub(super) fn watch(&self, events: &mpsc::Sender<Event>) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        if self.spec.containers.iter().any(|container| container.startup_cpu.is_some()) {
            tasks.push(tokio::spawn(self.clone().end_boost()));
        }
        for (index, container) in self.spec.containers.iter().enumerate() {
            if let Some(probe) = container.liveness_probe.clone() {
                tasks.push(tokio::spawn(self.clone().liveness(index, probe, events.clone())));
            }
            if let Some(probe) = container.readiness_probe.clone() {
                tasks.push(tokio::spawn(self.clone().readiness(index, probe)));
            }
        }
        tasks
    }

    /// Takes back the CPU that containers had for their start. An instance that was adopted may be past that time.
    async fn end_boost(self) {
        let ready = self.shared.lock().get(&self.spec.id).and_then(|instance| instance.record.observed.stamps.ready);
        let left = ready.map_or(STARTUP_BOOST, |ready| ready + STARTUP_BOOST - chrono::Utc::now());
        tokio::time::sleep(left.to_std().unwrap_or_default()).await;
        self.shared.set_cpu(&self.spec.id, |_| {});
    }

    fn container(&self, index: usize) -> (&ContainerSpec, u16) {
        let container = &self.spec.containers[index];
        (container, container.port.unwrap_or(self.spec.ingress.port))
    }

    fn dialer(&self) -> Dialer {
        let network = self.shared.lock().get(&self.spec.id).and_then(|instance| instance.network.clone());
        Dialer { shared: self.shared.clone(), network, id: self.spec.id.clone() }
    }

    /// A container that is not alive any more ends its instance.
    async fn liveness(self, index: usize, probe: Probe, events: mpsc::Sender<Event>) {
        let reason = probe::liveness(&probe, self.container(index).1, &self.dialer()).await;
        // The task that listens may be over.
        let _ = events.send(Event::NotAlive { index, reason }).await;
    }

    /// A container that is not ready keeps its instance from getting requests until it is again.
    async fn readiness(self, index: usize, probe: Probe) {
        let (container, port) = self.container(index);
        let known = self.shared.lock().get(&self.spec.id).map(|instance| instance.record.observed.unready.clone());
        let was_ready = !known.unwrap_or_default().contains_key(&container.name);
        let mut readiness = Readiness::new(&probe, was_ready);
        let dialer = self.dialer();
        loop {
            if let Some(change) = readiness.next(port, &dialer).await {
                let name = container.name.clone();
                let text = match &change {
                    Ok(()) => format!("Container '{name}' passes its readiness probe again and gets requests."),
                    Err(reason) => {
                        format!("Container '{name}' gets no requests: its readiness probe failed: {reason}.")
                    }
                };
                say(&self.shared, &self.spec, &text);
                let saved = self.shared.update(&self.spec.id, true, |instance| {
                    let unready = &mut instance.record.observed.unready;
                    match change {
                        Ok(()) => drop(unready.remove(&name)),
                        Err(reason) => drop(unready.insert(name, reason)),
                    }
                });
                if let Err(error) = saved {
                    tracing::warn!(instance = %self.spec.id, %error, "the instance's record could not be written");
                }
            }
        }
    }
}
