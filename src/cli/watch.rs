//! `tcptally watch`: counts the connections to a port by asking the kernel.

use std::time::Duration;

use crate::cli::args::{WatchArgs, WatchEngineArg};
use crate::count::key::Key;
use crate::time::interval::IntervalLength;
use crate::watch::{Options, RESOLUTION, WatchEngine, Watcher};

use super::message;
use super::metrics::Endpoint;
use super::observe::{Observation, observe};
use super::output::{Mode, Output};
use super::request::{Request, Stream, Times, Usage};
use super::rotation::Rotation;

/// Minimum of `--resolution`. With less, the kernel would be busy all the time.
const MIN_RESOLUTION: Duration = Duration::from_millis(10);

/// Counts until a signal or the end of the period, and returns the exit status.
pub(super) fn run(args: WatchArgs) -> anyhow::Result<i32> {
    let request = Request::new(&args.count, &Times::Now)?.with_networks(&args.count)?;
    let options = options(&args, &request)?;
    check(&options, &request)?;
    let rotation = Rotation::new(&args.rotation, &args.count)?;
    let mode = Mode::of(&args.count).appending(rotation.is_some());
    let output = Output::open(args.count.output.as_deref(), Stream::Stdout, mode)?;
    // The listener is in the user's network namespace; its thread is started later.
    let endpoint = Endpoint::open(&args.metrics)?;
    if let Some(namespace) = &args.netns {
        // Before any other thread exists.
        namespace.enter()?;
    }
    let watched = options.ports.clone();
    let open = move || crate::watch::open_connections(&watched).ok();
    let metrics = endpoint.map(|e| e.serve(&request, "watch", Box::new(open))).transpose()?;
    let (quiet, verbose) = (args.count.quiet, args.count.verbose);
    let ports = args.count.ports.as_ref().map(ToString::to_string).unwrap_or_default();
    let ending = request.ending();
    let say = move |watcher: &Watcher| {
        announce(watcher, quiet, verbose);
        let open = opened_before(watcher);
        message::notice(quiet, format_args!("watching port {ports}{open}{ending}"));
    };
    let what = Observation {
        request,
        output,
        rotation,
        duration: args.duration,
        metrics,
        has_command: false,
    };
    observe(|| Watcher::start(options).inspect(say), what)
}

fn options(args: &WatchArgs, request: &Request) -> Result<Options, Usage> {
    Ok(Options {
        ports: request.count.filter.ports.0.clone(),
        engine: match args.engine {
            WatchEngineArg::Auto => WatchEngine::Auto,
            WatchEngineArg::Sockdiag => WatchEngine::SockDiag,
            WatchEngineArg::Tracepoint => WatchEngine::Tracepoint,
        },
        resolution: resolution(args)?,
        transport: request.has_stats()
            || request.events && args.engine != WatchEngineArg::Tracepoint,
        uncertainty: request.count.tally.has_intervals(),
        buffer: args.buffer.map(|b| b as usize),
    })
}

/// Rejects options that no engine supports, or that the requested engine does not support.
fn check(options: &Options, request: &Request) -> Result<(), Usage> {
    if options.ports.is_empty() {
        return Err(Usage("give the port, for example --port 443".into()));
    }
    if options.engine == WatchEngine::Tracepoint && request.has_stats() {
        return Err(Usage(
            "engine tracepoint has no bytes, duration and round-trip time; leave out \
             --engine, or --columns and what needs them"
                .into(),
        ));
    }
    let keys = request.count.tally.keys.list();
    if let Some(key) = keys.iter().find(|key| matches!(key, Key::Pid | Key::Comm | Key::Container))
    {
        return Err(Usage(format!(
            "watch does not know which process accepts, so it cannot count --by {}; \
             'tcptally trace --port {}' can",
            key.name(),
            request.count.filter.ports
        )));
    }
    let rolls = request.count.tally.has_intervals() && !request.kind.is_one_document();
    if rolls && request.has_stats() {
        return Err(Usage(
            "statistics are final when a connection closes, which may be long after the row of its \
             interval has been printed; so with --interval, --columns and --by duration, rtt or \
             bytes need --format json, which is written at the end; or write events (--events \
             --format jsonl) and count them with tcptally parse"
                .into(),
        ));
    }
    Ok(())
}

/// Describes what is watched and how.
fn announce(watcher: &Watcher, quiet: bool, verbose: bool) {
    if verbose {
        let kib = watcher.buffers() / 1024;
        let (name, buffer) = match watcher.engine().0 {
            WatchEngine::Tracepoint => ("tracepoint", "ring buffers for the kernel's records have"),
            _ => ("sockdiag", "socket buffer for the kernel's messages has"),
        };
        let why = watcher.engine().1;
        message::notice(quiet, format_args!("engine {name}: {why}"));
        message::notice(quiet, format_args!("the {buffer} {kib} KiB"));
    }
    for (low, high) in watcher.unused() {
        let range = if low == high { low.to_string() } else { format!("{low}-{high}") };
        message::notice(quiet, format_args!("no process listens on port {range} yet"));
    }
}

/// How many connections are not counted because they are open already.
fn opened_before(watcher: &Watcher) -> String {
    match watcher.opened_before() {
        0 => String::new(),
        1 => "; 1 connection is open already and is not counted".into(),
        n => format!("; {n} connections are open already and are not counted"),
    }
}

fn resolution(args: &WatchArgs) -> Result<Duration, Usage> {
    let interval = match args.count.interval {
        Some(IntervalLength::Time(ns)) => Duration::from_nanos(ns.unsigned_abs()),
        _ => Duration::MAX,
    };
    let resolution = match args.resolution {
        Some(resolution) => Duration::try_from(resolution).unwrap_or_default(),
        None => (interval / 2).clamp(MIN_RESOLUTION, RESOLUTION),
    };
    if resolution < MIN_RESOLUTION {
        return Err(Usage(format!("--resolution must be at least {MIN_RESOLUTION:?}")));
    }
    if interval < 2 * resolution && args.engine != WatchEngineArg::Tracepoint {
        return Err(Usage(format!(
            "--interval must be at least twice --resolution ({resolution:?}): the start of a \
             connection is known only to that precision"
        )));
    }
    Ok(resolution)
}
