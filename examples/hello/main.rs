//! hello: a small HTTP server that shows what a container sees (its environment, its GPU) and does
//! on request what tests and benchmarks need a container to do: wait, stream, fail, log, write, exit.
//!
//! Only the standard library, one thread per connection, and a port that is open well under a
//! millisecond after exec, so that a measured cold start is the platform's and not the program's.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, exit};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Once, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

mod exchange;

use exchange::{Exchange, quote};

const HELP: &str = "\
/                          this service, its revision and its MESSAGE
/env                       the environment, as JSON
/gpu                       devices, driver libraries and nvidia-smi's output
/headers                   the request's headers, as JSON
/instance                  id made at start, pid, uptime and requests served, as JSON
/echo                      the request's body, piece by piece as it arrives
/sleep?ms=N                answers after N ms
/count                     begins to count as fast as it can, and says how far it is
/stream?chunks=N&ms=M      N chunks, M ms apart
/status?code=N             answers with that status
/log?line=TEXT&stream=S    writes a line to stdout or stderr; with &times=N, N times
/write?path=P&bytes=N      writes a file of N bytes and reports how that went
/connect?to=HOST:PORT      opens a TCP connection and reports how that went
/exit?code=N               exits at once, without an answer
";

/// Platforms send SIGKILL 10 s after SIGTERM: leave before that.
const DRAIN_LIMIT: Duration = Duration::from_secs(9);
const NVIDIA: &str = "/usr/local/nvidia";

static REQUESTS_IN_FLIGHT: AtomicUsize = AtomicUsize::new(0);
static REQUESTS: AtomicUsize = AtomicUsize::new(0);
static DRAINING: AtomicBool = AtomicBool::new(false);
static SIGNAL_SOCKET: AtomicI32 = AtomicI32::new(-1);
static COUNTED: AtomicU64 = AtomicU64::new(0);
static COUNTING: Once = Once::new();
static INSTANCE: OnceLock<(String, Instant)> = OnceLock::new();

fn main() {
    let random = RandomState::new().build_hasher().finish();
    INSTANCE.get_or_init(|| (format!("{random:016x}"), Instant::now()));
    // Before anything that takes time: as PID 1 a signal without a handler is dropped.
    handle_signals();
    if let Some(code) = number_from_env("EXIT_AT_START") {
        say(
            io::stderr(),
            &format!("hello: EXIT_AT_START: exiting with code {code}"),
        );
        exit(code as i32);
    }
    if let Some(ms) = number_from_env("START_DELAY_MS") {
        thread::sleep(Duration::from_millis(ms));
    }
    let address = env::var("LISTEN_ADDR").unwrap_or_else(|_| "0.0.0.0".into());
    let port = number_from_env("LISTEN_PORT")
        .or_else(|| number_from_env("PORT"))
        .unwrap_or(8080);
    let listener = u16::try_from(port)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "a port is at most 65535"))
        .and_then(|port| TcpListener::bind((address.as_str(), port)));
    match listener {
        Ok(listener) => {
            say(
                io::stdout(),
                &format!("hello: listening on {address}:{port}"),
            );
            serve(&listener)
        }
        Err(error) => fail(&format!("cannot listen on {address}:{port}: {error}")),
    }
}

fn serve(listener: &TcpListener) -> ! {
    loop {
        // Out of file descriptors or threads: let some finish, and never end the service for it.
        let pause = |_| thread::sleep(Duration::from_millis(10));
        match listener.accept() {
            Ok((stream, _)) => {
                let connection = thread::Builder::new().stack_size(256 * 1024);
                let _ = connection
                    .spawn(move || serve_connection(&stream))
                    .map_err(pause);
            }
            Err(error) => pause(error),
        }
    }
}

/// Answers requests until the client leaves; every error here means that the client is gone or
/// does not speak HTTP, so there is no one to tell.
fn serve_connection(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut reader = BufReader::new(stream);
    loop {
        match Exchange::read(&mut reader, stream) {
            Ok(Some(mut exchange)) => {
                let _in_flight = InFlight::start();
                if answer(&mut exchange)
                    .and_then(|()| exchange.finish())
                    .is_err()
                    || !exchange.keep_alive
                {
                    return;
                }
            }
            Ok(None) => return,
            Err(_) => {
                let _ = (&*stream).write_all(
                    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
                );
                return;
            }
        }
    }
}

struct InFlight;

impl InFlight {
    fn start() -> Self {
        REQUESTS.fetch_add(1, Ordering::Relaxed);
        REQUESTS_IN_FLIGHT.fetch_add(1, Ordering::SeqCst);
        InFlight
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        REQUESTS_IN_FLIGHT.fetch_sub(1, Ordering::SeqCst);
    }
}

// ---- what it answers ---------------------------------------------------------------------------

