//! A server that is watched, and clients that expect no answer.

use std::net::{IpAddr, Ipv4Addr};

use crate::harness::*;

/// The engines with which this user may attach.
pub fn attach_to(user: User) -> Vec<&'static str> {
    attach_engines(user)
}

/// Engines for a command.
pub const START_WITH: [&str; 2] = ["seccomp", "syscall"];

/// A running server, and tcptally attached to it.
pub struct Attached {
    pub server: Server,
    pub plain: Session,
    pub run: Run,
}

impl Attached {
    /// Starts a server and attaches to it.
    #[track_caller]
    pub fn to(stage: &Stage, user: User, engine: &str, server: Server) -> Attached {
        let plain = server.start(stage, user);
        let pid = plain.pid.to_string();
        let run = Run::attach(stage, user, &["--engine", engine, "-p", &pid], &[plain.pid]);
        Attached { server, plain, run }
    }

    /// Panics unless every process of the server runs freely, and it serves.
    #[track_caller]
    pub fn assert_unharmed(&mut self, what: &str) {
        if let Some(status) = self.plain.ended() {
            panic!("{what}: the server is dead: {status}; stderr:\n{}", self.plain.stderr());
        }
        session_members(self.plain.pid).into_iter().for_each(assert_free);
        self.server.assert_serves();
    }
}

/// What clients attempted, and what was answered.
#[derive(Default)]
pub struct Attempts {
    pub made: Counts,
    pub answered: Counts,
}

impl Attempts {
    /// Connects `total` times from several addresses, two at once, whatever comes of it.
    pub fn make(server: &Server, total: u32) -> Attempts {
        let port = server.ports[0].number;
        let half = |first: u32| {
            let mut attempts = Attempts::default();
            for n in (first..total).step_by(2) {
                let from = IpAddr::from(Ipv4Addr::new(127, 5, 0, 1 + (n % 9) as u8));
                let answer = visit(from, (Ipv4Addr::LOCALHOST, port).into(), server.protocol);
                *attempts.made.entry((from, port)).or_default() += 1;
                if answer.is_ok() {
                    *attempts.answered.entry((from, port)).or_default() += 1;
                }
            }
            attempts
        };
        std::thread::scope(|scope| {
            let other = scope.spawn(|| half(1));
            let mut all = half(0);
            let other = other.join().expect("clients do not panic");
            add(&mut all.made, &other.made);
            add(&mut all.answered, &other.answered);
            all
        })
    }

    pub fn add(&mut self, more: &Attempts) {
        add(&mut self.made, &more.made);
        add(&mut self.answered, &more.answered);
    }

    /// Panics if the report tells more than was attempted, or claims to be complete and tells less
    /// than was answered.
    #[track_caller]
    pub fn assert_told_by(&self, report: &Report, what: &str) {
        let told = report.counts_of_known();
        for (key, count) in &told {
            let made = self.made.get(key).copied().unwrap_or_default();
            assert!(*count <= made, "{what}: {key:?}: {count} told, {made} made: {}", report.0);
        }
        let answered: u64 = self.answered.values().sum();
        let made: u64 = self.made.values().sum();
        let (total, lost) = (report.number("total"), report.number("lost"));
        assert!(total + lost <= made, "{what}: {made} made: {}", report.0);
        if report.0["complete"] == true {
            assert!(total >= answered, "{what}: {answered} answered: {}", report.0);
        }
        if report.0["complete"] == true && report.number("unknown_peer") == 0 {
            for (key, count) in &self.answered {
                let told = told.get(key).copied().unwrap_or_default();
                assert!(told >= *count, "{what}: {key:?}: {count} answered: {}", report.0);
            }
        }
    }
}
