//! The cases: each engine, attached and started, and what a SIGKILL of it leaves.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::harness::*;
use crate::outcome::Outcome;
use crate::setting::Setting;
use crate::watching::Watch;

/// Connections of each count.
const CONNECTIONS: usize = 200;
/// Addresses that they come from.
const ADDRESSES: usize = 7;
/// The C server with a thread per connection and with one thread, and what people run.
const SERVERS: [&str; 10] =
    ["thread", "loop", "nginx", "redis", "python", "asyncio", "haproxy", "memcached", "node", "go"];
/// Servers that must outlive a killed tcptally.
const KILLED: [&str; 4] = ["thread", "nginx", "redis", "python"];
/// How often tcptally is killed in a case.
const KILLS: u64 = 5;

#[derive(Clone, Copy)]
enum Way {
    /// No tcptally: what the server and the clients do by themselves.
    Alone,
    Attach,
    Spawn,
    Watch,
    Kill,
}

pub struct Case {
    way: Way,
    engine: &'static str,
    pub server: &'static str,
}

impl Case {
    /// All under the usual setting, and fewer under the others. `TCPTALLY_KERNEL_CASES=WORD` selects
    /// those whose name or server contains the word.
    pub fn all(setting: &Setting, user: User) -> Vec<Case> {
        let case = |way, engine, server| Case { way, engine, server };
        let mut all = Vec::new();
        let servers = if setting.is_usual() { &SERVERS[..] } else { &SERVERS[..1] };
        for &server in servers {
            all.push(case(Way::Alone, "tcptally", server));
            for engine in ["auto", "sample", "perf", "syscall"] {
                all.push(case(Way::Attach, engine, server));
            }
            for engine in ["auto", "perf", "syscall"] {
                all.push(case(Way::Spawn, engine, server));
            }
            all.push(case(Way::Watch, "sockdiag", server));
            if user.is_root() {
                all.push(case(Way::Watch, "tracepoint", server));
            }
        }
        if setting.is_usual() {
            for server in KILLED {
                for engine in ["sample", "perf", "syscall", "seccomp"] {
                    all.push(case(Way::Kill, engine, server));
                }
            }
        }
        let selected = std::env::var("TCPTALLY_KERNEL_CASES").unwrap_or_default();
        all.retain(|case| format!("{} {}", case.what(), case.server).contains(&selected));
        all
    }

    /// Its name in the table.
    pub fn what(&self) -> String {
        let way = match self.way {
            Way::Alone => "without",
            Way::Attach => "attach",
            Way::Spawn => "start",
            Way::Watch => "watch",
            Way::Kill => "SIGKILL",
        };
        format!("{way} {}", self.engine)
    }

