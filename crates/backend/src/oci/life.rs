//! The life of one instance, as one task.
//!
//! ```text
//! Creating --first container runs--> Starting --startup probes pass--> Ready
//!     any of these --asked to stop--> Stopping --> Stopped
//!     any of these --a container ends or a probe fails--> Failed
//! ```
//!
//! Whatever way it ends, every process is gone, its cgroups, volumes and folder are removed, and only
//! then does the state say that it is over. An adopted instance begins where the record says it was.

mod failure;

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};
use homerun_model::instance::{Failure, InstanceSpec, InstanceState};
use homerun_model::names::InstanceId;
use homerun_model::receipt::Receipt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::health::Health;
use super::process::{ProcessId, Watched};
use super::start::{Dialer, start};
use super::{Shared, job, listening, logs};
use crate::probe;
use crate::{LogLine, LogStream};

/// How long the kernel may take to finish with killed processes before somebody is told.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long after its start it is looked where an instance listens.
const LOOKED_AT: Duration = Duration::from_millis(500);

/// Something that ends an instance.
pub(super) enum Event {
    /// A container's first process has ended.
    Exited { index: usize, code: Option<i32> },
    /// A liveness probe has failed too often.
    NotAlive { index: usize, reason: String },
}

/// A container's first process, and the task that waits for its end.
struct Followed {
    process: Arc<Watched>,
    watcher: JoinHandle<()>,
}

/// One instance while its task runs.
struct Life {
    shared: Arc<Shared>,
    spec: Arc<InstanceSpec>,
    stop: watch::Receiver<Option<Duration>>,
    events: (mpsc::Sender<Event>, mpsc::Receiver<Event>),
    /// Those that were started, by their index.
    containers: Vec<(usize, Followed)>,
    readers: Vec<JoinHandle<()>>,
    probers: Vec<JoinHandle<()>>,
    over: watch::Sender<bool>,
    first: Option<ProcessId>,
    /// Gives the instance its way to the outside.
    outward: Option<JoinHandle<()>>,
}

impl Shared {
    /// Runs an instance to its end.
    pub(super) async fn live(self: Arc<Self>, id: InstanceId, adopted: bool) {
        let Some((spec, stop)) =
            self.lock().get(&id).map(|i| (Arc::new(i.record.observed.spec.clone()), i.stop.subscribe()))
        else {
            return;
        };
        let mut life = Life {
            shared: self,
            spec,
            stop,
            events: mpsc::channel(8),
            containers: Vec::new(),
            readers: Vec::new(),
            probers: Vec::new(),
            over: watch::Sender::new(false),
            first: None,
            outward: None,
        };
        let outcome = life.run(adopted).await;
        if let Err(failure) = &outcome {
            life.say(&format!("Instance {} has failed: {failure}", life.spec.id));
        }
        let end = match outcome {
            Ok(()) => {
                life.say(&format!("Instance {} has ended, as it was asked to.", life.spec.id));
                InstanceState::Stopped
            }
            Err(failure) => InstanceState::Failed(failure),
        };
        life.end(end).await;
    }
}

impl Life {
    /// Until it was asked to stop and has stopped, or failed.
    async fn run(&mut self, adopted: bool) -> Result<(), Failure> {
        if adopted && !self.take_over()? {
            return Ok(());
        }
        if self.state() != Some(InstanceState::Ready) {
            for wave in self.spec.clone().start_waves.clone() {
                if self.asked_to_stop() {
                    break;
                }
                self.start_wave(&wave, adopted).await?;
            }
            if !self.asked_to_stop() {
                self.become_ready();
            }
        }
        if adopted {
            // It may have rested when the earlier homerun ended.
            self.shared.set_cpu(&self.spec.id, |_| {});
        }
        let health = Health { shared: self.shared.clone(), spec: self.spec.clone() };
        self.probers = health.watch(&self.events.0);
        let event = tokio::select! {
            biased;
            _ = self.stop.wait_for(Option::is_some) => None,
            event = self.events.1.recv() => event,
        };
        if let Some(event) = event {
            return Err(self.failure(event));
        }
        self.stop_containers().await;
        Ok(())
    }

    fn asked_to_stop(&self) -> bool {
        self.stop.borrow().is_some()
    }

    fn state(&self) -> Option<InstanceState> {
        self.shared.lock().get(&self.spec.id).map(|instance| instance.record.observed.state.clone())
    }

    /// Watches the containers that an earlier homerun started; `false` if it had not started all: such an
    /// instance is stopped, and made anew if it is still wanted.
    fn take_over(&mut self) -> Result<bool, Failure> {
        let containers = self.shared.lock().get(&self.spec.id).map(|i| i.record.containers.clone()).unwrap_or_default();
        if containers.iter().filter(|container| container.process.is_some()).count() < self.spec.containers.len() {
            return Ok(false);
        }
        for container in containers {
            let watched = container.process.and_then(|process| Some((process, Watched::new(process, false).ok()?)));
            match watched {
                Some((process, watched)) => {
                    self.read_streams(container.index);
                    self.follow(container.index, process, watched);
                }
                None if self.asked_to_stop() => {} // and it has ended
                None => return Err(self.failure(Event::Exited { index: container.index, code: None })),
            }
        }
        Ok(true)
    }

