//! `tcptally trace`: counts the connections that a server accepts.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::cli::args::{TraceArgs, TraceEngineArg};
use crate::model::connection::RequestedFields;
use crate::trace::{
    self, Attach, AutoEngine, Newcomer, Sampler, Say, Start, Targets, Tracer, WaitFor, Waiting,
    WatchedPort,
};
use anyhow::Context;
use nix::errno::Errno;
use nix::unistd::Pid;

use super::message;
use super::metrics::Endpoint;
use super::observe::{Observation, observe};
use super::output::{Mode, Output};
use super::request::{Request, Stream, Times, Usage};
use super::rotation::Rotation;
use super::server_log::ServerLog;

/// Starts the server or attaches to it, counts until it ends, and returns the exit status.
pub(super) fn run(args: TraceArgs) -> anyhow::Result<i32> {
    let request = Request::new(&args.count, &Times::Now)?.with_networks(&args.count)?;
    let spawns = !args.argv.is_empty();
    // A `wait` in the configuration file applies only where it is possible.
    let waits = args.wait && !spawns && args.pids.is_empty() && args.count.ports.is_some();
    let pids = if spawns || waits { BTreeSet::new() } else { pids(&args, &request)? };
    check(&args, &request)?;
    let stream = if spawns { Stream::Stderr } else { Stream::Stdout };
    let rotation = Rotation::new(&args.rotation, &args.count)?;
    let mode = Mode::of(&args.count).appending(rotation.is_some());
    let output = Output::open(args.count.output.as_deref(), stream, mode)?;
    let options = options(&args, &request);
    let say = say(&args, &request);
    let log = server_log(&args)?;
    let endpoint = Endpoint::open(&args.metrics)?;
    let metrics = endpoint.map(|e| e.serve(&request, "trace", Box::new(|| None))).transpose()?;
    let has_command = !args.argv.is_empty();
    let what =
        Observation { request, output, rotation, duration: args.duration, metrics, has_command };
    if spawns {
        let start = Start { argv: args.argv, deny_io_uring: args.deny_io_uring };
        let log = log.as_ref();
        let sample = || with_log(log, || Sampler::spawn(start.clone(), options));
        let stop = || with_log(log, || Tracer::spawn(start.clone(), options));
        return match args.engine {
            TraceEngineArg::Sample => observe(|| sample().inspect(|s| say(s.remarks())), what),
            _ => observe(|| stop().inspect(|t| say(t.remarks())), what),
        };
    }
    let port = args.count.ports.as_ref().map_or("PORT".into(), ToString::to_string);
    if waits {
        let engine = args.engine;
        return wait(&args, options, say, what).map_err(|e| advise(e, engine, &port));
    }
    let missing: Vec<i32> = pids.iter().copied().filter(|pid| !exists(*pid)).collect();
    let targets = Targets { pids, children: !args.no_children };
    let ports = args.pids.is_empty().then(|| what.request.count.filter.ports.0.clone());
    let of = (targets, ports.as_deref());
    let result = match args.engine {
        TraceEngineArg::Sample => observe(|| attach::<Sampler>(of, options, &say), what),
        TraceEngineArg::Auto => observe(|| attach::<AutoEngine>(of, options, &say), what),
        _ => observe(|| attach::<Tracer>(of, options, &say), what),
    };
    let status = result.map_err(|error| advise(error, args.engine, &port))?;
    Ok(status_with(status, &missing))
}

/// Attaches to processes: to those that were given, or that listen on `ports`.
fn attach<L: Attach>(
    (targets, ports): (Targets, Option<&[RangeInclusive<u16>]>),
    options: trace::Options,
    say: &Say,
) -> Result<WatchedPort<L>, trace::Error> {
    let live = L::attach(targets.clone(), options)?;
    say(live.remarks());
    Ok(WatchedPort::new(live, targets, ports, Newcomer::Ignored))
}

/// What is traced, and how.
fn options(args: &TraceArgs, request: &Request) -> trace::Options {
    trace::Options {
        requested: requested(args, request),
        no_children: !args.argv.is_empty() && args.no_children,
        engine: match args.engine {
            TraceEngineArg::Auto | TraceEngineArg::Sample => None,
            TraceEngineArg::Perf => Some(trace::PtraceEngine::Perf),
            TraceEngineArg::Seccomp => Some(trace::PtraceEngine::Seccomp),
            TraceEngineArg::Syscall => Some(trace::PtraceEngine::Syscall),
        },
    }
}

/// Prints the messages of a source at its start, and once how to end it.
fn say(args: &TraceArgs, request: &Request) -> Say {
    let (quiet, verbose) = (args.count.quiet, args.count.verbose && !args.count.quiet);
    let begin = format!("counting accepted connections{}", request.ending());
    let has_begun = AtomicBool::new(!args.argv.is_empty() || !begin.contains(';'));
    Box::new(move |remarks| {
        for remark in remarks.iter().filter(|r| verbose || !r.is_detail) {
            message::notice_in_background(quiet, &remark.text);
        }
        if !has_begun.swap(true, Ordering::Relaxed) {
            message::notice_in_background(quiet, &begin);
        }
    })
}

