//! What a container may be: HTTP servers with behaviour given by a function.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::{AnyBody, full};

/// A server that answers each request by a function, over HTTP/1.1 or HTTP/2 as it is spoken to.
pub async fn serve<F, A>(handler: F) -> SocketAddr
where
    F: Fn(Request<Incoming>) -> A + Send + Sync + 'static,
    A: Future<Output = Response<AnyBody>> + Send + 'static,
{
    let handler = Arc::new(handler);
    raw(move |stream| {
        let handler = handler.clone();
        async move {
            let service = service_fn(move |request| {
                let answer = handler(request);
                async move { Ok::<_, std::convert::Infallible>(answer.await) }
            });
            let builder = auto::Builder::new(TokioExecutor::new());
            let _ = builder.serve_connection_with_upgrades(TokioIo::new(stream), service).await;
        }
    })
    .await
}

/// A server that does with each connection what a function says.
pub async fn raw<F, A>(handler: F) -> SocketAddr
where
    F: Fn(TcpStream) -> A + Send + 'static,
    A: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(handler(stream));
        }
    });
    address
}

/// A server that answers with its name.
pub async fn named(name: &'static str) -> SocketAddr {
    serve(move |_| async move { Response::new(full(name)) }).await
}

/// An address that nobody listens on.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Reads a request's headers off a raw connection.
pub async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// A server whose requests wait until the test lets them go, and that counts them.
#[derive(Clone)]
pub struct Gate {
    open: Arc<Semaphore>,
    pub inside: Arc<AtomicUsize>,
    pub most_inside: Arc<AtomicUsize>,
    /// Paths in the order in which requests came.
    pub seen: Arc<std::sync::Mutex<Vec<String>>>,
}

impl Gate {
    pub async fn serve() -> (Self, SocketAddr) {
        let gate = Self {
            open: Arc::new(Semaphore::new(0)),
            inside: Arc::default(),
            most_inside: Arc::default(),
            seen: Arc::default(),
        };
        let own = gate.clone();
        let address = serve(move |request| own.clone().pass(request.uri().path().to_owned())).await;
        (gate, address)
    }

    async fn pass(self, path: String) -> Response<AnyBody> {
        struct Inside(Arc<AtomicUsize>);
        impl Drop for Inside {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::SeqCst);
            }
        }
        let now = self.inside.fetch_add(1, Ordering::SeqCst) + 1;
        let _inside = Inside(self.inside.clone());
        self.most_inside.fetch_max(now, Ordering::SeqCst);
        self.seen.lock().unwrap().push(path.clone());
        self.open.acquire().await.unwrap().forget();
        Response::new(full(path))
    }

    pub fn let_go(&self, requests: usize) {
        self.open.add_permits(requests);
    }

    pub fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }
}
