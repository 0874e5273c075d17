//! What every backend guarantees, asked of `sim` and of `oci`; and what `oci` guarantees besides.
//!
//! ```text
//! contract [FILTER]...     only tests whose names contain one of the filters
//! ```
//!
//! A program of its own, without the usual harness: containers are made by this same program, started
//! again with an argument that `helper_main_if_asked` must see first. As root it runs in a network namespace
//! that it makes, so the machine's own network stays as it is; without root, `oci` is skipped. `HOMERUN_TEST_INSIDE` names the
//! static program that runs in the containers; without it, it is compiled (`inside.rs`).

/// A module's tests, named after it.
macro_rules! tests {
    ($module:literal: $($name:ident),* $(,)?) => {
        pub fn tests() -> Vec<crate::Test> {
            vec![$(crate::Test::new(concat!($module, "::", stringify!($name)), $name)),*]
        }
    };
}

mod confinement;
mod every;
mod faults;
mod health;
mod images;
mod leaks;
mod oci;
mod restart;
mod standby;
mod world;

use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::time::Instant;

use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

/// Names of the tests that need no root begin with this.
const WITHOUT_ROOT: &str = "every::sim::";

/// One test: its name and what it does.
pub struct Test {
    name: String,
    run: Box<dyn FnOnce() -> LocalBoxFuture<'static, ()>>,
}

impl Test {
    fn new<F: Future<Output = ()> + 'static>(name: impl Into<String>, run: impl FnOnce() -> F + 'static) -> Self {
        Self { name: name.into(), run: Box::new(|| run().boxed_local()) }
    }
}

fn main() -> ExitCode {
    homerun_backend::oci::helper_main_if_asked();
    if restart::child_main_if_asked() {
        return ExitCode::SUCCESS;
    }
    let filters: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let root = nix::unistd::geteuid().is_root();
    if root {
        world::enter_own_network();
    }
    let runtime = world::runtime();
    let mut tests = every::tests();
    tests.extend(oci::tests());
    tests.extend(confinement::tests());
    tests.extend(faults::tests());
    tests.extend(health::tests());
    tests.extend(standby::tests());
    tests.extend(restart::tests());
    tests.retain(|test| filters.is_empty() || filters.iter().any(|filter| test.name.contains(filter)));
    println!("running {} tests", tests.len());
    let (mut passed, mut failed, mut skipped) = (0, Vec::new(), 0);
    for test in tests {
        if !root && !test.name.starts_with(WITHOUT_ROOT) {
            println!("test {} ... SKIPPED: containers need root", test.name);
            skipped += 1;
            continue;
        }
        let begun = Instant::now();
        let outcome = runtime.block_on(AssertUnwindSafe((test.run)()).catch_unwind());
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!("test {} ... {word} ({} ms)", test.name, begun.elapsed().as_millis());
        match outcome {
            Ok(()) => passed += 1,
            Err(_) => failed.push(test.name),
        }
    }
    images::forget();
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!("test result: {word}. {passed} passed; {} failed; {skipped} skipped; {failed:?}", failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
