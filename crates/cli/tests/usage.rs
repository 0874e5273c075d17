//! `homerun usage` and `homerun budget` against a server of this test, by what they ask and what they write.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc::{self, Receiver};

use clap::Parser;
use homerun_cli::{CliError, Command, Target};
use serde_json::{Value, json};

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

/// One call as the server saw it.
#[derive(Debug)]
struct Call {
    method: String,
    path: String,
    body: Value,
}

/// Answers one call after the other with these statuses and bodies, and tells what was asked.
fn serve(answers: Vec<(u16, Value)>) -> (SocketAddr, Receiver<Call>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
    let address = listener.local_addr().expect("an address");
    let (sender, calls) = mpsc::channel();
    std::thread::spawn(move || {
        for (status, body) in answers {
            let (mut stream, _) = listener.accept().expect("a connection");
            let _ = sender.send(read(&mut stream));
            let body = body.to_string();
            let head =
                format!("HTTP/1.1 {status} Status\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
            let _ = stream.write_all(format!("{head}{body}").as_bytes());
        }
    });
    (address, calls)
}

fn read(stream: &mut TcpStream) -> Call {
    let mut reader = BufReader::new(stream);
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        if line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let length = lines.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    reader.read_exact(&mut body).expect("a body");
    let mut words = lines[0].split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    Call { method, path, body: serde_json::from_slice(&body).unwrap_or(Value::Null) }
}

/// Runs a command line against a server.
async fn run(server: SocketAddr, words: &[&str]) -> Result<(), CliError> {
    let server = format!("http://{server}");
    let line = ["homerun", "--server", &server, "--token", "secret"].into_iter().chain(words.iter().copied());
    let program = Program::try_parse_from(line).expect("a command line");
    homerun_cli::run(program.command, &program.target).await
}

fn refused(words: &[&str]) -> String {
    let line = ["homerun"].into_iter().chain(words.iter().copied());
    Program::try_parse_from(line).expect_err("a wrong command line").to_string()
}

fn text(path: &Path) -> String {
    std::fs::read_to_string(path).expect("the output")
}

fn report() -> Value {
    json!({
        "from": "2026-11-26T00:00:00Z", "to": "2026-11-27T00:00:00Z", "by": ["label:team"], "currency": "USD",
        "priceList": "Example prices", "cost": "0.5601",
        "lines": [{"key": ["=cmd()"], "cost": "0.5601", "starts": 1, "requests": 2, "items": [
            {"sku": "gpu/nvidia-l4", "quantity": "3000", "unit": "GPU-second", "price": "0.0001867", "cost": "0.5601"},
        ]}],
    })
}

#[tokio::test]
async fn b05_a_report_is_asked_for_by_period_and_dimensions_and_written_to_a_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("usage.csv");
    let (server, calls) = serve(vec![(200, report())]);
    let mut words = vec!["usage", "--project", "team-a", "--from", "2026-11-26", "--to", "2026-11-27T00:00:00+09:00"];
    words.extend(["--by", "label:cost/center,day", "--service", "ocr", "--region", "us-central1", "--format", "csv"]);
    words.extend(["--output", file.to_str().expect("a path")]);
    run(server, &words).await.expect("a report");
    let call = calls.recv().expect("a call");
    assert_eq!(
        (call.method.as_str(), call.path.as_str()),
        (
            "GET",
            "/homerun/v1/projects/team-a/usage?from=2026-11-26T00%3A00%3A00Z&to=2026-11-26T15%3A00%3A00Z\
             &by=label%3Acost%2Fcenter%2Cday&service=ocr&region=us-central1"
        )
    );
    assert_eq!(
        text(&file),
        "label:team,sku,quantity,unit,price,cost,currency\r\n\
         '=cmd(),gpu/nvidia-l4,3000,GPU-second,0.0001867,0.5601,USD\r\n"
    );
}

#[tokio::test]
async fn b05_all_projects_have_a_report_of_their_own() {
    let folder = tempfile::tempdir().expect("a folder");
    for (format, begins) in [("json", "{\n  \"by\""), ("yaml", "by:"), ("table", "2026-11-26T00:00:00Z to ")] {
        let file = folder.path().join(format);
        let (server, calls) = serve(vec![(200, report())]);
        let words = ["usage", "--all-projects", "--format", format, "--output", file.to_str().expect("a path")];
        run(server, &words).await.expect("a report");
        let path = calls.recv().expect("a call").path;
        assert!(path.starts_with("/homerun/v1/usage?from=") && path.ends_with("00%3A00%3A00Z&by=service"), "{path}");
        assert!(text(&file).starts_with(begins), "{}", text(&file));
    }
}

