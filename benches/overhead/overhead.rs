//! What watching costs a server: the rate, latency and CPU time of some servers, untraced,
//! watched by tcptally and by strace, in rounds that take turns, so that a busy machine disturbs
//! all alike. `make bench-overhead` runs it; benches/README.md tells how to read what it prints.

mod calls;
mod case;
mod client;
mod cpu;
mod goals;
mod many;
mod markdown;
mod processes;
mod record;
mod results;
mod run;
mod server;
mod setup;
mod start;
mod stats;
mod sustained;

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;

use case::{CASES, Case, Tools};
use client::Amount;
use results::{Csv, Results};
use run::Load;
use server::Kind;
use setup::{SETUPS, Setup};
use sustained::Sustained;

/// Measures what watching costs a server, against strace.
#[derive(Parser)]
struct Args {
    /// So many rounds, unless the time is up before
    #[arg(long, default_value_t = 7)]
    rounds: u32,
    /// Load for so long each time [default: 0.4; 60 for the part 'sustained']
    #[arg(long)]
    seconds: Option<f64>,
    /// So many connections a second in the part 'sustained'; 0: as many as there can be
    #[arg(long, default_value_t = 15_000.0)]
    rate: f64,
    /// So many programs that use all CPU time they get, in the part 'sustained'
    #[arg(long, default_value_t = 0)]
    spinners: usize,
    /// So many connections at once
    #[arg(long, default_value_t = 16)]
    concurrency: usize,
    /// So many client addresses
    #[arg(long, default_value_t = 200)]
    addresses: u32,
    /// Servers, with a place (nginx-1/free) or in both (nginx-1) [see --list]
    #[arg(long, value_delimiter = ',')]
    setups: Vec<String>,
    /// Ways to watch: names or beginnings of names; 'untraced' is always measured [see --list]
    #[arg(long, value_delimiter = ',')]
    cases: Vec<String>,
    /// Parts: rounds, calls (of the tracer to the kernel), start, many (threads and addresses),
    /// sustained (a minute of connections for sample and watch; not by default)
    #[arg(long, value_delimiter = ',', default_value = "rounds,calls,start,many")]
    parts: Vec<String>,
    /// No round is begun that would take longer than so many minutes in all
    #[arg(long, default_value_t = 9.0)]
    minutes: f64,
    /// CPU of server and tracer, and of the clients, where they are pinned
    #[arg(long, value_delimiter = ',', num_args = 2)]
    cpus: Vec<usize>,
    /// Each measurement, as CSV
    #[arg(long)]
    csv: Option<PathBuf>,
    /// The tcptally to measure; by default the one built beside this
    #[arg(long)]
    tcptally: Option<PathBuf>,
    /// Print the tables of README.md in Markdown, and measure what stands in them
    #[arg(long)]
    markdown: bool,
    /// Tell which setups and cases there are
    #[arg(long)]
    list: bool,
}

/// The default of --seconds in rounds.
const SECONDS: f64 = 0.4;

