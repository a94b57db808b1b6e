//! 32-bit calls, from 32-bit programs and from 64-bit ones.

use crate::harness::*;

const WHY: &str = "there is no C compiler for 32 bits (gcc-multilib)";

/// How a 32-bit program can accept; the last one differs most from a 64-bit program.
const CALLS_32: &[&str] = if cfg!(target_arch = "x86_64") {
    &["call=accept", "call=accept4", "call=socketcall4", "call=socketcall"]
} else {
    &["call=accept4", "call=accept"]
};

fn oddest_call() -> &'static str {
    CALLS_32[CALLS_32.len() - 1]
}

fn check(make: impl Fn() -> Server) {
    let stage = Stage::get();
    for engine in ["seccomp", "syscall"] {
        let server = make();
        let mut run = Run::spawn(&stage, User::plain(), &["--engine", engine], &server);
        let made = server.clients(32, 200, 9).run();
        run.end().assert_counts(&made);
    }
}

#[test]
fn a_32_bit_server_is_counted() {
    let stage = Stage::get();
    let program = need!(stage.server_32(), "32-bit server", WHY);
    for call in CALLS_32 {
        for address in ["full", "null", "short"] {
            let address = format!("address={address}");
            check(|| Server::c(&program, &[call, &address], &[Listens::V4, Listens::V4]));
        }
    }
}

#[test]
fn a_32_bit_server_with_threads_and_processes_is_counted() {
    let stage = Stage::get();
    let program = need!(stage.server_32(), "32-bit server", WHY);
    for mode in ["pool=4", "fork", "thread", "exec=9"] {
        check(|| Server::c(&program, &[mode, oddest_call()], &[Listens::V4]));
    }
    if has_ipv6() {
        check(|| Server::c(&program, &[oddest_call()], &[Listens::Dual, Listens::V6]));
    }
}

/// A launcher of 64 bits that starts a server of 32, and the other way round.
#[test]
fn children_of_the_other_architecture_are_counted() {
    let stage = Stage::get();
    let wide = need!(stage.server(), "the C server", "there is no C compiler");
    let narrow = need!(stage.server_32(), "32-bit server", WHY);
    for (parent, child) in [(&wide, &narrow), (&narrow, &wide)] {
        check(|| {
            let mut server = Server::c(child, &[], &[Listens::V4]);
            let mut child = std::ffi::OsString::from("child=");
            child.push(&server.argv[0]);
            server.argv.splice(..1, [parent.into(), child]);
            server
        });
    }
}

#[test]
fn accepts_by_int_0x80_in_a_64_bit_program_are_counted() {
    if !cfg!(target_arch = "x86_64") {
        return;
    }
    let stage = Stage::get();
    let program = need!(stage.server(), "the C server", "there is no C compiler");
    need!(stage.server_32(), "int 0x80", WHY);
    for address in ["address=full", "address=null"] {
        check(|| Server::c(&program, &["call=int80", address], &[Listens::V4]));
    }
}
