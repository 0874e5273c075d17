//! Proxy: the way of one request, from its headers to its response.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use homerun_model::names::ServiceKey;
use http::header::{REFERER, SET_COOKIE, USER_AGENT};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use crate::admit::{self, Invocation};
use crate::body::{Body, Held, Relay, RequestBody, RequestBodyError};
use crate::client::{Client, Deadline};
use crate::deliver::{Exchange, TryError};
use crate::instance::Instance;
use crate::lease::Lease;
use crate::observe::{Arrival, Ledger};
use crate::respond::{self, Failure};
use crate::route::HostRoute;
use crate::trace::TraceContext;
use crate::upstream::Sender;
use crate::{Ingress, affinity, headers, upgrade};

/// A request on its way, kept so that it can be tried again while no instance has read it.
struct Outbound {
    /// Taken when it is sent; it comes back if the instance has not read it.
    request: Option<Request<RequestBody>>,
    client: Arc<Client>,
    host: Authority,
    path: PathAndQuery,
    /// The service that has let it in.
    admitted: Option<Arc<ServiceKey>>,
    /// The instance that the client says it comes back to.
    comes_back: Option<u64>,
    /// The caller's own hold on the connection, if it asks to change the protocol.
    upgrade: Option<(HeaderValue, OnUpgrade)>,
    /// Whether the client wants to know what took the time.
    timing: bool,
    /// Bytes of the body that were sent.
    sent: Arc<AtomicU64>,
    /// When the request's time is over; begins with the first lease.
    deadline: Option<Deadline>,
}

/// A response, and the connection on which it comes.
type Answer = (Sender, Response<Incoming>);

impl Ingress {
    /// Answers one request, from an instance or by a refusal. Dropping the future cancels the request to
    /// the instance; whatever happens, one record is handed in.
    pub(crate) async fn answer(&self, mut request: Request<Incoming>, client: Arc<Client>) -> Response<Body> {
        let mut ledger = begin_record(&mut request, &client);
        let host = match headers::check(&request) {
            Ok(host) => host,
            Err(why) => return respond::refuse(&Failure::BadRequest(why), ledger),
        };
        let http1 = request.version() <= Version::HTTP_11;
        let (max_request, max_response) = (self.settings.max_http1_request, self.settings.max_http1_response);
        if http1 && exceeds(request.body(), max_request) {
            return respond::refuse(&Failure::RequestTooLarge, ledger);
        }
        let mut outbound = self.outbound(request, client, host, &mut ledger);
        match self.deliver(&mut outbound, &mut ledger).await {
            Ok(((_, response), _)) if http1 && exceeds(response.body(), max_response) => {
                respond::refuse(&Failure::ResponseTooLarge, ledger)
            }
            Ok((answer, lease)) => respond_with(answer, lease, outbound, ledger),
            Err(failure) => {
                ledger.record().request_bytes = outbound.sent.load(Ordering::Relaxed);
                respond::refuse(&failure, ledger)
            }
        }
    }

    fn outbound(
        &self,
        mut request: Request<Incoming>,
        client: Arc<Client>,
        host: Authority,
        ledger: &mut Ledger,
    ) -> Outbound {
        let upgrade = headers::upgrade(&request).map(|protocol| (protocol, hyper::upgrade::on(&mut request)));
        headers::forward(request.headers_mut(), &client, &ledger.record().host);
        let timing = headers::take_timing(request.headers_mut());
        let sent = Arc::new(AtomicU64::new(0));
        let most = self.settings.max_http1_request.filter(|_| request.version() <= Version::HTTP_11);
        let request = request.map(|body| RequestBody::new(body, sent.clone(), most.unwrap_or(u64::MAX)));
        let path = ledger.record().path.clone();
        let request = Some(request);
        let (admitted, comes_back, deadline) = (None, None, None);
        Outbound { request, client, host, path, admitted, comes_back, upgrade, timing, sent, deadline }
    }

    /// Asks whether the caller may invoke the service, and takes the token out of what it is passed on.
    async fn admit(&self, route: &HostRoute, outbound: &mut Outbound) -> Result<(), Failure> {
        let Some(request) = &mut outbound.request else {
            return Err(Failure::ConnectionLost);
        };
        let bearer = admit::bearer(request.headers()).map(|(_, token)| token);
        match self.authorize.may_invoke(&route.service, bearer).await {
            Invocation::Allowed => admit::disarm(request.headers_mut()),
            Invocation::Forbidden => return Err(Failure::Forbidden),
            Invocation::Unauthenticated if bearer.is_some() => return Err(Failure::BadToken),
            Invocation::Unauthenticated => return Err(Failure::NoToken),
        }
        Ok(())
    }
}

impl Exchange for Outbound {
    type Answer = Answer;
    type Stop = Failure;

    fn host(&self) -> &str {
        self.host.as_str()
    }

    fn client(&self) -> &Client {
        &self.client
    }

    async fn enter(&mut self, ingress: &Ingress, route: &HostRoute) -> Result<Option<u64>, Failure> {
        if !route.public && self.admitted.as_ref() != Some(&route.service) {
            ingress.admit(route, self).await?;
            self.admitted = Some(route.service.clone());
        }
        if route.is_sticky() {
            self.comes_back = self.request.as_ref().and_then(|request| affinity::named(request.headers()));
        }
        Ok(self.comes_back)
    }