fn main() -> Result<()> {
    let mut args = Args::parse();
    if args.markdown {
        args.parts = vec!["rounds".to_owned()];
        if args.setups.is_empty() {
            args.setups = markdown::SETUPS.map(|(setup, _)| setup.to_owned()).into();
        }
        if args.cases.is_empty() {
            args.cases = markdown::CASES.map(|(case, _)| case.to_owned()).into();
        }
    }
    if args.list {
        println!("setups: {}", SETUPS.map(|s| s.name).join(" "));
        println!("cases:  {}", CASES.iter().map(|c| c.0).collect::<Vec<_>>().join(" "));
        return Ok(());
    }
    processes::heed_signals()?;
    let began = Instant::now();
    let tools = tools(args.tcptally.as_deref())?;
    let bench = Bench::new(&args, &tools)?;
    let mut results = Results::default();
    let wants = |part: &str| args.parts.iter().any(|p| p == part);
    if wants("start") {
        start::measure(&tools, &mut stdout())?;
    }
    if wants("many") {
        many::measure(&tools, &mut stdout())?;
    }
    if wants("sustained") {
        let load = Sustained {
            seconds: args.seconds.unwrap_or(sustained::SECONDS),
            rate: Some(args.rate).filter(|rate| *rate > 0.0),
            addresses: args.addresses,
            spinners: args.spinners,
        };
        for (_, case) in bench.cases.iter().filter(|c| sustained::CASES.contains(&c.1)) {
            sustained::measure(&tools, *case, load, &mut stdout())?;
        }
    }
    if wants("calls") {
        bench.count_calls(&mut results)?;
    }
    if wants("rounds") {
        let outcome = bench.rounds(began, &mut results);
        let cases: Vec<_> = bench.cases.iter().map(|c| c.0).collect();
        results.table(&bench.setups, &cases, &mut stdout())?;
        if args.markdown {
            markdown::show(&results, &mut stdout())?;
        } else {
            goals::show(&results, &mut stdout())?;
        }
        // What was measured until then is shown all the same.
        outcome?;
    }
    println!("\n{:.1} minutes.", began.elapsed().as_secs_f64() / 60.0);
    Ok(())
}

/// The programs lie where they were built: beside this one, and one folder up.
fn tools(tcptally: Option<&Path>) -> Result<Tools> {
    let here = std::env::current_exe()?;
    let examples = here.parent().context("the program has no folder")?;
    let target = examples.parent().context("the folder has no parent")?;
    let tools = Tools {
        tcptally: tcptally.map_or_else(|| target.join("tcptally"), Path::to_path_buf),
        accept_server: examples.join("accept_server"),
        load: examples.join("load"),
    };
    for program in [&tools.tcptally, &tools.accept_server, &tools.load] {
        ensure!(program.exists(), "{} is not built: run `make bench-overhead`", program.display());
    }
    Ok(tools)
}

struct Bench<'a> {
    args: &'a Args,
    tools: &'a Tools,
    setups: Vec<Setup>,
    cases: Vec<(&'static str, Case)>,
    /// Of server and tracer, and of the clients.
    cpus: Option<[usize; 2]>,
}

