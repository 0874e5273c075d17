//! Accept: clients' connections, HTTP/1.1 and HTTP/2 on the same port, in TLS or not.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::Ingress;
use crate::client::Client;
use crate::idle::{Activity, Look, Watched};
use crate::lane::Lane;
use crate::seldom::Seldom;
use crate::settings::Settings;
use crate::tls;
use crate::workers::Workers;

/// hyper refuses smaller HTTP/1 buffers.
const MIN_BUFFER: usize = 8192;

/// Pause after an accept that failed for want of resources, which the next one would lack too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long an unused connection that is being closed may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

impl Ingress {
    /// Serves clients until `shutdown` is ready; then requests in flight may end within
    /// [`Settings::drain`], and what is left is cut off.
    ///
    /// # Errors
    /// When the threads that carry connections cannot be made.
    pub async fn serve(
        self: Arc<Self>,
        listener: TcpListener,
        shutdown: impl Future<Output = ()> + Send,
    ) -> io::Result<()> {
        let workers = Workers::start()?;
        let (stop, stopping) = watch::channel(false);
        // Each connection holds a sender; when all are gone the receiver ends.
        let (open, mut all_closed) = mpsc::channel::<Infallible>(1);
        let builder = Arc::new(builder(&self.settings));
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => {
                    let (ingress, builder) = (self.clone(), builder.clone());
                    let (open, stopping) = (open.clone(), stopping.clone());
                    // Another thread's event loop is to watch it.
                    let Ok(stream) = stream.into_std() else { continue };
                    workers.carry(async move {
                        ingress.serve_connection(stream, peer, &builder, stopping).await;
                        drop(open);
                    });
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop((listener, open));
        stop.send_replace(true);
        all_closed.recv().await;
        Ok(())
    }

    async fn serve_connection(
        self: Arc<Self>,
        stream: std::net::TcpStream,
        peer: SocketAddr,
        builder: &auto::Builder<TokioExecutor>,
        stopping: watch::Receiver<bool>,
    ) {
        let stream = match TcpStream::from_std(stream).and_then(|stream| stream.set_nodelay(true).map(|()| stream)) {
            Ok(stream) => stream,
            Err(error) => return tracing::debug!(%peer, %error, "the client has gone already"),
        };
        if self.settings.tls.is_some() {
            // Of its own, so that those without need not have room for it.
            Box::pin(self.serve_tls(stream, peer, builder, stopping)).await;
        } else {
            self.serve_http(stream, peer, builder, stopping).await;
        }
    }

    async fn serve_tls(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        builder: &auto::Builder<TokioExecutor>,
        stopping: watch::Receiver<bool>,
    ) {
        let Some(tls) = &self.settings.tls else { return };
        match tokio::time::timeout(self.settings.header_timeout, tls::accept(tls, stream)).await {
            Ok(Ok(stream)) => self.serve_http(stream, peer, builder, stopping).await,
            Ok(Err(error)) => tracing::debug!(%peer, %error, "no TLS with a client"),
            Err(_) => tracing::debug!(%peer, "a client took too long to begin TLS"),
        }
    }

    async fn serve_http<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self: Arc<Self>,
        stream: S,
        peer: SocketAddr,
        builder: &auto::Builder<TokioExecutor>,
        mut stopping: watch::Receiver<bool>,
    ) {
        let settings = self.settings.clone();
        let activity = Activity::new();
        let client = Arc::new(Client::new(peer, settings.scheme, self.observe.clone()));
        let mut stream = Watched::new(stream, activity.clone());
        let mut until_its_end = pin!(Seldom::new(until_its_end(&activity, &mut stopping, &settings)));
        let mut ending = None;
        let left = {
            let mut lane = pin!(Lane::new(&self, stream.unnoted(), &client, &activity).run());
            tokio::select! {
                biased;
                left = lane.as_mut() => left,
                patience = until_its_end.as_mut() => {
                    let Some(patience) = patience else { return };
                    activity.end();
                    let deadline = tokio::time::Instant::now() + patience;
                    let Ok(Some(left)) = tokio::time::timeout_at(deadline, lane).await else { return };
                    ending = Some(deadline);
                    Some(left)
                }
            }
        };
        if let Some(left) = left {
            stream.unread(left);
            let until_its_end = async {
                match ending {
                    // It has waited on the lane, and is the last one.
                    Some(deadline) => Some(deadline.saturating_duration_since(tokio::time::Instant::now())),
                    None => until_its_end.await,
                }
            };
            // Of its own, so that those on the lane need not have room for it.
            Box::pin(self.serve_hyper(stream, &client, builder, until_its_end)).await;
        }
    }

    /// Serves what is not plain HTTP/1.1, and whatever the client sends after that.
    async fn serve_hyper<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
        self: Arc<Self>,
        stream: Watched<S>,
        client: &Arc<Client>,
        builder: &auto::Builder<TokioExecutor>,
        until_its_end: impl Future<Output = Option<Duration>>,
    ) {
        let peer = client.peer;
        let (requests, client) = (stream.activity().clone(), client.clone());
        let service = service_fn(move |request| {
            let (ingress, client, active) = (self.clone(), client.clone(), requests.begin());
            async move { Ok::<_, Infallible>(ingress.answer(request, client).await.map(|body| body.keeping(active))) }
        });
        let mut connection = pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let patience = tokio::select! {
            biased;
            ended = connection.as_mut() => return note(peer, ended),
            patience = until_its_end => patience,
        };
        let Some(patience) = patience else { return };
        connection.as_mut().graceful_shutdown();
        if let Ok(ended) = tokio::time::timeout(patience, connection).await {
            note(peer, ended);
        }
    }
}

/// Waits until a connection is to end, whatever its client wants: how long what is going on there may take to end, or
/// `None` if it is to end at once.
async fn until_its_end(
    activity: &Activity,
    stopping: &mut watch::Receiver<bool>,
    settings: &Settings,
) -> Option<Duration> {
    let mut look = pin!(tokio::time::sleep(settings.header_timeout));
    let (mut stopped, mut cut) = (pin!(stopping.wait_for(|stop| *stop)), pin!(activity.until_cut()));
    loop {
        tokio::select! {
            _ = stopped.as_mut() => return Some(settings.drain),
            () = cut.as_mut() => return None,
            () = look.as_mut() => match activity.look(settings) {
                Look::Later(left) => look.as_mut().reset(tokio::time::Instant::now() + left),
                Look::Unused => return Some(GOODBYE),
                Look::TooSlow => return None,
            },
        }
    }
}

fn note(peer: SocketAddr, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, error = &*error as &dyn std::error::Error, "a client's connection broke off");
    }
}

fn builder(settings: &Settings) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        // `idle` watches headers.
        .header_read_timeout(None)
        .max_buf_size(settings.max_header_bytes.max(MIN_BUFFER))
        .max_headers(settings.max_headers);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(settings.max_streams)
        .max_header_list_size(u32::try_from(settings.max_header_bytes).unwrap_or(u32::MAX));
    builder
}

/// Errors of the connection that was to be accepted, not of the listener (accept(2)).
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}
