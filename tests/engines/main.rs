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

/// Whether there is Spark, and the Java that it needs.
fn has_spark() -> bool {
    let has_java = Command::new("java").arg("-version").output().is_ok();
    if !has_java {
        eprintln!("skipped: Spark needs java");
    }
    has_java && has("pyspark")
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
    let (types, rows) = text.split_once('\n').unwrap_or_default();
    (types.to_owned(), counts(rows))
}

/// Lines with a minute, an address and a count.
fn counts(rows: &str) -> Counts {
    let row = |line: &str| {
        let cells: Vec<&str> = line.split(',').collect();
        ((cells[0].to_owned(), cells[1].to_owned()), cells[2].parse().unwrap())
    };
    rows.lines().map(row).collect()
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

/// The statements of docs/fleet.md: what the view has is what tcptally counts by minute.
#[test]
fn the_clickhouse_recipe_counts_the_same() {
    if !has("chdb") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let log = log(folder.path());
    let expected = expected(&log);
    let file = folder.path().join("events.parquet").to_str().unwrap().to_owned();
    tcptally(&["parse", "-e", "-F", "parquet", "-o", &file, &log]);
    let docs = root().join("docs/fleet.md").to_str().unwrap().to_owned();
    let script = root().join("tests/engines/clickhouse_recipe.py");
    let arguments = [&docs, &file, &log, "443", env!("CARGO_BIN_EXE_tcptally")];
    let text = run(Command::new(python()).arg(script).args(arguments).env("TZ", "UTC"));
    let (types, rows) = text.split_once('\n').unwrap();
    assert_eq!(types, "DateTime64(6 UTC),IPv6");
    assert_eq!(counts(rows), expected);
}

/// `examples/spark_tally.py` on a cluster of two workers, with 200 records as of 200 hosts.
#[test]
fn spark_tallies_many_records_as_one_machine_does() {
    if !has_spark() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let text = std::fs::read_to_string(log(folder.path())).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    for host in 0..200 {
        let own = folder.path().join(format!("logs/host{host}"));
        std::fs::create_dir_all(&own).unwrap();
        let lines = lines.iter().skip(host % 7).step_by(1 + host % 5);
        let text: String = lines.map(|line| format!("{line}\n")).collect();
        let text = text.replace("192.0.2.", &format!("198.18.{host}."));
        let text = text.replace("2001:db8::", &format!("2001:db8:{host:x}::"));
        std::fs::write(own.join("strace.log"), text).unwrap();
    }
    let program = env!("CARGO_BIN_EXE_tcptally");
    let records = format!("file://{}/logs/*/strace.log", folder.path().display());
    let options = ["--by", "net,host", "--interval", "1m", "--top", "9", "--host-from", "{host}/*"];
    let report = folder.path().join("report");
    run(Command::new(python().with_file_name("spark-submit"))
        .args(["--master", "local-cluster[2,1,1024]", "--files", program])
        .args(["--conf", "spark.ui.enabled=false", "--conf", "spark.log.level=ERROR"])
        .arg(root().join("examples/spark_tally.py"))
        .args(options)
        .arg("-o")
        .arg(&report)
        .args([&records, "--", "--port", "443"])
        .env("PYSPARK_PYTHON", python())
        .env("TZ", "UTC"));
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
    let many = read(&std::fs::read_to_string(report).unwrap());
    let files = (0..200).map(|host| folder.path().join(format!("logs/host{host}/strace.log")));
    let files: Vec<String> = files.map(|file| file.display().to_string()).collect();
    let mut alone = [&["parse", "-q", "-F", "json", "--port", "443"], &options[..]].concat();
    alone.extend(files.iter().map(String::as_str));
    let one = read(&tcptally(&alone));
    let same = ["total", "complete", "rows", "others", "intervals", "unreadable_lines", "warnings"];
    for field in same {
        assert_eq!(many[field], one[field], "{field}");
    }
    assert_eq!(many["inputs"].as_array().unwrap().len(), 200);
}

#[test]
fn spark_counts_the_same_in_all_formats() {
    if has_spark() {
        compare(
            "spark_counts.py",
            [("jsonl", "timestamp,bigint"), ("csv", "timestamp,int"), ("parquet", "timestamp,int")],
        );
    }
}
