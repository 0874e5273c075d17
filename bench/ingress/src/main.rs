//! What bench/ingress/run needs: the program in the container, and the load.
//!
//!     homerun-bench-ingress backend                                          listens on $PORT
//!     homerun-bench-ingress load   CASE ADDRESS HOST CONNECTIONS SECONDS     as much as goes
//!     homerun-bench-ingress steady ADDRESS HOST RATE SECONDS                 so many requests per second
//!     homerun-bench-ingress burst  ADDRESS HOST RATE SECONDS                 the same, never waiting for an answer
//!     homerun-bench-ingress idle   ADDRESS HOST CONNECTIONS                  opens them, says so, keeps them until EOF
//!
//! Cases: get (1 KiB), big (1 MiB response), upload (1 MiB request), websocket (64 byte echo), grpc (unary, 64 bytes).
//! Each prints one line of JSON.

mod backend;
mod connection;
mod load;
mod report;

use std::process::ExitCode;
use std::time::Duration;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["backend"] => backend::main(),
        ["load", case, to, host, connections, seconds] => numbers(connections, seconds)
            .and_then(|(connections, seconds)| load::full(case, to, host, connections, Duration::from_secs(seconds))),
        ["steady", to, host, rate, seconds] => numbers(rate, seconds)
            .and_then(|(rate, seconds)| load::steady(to, host, rate, Duration::from_secs(seconds))),
        ["burst", to, host, rate, seconds] => numbers(rate, seconds)
            .and_then(|(rate, seconds)| load::burst(to, host, rate, Duration::from_secs(seconds))),
        ["idle", to, host, connections] => {
            numbers(connections, "0").and_then(|(connections, _)| load::idle(to, host, connections))
        }
        _ => Err("see the first lines of src/main.rs for how this is called".into()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("homerun-bench-ingress: {error}");
            ExitCode::FAILURE
        }
    }
}

pub type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn numbers(count: &str, seconds: &str) -> Outcome<(usize, u64)> {
    Ok((count.parse()?, seconds.parse()?))
}
