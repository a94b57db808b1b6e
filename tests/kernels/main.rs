//! Counts on the running kernel with each engine, as root and as a user: exact, or refused with a reason.
//!
//! `make kernels` runs this inside Debian's kernels under several values of `perf_event_paranoid` and
//! `ptrace_scope`, and makes a table of the lines that begin with `@`.

// Each test program uses its part of what they share.
#[allow(dead_code, unused_imports, unused_macros)]
#[path = "../trace/harness/mod.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../watch/watching.rs"]
mod watching;

mod cases;
mod outcome;
mod setting;

use cases::Case;
use harness::*;
use outcome::Outcome;
use setting::Setting;

#[test]
#[ignore = "takes minutes; `make kernels` runs it in virtual machines, where it may set sysctls"]
fn each_count_is_exact_or_refused_with_a_reason() {
    let stage = Stage::get();
    assert!(stage.server().is_some(), "there is no C compiler");
    let mut wrong = Vec::new();
    // The test runner has begun a line.
    println!();
    for setting in Setting::all() {
        if let Err(error) = setting.apply() {
            skip(&setting.to_string(), &error);
            continue;
        }
        for user in User::all() {
            for case in Case::all(&setting, user) {
                let Some(outcome) = case.run(&stage, user) else {
                    skip(&format!("{}, {}", case.what(), case.server), "it is not installed");
                    continue;
                };
                println!("{}", outcome.line(&setting, user, &case));
                if matches!(outcome, Outcome::Wrong(_)) {
                    // Not as a row of the table.
                    wrong.push(outcome.line(&setting, user, &case).replacen('@', "", 1));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}
