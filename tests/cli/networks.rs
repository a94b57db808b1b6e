//! Counting by autonomous system and country.

use crate::support::{NOON, Record, line, run, tcptally};

fn database() -> String {
    concat!(env!("CARGO_MANIFEST_DIR"), "/testdata/mmdb/made-up.mmdb").into()
}

fn record() -> Record {
    let ips =
        ["192.0.2.7", "192.0.2.8", "192.0.2.200", "198.51.100.1", "2001:db8::1", "203.0.113.1"];
    let lines = ips.iter().zip(0..).map(|(ip, n)| line(NOON + f64::from(n), ip, 443));
    Record::new(&lines.collect::<String>())
}

#[test]
fn clients_are_counted_by_system_and_country() {
    let record = record();
    assert_eq!(
        record.plain(&["--by", "asn", "--asn", &database()]),
        "AS64500 Example One: 2\nAS64501: 1\nAS64502 Example Two: 1\nAS64503 Example Six: 1\nunknown: 1\n"
    );
    assert_eq!(
        record.plain(&["--by", "country,port", "--asn", &database()]),
        "DE 443: 2\nFR 443: 1\nJP 443: 1\nUS 443: 1\nunknown 443: 1\n"
    );
}

#[test]
fn a_missing_or_damaged_database_is_named() {
    let record = record();
    let gave = record.parse(&["--by", "asn"]);
    assert_eq!(gave.status, Some(2));
    assert!(
        gave.err.contains("--by asn needs a database of networks: --asn FILE.mmdb"),
        "{gave:?}"
    );
    let gave = record.parse(&["--by", "asn", "--asn", "/nonexistent.mmdb"]);
    assert_eq!(gave.status, Some(1));
    assert!(
        gave.err.ends_with(
            "cannot read the database of networks '/nonexistent.mmdb': No such file or directory \
             (os error 2)\n"
        ),
        "{gave:?}"
    );
    let bytes = std::fs::read(database()).unwrap();
    let bad = record.beside("bad.mmdb");
    for cut in [0, 100, bytes.len() / 2, bytes.len() - 5] {
        std::fs::write(&bad, &bytes[..cut]).unwrap();
        let gave = record.parse(&["--by", "country", "--asn", &bad]);
        assert_eq!((gave.status, gave.out.as_str()), (Some(1), ""), "{cut}: {gave:?}");
        assert!(gave.err.contains("bad.mmdb' is no database of networks"), "{gave:?}");
    }
    // Damage in the data is found when it is looked up.
    for at in (0..bytes.len() - 300).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0xff;
        std::fs::write(&bad, damaged).unwrap();
        let gave = run(&mut tcptally(&[
            "parse",
            "-F",
            "plain",
            "--by",
            "asn",
            "--asn",
            &bad,
            &record.path,
        ]));
        assert!(matches!(gave.status, Some(0 | 1)), "{at}: {gave:?}");
    }
}
