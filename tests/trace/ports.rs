//! `--port` counts what came to that port, whatever the server does with its descriptors.

use crate::harness::*;

#[test]
fn the_port_is_that_of_the_connection_itself() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let listens = [Listens::V4, Listens::V4, Listens::V4];
    for mode in ["loop", "dup", "prefork=3", "fork", "pass", "pool=6"] {
        for engine in ["seccomp", "syscall"] {
            let server = Server::c(&program, &[mode], &listens);
            let asked = server.ports[1].number.to_string();
            let options = ["--engine", engine, "--port", &asked];
            let mut run = Run::spawn(&stage, User::plain(), &options, &server);
            let mut made = server.clients(8, 150, 9).run();
            let all: u64 = made.values().sum();
            made.retain(|key, _| key.1 == server.ports[1].number);
            let report = run.end();
            report.assert_counts(&made);
            assert_eq!(report.number("filtered"), all - made.values().sum::<u64>(), "{mode}");
        }
    }
}

#[test]
fn lists_and_ranges_of_ports_select_connections() {
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    let server = Server::c(&program, &[], &[Listens::V4; 4]);
    let numbers: Vec<u16> = server.ports.iter().map(|p| p.number).collect();
    // The ports of the tests go up, save once around.
    let (low, high) = (numbers[1].min(numbers[2]), numbers[1].max(numbers[2]));
    let list = format!("{},{low}-{high}", numbers[0]);
    let mut run = Run::spawn(&stage, User::plain(), &["--port", &list], &server);
    let mut made = server.clients(9, 100, 5).run();
    let within = |p: u16| p == numbers[0] || (low..=high).contains(&p);
    made.retain(|key, _| within(key.1));
    run.end().assert_counts(&made);
}