impl<'a> Bench<'a> {
    fn new(args: &'a Args, tools: &'a Tools) -> Result<Bench<'a>> {
        let mut setups = Setup::chosen(&args.setups);
        let cpus = match (args.cpus.as_slice(), cpu::allowed()?.as_slice()) {
            (&[server, clients], _) | (&[], &[server, clients, ..]) => Some([server, clients]),
            _ => None,
        };
        let mut leave_out = |why: &str, is_out: &dyn Fn(&Setup) -> bool| {
            for setup in setups.iter().filter(|s| is_out(s)) {
                println!("skipped: {}: {why}", setup.name);
            }
            setups.retain(|s| !is_out(s));
        };
        if cpus.is_none() {
            leave_out("there is one CPU only", &|s| s.pinned);
        }
        if !runs(&server::nginx_path(), "-v") {
            let is_nginx = |s: &Setup| matches!(s.kind, Kind::Nginx(_) | Kind::KeepAlive);
            leave_out("nginx is not installed", &is_nginx);
        }
        if !runs(&server::haproxy_path(), "-v") {
            leave_out("haproxy is not installed", &|s| matches!(s.kind, Kind::Haproxy(_)));
        }
        if !runs(Path::new("wrk"), "-v") {
            leave_out("wrk is not installed", &|s| s.kind == Kind::KeepAlive);
        }
        let is_chosen = |name: &str| {
            args.cases.is_empty() || args.cases.iter().any(|asked| name.starts_with(asked.as_str()))
        };
        let mut cases: Vec<_> = CASES
            .iter()
            .copied()
            .filter(|(name, case)| *case == Case::Untraced || is_chosen(name))
            .collect();
        cases.retain(|(name, case)| match case.is_missing() {
            Some(why) => {
                println!("skipped: {name}: {why}");
                false
            }
            None => true,
        });
        Ok(Bench { args, tools, setups, cases, cpus })
    }

    fn load(&self, setup: &Setup) -> Load {
        let cpus = self.cpus.filter(|_| setup.pinned);
        Load {
            kind: setup.kind,
            server_cpu: cpus.map(|c| c[0]),
            amount: Amount {
                seconds: self.args.seconds.unwrap_or(SECONDS),
                connections: None,
                rate: None,
                concurrency: self.args.concurrency,
                addresses: self.args.addresses,
                cpu: cpus.map(|c| c[1]),
            },
            count_calls: false,
        }
    }

    fn rounds(&self, began: Instant, results: &mut Results) -> Result<()> {
        let limit = Duration::from_secs_f64(self.args.minutes * 60.0);
        let mut csv = match &self.args.csv {
            Some(path) => Some(Csv::new(
                std::fs::File::create(path).with_context(|| path.display().to_string())?,
            )?),
            None => None,
        };
        let mut longest = Duration::ZERO;
        for round in 1..=self.args.rounds {
            if began.elapsed() + longest > limit {
                println!("The time is up after {} of {} rounds.", round - 1, self.args.rounds);
                break;
            }
            let this = Instant::now();
            for setup in &self.setups {
                let from = results.all.len();
                self.round(round, setup, results)?;
                for result in &results.all[from..] {
                    if let Some(csv) = &mut csv {
                        csv.write(result)?;
                    }
                }
            }
            longest = longest.max(this.elapsed());
            eprintln!(
                "round {round} of {}: {:.0} s",
                self.args.rounds,
                this.elapsed().as_secs_f64()
            );
        }
        Ok(())
    }

    /// The cases that are measured of one setup. What only the kernel is asked for costs much the
    /// same everywhere, so that one server is enough unless more is asked for.
    fn cases_of(&self, setup: &Setup) -> Vec<(&'static str, Case)> {
        let here = |case: Case| {
            !self.args.cases.is_empty() || !case.is_others() || setup.kind == Kind::Nginx(1)
        };
        self.cases.iter().copied().filter(|c| here(c.1)).collect()
    }

    /// All cases of one setup, each round in another order.
    fn round(&self, round: u32, setup: &Setup, results: &mut Results) -> Result<()> {
        let load = self.load(setup);
        let mut cases = self.cases_of(setup);
        let first = round as usize % cases.len();
        cases.rotate_left(first);
        let mut measured = Vec::new();
        for (name, case) in cases {
            if results.is_skipped(setup.name, name) {
                continue;
            }
            match run::run(self.tools, case, &load) {
                Ok(m) => measured.push((name, m)),
                Err(_) if processes::is_interrupted() => bail!("interrupted"),
                Err(why) => results.skip(setup.name, name, format!("{why:#}")),
            }
        }
        let untraced = measured.iter().find(|m| m.0 == CASES[0].0).map_or(f64::NAN, |m| m.1.rate);
        for (case, measured) in measured {
            let ratio = measured.rate / untraced;
            results.all.push(results::Result { round, setup: setup.name, case, measured, ratio });
        }
        Ok(())
    }

    /// Counts the tracers' system calls, where all are pinned: the number is the same elsewhere.
    fn count_calls(&self, results: &mut Results) -> Result<()> {
        for setup in self.setups.iter().filter(|s| s.pinned) {
            let mut load = self.load(setup);
            load.count_calls = true;
            load.amount.connections = Some(2000);
            for (name, case) in self.cases_of(setup) {
                if case == Case::Untraced || case.is_others() {
                    continue;
                }
                match run::run(self.tools, case, &load) {
                    Ok(m) => {
                        results.calls.extend(m.calls.map(|calls| (setup.name, name, calls)));
                    }
                    Err(_) if processes::is_interrupted() => bail!("interrupted"),
                    Err(why) => results.skip(setup.name, name, format!("{why:#}")),
                }
            }
        }
        let _ = stdout().flush();
        Ok(())
    }
}

/// Whether a program is there.
pub fn runs(program: &Path, argument: &str) -> bool {
    use std::process::{Command, Stdio};
    let quiet = || Stdio::null();
    Command::new(program).arg(argument).stdout(quiet()).stderr(quiet()).status().is_ok()
}
