//! Text and files that somebody made to do harm: names that control a terminal or are formulas, archives
//! of a few bytes that contain terabytes, deep nesting, very many warnings.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::support::{Gave, NOON, line, run, tcptally};

/// Names of threads that a process can give itself (prctl(2), PR_SET_NAME).
const NAMES: [&str; 12] = [
    "\x1b[2J\x1b]0;x\x07",
    "\u{9b}31m",
    "a\x7f\x08\x08b",
    "a\nb: 7",
    "a\r\nkind",
    "a\u{2028}b\u{2029}c",
    "\u{202e}xnign\u{202c}",
    "\u{2066}x\u{2069}\u{200f}",
    "=1+1",
    "@SUM(A1)",
    "-bash",
    r#"a\u{1b}"b,c"#,
];

/// An event of each name, as jsonl.
fn events() -> String {
    let event = |(i, name): (usize, &&str)| {
        let time = format!("2026-11-22T11:30:{i:02}Z");
        let event = serde_json::json!({
            "time": time, "host": format!("{name}.host"), "comm": name, "local_port": 443,
            "peer_ip": format!("192.0.2.{i}"),
        });
        format!("{event}\n")
    };
    NAMES.iter().enumerate().map(event).collect()
}

fn is_control(c: char) -> bool {
    let bidirectional = ['\u{61c}', '\u{200e}', '\u{200f}'];
    let ranges = ['\u{2028}'..='\u{202e}', '\u{2066}'..='\u{2069}'];
    c.is_control() || bidirectional.contains(&c) || ranges.iter().any(|range| range.contains(&c))
}

#[track_caller]
fn assert_controls_nothing(text: &str, what: &str) {
    let controls = |c: &char| *c != '\n' && is_control(*c);
    assert_eq!(text.chars().find(controls), None, "{what}: {text:?}");
}

fn parse(folder: &Path, arguments: &[&str]) -> Gave {
    let gave = run(tcptally(&[&["parse"], arguments].concat()).current_dir(folder));
    assert_eq!(gave.status, Some(0), "{arguments:?}: {}", gave.err);
    assert_controls_nothing(&gave.out, &format!("{arguments:?}"));
    assert_controls_nothing(&gave.err, &format!("{arguments:?}"));
    gave
}

/// The names in a tally in JSON.
fn names(json: &str, key: &str) -> Vec<String> {
    let report: serde_json::Value = serde_json::from_str(json).unwrap();
    let row = |row: &serde_json::Value| row[key].as_str().unwrap().to_owned();
    let mut names: Vec<String> = report["rows"].as_array().unwrap().iter().map(row).collect();
    names.sort();
    names
}

#[test]
fn names_reach_no_terminal_raw_and_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    fs::write(at.join("events.jsonl"), events()).unwrap();
    let mut want: Vec<String> = NAMES.iter().map(ToString::to_string).collect();
    want.sort();
    let by_comm = ["--by", "comm,host", "-F", "json"];
    for kind in [&["--events"][..], &["--by", "comm,host"], &["--by", "comm,host", "-i", "1h"]] {
        for format in ["jsonl", "csv", "json", "plain", "table", "openmetrics", "html", "svg"] {
            if ["openmetrics", "html", "svg"].contains(&format) && kind.len() != 2 {
                continue;
            }
            let arguments = [kind, &["-F", format, "events.jsonl"]].concat();
            let gave = parse(at, &arguments);
            if !["jsonl", "csv", "json"].contains(&format) {
                continue;
            }
            fs::write(at.join("written"), &gave.out).unwrap();
            let again = parse(at, &[&by_comm[..], &["written"]].concat());
            assert_eq!(names(&again.out, "comm"), want, "{arguments:?}: {}", gave.out);
            let hosts: Vec<String> = want.iter().map(|name| format!("{name}.host")).collect();
            assert_eq!(names(&again.out, "host"), hosts, "{arguments:?}");
        }
    }
}

