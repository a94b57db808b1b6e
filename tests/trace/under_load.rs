//! Attaching at any moment to servers whose threads and processes come and go all the time, on a
//! machine that is busy with other things: what comes after the attach is counted exactly.

use std::process::{Child, Command, Stdio};

use crate::harness::*;

/// Programs that use all the CPU time that they get, until this is dropped.
struct Busy(Vec<Child>);

impl Busy {
    fn start(programs: usize) -> Busy {
        let spin = || {
            let mut command = Command::new("sh");
            command.args(["-c", "while :; do :; done"]).stdin(Stdio::null());
            command.spawn().expect("there is a shell")
        };
        Busy((0..programs).map(|_| spin()).collect())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How many programs are busy beside the server.
fn spinners() -> usize {
    std::env::var("TCPTALLY_SPINNERS").ok().and_then(|n| n.parse().ok()).unwrap_or(2)
}

/// Attaches while clients connect to one port, then counts the connections to the other port.
fn check(user: User, engine: &str, mode: &[&str], seed: u64) {
    let stage = Stage::get();
    let Some(program) = stage.server() else { return };
    let mut random = Random(seed);
    let server = Server::c(&program, mode, &[Listens::V4, Listens::V4]);
    let plain = server.start(&stage, user);
    let [busy, counted] = server.ports[..] else { panic!("two ports") };
    let load = Clients::new(seed, 60, 5, &[busy]).protocol(server.protocol).at_once(2);
    let load = load.keep_coming();
    std::thread::sleep(std::time::Duration::from_micros(random.below(30_000)));
    let pid = plain.pid.to_string();
    let mut run = Run::attach(&stage, user, &["--engine", engine, "-p", &pid], &[]);
    let clients = Clients::new(seed, 300, 9, &[counted]).protocol(server.protocol).at_once(3);
    let made = clients.run();
    let others = load.stop();
    let report = run.end_attached();
    let mut rest = report.0.clone();
    rest["rows"] = serde_json::Value::Null;
    rest["warnings"] = report.warnings().chars().take(600).collect::<String>().into();
    let what = format!("{mode:?}, seed {seed}: {rest}");
    let mut told = report.counts_of_known();
    told.retain(|(_, port), _| *port == counted.number);
    assert_eq!((report.number("lost"), &report.0["complete"]), (0, &true.into()), "{what}");
    // Peers from before the attach of the other engine may be unknown, and all if the clients were faster than that.
    let is_off_stack = mode.iter().any(|part| part.starts_with("address="));
    let was_sample = report.engine().starts_with("sample+")
        || engine == "auto" && report.engine() == "sample" && is_off_stack;
    match was_sample {
        true => {
            assert!(told.iter().all(|(key, n)| made.get(key).is_some_and(|m| n <= m)), "{what}");
        }
        false => assert!(told == made, "told {told:?}, made {made:?}: {what}"),
    }
    let (made, others) = (made.values().sum::<u64>(), others.values().sum::<u64>());
    let total = report.number("total");
    assert!(total >= made && total <= made + others, "{made} and at most {others}: {what}");
    assert_free(plain.pid);
}

/// Lets the kernel give the next processes and threads ids just below the highest one, and so low ones soon.
fn ids_start_again() -> bool {
    let read = |name| std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
    let max: Option<u32> = read("pid_max").and_then(|max| max.trim().parse().ok());
    let last = max.map(|max| (max - 40).to_string());
    last.is_some_and(|last| std::fs::write("/proc/sys/kernel/ns_last_pid", last).is_ok())
}

/// What is watched comes and goes in each of these ways.
const MODES: [&[&str]; 12] = [
    &["thread"],
    &["churn=6"],
    &["relay=4"],
    &["oneshot=4"],
    &["oneexec=4"],
    &["fork"],
    &["vfork"],
    &["exec=7"],
    &["storm=4"],
    &["prefork=4"],
    &["vm=3"],
    &["pool=4"],
];

/// The same where the samples do not tell the peer.
const OFF_STACK: [&[&str]; 8] = [
    &["address=null"],
    &["address=heap", "pool=4"],
    &["thread", "address=null"],
    &["churn=6", "address=null"],
    &["oneshot=4", "address=heap"],
    &["prefork=4", "address=null"],
    &["storm=4", "address=null"],
    &["fork", "address=null"],
];

/// Checks each mode as often as is asked for, and names all that fail.
fn check_all(engine: &str, modes: &[&[&str]]) {
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    let stage = Stage::get();
    need!(stage.server(), "the C server", "there is no C compiler");
    let _busy = Busy::start(spinners());
    let mut failures = Vec::new();
    // All of them take minutes on two busy CPUs: `make soak` tries them.
    let is_soak = rounds(1) > 1;
    for round in 0..rounds(1) {
        for (number, mode) in modes.iter().enumerate().step_by(if is_soak { 1 } else { 4 }) {
            let seed = (round * modes.len() + number) as u64;
            let result = std::panic::catch_unwind(|| check(user, engine, mode, seed));
            failures.extend(result.is_err().then_some((mode, seed)));
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn sample_is_exact_on_a_busy_machine() {
    check_all("sample", &MODES);
}

/// Set in the process of the test that has a PID namespace of its own.
const HAS_OWN_IDS: &str = "TCPTALLY_TEST_OWN_PID_NAMESPACE";

/// The threads with the lowest ids end while the descriptors of the server are looked at.
#[test]
fn threads_with_lower_ids_than_their_process_do_not_hide_its_listeners() {
    let user = User::plain();
    if !may_open_events(user) {
        return;
    }
    if std::env::var_os(HAS_OWN_IDS).is_none() {
        need!(is_root().then_some(()), "ids near the highest", "only root may write ns_last_pid");
        let unshare = need!(find_program("unshare"), "a PID namespace", "unshare is missing");
        // The ids of other programs on this machine stay as they are.
        let mut test = Command::new(unshare);
        test.args(["--pid", "--fork", "--kill-child", "--mount-proc"]);
        test.arg(std::env::current_exe().expect("the program of the tests")).args([
            "--exact",
            "under_load::threads_with_lower_ids_than_their_process_do_not_hide_its_listeners",
            "--nocapture",
        ]);
        let status = test.env(HAS_OWN_IDS, "1").status().expect("it starts");
        assert!(status.success(), "{status}");
        return;
    }
    for round in 0..rounds(10) {
        assert!(ids_start_again(), "root may write ns_last_pid");
        check(user, "sample", &["thread"], round as u64);
    }
}

#[test]
fn auto_is_exact_on_a_busy_machine() {
    check_all("auto", &MODES);
}

#[test]
fn auto_hands_over_exactly_on_a_busy_machine() {
    check_all("auto", &OFF_STACK);
}