    async fn attempt(&mut self, ingress: &Ingress, lease: &Lease) -> Result<Answer, TryError<Failure>> {
        let instance = lease.instance();
        let Outbound { request: slot, deadline, client, host, path, upgrade, .. } = self;
        let deadline = deadline.get_or_insert_with(|| Deadline::new(lease.until, client));
        let Some(request) = slot else {
            return Err(TryError::Over(Failure::ConnectionLost));
        };
        instance.work(&*ingress.connect);
        let protocol = instance.ingress().protocol;
        headers::address(request, host, path, protocol);
        if let Some((name, _)) = upgrade
            && protocol == homerun_model::container::Protocol::Http1
        {
            headers::ask_upgrade(request.headers_mut(), name.clone());
        }
        let result = tokio::select! {
            biased;
            result = send(ingress, instance, slot) => result,
            () = deadline => Err(TryError::Over(Failure::Timeout)),
        };
        if !matches!(result, Err(TryError::NotSent(_))) {
            instance.count_request();
        }
        result
    }
}

/// Sends a request to an instance and waits for the response's headers. The request is back in its slot if the instance
/// has not read it.
async fn send(
    ingress: &Ingress,
    instance: &Instance,
    slot: &mut Option<Request<RequestBody>>,
) -> Result<Answer, TryError<Failure>> {
    let unreachable = |error| TryError::unreachable(instance, &error);
    let mut sender = instance.connection(&*ingress.connect, &ingress.settings).await.map_err(unreachable)?;
    while let Some(request) = slot.take() {
        let kept = sender.is_kept();
        let copy = if kept { copy(&request) } else { None };
        match sender.send(request).await {
            Ok(response) => return Ok((sender, response)),
            Err(mut error) => {
                *slot = error.take_message().or_else(|| copy.filter(|_| sender.is_untouched()));
                if slot.is_none() {
                    return Err(TryError::Over(broken(error.error())));
                }
            }
        }
        if !kept {
            break;
        }
        // It may just have been ended for want of requests; a new one tells whether the instance serves.
        sender = instance.new_connection(&*ingress.connect, &ingress.settings).await.map_err(unreachable)?;
    }
    Err(TryError::NotSent(Failure::ConnectionLost))
}

/// The same request once more, if it is idempotent and has no body.
fn copy(request: &Request<RequestBody>) -> Option<Request<RequestBody>> {
    let body = request.body().copy().filter(|_| request.method().is_idempotent())?;
    let mut copy = Request::new(body);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

fn begin_record(request: &mut Request<Incoming>, client: &Arc<Client>) -> Ledger {
    let trace = TraceContext::take(request.headers_mut());
    let headers = request.headers();
    let authority = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok());
    let host = authority.or_else(|| headers.get(http::header::HOST).cloned());
    let path = request.uri().path_and_query().cloned();
    let arrival = Arrival {
        host: host.unwrap_or_else(|| HeaderValue::from_static("")),
        method: request.method().clone(),
        path: path.unwrap_or_else(|| PathAndQuery::from_static("/")),
        version: request.version(),
        trace,
        user_agent: headers.get(USER_AGENT).cloned(),
        referer: headers.get(REFERER).cloned(),
    };
    Ledger::begin(client.clone(), arrival)
}

/// Whether a body announces that it is larger.
fn exceeds(body: &Incoming, most: Option<u64>) -> bool {
    most.is_some_and(|most| body.size_hint().exact().is_some_and(|length| length > most))
}

/// What an error after sending means for the client.
fn broken(error: &hyper::Error) -> Failure {
    if error.is_user() {
        // The only thing that is ours to get wrong is the body, which is the client's.
        match error.source().and_then(|source| source.downcast_ref()) {
            Some(RequestBodyError::TooLarge) => Failure::RequestTooLarge,
            _ => Failure::BadRequest("the request's body broke off"),
        }
    } else if error.is_parse() {
        Failure::Malformed
    } else {
        Failure::ConnectionLost
    }
}

/// Passes an instance's response on.
fn respond_with((sender, response): Answer, lease: Lease, outbound: Outbound, mut ledger: Ledger) -> Response<Body> {
    let deadline = outbound.deadline.unwrap_or_else(|| Deadline::new(lease.until, &outbound.client));
    let changes_protocol = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if changes_protocol && outbound.upgrade.is_none() {
        return respond::refuse(&Failure::Malformed, ledger);
    }
    let record = ledger.record();
    record.status = response.status().as_u16();
    let asked = outbound.timing.then(|| (record.waited, record.cold_start.then(|| lease.instance().receipt().clone())));
    let cookie = (lease.sticky && outbound.comes_back != Some(lease.instance().mark()))
        .then(|| affinity::cookie(lease.instance().mark()));
    let held = Held { sender, lease, ledger, request_bytes: outbound.sent };
    match outbound.upgrade {
        Some((_, client)) if changes_protocol => upgrade::tunnel(response, client, held, deadline),
        _ => {
            let (mut parts, inner) = response.into_parts();
            headers::strip_hop_by_hop(&mut parts.headers);
            if let Some(cookie) = cookie {
                parts.headers.append(SET_COOKIE, cookie);
            }
            if let Some((waited, start)) = asked {
                headers::timing(&mut parts.headers, waited, start.as_ref());
            }
            Response::from_parts(parts, Body::relay(Relay { inner, deadline, held: Some(held) }))
        }
    }
}