    /// Starts some containers and waits for their startup probes.
    async fn start_wave(&mut self, wave: &[usize], adopted: bool) -> Result<(), Failure> {
        if !adopted {
            for index in wave {
                self.start_container(*index).await.map_err(|message| Failure::Create { message })?;
            }
        }
        let network = self.shared.lock().get(&self.spec.id).and_then(|instance| instance.network.clone());
        let dial = Dialer { shared: self.shared.clone(), network, id: self.spec.id.clone() };
        let spec = self.spec.clone();
        let probes = wave.iter().filter_map(|index| {
            let container = &spec.containers[*index];
            let probe = container.startup_probe.as_ref()?;
            let (dial, port) = (&dial, container.port.unwrap_or(spec.ingress.port));
            Some(async move { probe::startup(probe, port, dial).await.map_err(|reason| (*index, reason)) })
        });
        let probes = try_join_all(probes);
        let (event, passed) = tokio::select! {
            biased;
            event = self.events.1.recv() => (event, Ok(())),
            passed = probes => (None, passed.map(drop)),
            _ = self.stop.wait_for(Option::is_some) => (None, Ok(())),
        };
        match event {
            Some(event) => Err(self.failure(event)),
            None => passed.map_err(|(index, reason)| self.probe_failure(index, reason)),
        }
    }

    /// Starts one container; its first process is known to the record when this returns.
    async fn start_container(&mut self, index: usize) -> Result<(), String> {
        let folder = job::container_folder(&self.shared.records.folder(&self.spec.id), index);
        // One that stood by is prepared.
        job::prepare(&folder).map_err(|error| format!("the container's folder cannot be prepared: {error}"))?;
        // Before the program runs: what it has written is lost if nobody holds the pipe when it ends.
        self.read_streams(index);
        let (shared, spec, join) = (self.shared.clone(), self.spec.clone(), self.first.map(|process| process.pid));
        let started = tokio::task::spawn_blocking(move || start(&shared, &spec, index, join));
        let (process, watched) = started.await.map_err(|error| error.to_string())??;
        self.follow(index, process, watched);
        Ok(())
    }

