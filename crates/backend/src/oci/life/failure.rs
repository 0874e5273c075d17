//! Why an instance has failed.

use homerun_model::container::Check;
use homerun_model::instance::{Failure, InstanceState};

use super::{Event, Life, listening};

impl Life {
    pub(super) fn failure(&self, event: Event) -> Failure {
        let was_ready = self.state() == Some(InstanceState::Ready);
        match event {
            Event::Exited { index, code } => {
                let instances = self.shared.lock();
                let containers =
                    instances.get(&self.spec.id).map(|instance| instance.record.containers.clone()).unwrap_or_default();
                drop(instances);
                let out_of_memory = killed(code)
                    && containers.iter().any(|c| c.index == index && self.shared.cgroups.out_of_memory(&c.cgroup));
                Failure::Exited { container: self.name(index), code, out_of_memory, was_ready }
            }
            Event::NotAlive { index, reason } => {
                Failure::LivenessProbe { container: self.name(index), last_error: reason }
            }
        }
    }

    /// A refused connection is explained by where the container listens instead.
    pub(super) fn probe_failure(&self, index: usize, reason: String) -> Failure {
        let container = &self.spec.containers[index];
        let port = match container.startup_probe.as_ref().map(|probe| &probe.check) {
            Some(Check::Tcp { port } | Check::Http { port, .. } | Check::Grpc { port, .. }) => *port,
            None => None,
        };
        let port = port.and_then(|port| u16::try_from(port).ok()).or(container.port).unwrap_or(self.spec.ingress.port);
        let refused = reason == "connection refused";
        let last_error = match self.first.filter(|_| refused) {
            Some(process) => listening::elsewhere(process.pid, port),
            None => reason,
        };
        Failure::StartupProbe { container: self.name(index), last_error }
    }
}

/// Whether a process may have been killed, as by the kernel when memory runs out. One that ends in another way does so
/// for another reason, whichever of its children was killed before.
fn killed(code: Option<i32>) -> bool {
    code.is_none_or(|code| code == 128 + libc::SIGKILL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s05_only_what_was_killed_has_run_out_of_memory() {
        assert!(killed(Some(137)) && killed(None), "the code of a container of an earlier homerun is not known");
        assert!(!killed(Some(0)) && !killed(Some(1)) && !killed(Some(128 + libc::SIGSEGV)));
    }
}
