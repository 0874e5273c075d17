//! The program in the container: HTTP/1.1 and h2c on $PORT.

use std::convert::Infallible;
use std::io;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Frame, Incoming};
use hyper::header::{CONNECTION, CONTENT_TYPE, HeaderValue, UPGRADE};
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::Outcome;

type Body = BoxBody<Bytes, Infallible>;

static PAYLOAD: [u8; 1 << 20] = [b'x'; 1 << 20];

/// The answer to the one key that the load sends.
const ACCEPT: &str = "ICX+Yqv66kxgM0FcWaLWlFLwTAI=";
/// A WebSocket frame of up to 125 bytes: its header and, from a client, its mask.
const FRAME_HEAD: usize = 2;
const MASK: usize = 4;

#[tokio::main]
pub async fn main() -> Outcome<()> {
    let port: u16 = std::env::var("PORT").map_err(|_| "PORT is not set")?.parse()?;
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // Its only errors are those of a client that leaves.
            let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    Ok(match request.uri().path() {
        "/1k" => payload(1024),
        "/1m" => payload(1 << 20),
        "/websocket" => {
            let upgraded = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                if let Ok(upgraded) = upgraded.await {
                    let _ = echo(TokioIo::new(upgraded)).await;
                }
            });
            let mut response = payload(0);
            *response.status_mut() = hyper::StatusCode::SWITCHING_PROTOCOLS;
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
            response.headers_mut().insert(UPGRADE, HeaderValue::from_static("websocket"));
            response.headers_mut().insert("sec-websocket-accept", HeaderValue::from_static(ACCEPT));
            response
        }
        "/echo.Echo/Unary" => unary(request).await?,
        _ => {
            let mut body = request.into_body();
            while let Some(frame) = body.frame().await {
                frame?;
            }
            payload(2)
        }
    })
}

fn payload(length: usize) -> Response<Body> {
    Response::new(Full::new(Bytes::from_static(&PAYLOAD[..length])).boxed())
}

/// Answers with the request's message, as gRPC does: a frame, then trailers with the status.
async fn unary(request: Request<Incoming>) -> Result<Response<Body>, hyper::Error> {
    let message = request.into_body().collect().await?.to_bytes();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = Full::new(message).with_trailers(async move { Some(Ok(trailers)) });
    let mut response = Response::new(body.map_frame(|frame: Frame<Bytes>| frame).boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(response)
}

async fn echo(mut stream: impl AsyncReadExt + AsyncWriteExt + Unpin) -> io::Result<()> {
    let mut frame = [0; FRAME_HEAD + MASK + 125];
    loop {
        stream.read_exact(&mut frame[..FRAME_HEAD]).await?;
        let length = usize::from(frame[1] & 0x7f).min(125);
        stream.read_exact(&mut frame[FRAME_HEAD..FRAME_HEAD + MASK + length]).await?;
        let mask: [u8; MASK] = std::array::from_fn(|at| frame[FRAME_HEAD + at]);
        for at in 0..length {
            frame[FRAME_HEAD + at] = frame[FRAME_HEAD + MASK + at] ^ mask[at % MASK];
        }
        frame[1] = length as u8;
        stream.write_all(&frame[..FRAME_HEAD + length]).await?;
    }
}
