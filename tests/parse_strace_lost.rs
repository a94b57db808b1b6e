//! strace logs that lack lines: the second halves of calls, their process numbers, calls that succeed.

use tcptally::count::{Count, Keys, Tally};
use tcptally::filter::Filter;
use tcptally::parse::{Options, Outcome, parse};
use tcptally::{Connection, RequestedFields};

fn read(text: &str) -> (Vec<Connection>, Outcome) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    std::fs::write(&path, text).unwrap();
    let requested = RequestedFields::ALL;
    let options = Options { format: Some("strace".to_owned()), requested, ..Options::default() };
    let mut found = Vec::new();
    let outcome = parse(&[path], &options, &mut found);
    assert!(outcome.failures.is_empty(), "{:?} {text}", outcome.failures);
    (found, outcome)
}

/// The connections, and how many calls or lines hide others.
fn counts(text: &str) -> (usize, u64) {
    let (found, outcome) = read(text);
    let status = &outcome.status;
    let hidden = status.shortfalls().iter().map(|s| s.count).sum::<u64>();
    assert_eq!(status.is_complete(), hidden == 0, "{text}");
    (found.len(), hidden)
}

const V4: &str =
    r#"{sa_family=AF_INET, sin_port=htons(7), sin_addr=inet_addr("192.0.2.9")}, [128 => 16]"#;

/// Two threads that accept in turns, in the order of the lines.
fn of_two_threads(times: usize) -> Vec<String> {
    let mut lines = vec!["12 accept4(3,  <unfinished ...>".to_owned()];
    for _ in 0..times {
        lines.push("13 accept4(3,  <unfinished ...>".to_owned());
        lines.push(format!("12 <... accept4 resumed>{V4}, 0) = 5"));
        lines.push("12 close(5)                             = 0".to_owned());
        lines.push("12 accept4(3,  <unfinished ...>".to_owned());
        lines.push(format!("13 <... accept4 resumed>{V4}, 0) = 6"));
        lines.push(format!("13 accept4(3, {V4}, 0) = 7"));
    }
    lines
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

#[test]
fn second_halves_that_a_search_left_out_are_missed() {
    let whole = of_two_threads(50);
    assert_eq!(counts(&text(&whole)), (150, 0));
    let with = |part: &str| {
        let lines: Vec<String> = whole.iter().filter(|l| l.contains(part)).cloned().collect();
        counts(&text(&lines))
    };
    assert_eq!(with("accept"), (150, 0));
    // Of each thread, nothing tells that the last one returned.
    assert_eq!(with("accept4("), (50, 100));
}

/// Then connections are kept apart from what else the lines tell.
#[test]
fn missing_second_halves_are_noticed_where_only_addresses_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let thread = |n| format!("{n} accept4(3,  <unfinished ...>\n{n} accept4(3, {V4}, 0) = 7\n");
    std::fs::write(&path, (11..31).map(thread).collect::<String>()).unwrap();
    let options = Options { format: Some("strace".to_owned()), ..Options::default() };
    let mut count = Count::new(Filter::default(), Tally::new(Keys::default(), None, None));
    let status = parse(&[path], &options, &mut count).status;
    assert_eq!(count.tally.whole.total(), 20);
    let hidden: Vec<u64> = status.shortfalls().iter().map(|s| s.count).collect();
    assert_eq!(hidden, [20]);
}

#[test]
fn second_halves_in_another_order_are_not_missed() {
    let mut lines = of_two_threads(50);
    lines.reverse();
    assert_eq!(counts(&text(&lines)), (150, 0));
    lines.sort();
    assert_eq!(counts(&text(&lines)), (150, 0));
}

#[test]
fn calls_that_are_open_at_the_end_are_not_missed() {
    for end in ["", "12 +++ exited with 0 +++\n", "12 +++ killed by SIGKILL +++\n"] {
        let log = format!("12 accept4(3,  <unfinished ...>\n13 accept4(3, {V4}, 0) = 5\n{end}");
        assert_eq!(counts(&log), (1, 0), "{end}");
    }
}

