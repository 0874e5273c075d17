//! Deliver: finds the revision and the instance that answer a request, and tries again while none has got it.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use crate::client::Client;
use crate::instance::Instance;
use crate::lease::Lease;
use crate::observe::Ledger;
use crate::pool::{NoLease, Pool};
use crate::respond::Failure;
use crate::route::HostRoute;
use crate::upstream::OpenError;
use crate::{Ingress, origin};

/// Pauses before a request that reached no instance is tried again. The first is none: there may be
/// another instance. Together they outlast the moment in which an instance ends and control learns it.
const PAUSES: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(10),
    Duration::from_millis(50),
    Duration::from_millis(200),
    Duration::from_millis(800),
];

/// A request on its way, in whichever form.
pub(crate) trait Exchange {
    /// What an instance answers.
    type Answer;
    /// Why none does.
    type Stop: From<Failure>;

    /// The host that it is for.
    fn host(&self) -> &str;

    fn client(&self) -> &Client;

    /// Whether it may take the route. Returns the instance that its client comes back to.
    fn enter(
        &mut self,
        ingress: &Ingress,
        route: &HostRoute,
    ) -> impl Future<Output = Result<Option<u64>, Self::Stop>> + Send;

    /// One try on one instance, within the request's time, which begins with the first.
    fn attempt(
        &mut self,
        ingress: &Ingress,
        lease: &Lease,
    ) -> impl Future<Output = Result<Self::Answer, TryError<Self::Stop>>> + Send;
}

/// Why a try brought no response.
pub(crate) enum TryError<S> {
    /// The instance has not read the request: another try does no harm.
    NotSent(Failure),
    /// It may have been carried out, or is not to be tried again.
    Over(S),
}

impl<S> TryError<S> {
    /// There is no connection to the instance.
    pub(crate) fn unreachable(instance: &Instance, error: &OpenError) -> Self {
        tracing::debug!(instance = %instance.id(), error = error as &dyn Error, "no connection");
        Self::NotSent(Failure::Unreachable)
    }
}

impl Ingress {
    /// Finds the revision and has it answer. A revision that leaves the table while the request waits
    /// sends it back here, to the route that is published by then.
    pub(crate) async fn deliver<E: Exchange>(
        &self,
        exchange: &mut E,
        ledger: &mut Ledger,
    ) -> Result<(E::Answer, Lease), E::Stop> {
        loop {
            let route = self.table.find(exchange.host()).ok_or(Failure::UnknownHost)?;
            ledger.record().service = Some(route.service.clone());
            if !origin::may_enter(route.access, exchange.client().peer.ip(), &self.settings) {
                return Err(Failure::Outside.into());
            }
            let comes_back = exchange.enter(self, &route).await?;
            let pool = route.pick(comes_back).map_err(|unready| Failure::Refused(unready.clone()))?;
            ledger.record().revision = Some(pool.key().clone());
            pool.count_arrival();
            match self.try_instances(pool, exchange, comes_back, ledger).await {
                Ok(answered) => return Ok(answered),
                Err(None) => {}
                Err(Some(stop)) => return Err(stop),
            }
        }
    }

    /// Has an instance of the revision answer, trying again as long as none has read the request.
    /// `None` as the error asks for a new route.
    async fn try_instances<E: Exchange>(
        &self,
        pool: &Arc<Pool>,
        exchange: &mut E,
        comes_back: Option<u64>,
        ledger: &mut Ledger,
    ) -> Result<(E::Answer, Lease), Option<E::Stop>> {
        let mut failed = None;
        let mut pauses = PAUSES.into_iter();
        loop {
            let began = ledger.began();
            let record = ledger.record();
            let acquired = pool.acquire(began, failed.as_deref(), comes_back, &mut record.waited).await;
            let lease = acquired.map_err(|none| match none {
                NoLease::Rerouted => None,
                NoLease::Refused(refusal) => Some(Failure::Refused(refusal).into()),
            })?;
            record.instance = Some(lease.instance().id().clone());
            record.cold_start |= lease.cold_start;
            match exchange.attempt(self, &lease).await {
                Ok(answer) => return Ok((answer, lease)),
                Err(TryError::Over(stop)) => return Err(Some(stop)),
                Err(TryError::NotSent(failure)) => {
                    failed = Some(lease.instance().id().clone());
                    drop(lease);
                    let Some(pause) = pauses.next() else {
                        return Err(Some(failure.into()));
                    };
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                }
            }
        }
    }
}