/// Attaches to the servers that listen on the port, one after another.
fn wait(
    args: &TraceArgs,
    options: trace::Options,
    say: Say,
    what: Observation,
) -> anyhow::Result<i32> {
    fn follow<L: Attach>(
        wait_for: WaitFor,
        options: trace::Options,
        say: Say,
        what: Observation,
    ) -> anyhow::Result<i32> {
        observe(|| Waiting::<L>::start(wait_for, options, say), what)
    }
    let has_attached = Arc::new(AtomicBool::new(false));
    let wait_for = WaitFor {
        ports: what.request.count.filter.ports.0.clone(),
        list: args.count.ports.as_ref().map(ToString::to_string).unwrap_or_default(),
        children: !args.no_children,
        has_attached: has_attached.clone(),
    };
    let list = wait_for.list.clone();
    let status = match args.engine {
        TraceEngineArg::Sample => follow::<Sampler>(wait_for, options, say, what)?,
        TraceEngineArg::Auto => follow::<AutoEngine>(wait_for, options, say, what)?,
        _ => follow::<Tracer>(wait_for, options, say, what)?,
    };
    if status == 0 && !has_attached.load(Ordering::Relaxed) {
        message::error(format_args!("exit status 1: no process listened on port {list}"));
        return Ok(1);
    }
    Ok(status)
}

/// Whether a process or thread of this id exists.
fn exists(pid: i32) -> bool {
    nix::sys::signal::kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH)
}

/// The exit status if some of the given processes did not exist. As with `parse`, the others are counted.
fn status_with(status: i32, missing: &[i32]) -> i32 {
    if missing.is_empty() {
        return status;
    }
    let list: Vec<String> = missing.iter().map(ToString::to_string).collect();
    message::error(format_args!(
        "exit status 1: no such process, so not counted: {} (of the given ones)",
        list.join(", ")
    ));
    if status == 0 { 1 } else { status }
}

/// The message for an error of tracing, with commands or options that avoid it.
#[derive(Debug, thiserror::Error)]
#[error("{error}{advice}")]
struct Advised {
    // Not the source: the message contains it.
    error: trace::Error,
    advice: String,
}

/// Names the engine and the command that need fewer permissions, if a permission is missing.
fn advise(error: anyhow::Error, engine: TraceEngineArg, port: &str) -> anyhow::Error {
    let error = match error.downcast::<trace::Error>() {
        Ok(error) => error,
        Err(other) => return other,
    };
    let mut advice = String::new();
    if error.is_yama() && matches!(engine, TraceEngineArg::Perf | TraceEngineArg::Syscall) {
        advice.push_str("; or '--engine sample', which needs no ptrace");
    }
    if error.is_permission() {
        advice.push_str("; or count without attaching to it, as any user: 'tcptally watch --port ");
        advice.push_str(port);
        advice.push('\'');
    }
    match advice.is_empty() {
        true => error.into(),
        false => Advised { error, advice }.into(),
    }
}

/// The costly fields of connections that are needed.
fn requested(args: &TraceArgs, request: &Request) -> RequestedFields {
    let requested = request.requested();
    RequestedFields { local: requested.local || args.metrics.address.is_some(), ..requested }
}

/// Runs `spawn` with the output of the command going to a file, if there is one.
fn with_log<T>(log: Option<&ServerLog>, spawn: impl FnOnce() -> T) -> T {
    match log {
        Some(log) => log.during(spawn),
        None => spawn(),
    }
}

/// Opens the file for the output of a command while the screen uses the terminal.
fn server_log(args: &TraceArgs) -> anyhow::Result<Option<ServerLog>> {
    match &args.server_log {
        Some(path) => {
            let log = ServerLog::open(path);
            let context = || format!("cannot write the server's log '{}'", path.display());
            Ok(Some(log.with_context(context)?))
        }
        None if args.count.live && !args.argv.is_empty() => Err(Usage(
            "the screen of --live has the terminal; say where the command's output goes, for example \
             --server-log server.log"
                .into(),
        )
        .into()),
        None => Ok(None),
    }
}

fn check(args: &TraceArgs, request: &Request) -> Result<(), Usage> {
    if request.has_stats() {
        return Err(Usage(
            "trace observes accept only, so it has no statistics for --columns, --sort bytes, and \
             --by duration, rtt or bytes; 'tcptally watch --port PORT' has them"
                .into(),
        ));
    }
    let attaches = args.argv.is_empty();
    if attaches && args.engine == TraceEngineArg::Seccomp {
        return Err(Usage(
            "--engine seccomp needs a filter in the server from its start, so it works only with \
             'tcptally trace -- COMMAND'; for a running server use perf or syscall"
                .into(),
        ));
    }
    if attaches && args.deny_io_uring {
        return Err(Usage(
            "--deny-io-uring needs a filter in the server from its start, so it works only with \
             'tcptally trace -- COMMAND'"
                .into(),
        ));
    }
    Ok(())
}

/// The given processes, or those that listen on the given port.
fn pids(args: &TraceArgs, request: &Request) -> anyhow::Result<BTreeSet<i32>> {
    if !args.pids.is_empty() {
        let pids = args.pids.iter().flat_map(|list| list.0.iter().copied()).collect();
        if !args.no_children {
            trace::check_not_whole_system(&pids)?;
        }
        return Ok(pids);
    }
    let ports = &request.count.filter.ports.0;
    if ports.is_empty() {
        return Err(Usage(
            "give a server: start one with 'tcptally trace -- COMMAND', or attach to a running \
             one with 'tcptally trace -p PID' or 'tcptally trace --port 4711'"
                .into(),
        )
        .into());
    }
    let list = args.count.ports.as_ref().map(ToString::to_string).unwrap_or_default();
    let owners = trace::port_owners(ports)
        .map_err(|error| advise(error.into(), args.engine, &list))
        .with_context(|| format!("port {list}"))?
        .visible;
    for line in trace::describe_owners(&owners) {
        message::notice(args.count.quiet, line);
    }
    let creators =
        if args.no_children { BTreeSet::new() } else { trace::creators_of_owners(&owners) };
    for pid in &creators {
        let text = format_args!("process {pid} creates processes that listen, and is included");
        message::notice(args.count.quiet, text);
    }
    Ok(owners.into_iter().map(|o| o.pid).chain(creators).collect())
}
