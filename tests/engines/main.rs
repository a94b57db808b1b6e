//! Events in engines for data: DuckDB, ClickHouse (chDB) and Spark answer as tcptally does.
//!
//! Their Python packages are in target/engines (`make test-engines` installs them there) or where `python3` finds
//! them; what is missing is skipped.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Connections by minute and address.
type Counts = BTreeMap<(String, String), u64>;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn python() -> PathBuf {
    let own = root().join("target/engines/bin/python");
    match std::env::var_os("TCPTALLY_ENGINES_PYTHON") {
        Some(python) => python.into(),
        None if own.exists() => own,
        None => "python3".into(),
    }
}

/// Whether Python has the module; says so if not.
fn has(module: &str) -> bool {
    let imported = Command::new(python()).args(["-c", &format!("import {module}")]).output();
    let has = imported.is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("skipped: Python has no module {module} (pip install {module})");
    }
    has
}

fn run(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().unwrap();
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

fn tcptally(args: &[&str]) -> String {
    run(Command::new(env!("CARGO_BIN_EXE_tcptally")).args(args).env("TZ", "UTC"))
}

/// A log with clients of both families, two ports, over five minutes.
fn log(folder: &Path) -> String {
    let path = folder.join("log");
    let line = |n: u32| {
        let (time, port) =
            (1_795_347_000.25 + f64::from(n) * 0.3, if n.is_multiple_of(3) { 80 } else { 443 });
        match n % 5 {
            0 => format!(
                "{time:.6} accept4(3<TCPv6:[[::]:{port}]>, {{sa_family=AF_INET6, sin6_port=htons(4000), \
                 sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"2001:db8::{n:x}\", &sin6_addr), \
                 sin6_scope_id=0}}, [28], 0) = 4<TCPv6:[[2001:db8::1]:{port}->[2001:db8::{n:x}]:4000]>\n"
            ),
            _ => format!(
                "{time:.6} accept4(3<TCP:[0.0.0.0:{port}]>, {{sa_family=AF_INET, sin_port=htons(4000), \
                 sin_addr=inet_addr(\"192.0.2.{}\")}}, [16], 0) = 4<TCP:[127.0.0.1:{port}->192.0.2.{}:4000]>\n",
                n % 7,
                n % 7
            ),
        }
    };
    std::fs::write(&path, (0..1000).map(line).collect::<String>()).unwrap();
    path.to_str().unwrap().into()
}

/// What tcptally itself counts.
fn expected(log: &str) -> Counts {
    let csv = tcptally(&["parse", "--port", "443", "-i", "1m", "-F", "csv", log]);
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        let minute = cells[1].split('.').next().unwrap().trim_end_matches('Z').to_owned();
        ((minute, cells[4].to_owned()), cells[5].parse().unwrap())
    };
    let counts: Counts = csv.lines().skip(1).map(row).collect();
    assert!(counts.len() > 100, "{csv}");
    counts
}

/// What an engine counts, and the types of the columns `time` and `local_port`.
fn counted(script: &str, file: &str) -> (String, Counts) {
    let script = root().join("tests/engines").join(script);
    let text = run(Command::new(python()).arg(script).args([file, "443"]).env("TZ", "UTC"));
    let mut lines = text.lines();
    let types = lines.next().unwrap_or_default().to_owned();
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        ((cells[0].to_owned(), cells[1].to_owned()), cells[2].parse().unwrap())
    };
    (types, lines.map(row).collect())
}

fn compare(script: &str, types: [(&str, &str); 3]) {
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path());
    let expected = expected(&log);
    for (form, types) in types {
        let file = folder.path().join(format!("events.{form}")).to_str().unwrap().to_owned();
        tcptally(&["parse", "-e", "-F", form, "-o", &file, &log]);
        let (got, counts) = counted(script, &file);
        assert_eq!(counts, expected, "{form}");
        assert_eq!(got, types, "{form}");
    }
}

#[test]
fn duckdb_counts_the_same_in_all_formats() {
    if has("duckdb") {
        compare(
            "duckdb_counts.py",
            [
                ("jsonl", "TIMESTAMP WITH TIME ZONE,BIGINT"),
                ("csv", "TIMESTAMP WITH TIME ZONE,BIGINT"),
                ("parquet", "TIMESTAMP WITH TIME ZONE,USMALLINT"),
            ],
        );
    }
}

#[test]
fn clickhouse_counts_the_same_in_all_formats() {
    if has("chdb") {
        compare(
            "chdb_counts.py",
            [
                ("jsonl", "Nullable(DateTime64(9)),Nullable(Int64)"),
                ("csv", "Nullable(DateTime64(9)),Nullable(Int64)"),
                ("parquet", "Nullable(DateTime64(6 UTC)),Nullable(UInt16)"),
            ],
        );
    }
}

#[test]
fn spark_counts_the_same_in_all_formats() {
    if has("pyspark") {
        compare(
            "spark_counts.py",
            [("jsonl", "timestamp,bigint"), ("csv", "timestamp,int"), ("parquet", "timestamp,int")],
        );
    }
}