#[test]
fn no_cell_of_csv_begins_a_formula() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("events.jsonl"), events()).unwrap();
    for kind in [&["--events"][..], &["--by", "comm"]] {
        let gave = parse(folder.path(), &[kind, &["-F", "csv", "events.jsonl"]].concat());
        let mut cells = 0;
        for record in csv::ReaderBuilder::new().from_reader(gave.out.as_bytes()).records() {
            for cell in &record.unwrap() {
                assert!(!cell.starts_with(['=', '+', '-', '@']), "{cell:?} in {}", gave.out);
                cells += 1;
            }
        }
        assert!(cells > NAMES.len(), "{}", gave.out);
    }
}

#[test]
fn file_names_in_messages_control_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let name = "\x1b[2J\ntcptally: all is well\u{202e}";
    for (content, arguments) in [
        (Some(""), &["parse", name][..]),
        (Some("no record at all\n"), &["parse", name]),
        (None, &["parse", name]),
        (None, &["parse", "--", name, "-"]),
        (None, &["trace", "--", name]),
        (None, &["trace", "-o", name, "-F", name, "--", "true"]),
        (None, &[name]),
        (None, &["watch", "--port", "1", "--netns", name]),
    ] {
        let file = at.join(name);
        match content {
            Some(content) => fs::write(&file, content).unwrap(),
            None => drop(fs::remove_file(&file)),
        }
        let gave = run(tcptally(arguments).current_dir(at));
        assert_controls_nothing(&gave.out, &format!("{arguments:?}"));
        assert_controls_nothing(&gave.err, &format!("{arguments:?}"));
        let forged = gave.err.lines().any(|line| line.starts_with("tcptally: all is well"));
        assert!(!forged || arguments.contains(&"-F") || *arguments == [name], "{}", gave.err);
    }
}

#[test]
fn a_report_of_very_many_warnings_is_read_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let warnings: Vec<String> = (0..400_000).map(|i| format!("warning {i:09}")).collect();
    let report = serde_json::json!({
        "schema": 2, "source": "trace", "host": "web1", "started": "2026-11-22T11:30:00Z",
        "complete": true, "total": 1, "keys": ["ip"], "warnings": warnings,
        "rows": [{"ip": "192.0.2.7", "count": 1}],
    });
    fs::write(folder.path().join("report.json"), report.to_string()).unwrap();
    let begin = Instant::now();
    let gave = parse(folder.path(), &["-F", "json", "report.json"]);
    // Compared each with each, they take minutes.
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
    let report: serde_json::Value = serde_json::from_str(&gave.out).unwrap();
    assert_eq!(report["total"], 1);
    let warnings = report["warnings"].as_array().unwrap();
    assert_eq!(warnings.len(), 1001);
    assert!(warnings[1000].as_str().unwrap().contains("left out"), "{}", warnings[1000]);
}

/// Memory that the program may map: more than it needs for any record, less than any bomb contains.
const MEMORY_KIB: &str = "150000";

/// `tcptally parse FILE` in bounded memory.
fn parse_bounded(folder: &Path, file: &str) -> Gave {
    let script = format!("ulimit -v {MEMORY_KIB}; exec \"$0\" parse -F plain \"$1\"");
    let program = env!("CARGO_BIN_EXE_tcptally");
    run(Command::new("sh")
        .args(["-c", &script, program, file])
        .current_dir(folder)
        .env("TZ", "UTC"))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(bytes).unwrap();
    gzip.finish().unwrap()
}

