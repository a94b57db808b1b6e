//! `--resolve`: the names of the clients in a report, by reverse lookups of their addresses.
//!
//! They are looked up when the report is written, after counting: a slow name server delays the report by a bounded
//! time, and never a server.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::SourceStatus;
use crate::count::key::{Key, Names};
use crate::count::value::Value;
use crate::model::plural;
use crate::sys::names::{Answer, name_of};
use crate::sys::wake;

use super::lock::lock;
use super::request::Request;

/// How long a report may be delayed.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often it is looked whether the user does not want to wait.
const TICK: Duration = Duration::from_millis(100);
/// Lookups at the same time.
const THREADS: usize = 16;
/// Addresses that are looked up: those of the first rows.
const MAX_ADDRESSES: usize = 1000;

/// The note in a report that is written while a server is observed.
pub(super) const NOT_NOW: &str =
    "names were not looked up (--resolve), because the server is still observed";

/// Adds the names of the clients in the first rows to the report.
pub(super) fn name_clients(request: &mut Request, status: &mut SourceStatus) {
    let (addresses, are_all) = addresses(request);
    let (names, unanswered) = look_up(&addresses, TIMEOUT, name_of);
    if unanswered > 0 {
        status.warn(format!(
            "the names of {} are not known: no name server answered within {} s (/etc/resolv.conf)",
            plural(unanswered as u64, "address", "addresses"),
            TIMEOUT.as_secs()
        ));
    }
    if !are_all {
        status.warn(format!("names were looked up for the first {MAX_ADDRESSES} rows"));
    }
    request.count.tally.keys.show_names(Arc::new(names));
}

/// The addresses of the first rows, and whether those are all rows.
fn addresses(request: &Request) -> (Vec<IpAddr>, bool) {
    let (table, keys) = (&request.count.tally.whole, &request.count.tally.keys);
    let Some(at) = keys.list().iter().position(|key| *key == Key::Ip) else {
        return (Vec::new(), true);
    };
    let rows = request.order.select(table).rows;
    let ip = |row: &_| match keys.decode(table.row(*row).0).nth(at) {
        Some(Value::Ip(ip)) => Some(ip),
        _ => None,
    };
    let mut seen = HashSet::new();
    let first = rows.iter().take(MAX_ADDRESSES).filter_map(ip);
    (first.filter(|ip| seen.insert(*ip)).collect(), rows.len() <= MAX_ADDRESSES)
}

/// Asks for the names of addresses, and returns those that are known in time, and how many addresses had no answer.
fn look_up(addresses: &[IpAddr], within: Duration, ask: fn(IpAddr) -> Answer) -> (Names, usize) {
    let end = Instant::now() + within;
    let left = Arc::new(Mutex::new(addresses.to_vec()));
    // The first rows are the most important ones.
    lock(&left).reverse();
    let (sender, answers) = channel();
    for _ in 0..THREADS.min(addresses.len()) {
        let (left, sender) = (left.clone(), sender.clone());
        let work = move || {
            let next = || lock(&left).pop();
            while let Some(ip) = next() {
                if sender.send((ip, ask(ip))).is_err() {
                    return;
                }
            }
        };
        // It ends with the program if a name server does not answer.
        let _ = std::thread::Builder::new().name("names".into()).spawn(work);
    }
    drop(sender);
    let (mut names, mut answered) = (Names::new(), 0);
    while answered < addresses.len() {
        let wait = end.saturating_duration_since(Instant::now());
        match answers.recv_timeout(wait.min(TICK)) {
            Ok((_, Answer::Failed)) => {}
            Ok((ip, answer)) => {
                answered += 1;
                if let Answer::Name(name) = answer
                    && is_host_name(&name)
                {
                    names.insert(ip, name);
                }
            }
            Err(std::sync::mpsc::RecvTimeoutError::Timeout)
                if !wait.is_zero() && !is_interrupted() => {}
            Err(_) => break,
        }
    }
    lock(&left).clear();
    (names, addresses.len() - answered)
}

/// Whether a signal says that the user does not want to wait any longer.
fn is_interrupted() -> bool {
    wake::is_due() && [libc::SIGINT, libc::SIGTERM].iter().any(|s| wake::take().has(*s))
}

/// Whether it is a name as hosts have it: RFC 1123, and underscores. Who owns an address decides what its name is.
fn is_host_name(name: &str) -> bool {
    let is_usual = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    !name.is_empty() && !name.starts_with('-') && name.bytes().all(is_usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses(n: u8) -> Vec<IpAddr> {
        (0..n).map(|n| [192, 0, 2, n].into()).collect()
    }

    #[test]
    fn each_address_is_asked_for_once_and_named() {
        let all = addresses(100);
        let (names, unanswered) = look_up(&all, TIMEOUT, |ip| match ip {
            IpAddr::V4(ip) if ip.octets()[3] < 50 => {
                Answer::Name(format!("host{}", ip.octets()[3]))
            }
            _ => Answer::NoName,
        });
        assert_eq!((names.len(), unanswered), (50, 0));
        assert_eq!(names[&all[7]], "host7");
    }

    #[test]
    fn a_name_server_that_does_not_answer_delays_a_report_by_a_bounded_time() {
        let begin = Instant::now();
        let (names, unanswered) = look_up(&addresses(40), Duration::from_millis(200), |ip| {
            if ip == IpAddr::from([192, 0, 2, 0]) {
                return Answer::Name("first.example".into());
            }
            std::thread::sleep(Duration::from_secs(30));
            Answer::NoName
        });
        assert!(begin.elapsed() < Duration::from_secs(20));
        assert_eq!((names.len(), unanswered), (1, 39));
    }

    #[test]
    fn a_failure_of_the_resolver_is_no_answer() {
        let (names, unanswered) = look_up(&addresses(3), TIMEOUT, |_| Answer::Failed);
        assert_eq!((names.len(), unanswered), (0, 3));
    }

    #[test]
    fn names_that_are_none_are_left_out() {
        for name in ["", "a b", "-x", "a\u{1b}[31m", "=1+1", "a,b", "\u{f6}.example"] {
            assert!(!is_host_name(name), "{name:?}");
        }
        for name in ["web-1.example.com", "localhost", "_dmarc.example"] {
            assert!(is_host_name(name), "{name}");
        }
    }
}