#[test]
fn a_second_half_without_a_process_is_of_the_only_one_in_that_call() {
    let log = format!(
        "socket(AF_UNIX, SOCK_STREAM, 0)         = 4\n\
         bind(4, {{sa_family=AF_UNIX, sun_path=\"/run/x\"}}, 110) = 0\n\
         clone(child_stack=NULL, flags=SIGCHLDstrace: Process 15 attached\n\
         , child_tidptr=0x7) = 15\n\
         [pid 14] accept(4, NULL, NULL <unfinished ...>\n\
         [pid 15] +++ exited with 0 +++\n\
         <... accept resumed>)                   = 5\n\
         accept(3, {V4}) = 6\n"
    );
    let (found, outcome) = read(&log);
    assert_eq!(found.iter().map(|c| c.fd).collect::<Vec<_>>(), [Some(6)]);
    assert!(outcome.status.is_complete());
}

#[test]
fn the_second_half_that_strace_z_writes_without_a_name_is_read() {
    let log = format!(
        "[pid 14] accept(3,  <unfinished ...>\n\
         [pid 15] +++ exited with 0 +++\n\
         {V4}) = 5\n"
    );
    assert_eq!(counts(&log), (1, 0));
    // Nobody knows whose it is.
    assert_eq!(counts(&format!("12 read(3, \"\", 4) = 0\n{V4}) = 5\n")), (0, 1));
}

#[test]
fn a_log_in_which_every_call_failed_is_not_complete() {
    let failed = "12 accept4(3, 0x7ffe, [128], 0) = -1 EAGAIN (Resource temporarily unavailable)\n";
    // accept alone was traced.
    assert_eq!(counts(&failed.repeat(20)), (0, 0));
    let other = "12 epoll_ctl(4, EPOLL_CTL_ADD, 3, 0x7ffe) = -1 EEXIST (File exists)\n";
    assert_eq!(counts(&format!("{other}{failed}")), (0, 1));
    assert_eq!(counts(&format!("12 epoll_wait(4, [], 8, 5) = 0\n{failed}")), (0, 0));
}

#[test]
fn an_io_uring_that_the_kernel_refused_hides_nothing() {
    let accept = format!("accept4(3, {V4}, 0) = 5\n");
    for (call, hidden) in [
        ("io_uring_setup(64, 0x7ffe) = -1 EPERM (Operation not permitted)\n", 0),
        ("io_uring_setup(64, 0x7ffe) = -1 ENOSYS (Function not implemented)\n", 0),
        (
            "12 io_uring_setup(64,  <unfinished ...>\n12 <... io_uring_setup resumed>0x7ffe) = -1 EPERM (x)\n",
            0,
        ),
        ("io_uring_enter(-1, 0, 0, 0, NULL, 8) = -1 EBADF (Bad file descriptor)\n", 0),
        ("io_uring_setup(64, {flags=0}) = 4\n", 1),
        (
            "12 io_uring_setup(64,  <unfinished ...>\n12 <... io_uring_setup resumed>{flags=0}) = 4\n",
            1,
        ),
        ("io_uring_enter(4, 1, 1, IORING_ENTER_GETEVENTS, NULL, 8 <unfinished ...>\n", 1),
    ] {
        assert_eq!(counts(&format!("{call}{accept}")), (1, hidden), "{call}");
    }
}

#[test]
fn blanks_or_dots_at_the_end_are_no_cut_line() {
    let accept = format!("accept4(3, {V4}, 0) = 5\n");
    for (end, hidden) in [(" ", 0), ("    ", 0), ("\t", 0), ("...", 0), ("12", 1), ("[pid ", 1)] {
        assert_eq!(counts(&format!("{accept}{end}")), (1, hidden), "{end:?}");
    }
}

#[test]
fn a_socket_elsewhere_does_not_tell_what_the_listener_is() {
    let doubt = "whether all of them are TCP and not Unix sockets";
    let accept = "12 accept(4, NULL, NULL) = 5\n";
    for (before, doubted) in [
        ("12 socket(AF_UNIX, SOCK_STREAM, 0) = 9\n", true),
        ("12 socket(AF_INET, SOCK_STREAM, 0) = 9\n", true),
        ("12 socket(AF_INET, SOCK_STREAM, 0) = 4\n", false),
        (
            "12 socket(AF_INET, SOCK_STREAM, 0) = 4\n12 bind(4, {sa_family=AF_INET, sin_port=htons(80), \
             sin_addr=inet_addr(\"0.0.0.0\")}, 16) = 0\n",
            false,
        ),
    ] {
        let (found, outcome) = read(&format!("{before}{accept}"));
        assert_eq!(found.len(), 1, "{before}");
        let warnings = &outcome.status.warnings;
        assert_eq!(warnings.iter().any(|w| w.contains(doubt)), doubted, "{before} {warnings:?}");
    }
}
