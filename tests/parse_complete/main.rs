//! What makes a report of `tcptally parse` incomplete: one row for each source of incompleteness.
//!
//! Each input hides a connection, or may. The report must say so: `complete` is false, a warning
//! says what and how many, and `--strict` exits with status 3. A total of 0 has a reason.

mod firewalls;
mod flows;
mod formats;
mod forms;
mod gaps;
mod inputs;
mod packets;
mod records;
mod reports;
mod row;
mod servers;
mod sockets;
mod syscalls;

use std::path::Path;
use std::process::{Command, Output};

use row::{ANY, Row};
use serde_json::Value;

fn parse(folder: &Path, row: &Row, options: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tcptally"))
        .current_dir(folder)
        .args(["parse", "--tz", "UTC"])
        .args(row.options)
        .args(options)
        .args(row.files.iter().map(|(name, _)| name))
        .output()
        .unwrap()
}

#[test]
fn everything_that_may_hide_a_connection_makes_the_report_incomplete() {
    let rows = [
        inputs::rows(),
        syscalls::rows(),
        firewalls::rows(),
        flows::rows(),
        packets::rows(),
        sockets::rows(),
        servers::rows(),
        gaps::rows(),
        reports::rows(),
    ];
    for row in rows.into_iter().flatten() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in &row.files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let name = row.name;
        let output = parse(folder.path(), &row, &["-F", "json", "--strict"]);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{name}: {stderr}");
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["complete"], false, "{name}: {report}");
        let warnings = report["warnings"].to_string();
        for part in row.warning {
            assert!(warnings.contains(part), "{name}: {part:?} is not in {warnings}");
            assert!(stderr.contains(part), "{name}: {part:?} is not in {stderr}");
        }
        let total = report["total"].as_u64().unwrap();
        assert!(row.total == ANY || total == row.total, "{name}: {total}");
        let status = parse(folder.path(), &row, &["-F", "plain", "--quiet"]).status.code();
        let refused = [
            "unknown",
            "access",
            "zip",
            "cut.tar",
            "endless.tar",
            "archives.tar.gz",
            "report.cut",
            "report.schema",
            "netflow.statistics",
            "vpc.flagless",
            "vpc.objects",
            "fields.flagless",
            "fields.addresses",
        ]
        .contains(&name);
        assert_eq!(status, Some(i32::from(refused)), "{name}");
    }
}

#[test]
fn logs_that_lack_nothing_stay_complete() {
    for row in gaps::complete() {
        let folder = tempfile::tempdir().unwrap();
        for (name, content) in &row.files {
            std::fs::write(folder.path().join(name), content).unwrap();
        }
        let output = parse(folder.path(), &row, &["-F", "json"]);
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (complete, total) = (&report["complete"], report["total"].as_u64().unwrap());
        assert_eq!(complete, true, "{}: {report}", row.name);
        assert!(row.total == ANY || total == row.total, "{}: {report}", row.name);
    }
}
