//! Which rows there are, by which keys, in which order.

use crate::support::{NOON, Record, line};

#[test]
fn rows_have_one_or_several_keys() {
    let record = Record::small();
    assert_eq!(record.plain(&["--by", "port"]), "443: 4\n80: 2\n");
    assert_eq!(
        record.plain(&["--by", "local,net", "--mask", "31,32"]),
        "\
127.0.0.1:443 192.0.2.6/31: 2
127.0.0.1:80 192.0.2.6/31: 1
127.0.0.1:443 192.0.2.10/31: 1
[2001:db8::1]:80 192.0.2.8/31: 1
[2001:db8::1]:443 2001:db8::/32: 1
"
    );
}

#[test]
fn a_key_that_no_connection_has_is_noted() {
    let accepted = "PID    COMM         IP RADDR            RPORT LADDR            LPORT\n\
         907    nginx        4  198.51.100.7     40755 192.0.2.77       443\n";
    let log = "Connection from 198.51.100.7 port 40755 on 192.0.2.77 port 22\n";
    for (text, key, note) in [
        (log, "comm", "no process name is known, so 1 connection is 'unknown' by comm"),
        (log, "pid", "no process number is known"),
        (log, "container", "no container is known"),
        (log, "rtt", "no round-trip time is known"),
        ("1795345122: New connection from 198.51.100.7:40755 on port 1883.\n", "local", ""),
        (
            "912:M 22 Nov 2026 10:58:42.123 - Accepted 198.51.100.7:40755\n",
            "port",
            "no local port is known",
        ),
        (log, "port", ""),
        (accepted, "comm", ""),
        (accepted, "ip,port", ""),
    ] {
        let gave = Record::new(text).parse(&["--by", key]);
        let has_note = gave.unwrapped().contains(" is known, so");
        assert_eq!(has_note, !note.is_empty(), "{key} {}", gave.out);
        assert!(gave.unwrapped().contains(note), "{key} {}", gave.out);
    }
    // The reader of a strace log says how to make one with ports.
    let gave = Record::new("accept(3, NULL, NULL) = 4\n").parse(&["--by", "port"]);
    assert_eq!(gave.unwrapped().matches("port").count(), 1, "{}", gave.out);
}

#[test]
fn unknown_ports_of_one_record_are_noted_beside_the_reason_of_another() {
    let strace = Record::new("accept(3, NULL, NULL) = 4\n");
    let redis = strace.beside("redis.log");
    std::fs::write(&redis, "912:M 22 Nov 2026 10:58:42.123 - Accepted 198.51.100.7:40755\n")
        .unwrap();
    let gave = strace.parse(&["--by", "port", &redis]);
    for note in
        ["does not show the local port of 1 connection;", "so 2 connections are 'unknown' by port"]
    {
        assert!(gave.unwrapped().contains(note), "{}", gave.out);
    }
}

#[test]
fn ties_are_in_the_order_of_addresses() {
    let ips = ["::2", "10.0.0.10", "10.0.0.9", "9.255.255.255", "::1", "2001:db8::"];
    let lines: String = ips.iter().map(|ip| line(NOON, ip, 80)).collect();
    assert_eq!(
        Record::new(&lines).plain(&[]),
        "9.255.255.255: 1\n10.0.0.9: 1\n10.0.0.10: 1\n::1: 1\n::2: 1\n2001:db8::: 1\n"
    );
}

#[test]
fn top_min_and_sort() {
    let record = Record::small();
    assert_eq!(record.plain(&["--top", "1"]), "192.0.2.7: 3\nothers: 3\n");
    assert_eq!(record.plain(&["--min", "2"]), "192.0.2.7: 3\nothers: 3\n");
    assert_eq!(record.plain(&["--top", "0"]), "others: 6\n");
    assert_eq!(
        record.plain(&["--sort", "last", "--not-from", "192.0.2.7"]),
        "192.0.2.10: 1\n192.0.2.9: 1\n2001:db8:1111:2222:3333:4444:5555:6666: 1\n"
    );
}

#[test]
fn an_address_scan_is_counted_in_bounded_memory() {
    let scan: String = (0..3000)
        .map(|i| {
            let scanner = format!("10.0.{}.{}", i / 250, i % 250);
            line(NOON + f64::from(i), &scanner, 80) + &line(NOON + f64::from(i), "192.0.2.7", 80)
        })
        .collect();
    let gave = Record::new(&scan).parse(&["--max-keys", "100", "-F", "json", "-n", "5"]);
    let report: serde_json::Value = serde_json::from_str(&gave.out).unwrap();
    assert_eq!(report["approximate"], true);
    assert_eq!(report["total"], 6000);
    let error = report["error_bound"].as_u64().unwrap();
    assert!(error <= 6000 / 100, "{error}");
    let (top, others) = (&report["rows"][0], report["others"]["count"].as_u64().unwrap());
    assert_eq!(top["ip"], "192.0.2.7");
    let count = top["count"].as_u64().unwrap();
    assert!(count <= 3000 && 3000 <= count + error, "{count}");
    let rows: u64 =
        report["rows"].as_array().unwrap().iter().map(|r| r["count"].as_u64().unwrap()).sum();
    assert_eq!(rows + others, 6000);
}

#[test]
fn connections_of_a_specific_listener_are_one_row_by_local() {
    let accepted = |fd: u32| {
        format!(
            "7 accept4(3, {{sa_family=AF_INET, sin_port=htons(4000), \
             sin_addr=inet_addr(\"127.0.0.1\")}}, [16], 0) = {fd}\n\
             7 getsockname({fd}, {{sa_family=AF_INET, sin_port=htons(48333), \
             sin_addr=inet_addr(\"127.0.0.1\")}}, [16]) = 0\n"
        )
    };
    let record = Record::new(&(4..8).map(accepted).collect::<String>());
    let gave = record.parse(&["-F", "plain", "--by", "local"]);
    assert_eq!(gave.out, "127.0.0.1:48333: 4\n");
}
