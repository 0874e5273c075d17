use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;

use super::*;

/// A server on a loopback port.
struct Server {
    port: u16,
    h2c: bool,
}

impl Dial for Server {
    async fn dial(&self, port: u16) -> io::Result<TcpStream> {
        TcpStream::connect(("127.0.0.1", port)).await
    }

    fn speaks_h2c(&self, port: u16) -> bool {
        self.h2c && port == self.port
    }

    fn begins(&self) {}

    fn ends(&self) {}
}

/// What it answers: `/ok` with 200, else 500; a gRPC health check with SERVING.
async fn answer(request: ::http::Request<hyper::body::Incoming>) -> Result<::http::Response<Full<Bytes>>, Infallible> {
    let response = ::http::Response::builder();
    let (response, body) = match (request.uri().path(), request.headers().get("x-key").is_some()) {
        ("/ok", _) | ("/keyed", true) => (response.status(204), Bytes::new()),
        ("/grpc.health.v1.Health/Check", _) => {
            (response.header("grpc-status", "0"), Bytes::from_static(&[0, 0, 0, 0, 2, 8, 1]))
        }
        _ => (response.status(500), Bytes::new()),
    };
    Ok(response.body(Full::new(body)).expect("it is valid"))
}

/// A server that speaks one version of HTTP, on a port that is named for it or for the other.
async fn server(speaks_http2: bool, named_h2c: bool) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let stream = TokioIo::new(stream);
            tokio::spawn(async move {
                let _ = match speaks_http2 {
                    true => {
                        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
                        server.serve_connection(stream, service_fn(answer)).await
                    }
                    false => {
                        hyper::server::conn::http1::Builder::new().serve_connection(stream, service_fn(answer)).await
                    }
                };
            });
        }
    });
    Server { port, h2c: named_h2c }
}

async fn tried(server: &Server, check: &Check) -> Result<(), String> {
    once(check, server.port, server, Duration::from_secs(5)).await
}

fn get(path: &str) -> Check {
    Check::Http { path: Some(path.to_owned()), port: None, headers: Vec::new() }
}

#[tokio::test]
async fn s05_a_port_named_h2c_is_probed_by_http_2() {
    let server = server(true, true).await;
    assert_eq!(tried(&server, &get("/ok")).await, Ok(()));
    assert_eq!(tried(&server, &get("/other")).await, Err("GET /other answered 500".to_owned()));
    let headers = vec![("X-Key".to_owned(), "1".to_owned()), ("Host".to_owned(), "web.test".to_owned())];
    assert_eq!(tried(&server, &Check::Http { path: Some("/keyed".to_owned()), port: None, headers }).await, Ok(()));
}

#[tokio::test]
async fn s05_a_port_named_h2c_may_answer_its_probe_by_http_1() {
    let server = server(false, true).await;
    assert_eq!(tried(&server, &get("/ok")).await, Ok(()));
    assert_eq!(tried(&server, &get("/other")).await, Err("GET /other answered 500".to_owned()));
}

#[tokio::test]
async fn s05_any_other_port_is_probed_by_http_1() {
    assert_eq!(tried(&server(false, false).await, &get("/ok")).await, Ok(()));
    assert!(tried(&server(true, false).await, &get("/ok")).await.is_err(), "nothing says that it is HTTP/2");
}

#[tokio::test]
async fn s05_a_grpc_probe_asks_the_health_service() {
    let check = Check::Grpc { port: None, service: Some("web".to_owned()) };
    assert_eq!(tried(&server(true, true).await, &check).await, Ok(()));
    assert!(tried(&server(false, false).await, &check).await.is_err());
}