fn answer(exchange: &mut Exchange) -> io::Result<()> {
    match exchange.path.as_str() {
        "/" => exchange.text(200, &greeting()),
        "/env" => {
            let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
            let vars: BTreeMap<_, _> = env::vars_os().map(|(k, v)| (text(k), text(v))).collect();
            exchange.json(vars.iter().map(|(k, v)| (k.as_str(), quote(v))))
        }
        "/gpu" => exchange.text(200, &gpu_report()),
        "/headers" => {
            let headers = exchange.headers.clone();
            exchange.json(headers.iter().map(|(k, v)| (k.as_str(), quote(v))))
        }
        "/instance" => {
            let (id, started) = INSTANCE.get().expect("main sets it before it listens");
            exchange.json([
                ("id", quote(id)),
                ("pid", std::process::id().to_string()),
                ("uptime_ms", started.elapsed().as_millis().to_string()),
                ("requests", REQUESTS.load(Ordering::Relaxed).to_string()),
            ])
        }
        "/echo" => echo(exchange),
        "/count" => {
            COUNTING.call_once(|| {
                thread::spawn(|| {
                    loop {
                        COUNTED.fetch_add(1, Ordering::Relaxed);
                    }
                });
            });
            exchange.text(200, &format!("{}\n", COUNTED.load(Ordering::Relaxed)))
        }
        "/sleep" => {
            let Some(ms) = exchange.number("ms")? else {
                return Ok(());
            };
            thread::sleep(Duration::from_millis(ms));
            exchange.text(200, &format!("slept {ms} ms\n"))
        }
        "/stream" => stream(exchange),
        "/status" => match exchange.number("code")? {
            None => Ok(()),
            Some(code @ 200..=599) => exchange.text(code as u16, &format!("status {code}\n")),
            Some(code) => {
                exchange.text(400, &format!("code={code}: a final status is 200 to 599\n"))
            }
        },
        "/log" => log(exchange),
        "/write" => write_file(exchange),
        "/connect" => connect(exchange),
        "/exit" => match exchange.number("code")? {
            None => Ok(()),
            Some(code) => exit(code as i32),
        },
        path => {
            let text = format!("nothing at {path}; there is:\n\n{HELP}");
            exchange.text(404, &text)
        }
    }
}

fn greeting() -> String {
    let var = |name: &str, default: &str| env::var(name).unwrap_or_else(|_| default.into());
    format!(
        "Hello from {}!\nrevision: {}\nmessage: {}\ntry /env /gpu /instance, or any other path for the list\n",
        var("K_SERVICE", "a container"),
        var("K_REVISION", "(K_REVISION is not set)"),
        var("MESSAGE", "(MESSAGE is not set)"),
    )
}

fn gpu_report() -> String {
    let devices = names_in("/dev", "nvidia");
    let libraries = names_in(&format!("{NVIDIA}/lib64"), "");
    let tool = format!("{NVIDIA}/bin/nvidia-smi");
    if devices.is_empty() && libraries.is_empty() && fs::metadata(&tool).is_err() {
        return "no GPU in this container\n".into();
    }
    let output = match Command::new(&tool).output() {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).into_owned()
        }
        Ok(output) => format!(
            "{}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        // This image holds no C library, so a dynamically linked nvidia-smi is "not found" too.
        Err(error) => format!("cannot run {tool}: {error}\n"),
    };
    format!(
        "devices:\n  {}\n{NVIDIA}/lib64:\n  {}\nnvidia-smi:\n{output}",
        devices.join("\n  "),
        libraries.join("\n  ")
    )
}

fn names_in(folder: &str, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let mut names: Vec<String> = names.filter(|name| name.starts_with(prefix)).collect();
    names.sort();
    names
}

fn echo(exchange: &mut Exchange) -> io::Result<()> {
    let kind = exchange
        .header("content-type")
        .unwrap_or("application/octet-stream")
        .to_owned();
    exchange.expect_body()?;
    exchange.start_stream(&kind)?;
    let mut piece = vec![0; 64 * 1024];
    loop {
        match exchange.read_body(&mut piece)? {
            0 => return exchange.end_stream(),
            n => exchange.send_chunk(&piece[..n])?,
        }
    }
}

fn stream(exchange: &mut Exchange) -> io::Result<()> {
    let Some(chunks) = exchange.number("chunks")? else {
        return Ok(());
    };
    let Some(ms) = exchange.number("ms")? else {
        return Ok(());
    };
    exchange.start_stream("text/plain; charset=utf-8")?;
    for n in 1..=chunks {
        if n > 1 {
            thread::sleep(Duration::from_millis(ms));
        }
        exchange.send_chunk(format!("chunk {n}\n").as_bytes())?;
    }
    exchange.end_stream()
}

