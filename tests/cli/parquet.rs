//! Parquet: written whole or not at all, and read back.

use std::fs;

use crate::support::{NOON, Record, line, run, tcptally, unknown};

fn record() -> Record {
    let lines = (0..3000).map(|n| match n % 3 {
        0 => line(NOON + f64::from(n), "192.0.2.7", 443),
        1 => line(NOON + f64::from(n), "2001:db8::7", 80),
        _ => unknown(NOON + f64::from(n)),
    });
    Record::new(&lines.collect::<String>())
}

/// Parses `file` and returns the output.
fn parse(args: &[&str], file: &str) -> String {
    let gave = run(tcptally(&["parse", "-q"]).args(args).arg(file));
    assert_eq!(gave.status, Some(0), "{gave:?}");
    gave.out
}

#[test]
fn events_in_parquet_are_read_back_as_those_in_csv() {
    let record = record();
    let (parquet, csv) = (record.beside("events.parquet"), record.beside("events.csv"));
    parse(&["-e", "-F", "parquet", "-o", &parquet], &record.path);
    parse(&["-e", "-F", "csv", "-o", &csv], &record.path);
    let events = ["-e", "-F", "jsonl"];
    assert_eq!(parse(&events, &parquet), parse(&events, &csv));
    let intervals = ["-i", "10m", "--by", "ip,port,host", "-F", "csv"];
    assert_eq!(parse(&intervals, &parquet), parse(&intervals, &record.path));
    // From a pipe, and as one of several hosts.
    let text = fs::File::open(&parquet).unwrap();
    let piped = run(tcptally(&["parse", "-q", "-F", "plain"]).stdin(text));
    assert_eq!(piped.out, parse(&["-F", "plain"], &record.path));
}

#[test]
fn events_without_a_clock_keep_their_times() {
    let record = Record::new(
        "     0.000100 accept(3, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\"192.0.2.7\")}, [16]) = 4\n     0.250000 accept(3, {sa_family=AF_INET, sin_port=htons(1), sin_addr=inet_addr(\"192.0.2.7\")}, [16]) = 4\n",
    );
    let (events, rows) = (record.beside("events"), record.beside("rows"));
    parse(&["-e", "-F", "parquet", "-o", &events], &record.path);
    parse(&["-F", "parquet", "-o", &rows], &record.path);
    for file in [&events, &rows] {
        assert_eq!(parse(&["-F", "csv"], file), parse(&["-F", "csv"], &record.path));
    }
}

#[test]
fn reports_in_parquet_merge_as_those_in_json() {
    let record = record();
    for args in [
        &["--by", "ip,port,host", "--host", "web1"][..],
        &["--by", "ip", "-i", "10m", "--top", "1"],
        &["--by", "port,local,comm,pid"],
        &["--port", "1"],
    ] {
        let (parquet, json) = (record.beside("r.parquet"), record.beside("r.json"));
        parse(&[args, &["-F", "parquet", "-o", &parquet]].concat(), &record.path);
        parse(&[args, &["-F", "json", "-o", &json]].concat(), &record.path);
        let by = ["--by", "host,ip,port", "-F", "csv", "--sort", "key"];
        assert_eq!(parse(&by, &parquet), parse(&by, &json), "{args:?}");
    }
    // What the report lacks is kept.
    let gave = run(tcptally(&["parse", "-F", "json", "--port", "443", &record.path])
        .stdin(std::process::Stdio::null()));
    assert!(gave.out.contains("\"unknown_port\":1000"), "{gave:?}");
    let parquet = record.beside("r.parquet");
    parse(&["--port", "443", "-F", "parquet", "-o", &parquet], &record.path);
    let gave = run(&mut tcptally(&["parse", "--strict", &parquet]));
    assert_eq!(gave.status, Some(3), "{gave:?}");
}

/// A damaged file is named, whatever is damaged; nothing panics.
#[test]
fn damaged_parquet_is_named_and_the_others_count() {
    let record = record();
    let (good, bad) = (record.beside("good"), record.beside("bad"));
    parse(&["-e", "-F", "parquet", "-o", &good], &record.path);
    let bytes = fs::read(&good).unwrap();
    let total = 3000;
    for cut in [4, 100, bytes.len() / 2, bytes.len() - 1] {
        fs::write(&bad, &bytes[..cut]).unwrap();
        let gave = run(&mut tcptally(&["parse", "-F", "json", &bad, &good]));
        assert_eq!(gave.status, Some(1), "{cut}: {gave:?}");
        assert!(gave.err.contains("bad is not a complete parquet file"), "{gave:?}");
        assert!(gave.out.contains(&format!("\"total\":{total},")), "{gave:?}");
    }
    for at in (4..bytes.len() - 8).step_by(bytes.len() / 40) {
        let mut damaged = bytes.clone();
        damaged[at..at + 4].copy_from_slice(&[0xff, 0x7f, 0xff, 0x81]);
        fs::write(&bad, damaged).unwrap();
        let gave = run(&mut tcptally(&["parse", "-F", "plain", &bad]));
        assert!(matches!(gave.status, Some(0 | 1)), "{at}: {gave:?}");
    }
}

/// The footer of this file names a wrong place for a dictionary, at which the library panics.
#[test]
fn a_panic_of_the_parquet_library_is_an_error_of_that_file_only() {
    let record = record();
    let good = record.beside("good");
    parse(&["-e", "-F", "parquet", "-o", &good], &record.path);
    let bad = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/parquet/no-dictionary.parquet");
    let gave = run(&mut tcptally(&["parse", "-F", "json", bad, &good, bad]));
    assert_eq!(gave.status, Some(1), "{gave:?}");
    assert!(gave.err.contains("no-dictionary.parquet: Parquet error: it is damaged"), "{gave:?}");
    assert!(!gave.err.contains("panicked") && !gave.err.contains("internal error"), "{gave:?}");
    assert!(gave.out.contains("\"total\":3000,"), "{gave:?}");
}

#[test]
fn a_file_of_parquet_is_replaced_only_when_it_is_whole() {
    let record = record();
    let out = record.beside("out");
    fs::write(&out, "old").unwrap();
    let mut child = tcptally(&["parse", "-e", "-F", "parquet", "-o", &out, "-"])
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    std::io::Write::write_all(&mut input, line(NOON, "192.0.2.7", 443).as_bytes()).unwrap();
    assert_eq!(fs::read(&out).unwrap(), b"old");
    drop(input);
    assert!(child.wait().unwrap().success());
    assert_eq!(parse(&["-F", "plain"], &out), "192.0.2.7: 1\n");
    // Without connections it is a file with columns.
    parse(&["-e", "-F", "parquet", "--port", "1", "-o", &out], &record.path);
    let gave = run(&mut tcptally(&["parse", "-F", "plain", &out]));
    assert_eq!((gave.status, gave.out.as_str()), (Some(0), ""), "{gave:?}");
    // A directory that cannot be written.
    let gave =
        run(&mut tcptally(&["parse", "-F", "parquet", "-o", "/nonexistent/x", &record.path]));
    assert_eq!(gave.status, Some(1));
    assert!(gave.err.contains("cannot write the output '/nonexistent/x'"), "{gave:?}");
}