#[tokio::test]
async fn b05_the_focus_export_has_the_servers_columns() {
    let focus = json!({
        "version": "1.2",
        "columns": [
            {"name": "BilledCost", "kind": "decimal"}, {"name": "ChargePeriodStart", "kind": "datetime"},
            {"name": "CommitmentDiscountId", "kind": "string"}, {"name": "Tags", "kind": "json"},
        ],
        "rows": [["0.5601", "2026-11-26T00:00:00Z", null, "{\"team\":\"ml\"}"]],
    });
    let folder = tempfile::tempdir().expect("a folder");
    let (csv, parquet) = (folder.path().join("focus.csv"), folder.path().join("focus.parquet"));
    let (server, calls) = serve(vec![(200, focus.clone()), (200, focus)]);
    let path = csv.to_str().expect("a path");
    run(server, &["usage", "focus", "--from", "2026-11-01", "--to", "2026-12-01", "--output", path])
        .await
        .expect("csv");
    assert_eq!(
        calls.recv().expect("a call").path,
        "/homerun/v1/projects/demo/usage:focus?from=2026-11-01T00%3A00%3A00Z&to=2026-12-01T00%3A00%3A00Z&by=day"
    );
    assert_eq!(
        text(&csv),
        "BilledCost,ChargePeriodStart,CommitmentDiscountId,Tags\r\n\
         0.5601,2026-11-26T00:00:00Z,,\"{\"\"team\"\":\"\"ml\"\"}\"\r\n"
    );
    let path = parquet.to_str().expect("a path");
    run(server, &["usage", "focus", "--by", "hour", "--format", "parquet", "--output", path]).await.expect("parquet");
    assert!(calls.recv().expect("a call").path.ends_with("&by=hour"));
    let bytes = std::fs::read(&parquet).expect("the output");
    assert!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"));
}

#[tokio::test]
async fn b05_wrong_flags_are_named_with_what_would_be_right() {
    let server = SocketAddr::from(([127, 0, 0, 1], 1));
    for (words, flag, right) in [
        (vec!["usage", "--from", "2026-11-26", "--to", "2026-11-25"], "--from", "is not before 2026-11-25T00:00:00Z"),
        (vec!["usage", "--by", "day,day"], "--by", "names something twice"),
        (vec!["usage", "--project", "a/b"], "--project", "letters, digits"),
        (vec!["budget", "describe", ".."], "NAME", "letters, digits"),
    ] {
        let error = run(server, &words).await.expect_err("a wrong flag").to_string();
        assert!(error.starts_with(&format!("{flag}: ")) && error.contains(right), "{error}");
    }
    for (words, flag, right) in [
        (vec!["usage", "--from", "26.11.2026"], "--from", "write a day (2026-11-26)"),
        (vec!["usage", "--by", "services"], "--by", "project, region, service"),
        (vec!["usage", "--by", "label:"], "--by", "label:KEY"),
        (vec!["usage", "--project", "a", "--all-projects"], "--all-projects", "cannot be used"),
        (vec!["usage", "--from", "7d", "focus"], "focus", "cannot be used"),
        (vec!["budget", "set", "team", "--stop", "--no-stop"], "--no-stop", "cannot be used"),
        (vec!["budget", "set", "team", "--threshold", "0"], "--threshold", "1..=1000"),
    ] {
        let error = refused(&words);
        assert!(error.contains(flag) && error.contains(right), "{error}");
    }
}

#[tokio::test]
async fn b05_a_budget_is_made_changed_and_deleted() {
    let status = |budget: Value| json!({"name": "ocr", "budget": budget, "currency": "USD", "month": "2026-11", "spent": "1", "stopped": false});
    let before = json!({"amount": "12.50", "service": "ocr", "thresholds": [80], "stop": true});
    let after = json!({"amount": "20", "service": "ocr", "thresholds": [80], "stop": true});
    let missing = (404, json!({"error": {"code": 404, "message": "budget [ocr] does not exist"}}));
    let (server, calls) = serve(vec![
        missing,
        (200, status(before.clone())),
        (200, status(before.clone())),
        (200, status(after.clone())),
        (200, json!({})),
    ]);
    let new = ["budget", "set", "ocr", "--amount", "12.50", "--service", "ocr", "--threshold", "80", "--stop"];
    run(server, &new).await.expect("a budget");
    run(server, &["budget", "set", "ocr", "--amount", "20"]).await.expect("a budget");
    run(server, &["budget", "delete", "ocr", "--quiet"]).await.expect("deleted");
    let path = "/homerun/v1/projects/demo/budgets/ocr";
    let expected =
        [("GET", Value::Null), ("PUT", before), ("GET", Value::Null), ("PUT", after), ("DELETE", Value::Null)];
    for (method, body) in expected {
        let call = calls.recv().expect("a call");
        assert_eq!((call.method.as_str(), call.path.as_str(), call.body), (method, path, body));
    }
}

#[tokio::test]
async fn b05_an_answer_with_values_missing_is_refused() {
    let mut short = report();
    short["lines"][0]["key"] = json!([]);
    let (server, _calls) = serve(vec![(200, short)]);
    let error = run(server, &["usage"]).await.expect_err("refused").to_string();
    assert_eq!(error, "the server's answer cannot be read; is it of another version?");
}

#[tokio::test]
async fn b05_the_servers_refusal_is_shown_as_it_is() {
    let refusal = json!({"error": {"code": 403, "message": "only the owner of the installation sees all projects"}});
    let (server, _calls) = serve(vec![(403, refusal)]);
    let error = run(server, &["usage", "--all-projects"]).await.expect_err("refused").to_string();
    assert_eq!(error, "only the owner of the installation sees all projects");
}
