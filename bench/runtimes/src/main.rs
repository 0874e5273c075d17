//! Starts the same static server by homerun's own backend, by libcontainer and by crun, in turns, each
//! time until the first byte of its first answer, and prints how long each took.
//!
//! ```text
//! homerun-bench-runtimes ARCHIVE.tar ROOTFS [RUNS]
//! ```
//!
//! `bench/runtimes/run` builds the image and this program and starts it, as root. All make a network
//! namespace with `lo`, the same limits and the same mounts. homerun alone also filters system calls, and
//! connects its instances to the outside after their start.

mod answer;
mod bundle;
mod crun;
mod homerun;
mod youki;

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};

use crate::crun::Crun;
use crate::homerun::Homerun;
use crate::youki::Youki;

const PORT: u16 = 8080;
const ID_BASE: u32 = 1_000_000;
const MEMORY_BYTES: u64 = 512 << 20;
const CPU_MILLIS: u64 = 1000;
/// Before each start, as between requests that wake a service: what the kernel still has warm from the
/// last start would flatter.
const IDLE: Duration = Duration::from_millis(300);

type Times = Vec<Duration>;

fn main() -> Result<(), Box<dyn Error>> {
    homerun_backend::oci::helper_main_if_asked();
    youki::helper_main_if_asked();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [archive, lower, rest @ ..] = arguments.as_slice() else {
        return Err("usage: homerun-bench-runtimes ARCHIVE.tar ROOTFS [RUNS]".into());
    };
    let runs = rest.first().map_or(Ok(40), |text| text.parse())?;
    // What homerun makes for outbound traffic stays out of the machine's own network.
    unshare(CloneFlags::CLONE_NEWNET)?;
    answer::loopback_up()?;
    let folder = tempfile::tempdir_in("/var/tmp")?;
    let homerun = Homerun::open(folder.path(), Path::new(archive))?;
    let measured = measure(&homerun, folder.path(), Path::new(lower), runs);
    homerun.close();
    print(&measured?);
    Ok(())
}

fn measure(
    homerun: &Homerun,
    folder: &Path,
    lower: &Path,
    runs: usize,
) -> Result<Vec<(String, Times)>, Box<dyn Error>> {
    let mut rows: Vec<(String, Times)> = Vec::new();
    let mut add = |name: String, took: Duration| match rows.iter_mut().find(|(known, _)| *known == name) {
        Some((_, times)) => times.push(took),
        None => rows.push((name, vec![took])),
    };
    // The first round warms everything up and does not count.
    for number in 0..=runs {
        std::thread::sleep(IDLE);
        let mut round = vec![("homerun, user namespace, seccomp".to_owned(), homerun.measure(number)?)];
        for (user_namespace, ahead) in [(true, false), (true, true), (false, false), (false, true)] {
            let helper = if ahead { "helper ahead of need" } else { "helper at need" };
            let name = format!("libcontainer{}, {helper}", suffix(user_namespace));
            let youki = Youki { user_namespace, ahead };
            round.push((name, in_own_thread(|| youki.measure(folder, lower, number))?));
        }
        for user_namespace in [true, false] {
            let name = format!("crun run{}", suffix(user_namespace));
            round.push((name, in_own_thread(|| Crun { user_namespace }.measure(folder, lower, number))?));
        }
        if number > 0 {
            round.into_iter().for_each(|(name, took)| add(name, took));
        }
        eprint!("\r{number} of {runs} ");
    }
    eprintln!();
    Ok(rows)
}

fn suffix(user_namespace: bool) -> &'static str {
    if user_namespace { ", user namespace" } else { "" }
}

/// Namespaces are a thread's: what one measurement enters ends with its thread.
fn in_own_thread(run: impl FnOnce() -> Result<Duration, Box<dyn Error>> + Send) -> Result<Duration, Box<dyn Error>> {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| run().map_err(|error| error.to_string()));
        thread.join().map_err(|_| "a measurement panicked")?.map_err(Into::into)
    })
}

fn print(rows: &[(String, Times)]) {
    println!("{:<52}{:>8}{:>8}{:>8}{:>8}", "milliseconds to the first answer", "median", "p95", "least", "most");
    for (name, times) in rows {
        let mut millis: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
        millis.sort_by(f64::total_cmp);
        let at = |share: f64| millis[((millis.len() - 1) as f64 * share).round() as usize];
        println!("{name:<52}{:>8.1}{:>8.1}{:>8.1}{:>8.1}", at(0.5), at(0.95), at(0.0), at(1.0));
    }
}
