//! Accept: clients' connections, HTTP/1.1 and HTTP/2 on the same port.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};

use crate::Ingress;
use crate::idle::{Activity, Look, Watched};
use crate::settings::Settings;

/// hyper refuses smaller HTTP/1 buffers.
const MIN_BUFFER: usize = 8192;

/// Pause after an accept that failed for want of resources, which the next one would lack too.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// How long an unused connection that is being closed may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(1);

impl Ingress {
    /// Serves clients until `shutdown` is ready; then requests in flight may end within
    /// [`Settings::drain`], and what is left is cut off.
    pub async fn serve(self: Arc<Self>, listener: TcpListener, shutdown: impl Future<Output = ()> + Send) {
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
                    tokio::spawn(async move {
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
    }

    async fn serve_connection(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        builder: &auto::Builder<TokioExecutor>,
        mut stopping: watch::Receiver<bool>,
    ) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "the client has gone already");
            return;
        }
        let settings = self.settings.clone();
        let activity = Activity::new();
        let requests = activity.clone();
        let service = service_fn(move |request| {
            let (ingress, active) = (self.clone(), requests.begin());
            async move { Ok::<_, Infallible>(ingress.answer(request, peer).await.map(|body| body.keeping(active))) }
        });
        let stream = TokioIo::new(Watched::new(stream, activity.clone()));
        let mut connection = pin!(builder.serve_connection_with_upgrades(stream, service));
        let mut look = pin!(tokio::time::sleep(settings.header_timeout));
        let patience = loop {
            tokio::select! {
                ended = connection.as_mut() => return note(peer, ended),
                _ = stopping.wait_for(|stop| *stop) => break settings.drain,
                () = activity.until_cut() => return,
                () = look.as_mut() => match activity.look(&settings) {
                    Look::Later(left) => look.as_mut().reset(tokio::time::Instant::now() + left),
                    Look::Unused => break GOODBYE,
                    Look::TooSlow => return,
                },
            }
        };
        connection.as_mut().graceful_shutdown();
        if let Ok(ended) = tokio::time::timeout(patience, connection).await {
            note(peer, ended);
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
