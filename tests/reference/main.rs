//! The reader of strace logs against an independent one: `parser` reads them slowly and simply, `log` writes
//! logs whose connections are known. The fuzz target `strace_reference` uses both.

#[path = "readers.rs"]
mod readers;

use proptest::prelude::*;

use readers::compare;
use readers::parser::{self, Accepted};

/// Fewer cases than by default, unless PROPTEST_CASES asks for a number: each writes and reads a file.
fn config() -> ProptestConfig {
    let default = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig { cases: 500, ..default },
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn three_readings_of_a_log_agree(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        compare::built_log(&bytes);
    }
}

#[test]
fn the_reference_makes_no_claim_about_what_it_does_not_know() {
    let accept = "accept(3, NULL, NULL) = 4";
    assert_eq!(parser::read(&format!("{accept}\n")).map(|found| found.len()), Some(1));
    for text in [
        "",
        "accept(3, NULL, NULL) = 4",
        "close(3) = 0\n",
        "close(3) = 0 accept(3, NULL, NULL) = 4\n",
        "accept(3, NULL, NULL = 4\n",
        "accept(3, 0x7ffda9f2a6c0, [16]) = 4\n",
        "socket(AF_UNIX, SOCK_STREAM, 0) = 3\naccept(3, NULL, NULL) = 4\n",
        "7 accept(3, NULL, NULL) = 4\naccept(3, NULL, NULL) = 4\n",
        "7 <... accept resumed>NULL, NULL) = 4\n",
    ] {
        assert_eq!(parser::read(text), None, "{text}");
    }
}

#[test]
fn the_reference_reads_each_form() {
    let log = "\
        [pid  1234] 10:53:30.174673 accept4(3, {sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr(\"192.0.2.9\")}, [16], 0) = 5\n\
        strace: Process 1235 attached\n\
        [pid  1235] 10:53:30.174674 accept(3<TCP:[9]>,  <unfinished ...>\n\
        [pid  1234] 10:53:30.174675 write(5, \"accept(3, NULL, NULL) = 8\\n\", 26) = 26 <0.000010>\n\
        [pid  1235] 10:53:30.174676 <... accept resumed>{sa_family=AF_INET6, sin6_port=htons(8), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"::ffff:192.0.2.9\", &sin6_addr), sin6_scope_id=0}, [28]) = 6\n\
        [pid  1235] 10:53:30.174677 +++ exited with 0 +++\n";
    let peer = |port| Some(("192.0.2.9".parse().unwrap(), port));
    let expected = [
        Accepted { pid: Some(1234), fd: 5, peer: peer(7) },
        Accepted { pid: Some(1235), fd: 6, peer: peer(8) },
    ];
    assert_eq!(parser::read(log).as_deref(), Some(&expected[..]));
}