fn tar(members: &[(&str, tar::EntryType, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (name, kind, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        if kind.is_symlink() || kind.is_hard_link() {
            header.set_link_name("../../etc/passwd").unwrap();
        }
        archive.append_data(&mut header, name, *content).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn archives_that_contain_more_than_fits_are_read_in_bounded_memory() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let good = line(NOON, "192.0.2.7", 443);
    let one = "192.0.2.7: 1\n";
    let zeros = gzip(&vec![0; 4 << 20]).repeat(40);
    let letters = gzip(&vec![b'a'; 4 << 20]).repeat(4);
    let mut nested = good.clone().into_bytes();
    for _ in 0..30 {
        nested = tar(&[("in.tar", tar::EntryType::Regular, &nested)]);
    }
    let mut many_gzips = good.clone().into_bytes();
    for _ in 0..50 {
        many_gzips = gzip(&many_gzips);
    }
    let links = tar(&[
        ("a", tar::EntryType::Symlink, b""),
        ("b", tar::EntryType::Link, b""),
        ("c", tar::EntryType::Char, b""),
        ("d", tar::EntryType::Fifo, b""),
        ("good.log", tar::EntryType::Regular, good.as_bytes()),
    ]);
    let mut huge = tar::Header::new_gnu();
    huge.set_path("huge").unwrap();
    huge.set_size(1 << 50);
    huge.set_cksum();
    let huge = [huge.as_bytes(), good.as_bytes()].concat();
    let deep = ["[", "{\"a\":", "{\"log\":[", "[{\"MESSAGE\":"].map(|open| open.repeat(300_000));
    let number = "9".repeat(100_000);
    let numbers = good.replace("40000", &number) + &good;
    let report =
        format!(r#"{{"schema":2,"source":"trace","total":{number},"keys":["ip"],"rows":[]}}"#);
    let in_zstd = zstd::encode_all(std::io::repeat(0).take(16 << 20), 1).unwrap();
    let cases: [(&str, Vec<u8>, Option<&str>, &str); 15] = [
        ("zeros.gz", [gzip(good.as_bytes()), zeros].concat(), Some(one), ""),
        ("only-zeros.gz", gzip(&vec![0; 4 << 20]), Some(""), ""),
        ("zeros.zst", in_zstd, Some(""), ""),
        ("line.gz", [gzip(good.as_bytes()), letters].concat(), Some(one), ""),
        ("long.zst", long_window(), Some(""), "zstd -dc --long=31"),
        ("gzips.gz", many_gzips, Some(""), "not in a known record format"),
        ("nested.tar", nested, None, ""),
        ("links.tar", links, Some(one), ""),
        ("huge.tar", huge, Some(one), "cut off"),
        ("deep0", deep[0].clone().into(), Some(""), "not in a known record format"),
        ("deep1", deep[1].clone().into(), Some(""), "not in a known record format"),
        ("deep2", deep[2].clone().into(), Some(""), ""),
        ("deep3", deep[3].clone().into(), Some(""), ""),
        ("numbers", numbers.into(), None, ""),
        ("report.json", report.into(), Some(""), "report.json"),
    ];
    for (name, content, counts, message) in cases {
        fs::write(at.join(name), content).unwrap();
        let gave = parse_bounded(at, name);
        assert!(gave.status.is_some_and(|status| status <= 1), "{name}: {gave:?}");
        if let Some(counts) = counts {
            assert_eq!(gave.out, counts, "{name}: {}", gave.err);
        }
        let silent = gave.out.is_empty() && gave.err.is_empty();
        assert!(gave.err.contains(message) && !silent, "{name}: {}", gave.err);
    }
}

/// A frame whose header asks for a window of 2 GiB.
fn long_window() -> Vec<u8> {
    const WINDOW_2_GIB: u8 = (31 - 10) << 3;
    let block = [1, 0, 0];
    [&[0x28, 0xb5, 0x2f, 0xfd, 0, WINDOW_2_GIB][..], &block].concat()
}

/// GNU tar says of a sparse file how large it is.
#[test]
fn a_sparse_member_of_terabytes_fills_no_disk() {
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let script = "printf x > sparse && truncate -s 4T sparse && tar -S -cf sparse.tar sparse";
    let made = Command::new("sh").args(["-c", script]).current_dir(at).status().unwrap();
    if !made.success() {
        eprintln!("skipped: this file system has no files of 4 TiB");
        return;
    }
    let begin = Instant::now();
    let gave = parse_bounded(at, "sparse.tar");
    assert_eq!(gave.status, Some(1), "{}", gave.err);
    assert!(gave.err.contains("TMPDIR"), "{}", gave.err);
    assert!(begin.elapsed() < Duration::from_secs(60), "{:?}", begin.elapsed());
}
