//! The container of tests/e2e/e2e_ingress.py: gRPC without any library's help, and WebSocket, on $PORT.
//!
//! gRPC messages are bytes as they are. `/echo.Echo/`
//!
//! | call | answers |
//! |---|---|
//! | Unary | its message |
//! | ServerStream | the message `N` by N messages, `0` to `N-1` |
//! | ClientStream | one message: how many messages came, and how many bytes they had |
//! | Bidi | each message by itself, at once |
//! | Fail | status 9 with a message, without any message of its own |
//! | Wait | nothing, ever |
//!
//! All but Fail end with the trailer `echo-calls`.

use std::convert::Infallible;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, UPGRADE};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Empty, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

type Body = BoxBody<Bytes, Infallible>;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port: u16 = std::env::var("PORT")?.parse()?;
    let listener = TcpListener::bind(("0.0.0.0", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            let server = auto::Builder::new(TokioExecutor::new());
            // Its only errors are those of a client that leaves.
            let _ = server.serve_connection_with_upgrades(TokioIo::new(stream), service_fn(answer)).await;
        });
    }
}

async fn answer(mut request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    if let Some(key) = request.headers().get(SEC_WEBSOCKET_KEY).cloned() {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Ok(upgraded) = upgraded.await {
                let _ = websocket(TokioIo::new(upgraded)).await;
            }
        });
        return Ok(switch(&key));
    }
    let call = request.uri().path().strip_prefix("/echo.Echo/").unwrap_or_default().to_owned();
    if call.is_empty() {
        return Ok(Response::new(Full::new(Bytes::from_static(b"echo\n")).boxed()));
    }
    Ok(grpc(&call, request.into_body()))
}

fn grpc(call: &str, body: Incoming) -> Response<Body> {
    let mut response = Response::new(Empty::new().boxed());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if call == "Fail" {
        response.headers_mut().insert("grpc-status", HeaderValue::from_static("9"));
        response.headers_mut().insert("grpc-message", HeaderValue::from_static("not%20now"));
        return response;
    }
    let (frames, receiver) = mpsc::channel(1);
    let stream = futures_util::stream::unfold(receiver, |mut receiver| async {
        receiver.recv().await.map(|frame| (Ok(frame), receiver))
    });
    *response.body_mut() = BodyExt::boxed(StreamBody::new(stream));
    tokio::spawn(serve(call.to_owned(), Messages { body, bytes: BytesMut::new() }, frames));
    response
}

/// Answers a call; `None` where the client has gone.
async fn serve(call: String, mut messages: Messages, frames: mpsc::Sender<Frame<Bytes>>) -> Option<()> {
    let (mut count, mut bytes) = (0, 0);
    while let Some(message) = messages.next().await {
        (count, bytes) = (count + 1, bytes + message.len());
        match call.as_str() {
            "Unary" | "Bidi" => frames.send(framed(&message)).await.ok()?,
            "ServerStream" => {
                for number in 0..std::str::from_utf8(&message).ok()?.parse::<u32>().ok()? {
                    frames.send(framed(number.to_string().as_bytes())).await.ok()?;
                }
            }
            "Wait" => return std::future::pending().await,
            _ => {}
        }
    }
    if call == "ClientStream" {
        frames.send(framed(format!("{count} {bytes}").as_bytes())).await.ok()?;
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers.insert("echo-calls", HeaderValue::from(count));
    frames.send(Frame::trailers(trailers)).await.ok()
}

/// gRPC's frame: whether it is compressed, the length, the message.
fn framed(message: &[u8]) -> Frame<Bytes> {
    let mut frame = BytesMut::with_capacity(5 + message.len());
    frame.put_u8(0);
    frame.put_u32(message.len() as u32);
    frame.put_slice(message);
    Frame::data(frame.freeze())
}

/// The messages of a request.
struct Messages {
    body: Incoming,
    bytes: BytesMut,
}

impl Messages {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(head) = self.bytes.first_chunk::<5>() {
                let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]) as usize;
                if self.bytes.len() >= 5 + length {
                    self.bytes.advance(5);
                    return Some(self.bytes.split_to(length).freeze());
                }
            }
            let frame = self.body.frame().await?.ok()?;
            if let Ok(data) = frame.into_data() {
                self.bytes.extend_from_slice(&data);
            }
        }
    }
}

fn switch(key: &HeaderValue) -> Response<Body> {
    let accept = base64(&sha1(&[key.as_bytes(), b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat()));
    let mut response = Response::new(Empty::new().boxed());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::try_from(accept).expect("letters and digits"));
    response
}

/// Sends every frame back as it came, but for its mask; ends after a close frame.
async fn websocket(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    const CLOSE: u8 = 8;
    loop {
        let (first, second) = (stream.read_u8().await?, stream.read_u8().await?);
        let length = match second & 0x7f {
            126 => u64::from(stream.read_u16().await?),
            127 => stream.read_u64().await?,
            short => short.into(),
        };
        let mut mask = [0; 4];
        stream.read_exact(&mut mask).await?;
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).await?;
        payload.iter_mut().zip(mask.into_iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        let mut frame = vec![first];
        match length {
            0..126 => frame.push(length as u8),
            126..65_536 => frame.extend_from_slice(&[&[126], &(length as u16).to_be_bytes()[..]].concat()),
            _ => frame.extend_from_slice(&[&[127], &length.to_be_bytes()[..]].concat()),
        }
        frame.append(&mut payload);
        stream.write_all(&frame).await?;
        if first & 0x0f == CLOSE {
            return stream.shutdown().await;
        }
    }
}

/// FIPS 180-4. WebSocket's handshake is the only use that is left of it.
fn sha1(message: &[u8]) -> [u8; 20] {
    let mut padded = message.to_vec();
    padded.push(0x80);
    while padded.len() % 64 != 56 {
        padded.push(0);
    }
    padded.extend_from_slice(&(message.len() as u64 * 8).to_be_bytes());
    let mut state: [u32; 5] = [0x6745_2301, 0xefcd_ab89, 0x98ba_dcfe, 0x1032_5476, 0xc3d2_e1f0];
    for block in padded.chunks_exact(64) {
        let mut words = [0_u32; 80];
        for (word, bytes) in words.iter_mut().zip(block.chunks_exact(4)) {
            *word = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        for at in 16..80 {
            words[at] = (words[at - 3] ^ words[at - 8] ^ words[at - 14] ^ words[at - 16]).rotate_left(1);
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (at, word) in words.iter().enumerate() {
            let (mixed, constant) = match at / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc_u32),
                _ => (b ^ c ^ d, 0xca62_c1d6),
            };
            let next = a.rotate_left(5).wrapping_add(mixed).wrapping_add(e).wrapping_add(constant).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (sum, value) in state.iter_mut().zip([a, b, c, d, e]) {
            *sum = sum.wrapping_add(value);
        }
    }
    let mut digest = [0; 20];
    digest.chunks_exact_mut(4).zip(state).for_each(|(bytes, word)| bytes.copy_from_slice(&word.to_be_bytes()));
    digest
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let all = group.iter().chain(&[0, 0]).take(3).fold(0_usize, |all, byte| all << 8 | usize::from(*byte));
        for place in 0..4 {
            let digit = DIGITS[(all >> (18 - 6 * place)) & 0x3f] as char;
            text.push(if place <= group.len() { digit } else { '=' });
        }
    }
    text
}