fn log(exchange: &mut Exchange) -> io::Result<()> {
    let Some(line) = exchange.parameter("line")? else {
        return Ok(());
    };
    let times = if exchange.query.contains_key("times") {
        let Some(times) = exchange.number("times")? else {
            return Ok(());
        };
        times
    } else {
        1
    };
    let stream = exchange.query.get("stream").map(String::as_str);
    let mut to: Box<dyn Write> = match stream.unwrap_or("stdout") {
        "stdout" => Box::new(io::stdout()),
        "stderr" => Box::new(io::stderr()),
        _ => return exchange.text(400, "stream= is stdout or stderr\n"),
    };
    for _ in 0..times {
        say(&mut to, &line);
    }
    exchange.text(200, "logged\n")
}

fn write_file(exchange: &mut Exchange) -> io::Result<()> {
    let Some(path) = exchange.parameter("path")? else {
        return Ok(());
    };
    let Some(bytes) = exchange.number("bytes")? else {
        return Ok(());
    };
    let written = fs::File::create(&path)
        .and_then(|mut file| io::copy(&mut io::repeat(b'x').take(bytes), &mut file));
    exchange.report(&path, written.map(|n| ("bytes", n.to_string())))
}

fn connect(exchange: &mut Exchange) -> io::Result<()> {
    let Some(to) = exchange.parameter("to")? else {
        return Ok(());
    };
    let connected = to.to_socket_addrs().and_then(|addresses| {
        let mut failed = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in addresses {
            match TcpStream::connect_timeout(&address, Duration::from_secs(3)) {
                Ok(_) => return Ok(("address", quote(&address.to_string()))),
                Err(error) => failed = error,
            }
        }
        Err(failed)
    });
    exchange.report(&to, connected)
}

// ---- process -----------------------------------------------------------------------------------

unsafe extern "C" {
    fn signal(number: i32, handler: usize) -> usize;
    fn write(fd: i32, bytes: *const u8, count: usize) -> isize;
}

const SIGINT: i32 = 2;
const SIGTERM: i32 = 15;
const SIG_IGN: usize = 1;

/// Finishes the requests in flight on SIGTERM or SIGINT, then exits with 0. A handler may do next
/// to nothing, so it wakes a thread that does the rest.
fn handle_signals() {
    if env::var_os("IGNORE_SIGTERM").is_some_and(|value| value == "1") {
        // SAFETY: signal() is called with a valid disposition, before any other thread runs.
        unsafe { signal(SIGTERM, SIG_IGN) };
        return;
    }
    let (woken, waker) = match UnixStream::pair() {
        Ok(pair) => pair,
        Err(error) => fail(&format!(
            "cannot make the socket that signals wake: {error}"
        )),
    };
    SIGNAL_SOCKET.store(waker.as_raw_fd(), Ordering::SeqCst);
    // Open for as long as the process is: the handler writes to it.
    std::mem::forget(waker);
    let waiting = thread::Builder::new()
        .stack_size(64 * 1024)
        .spawn(move || finish_on_signal(woken));
    if let Err(error) = waiting {
        fail(&format!(
            "cannot start the thread that waits for signals: {error}"
        ));
    }
    let handler: extern "C" fn(i32) = on_signal;
    // SAFETY: the handler only calls write(2), which may be called from a signal handler.
    unsafe {
        signal(SIGTERM, handler as usize);
        signal(SIGINT, handler as usize);
    }
}

extern "C" fn on_signal(number: i32) {
    let byte = number as u8;
    // SAFETY: the descriptor stays open and the byte lives through the call.
    unsafe { write(SIGNAL_SOCKET.load(Ordering::SeqCst), &byte, 1) };
}

fn finish_on_signal(mut woken: UnixStream) {
    let mut number = [0];
    if woken.read_exact(&mut number).is_err() {
        return;
    }
    let name = if i32::from(number[0]) == SIGTERM {
        "SIGTERM"
    } else {
        "SIGINT"
    };
    say(io::stdout(), &format!("{name} received"));
    DRAINING.store(true, Ordering::SeqCst);
    let started = Instant::now();
    while REQUESTS_IN_FLIGHT.load(Ordering::SeqCst) > 0 && started.elapsed() < DRAIN_LIMIT {
        thread::sleep(Duration::from_millis(5));
    }
    exit(0)
}

fn number_from_env(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    match value.parse() {
        Ok(number) => Some(number),
        Err(_) => fail(&format!("{name}={value}: not a whole number")),
    }
}

fn fail(message: &str) -> ! {
    say(io::stderr(), &format!("hello: {message}"));
    exit(1)
}

/// As println, but a log that nobody reads any more is no reason to end the service.
fn say(mut to: impl Write, line: &str) {
    let _ = to.write_all(format!("{line}\n").as_bytes());
}
