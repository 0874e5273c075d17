//! The loads.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::Outcome;
use crate::connection::Connection;
use crate::report::Report;

/// Bytes of a WebSocket or gRPC message.
const MESSAGE: usize = 64;
/// Calls at the same time on one HTTP/2 connection.
const STREAMS: usize = 8;
/// Connections of a steady load.
const STEADY: usize = 10;
/// Longest that one answer of a burst may take.
const BURST_PATIENCE: Duration = Duration::from_secs(20);

fn get(path: &str, host: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n").into_bytes()
}

fn request(case: &str, host: &str) -> Outcome<Vec<u8>> {
    Ok(match case {
        "get" => get("/1k", host),
        "big" => get("/1m", host),
        "upload" => {
            let head = format!("POST /upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n", 1 << 20);
            [head.into_bytes(), vec![b'x'; 1 << 20]].concat()
        }
        "websocket" => format!(
            "GET /websocket HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        .into_bytes(),
        _ => return Err(format!("no such case: {case}").into()),
    })
}

fn runtime() -> Outcome<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

/// As much as goes, each connection sending its next request when it has the answer.
pub fn full(case: &str, to: &str, host: &str, connections: usize, time: Duration) -> Outcome<()> {
    runtime()?.block_on(async {
        let mut tasks = JoinSet::new();
        let began = Instant::now();
        let end = began + time;
        for _ in 0..connections {
            let (to, host) = (to.to_owned(), host.to_owned());
            match case {
                "grpc" => drop(tasks.spawn(async move { calls(&to, &host, end).await })),
                _ => {
                    let (request, upgrades) = (request(case, &host)?, case == "websocket");
                    tasks.spawn(async move { exchanges(&to, &request, upgrades, end).await });
                }
            }
        }
        let mut report = Report::default();
        while let Some(one) = tasks.join_next().await {
            report.add(one?);
        }
        report.print(began.elapsed());
        Ok(())
    })
}

async fn exchanges(to: &str, request: &[u8], upgrades: bool, end: Instant) -> Report {
    let mut report = Report::default();
    let mut open = None;
    let frame = [&[0x82, 0x80 | MESSAGE as u8, 1, 2, 3, 4][..], &[b'x'; MESSAGE]].concat();
    while Instant::now() < end {
        let begun = Instant::now();
        let done = async {
            let mut connection = match open.take() {
                Some(connection) => connection,
                None => {
                    let mut connection = Connection::open(to).await?;
                    if upgrades {
                        connection.upgrade(request).await?;
                    }
                    connection
                }
            };
            if upgrades {
                connection.echo(&frame, 2 + MESSAGE).await?;
            } else {
                connection.exchange(request).await?;
            }
            std::io::Result::Ok(connection)
        };
        match done.await {
            Ok(connection) => {
                open = Some(connection);
                report.latencies.push(begun.elapsed());
            }
            Err(error) => {
                report.fail(error);
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    }
    report
}

/// gRPC calls on one connection, several at the same time.
async fn calls(to: &str, host: &str, end: Instant) -> Report {
    let mut report = Report::default();
    let opened = async {
        let stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Outcome::Ok(sender)
    };
    let sender = match opened.await {
        Ok(sender) => sender,
        Err(error) => {
            report.fail(error);
            return report;
        }
    };
    let mut tasks = JoinSet::new();
    for _ in 0..STREAMS {
        let (sender, uri) = (sender.clone(), format!("http://{host}/echo.Echo/Unary"));
        tasks.spawn(async move {
            let mut report = Report::default();
            while Instant::now() < end && report.errors == 0 {
                let begun = Instant::now();
                match call(sender.clone(), &uri).await {
                    Ok(()) => report.latencies.push(begun.elapsed()),
                    Err(error) => report.fail(error),
                }
            }
            report
        });
    }
    while let Some(Ok(one)) = tasks.join_next().await {
        report.add(one);
    }
    report
}

async fn call(mut sender: http2::SendRequest<Full<Bytes>>, uri: &str) -> Outcome<()> {
    static FRAME: [u8; 5 + MESSAGE] = {
        let mut frame = [b'x'; 5 + MESSAGE];
        (frame[0], frame[1], frame[2], frame[3], frame[4]) = (0, 0, 0, 0, MESSAGE as u8);
        frame
    };
    let request = Request::post(uri).header("content-type", "application/grpc").header("te", "trailers");
    let response = sender.send_request(request.body(Full::new(Bytes::from_static(&FRAME)))?).await?;
    let body = response.into_body().collect().await?;
    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status").cloned());
    if status.is_none_or(|status| status != "0") || body.to_bytes().len() != FRAME.len() {
        return Err("a call without the right message and status".into());
    }
    Ok(())
}

/// A fixed rate over a few connections. Blocking threads, whose sleep is exact to some 50 us where an event loop's
/// is to 1 ms. A request that its connection could not send in time counts from when it should have been sent.
pub fn steady(to: &str, host: &str, rate: usize, time: Duration) -> Outcome<()> {
    let began = Instant::now() + Duration::from_millis(100);
    let interval = Duration::from_secs_f64(STEADY as f64 / rate as f64);
    let threads: Vec<_> = (0..STEADY)
        .map(|number| {
            let (to, request) = (to.to_owned(), get("/1k", host));
            let first = began + interval * number as u32 / STEADY as u32;
            std::thread::spawn(move || steadily(&to, &request, first, interval, time))
        })
        .collect();
    let mut report = Report::default();
    for thread in threads {
        report.add(thread.join().map_err(|_| "a thread panicked")?);
    }
    report.print(began.elapsed());
    Ok(())
}

fn steadily(to: &str, request: &[u8], first: Instant, interval: Duration, time: Duration) -> Report {
    let mut report = Report::default();
    let opened = std::net::TcpStream::connect(to).and_then(|stream| stream.set_nodelay(true).map(|()| stream));
    let mut stream = match opened {
        Ok(stream) => stream,
        Err(error) => {
            report.fail(error);
            return report;
        }
    };
    let (mut due, mut buffer) = (first, vec![0; 64 * 1024]);
    while due < first + time {
        let wait = due.saturating_duration_since(Instant::now());
        let begun = if wait.is_zero() { due } else { std::thread::sleep(wait); Instant::now() };
        let answered = stream.write_all(request).and_then(|()| whole(&mut stream, &mut buffer));
        match answered {
            Ok(()) => report.latencies.push(begun.elapsed()),
            Err(error) => {
                report.fail(error);
                return report;
            }
        }
        due += interval;
    }
    report
}

/// Reads a response whose body is 1 KiB.
fn whole(stream: &mut std::net::TcpStream, buffer: &mut [u8]) -> std::io::Result<()> {
    let mut filled = 0;
    loop {
        match stream.read(&mut buffer[filled..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            read => filled += read,
        }
        let end = buffer[..filled].windows(4).position(|window| window == b"\r\n\r\n");
        if end.is_some_and(|end| filled >= end + 4 + 1024) {
            return if buffer.starts_with(b"HTTP/1.1 200") { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) };
        }
    }
}

/// A fixed rate that never waits for an answer: connections are opened as needed, and used again.
pub fn burst(to: &str, host: &str, rate: usize, time: Duration) -> Outcome<()> {
    runtime()?.block_on(async {
        let (free, mut unused) = mpsc::unbounded_channel::<Connection>();
        let (done, mut reports) = mpsc::unbounded_channel();
        let began = Instant::now();
        let (mut sent, total) = (0, (rate as f64 * time.as_secs_f64()) as usize);
        while sent < total {
            while sent < total && sent as f64 <= began.elapsed().as_secs_f64() * rate as f64 {
                let (to, request) = (to.to_owned(), get("/1k", host));
                let (free, done, kept) = (free.clone(), done.clone(), unused.try_recv().ok());
                sent += 1;
                tokio::spawn(async move {
                    let begun = Instant::now();
                    let exchange = async {
                        let mut connection = match kept {
                            Some(connection) => connection,
                            None => Connection::open(&to).await?,
                        };
                        connection.exchange(&request).await?;
                        // Nobody uses it again once the burst is over.
                        let _ = free.send(connection);
                        std::io::Result::Ok(())
                    };
                    let mut report = Report::default();
                    match tokio::time::timeout(BURST_PATIENCE, exchange).await {
                        Ok(Ok(())) => report.latencies.push(begun.elapsed()),
                        Ok(Err(error)) => report.fail(error),
                        Err(late) => report.fail(late),
                    }
                    let _ = done.send(report);
                });
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        drop(done);
        let mut report = Report::default();
        while let Some(one) = reports.recv().await {
            report.add(one);
        }
        report.print(began.elapsed());
        Ok(())
    })
}

/// Opens connections, uses each once, says so and keeps them until the input ends.
pub fn idle(to: &str, host: &str, connections: usize) -> Outcome<()> {
    let request = get("/1k", host);
    let open: Vec<std::net::TcpStream> = (0..connections)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(to)?;
            stream.write_all(&request)?;
            whole(&mut stream, &mut [0; 8192])?;
            Ok(stream)
        })
        .collect::<std::io::Result<_>>()?;
    println!("{}", serde_json::json!({ "connections": open.len() }));
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
