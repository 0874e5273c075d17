//! The gRPC health service, `grpc.health.v1.Health/Check`: one message each way, small enough to write
//! by hand.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

/// The field `status` with the value SERVING.
const SERVING: [u8; 2] = [0x08, 0x01];

/// Asks whether `service` is serving.
pub(super) async fn check(stream: TcpStream, service: &str) -> Result<(), String> {
    let failed = |error: hyper::Error| format!("no gRPC: {error}");
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.map_err(failed)?;
    let connection = tokio::spawn(connection);
    let request = http::Request::post("http://localhost/grpc.health.v1.Health/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(message(service)))
        .map_err(|error| error.to_string())?;
    let response = sender.send_request(request).await.map_err(failed)?;
    let early = status(response.headers());
    let body = response.into_body().collect().await.map_err(failed)?;
    let status = early.or_else(|| body.trailers().and_then(status)).unwrap_or_default();
    connection.abort();
    let bytes = body.to_bytes();
    match (status.as_str(), bytes.get(5..)) {
        ("0", Some(answer)) if answer.starts_with(&SERVING) => Ok(()),
        ("0", _) => Err("the gRPC health service answers that it is not serving".to_owned()),
        (code, _) => Err(format!("the gRPC health service answers with status {code}")),
    }
}

fn status(headers: &http::HeaderMap) -> Option<String> {
    headers.get("grpc-status").and_then(|value| value.to_str().ok()).map(str::to_owned)
}

/// An uncompressed gRPC frame with the request, whose only field is the service's name.
fn message(service: &str) -> Bytes {
    let mut field = Vec::new();
    if !service.is_empty() {
        let name = &service.as_bytes()[..service.len().min(127)];
        field.extend([0x0a, name.len() as u8]);
        field.extend(name);
    }
    let mut frame = vec![0];
    frame.extend((field.len() as u32).to_be_bytes());
    frame.extend(field);
    frame.into()
}