    /// Gives the instance its way to the outside, beside its start.
    fn reach_out(&mut self) {
        let (shared, id) = (self.shared.clone(), self.spec.id.clone());
        self.outward = Some(tokio::task::spawn_blocking(move || {
            let network = shared.lock().get(&id).and_then(|instance| instance.network.clone());
            let attached = shared
                .outbound
                .as_ref()
                .zip(network)
                .map(|(outbound, network)| outbound.attach(id.as_str(), network.as_fd()));
            if let Some(Err(error)) = attached {
                tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "the instance cannot reach the outside");
            }
        }));
    }

    /// Watches a container.
    fn follow(&mut self, index: usize, process: ProcessId, watched: Watched) {
        if self.first.is_none() {
            self.first = Some(process);
            self.reach_out();
        }
        let process = Arc::new(watched);
        let (watched, events) = (process.clone(), self.events.0.clone());
        let watcher = tokio::spawn(async move {
            let code = watched.ended().await;
            // The task that listens may be over.
            let _ = events.send(Event::Exited { index, code }).await;
        });
        self.containers.push((index, Followed { process, watcher }));
    }

    /// Reads what a container writes.
    fn read_streams(&mut self, index: usize) {
        let folder = job::container_folder(&self.shared.records.folder(&self.spec.id), index);
        for (file, stream) in [("stdout", LogStream::Stdout), ("stderr", LogStream::Stderr)] {
            let name = self.spec.containers[index].name.clone();
            let sink = (stream, self.shared.logs.clone());
            match logs::follow(&folder.join(file), self.spec.clone(), name, sink, self.over.subscribe()) {
                Ok(reader) => self.readers.push(reader),
                Err(error) => {
                    tracing::warn!(instance = %self.spec.id, %error, "what a container writes cannot be read")
                }
            }
        }
    }

    fn become_ready(&mut self) {
        self.set(InstanceState::Ready, |instance, now| {
            instance.record.observed.stamps.ready = Some(now);
            instance.record.observed.stamps.steady.ready = Some(crate::steady());
        });
        self.log_receipt();
        self.warn_of_loopback();
    }

    /// Warns of a container that listens on 127.0.0.1 only. The kernel takes milliseconds to list sockets,
    /// so this comes when the requests that waited for the start have been answered.
    fn warn_of_loopback(&self) {
        let Some(process) = self.first else { return };
        let (shared, spec) = (self.shared.clone(), self.spec.clone());
        tokio::spawn(async move {
            tokio::time::sleep(LOOKED_AT).await;
            let port = spec.ingress.port;
            let only =
                tokio::task::spawn_blocking(move || process.exists() && listening::only_loopback(process.pid, port));
            if !only.await.unwrap_or(false) {
                return;
            }
            let warning = format!(
                "the container listens on 127.0.0.1:{port} only; that works here, but on Cloud Run it must listen on 0.0.0.0:{port}"
            );
            say(&shared, &spec, &warning);
            // Not in the record, it is only lost to the next homerun.
            let _ = shared.update(&spec.id, true, |instance| instance.record.observed.warnings.push(warning));
        });
    }

    /// Says how long each step of the start took.
    fn log_receipt(&self) {
        let stamps = self.shared.lock().get(&self.spec.id).map(|instance| instance.record.observed.stamps.clone());
        let Some(stamps) = stamps else { return };
        let receipt = Receipt::of(self.spec.decided_at, &stamps);
        tracing::info!(instance = %self.spec.id, start = %receipt, "ready");
        say(&self.shared, &self.spec, &format!("Instance {} is ready after {receipt}.", self.spec.id));
    }

    fn name(&self, index: usize) -> String {
        self.spec.containers[index].name.clone()
    }

    /// SIGTERM to every container, and time to end by themselves: one that others need, and was therefore started
    /// before them, is asked after they have ended. The time is that of all of them together.
    async fn stop_containers(&mut self) {
        let grace = self.stop.borrow().unwrap_or_default();
        self.set(InstanceState::Stopping, |instance, now| {
            instance.record.observed.stamps.stopping.get_or_insert(now);
            instance.record.observed.stamps.steady.stopping.get_or_insert_with(crate::steady);
            instance.record.kill_at.get_or_insert(now + grace);
        });
        // It has its CPU while it ends.
        self.shared.set_cpu(&self.spec.id, |_| {});
        let deadline = Instant::now() + grace;
        for wave in self.spec.clone().start_waves.iter().rev() {
            let mut asked: Vec<_> = self.containers.iter_mut().filter(|(index, _)| wave.contains(index)).collect();
            asked.iter().for_each(|(_, container)| container.process.signal(libc::SIGTERM));
            let ended = join_all(asked.iter_mut().map(|(_, container)| &mut container.watcher));
            // Those that are left are killed with their cgroups, after the others have been asked too.
            let _ = tokio::time::timeout_at(deadline.into(), ended).await;
        }
    }

    /// Kills and removes everything, and then says how it ended.
    async fn end(mut self, state: InstanceState) {
        self.probers.iter().for_each(JoinHandle::abort);
        let (shared, id) = (self.shared.clone(), self.spec.id.clone());
        let (containers, standby) = {
            let mut instances = shared.lock();
            let instance = instances.get_mut(&id);
            instance.map(|i| (i.record.containers.clone(), i.standby.take())).unwrap_or_default()
        };
        let cgroups = shared.cgroups.clone();
        let volumes = shared.volumes.join(id.as_str());
        if let Some(outward) = self.outward.take() {
            // It fails only by a panic, which has been printed.
            let _ = outward.await;
        }
        let cleaned = tokio::task::spawn_blocking(move || {
            if let Some(Err(error)) = shared.outbound.as_ref().map(|outbound| outbound.detach(id.as_str())) {
                tracing::warn!(instance = %id, error = &error as &dyn std::error::Error, "the instance's interfaces cannot be removed");
            }
            for container in &containers {
                while !cgroups.remove(&container.cgroup, PATIENCE) {
                    tracing::warn!(cgroup = container.cgroup, "a container's processes do not end; trying on");
                }
            }
            standby.into_iter().for_each(|standby| shared.end_standby(standby));
            let _ = std::fs::remove_dir_all(volumes);
        });
        // It fails only by a panic, which has been printed.
        let _ = cleaned.await;
        // Zombies are reaped by their watchers, which end now that every process has.
        let watchers = std::mem::take(&mut self.containers).into_iter().map(|(_, container)| container.watcher);
        join_all(watchers.filter(|watcher| !watcher.is_finished())).await;
        self.over.send_replace(true);
        join_all(std::mem::take(&mut self.readers)).await;
        self.set(state, |instance, now| {
            instance.network = None;
            let observed = &mut instance.record.observed;
            observed.stamps.ended = Some(now);
            observed.stamps.steady.ended = (!observed.lost).then(crate::steady);
        });
    }

    fn set(&self, state: InstanceState, change: impl FnOnce(&mut super::Instance, homerun_model::Timestamp)) {
        let now = chrono::Utc::now();
        let saved = self.shared.update(&self.spec.id, true, |instance| {
            change(instance, now);
            instance.record.observed.state = state;
        });
        if let Err(error) = saved {
            tracing::warn!(instance = %self.spec.id, %error, "the instance's record could not be written; a restart may not know its state");
        }
    }

    fn say(&self, text: &str) {
        say(&self.shared, &self.spec, text);
    }
}

/// Writes to the instance's log in homerun's own name.
pub(super) fn say(shared: &Shared, spec: &InstanceSpec, text: &str) {
    let container = spec.containers.first().map_or("", |container| container.name.as_str());
    shared.logs.line(LogLine { spec, container, stream: LogStream::System, time: chrono::Utc::now(), text });
}
