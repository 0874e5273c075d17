//! A database that cannot be written keeps nobody waiting who needs nothing from it.

mod common;

use std::time::Duration;

use common::{Stack, service};
use reqwest::StatusCode;

/// Every change of what is stored fails, as on a full disk; what is new can be stored.
const FULL: &str = "CREATE TRIGGER full_1 BEFORE UPDATE ON revisions BEGIN SELECT RAISE(ABORT, 'full'); END;
                    CREATE TRIGGER full_2 BEFORE UPDATE ON services BEGIN SELECT RAISE(ABORT, 'full'); END;";

#[tokio::test(flavor = "multi_thread")]
async fn s05_a_service_at_zero_wakes_while_another_ones_state_cannot_be_written() {
    let stack = Stack::start("none").await;
    stack.create(service("web", "sim/hello", false)).await;
    assert_eq!(stack.settled("web").await["status"], "True");
    stack.make_public("web").await;
    stack.until("web is at zero", |status| status["instances"] == serde_json::json!([])).await;
    let database = rusqlite::Connection::open(stack.dir.path().join("homerun.db")).expect("the database opens");
    database.busy_timeout(Duration::from_secs(10)).expect("a timeout");
    database.execute_batch(FULL).expect("the triggers are made");
    // What becomes of it cannot be written, however often it is tried.
    stack.create(service("new", "sim/hello", false)).await;
    let (status, body) = stack.visit("web", "/").await;
    assert_eq!(status, StatusCode::OK, "{body}");

    database.execute_batch("DROP TRIGGER full_1; DROP TRIGGER full_2;").expect("the triggers are dropped");
    assert_eq!(stack.settled("new").await["status"], "True");
    stack.end().await;
}
