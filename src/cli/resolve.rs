//! `--resolve`: the names of the clients in a report, by reverse lookups of their addresses.
//!
//! Names are looked up after counting, when the report is written. So a slow name server delays the report by a
//! bounded time, and never the observed server.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::SourceStatus;
use crate::count::key::{Key, Names};
use crate::count::value::Value;
use crate::model::plural;
use crate::sys::wake;

use super::lock::lock;
use super::request::Request;
use super::reverse_dns::{Answer, Resolver};

/// Maximum delay of a report.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Time between two checks whether the user has cancelled the lookups.
const TICK: Duration = Duration::from_millis(100);
/// Maximum number of simultaneous lookups.
const THREADS: usize = 16;
/// Maximum number of addresses that are looked up, from the first rows on.
const MAX_ADDRESSES: usize = 1000;

/// The note in a report that is written while a server is observed.
pub(super) const NOT_NOW: &str =
    "names were not looked up (--resolve), because the server is still observed";

/// Adds the names of the clients in the first rows to the report.
pub(super) fn name_clients(request: &mut Request, status: &mut SourceStatus) {
    let (addresses, are_all) = addresses(request);
    let resolver = Resolver::new();
    let ask = move |ip| resolver.name_of(ip, TIMEOUT);
    let (names, unanswered) = look_up(&addresses, TIMEOUT, ask);
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

/// Looks up the names of addresses. Returns the names that were found in time, and how many lookups failed or timed
/// out.
fn look_up(
    addresses: &[IpAddr],
    within: Duration,
    ask: impl Fn(IpAddr) -> Answer + Clone + Send + 'static,
) -> (Names, usize) {
    let end = Instant::now() + within;
    let left = Arc::new(Mutex::new(addresses.to_vec()));
    // The first rows are the most important ones.
    lock(&left).reverse();
    let (sender, answers) = channel();
    for _ in 0..THREADS.min(addresses.len()) {
        let (left, sender, ask) = (left.clone(), sender.clone(), ask.clone());
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

/// Whether the user has cancelled the lookups by a signal.
fn is_interrupted() -> bool {
    wake::is_due() && [libc::SIGINT, libc::SIGTERM].iter().any(|s| wake::take().has(*s))
}

/// Whether it is a valid host name: RFC 1123, and underscores. The owner of an address chooses its name, so the name
/// is not trusted.
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
    fn a_failed_lookup_is_counted_as_unresolved() {
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
