//! Reports and events are records themselves.

use std::fs;

use crate::support::{NOON, Record, line, run, tcptally};

/// Two machines: 4 connections on one, 3 on the other.
fn machines() -> (Record, Record) {
    let one: String =
        [0.0, 1.0, 61.0, 62.0].iter().map(|t| line(NOON + t, "192.0.2.7", 80)).collect();
    let two = line(NOON + 2.0, "192.0.2.7", 443)
        + &line(NOON + 63.0, "192.0.2.8", 443)
        + &line(NOON + 121.0, "192.0.2.8", 80);
    (Record::new(&one), Record::new(&two))
}

fn save(record: &Record, name: &str, args: &[&str]) -> String {
    let out = record.beside(name);
    let gave = record.parse(&[args, &["-o", &out]].concat());
    assert_eq!((gave.status, gave.err.as_str()), (Some(0), ""));
    out
}

fn plain(files: &[&str], args: &[&str]) -> String {
    let gave = run(tcptally(&["parse", "-F", "plain", "-q"]).args(args).args(files));
    assert_eq!(gave.status, Some(0), "{}", gave.err);
    gave.out
}

#[test]
fn reports_of_many_machines_merge() {
    let (one, two) = machines();
    let one = save(&one, "one.json", &["-F", "json", "--host", "web1"]);
    let two = save(&two, "two.json", &["-F", "json", "--host", "web2", "--by", "ip,port"]);
    assert_eq!(plain(&[&one, &two], &[]), "192.0.2.7: 5\n192.0.2.8: 2\n");
    assert_eq!(
        plain(&[&one, &two], &["--by", "host,ip"]),
        "web1 192.0.2.7: 4\nweb2 192.0.2.8: 2\nweb2 192.0.2.7: 1\n"
    );
    assert_eq!(plain(&[&two], &["--port", "80"]), "192.0.2.8: 1\n");
    // Merged once more.
    let both = fs::read_to_string(&one).unwrap() + &fs::read_to_string(&two).unwrap();
    let both = Record::new(&both);
    let all = save(&both, "all.json", &["-F", "json", "--by", "host,ip"]);
    assert_eq!(plain(&[&all], &["--by", "host"]), "web1: 4\nweb2: 3\n");
}

#[test]
fn events_merge_in_any_form() {
    let (one, two) = machines();
    let one = save(&one, "one.csv", &["-e", "-F", "csv"]);
    let two = save(&two, "two.jsonl", &["-e", "-F", "jsonl", "--host", "web2"]);
    assert_eq!(plain(&[&one, &two], &[]), "192.0.2.7: 5\n192.0.2.8: 2\n");
    assert_eq!(plain(&[&one, &two], &["--by", "host", "--host", "here"]), "here: 4\nweb2: 3\n");
    assert_eq!(
        plain(&[&two], &["-i", "1m", "--by", "port"]),
        "\
2026-11-22T11:30:00+00:00 443: 1
2026-11-22T11:31:00+00:00 443: 1
2026-11-22T11:32:00+00:00 80: 1
443: 2
80: 1
"
    );
    // And from a pipe.
    let gave = run(tcptally(&["parse", "-F", "plain"]).stdin(
        std::process::Command::new("cat")
            .arg(&two)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap()
            .stdout
            .unwrap(),
    ));
    assert_eq!(gave.out, "192.0.2.8: 2\n192.0.2.7: 1\n");
}

#[test]
fn a_period_of_a_report_is_as_fine_as_its_intervals() {
    let (one, _) = machines();
    let rough = save(&one, "rough.json", &["-F", "json"]);
    let fine = save(&one, "fine.json", &["-F", "json", "-i", "1m"]);
    let since = ["--since", "2026-11-22 11:31"];
    assert_eq!(plain(&[&fine], &since), "192.0.2.7: 2\n");
    assert_eq!(plain(&[&rough], &since), "");
    let gave = run(tcptally(&["parse", &rough]).args(since));
    assert!(gave.unwrapped().contains("4 connections were left out because"), "{}", gave.out);
    assert!(plain(&[&fine], &["-i", "1m"]).starts_with("2026-11-22T11:30:00+00:00 192.0.2.7: 2\n"));
}

#[test]
fn a_report_that_is_merged_with_itself_says_so() {
    let (one, two) = machines();
    let one = save(&one, "one.json", &["-F", "json", "--host", "web1"]);
    let two = save(&two, "two.json", &["-F", "json", "--host", "web1"]);
    let gave = run(&mut tcptally(&["parse", "-F", "plain", &one, &two, &one]));
    assert_eq!(gave.out, "192.0.2.7: 9\n192.0.2.8: 2\n");
    assert_eq!(gave.err.matches("counts twice").count(), 1, "{}", gave.err);
    let gave = run(&mut tcptally(&["parse", "-F", "plain", &one, &two]));
    assert!(!gave.err.contains("twice"), "{}", gave.err);
}

#[test]
fn what_a_report_does_not_tell_is_not_made_up() {
    let (one, two) = machines();
    let top = save(&two, "top.json", &["-F", "json", "-n", "1"]);
    assert_eq!(plain(&[&top], &[]), "192.0.2.8: 2\nunknown: 1\n");
    let ports = save(&one, "ports.json", &["-F", "json", "--by", "port"]);
    assert_eq!(plain(&[&ports], &["--by", "port"]), "80: 4\n");
    let gave = run(&mut tcptally(&["parse", "-F", "plain", &ports]));
    assert_eq!(gave.out, "unknown: 4\n");
    assert!(gave.err.contains("counts by port"), "{}", gave.err);
}

#[test]
fn a_report_that_is_cut_off_or_too_new_is_refused() {
    let (one, two) = machines();
    let good = save(&two, "good.json", &["-F", "json"]);
    let text = fs::read_to_string(save(&one, "one.json", &["-F", "json"])).unwrap();
    for (bad, why) in [
        (text[..text.len() / 2 + 40].to_string(), "no whole report"),
        (text.replace("\"schema\":1", "\"schema\":2"), "schema 2"),
    ] {
        let bad = Record::new(&bad);
        let gave = run(&mut tcptally(&["parse", "-F", "plain", &bad.path, &good]));
        assert_eq!(gave.status, Some(1));
        assert_eq!(gave.out, "192.0.2.8: 2\n192.0.2.7: 1\n", "the others are counted");
        assert!(gave.err.contains(why), "{}", gave.err);
    }
}