    /// Runs it. A check that fails is a wrong outcome. Returns `None` if the server is not installed.
    pub fn run(&self, stage: &Stage, user: User) -> Option<Outcome> {
        let server = self.server(stage, user)?;
        let run = || match (self.way, self.engine) {
            (Way::Alone, _) => self.alone(stage, user, &server),
            (Way::Attach, _) => self.attach(stage, user, &server),
            (Way::Spawn, _) => self.spawn(stage, user, &server),
            (Way::Watch, _) => self.watch(stage, user, &server),
            (Way::Kill, "seccomp") => self.kill_with_command(stage, user, &server),
            (Way::Kill, _) => self.kill(stage, user, &server),
        };
        Some(catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|panic| {
            let panic = panic.downcast_ref::<String>().map_or("a panic", String::as_str);
            Outcome::Wrong(format!("{panic}; {}", Case::last_words(&server)))
        }))
    }

    /// The end of what a server has written, where it was started by itself.
    fn last_words(server: &Server) -> String {
        let end = |name| {
            let text = fs::read(server.folder.path().join(name)).unwrap_or_default();
            let text =
                String::from_utf8_lossy(&text[text.len().saturating_sub(1000)..]).into_owned();
            format!("{name} of the server: {text:?}")
        };
        ["stdout", "stderr"].map(end).join("; ")
    }

    fn server(&self, stage: &Stage, user: User) -> Option<Server> {
        // What is watched only is not started as the user.
        let user = if matches!(self.way, Way::Watch) { User::Oneself } else { user };
        match self.server {
            "nginx" => Server::nginx(),
            "redis" => Server::redis(),
            "python" => Server::python_threads(),
            "asyncio" => Server::python_asyncio(),
            "haproxy" => Server::haproxy(),
            "memcached" => Server::memcached(user),
            "node" => Server::node(),
            "go" => Server::go(),
            mode => {
                let listens = if has_ipv6() { Listens::Dual } else { Listens::V4 };
                Some(Server::c(&stage.server()?, &[mode], &[listens]))
            }
        }
    }

    fn clients(server: &Server) -> Clients {
        server.clients(7, CONNECTIONS, ADDRESSES)
    }

    /// What fails here fails in the other cases of the server for the same reason.
    fn alone(&self, stage: &Stage, user: User, server: &Server) -> Outcome {
        let mut plain = server.start(stage, user);
        for _ in 0..KILLS {
            Case::clients(server).run();
        }
        assert!(plain.ended().is_none(), "the server has ended: {}", plain.stderr());
        Outcome::Exact("served".into())
    }

    fn attach(&self, stage: &Stage, user: User, server: &Server) -> Outcome {
        let plain = server.start(stage, user);
        let pid = plain.pid.to_string();
        let mut run = Run::start(stage, user, &["--engine", self.engine, "-p", &pid]);
        let outcome = match wait_until_ready(&mut run.session, "attached to") {
            Err(message) => Outcome::Refused(message),
            Ok(()) => {
                let made = Case::clients(server).run();
                Outcome::of(&run.end_attached(), &made)
            }
        };
        session_members(plain.pid).into_iter().for_each(assert_free);
        server.assert_serves();
        outcome
    }

    fn spawn(&self, stage: &Stage, user: User, server: &Server) -> Outcome {
        let mut run = Run::command(stage, user, &["--engine", self.engine], &server.argv);
        let ready = wait_for("the server listens", || match run.session.ended() {
            Some(_) => Some(Err(run.session.stderr())),
            None => server.listens().then_some(Ok(())),
        });
        if let Err(message) = ready {
            return Outcome::Refused(message);
        }
        let made = Case::clients(server).run();
        Outcome::of(&run.end(), &made)
    }

    fn watch(&self, stage: &Stage, user: User, server: &Server) -> Outcome {
        let plain = server.start(stage, User::Oneself);
        let ports: Vec<String> = server.ports.iter().map(|p| p.number.to_string()).collect();
        let report = ["-F", "json", "-o", "report.json", "--by", "ip,port"];
        let options = ["--engine", self.engine, "--port", &ports.join(",")];
        let mut watch = Watch::command(user, &[&report[..], &options].concat());
        if let Err(message) = wait_until_ready(&mut watch.session, "watching port") {
            return Outcome::Refused(message);
        }
        let made = Case::clients(server).run();
        let outcome = Outcome::of(&watch.end(), &made);
        assert!(is_free(plain.pid));
        outcome
    }

    /// The server of a killed tcptally serves on, as it did before.
    fn kill(&self, stage: &Stage, user: User, server: &Server) -> Outcome {
        let mut plain = server.start(stage, user);
        let pid = plain.pid.to_string();
        let load = server.clients(7, CONNECTIONS, ADDRESSES).at_once(3).keep_coming();
        let mut random = Random(5);
        for round in 0..KILLS {
            let mut run = Run::start(stage, user, &["--engine", self.engine, "-p", &pid]);
            if round % 2 == 0
                && let Err(message) = wait_until_ready(&mut run.session, "attached to")
            {
                load.stop();
                return Outcome::Refused(message);
            }
            std::thread::sleep(Duration::from_micros(random.below(100_000)));
            run.session.signal(Signal::SIGKILL);
            run.session.wait();
            let before = load.so_far();
            wait_for("clients are served", || {
                (load.has_failed() || load.so_far() > before + 10).then_some(())
            });
            assert!(plain.ended().is_none(), "kill {round}: the server is dead");
            session_members(plain.pid).into_iter().for_each(assert_free);
        }
        load.stop();
        Outcome::Exact("unharmed".into())
    }

    /// A command under a filter ends with tcptally.
    fn kill_with_command(&self, stage: &Stage, user: User, server: &Server) -> Outcome {
        for _ in 0..KILLS {
            let run = Run::spawn(stage, user, &["--engine", self.engine], server);
            Case::clients(server).run();
            run.session.signal(Signal::SIGKILL);
            run.session.assert_all_gone();
        }
        Outcome::Exact("ended with it".into())
    }
}

/// Waits until tcptally says this, or ends and says why.
fn wait_until_ready(session: &mut Session, word: &str) -> Result<(), String> {
    wait_for("tcptally begins", || match session.ended() {
        Some(_) => Some(Err(session.stderr())),
        None => session.stderr().contains(word).then_some(Ok(())),
    })
}
