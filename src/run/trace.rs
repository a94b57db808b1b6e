//! `tcptally trace`: counts what a server accepts.

use tcptally::cli::{Engine, TraceArgs};
use tcptally::trace::spawn::Start;
use tcptally::trace::{self, Tracer};

use super::live::{Watch, watch};
use super::mode;
use super::output::Output;
use super::request::{Request, Stream, Times};

/// Starts the server, counts until it ends, and returns its exit status.
pub fn run(args: TraceArgs) -> anyhow::Result<i32> {
    let request = Request::new(&args.count, &Times::Live)?;
    let output = Output::open(args.count.output.as_deref(), Stream::Stderr, mode(&args.count))?;
    let options = trace::Options {
        wanted: request.wanted(),
        no_children: args.no_children,
        engine: match args.engine {
            Engine::Auto => None,
            Engine::Seccomp => Some(trace::engine::Engine::Seccomp),
            Engine::Syscall => Some(trace::engine::Engine::Syscall),
        },
    };
    let start = Start { argv: args.argv, deny_io_uring: args.deny_io_uring };
    let tracer = Tracer::spawn(start, options)?;
    watch(tracer, Watch { request, output, duration: args.duration })
}
