//! The clients: the example `load`, or wrk for connections that stay.

use std::ffi::OsString;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::Deserialize;

use crate::case::Tools;
use crate::cpu;
use crate::processes;
use crate::record::Counts;
use crate::server::{Kind, Server};

/// How much load, and from where.
#[derive(Clone, Copy, Debug)]
pub struct Amount {
    pub seconds: f64,
    /// Instead of the seconds.
    pub connections: Option<u64>,
    /// Not more than so many in a second.
    pub rate: Option<f64>,
    pub concurrency: usize,
    pub addresses: u32,
    pub cpu: Option<usize>,
}

/// What came of it. A unit is a connection, or a request on one that stays.
pub struct Outcome {
    pub units: u64,
    pub rate: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Connections by address; `None` where the client cannot say.
    pub truth: Option<Counts>,
}

#[derive(Deserialize)]
struct Told {
    connections: u64,
    errors: u64,
    rate: f64,
    p50_us: Option<f64>,
    p99_us: Option<f64>,
    addresses: Counts,
}

/// Until the server is warm, its speed does not count.
const WARM_UP: f64 = 0.05;

/// Loads the server.
pub fn run(
    tools: &Tools,
    kind: Kind,
    server: &Server,
    amount: Amount,
    dir: &Path,
) -> Result<Outcome> {
    if kind == Kind::KeepAlive {
        return wrk(server, amount, dir);
    }
    let mode = if matches!(kind, Kind::Nginx(_) | Kind::Haproxy(_)) { "get" } else { "close" };
    let mut argv: Vec<OsString> = vec![tools.load.clone().into()];
    argv.extend([server.address.to_string(), "--mode".into(), mode.into()].map(Into::into));
    let mut option = |name: &str, value: String| argv.extend([name.into(), value.into()]);
    option("--seconds", amount.seconds.to_string());
    option("--warm-up", WARM_UP.to_string());
    option("--concurrency", amount.concurrency.to_string());
    option("--addresses", amount.addresses.to_string());
    if let Some(n) = amount.connections {
        option("--connections", n.to_string());
    }
    if let Some(rate) = amount.rate {
        option("--rate", rate.to_string());
    }
    let told: Told = serde_json::from_str(&output(&argv, amount.cpu, dir)?)?;
    if told.errors > 0 {
        bail!("{} connections failed", told.errors);
    }
    Ok(Outcome {
        units: told.connections,
        rate: told.rate,
        p50_us: told.p50_us.unwrap_or(f64::NAN),
        p99_us: told.p99_us.unwrap_or(f64::NAN),
        truth: Some(told.addresses),
    })
}

fn output(argv: &[OsString], cpu: Option<usize>, dir: &Path) -> Result<String> {
    let mut client = cpu::on(cpu, || processes::start(argv, dir))?;
    let mut text = String::new();
    client.child.stdout.take().context("no stdout")?.read_to_string(&mut text)?;
    if !client.wait()?.success() {
        client.must_run()?;
    }
    Ok(text)
}

/// wrk takes whole seconds only.
fn wrk(server: &Server, amount: Amount, dir: &Path) -> Result<Outcome> {
    let seconds = amount.seconds.ceil().max(1.0);
    let mut argv: Vec<OsString> = vec!["wrk".into(), "--latency".into(), "-t1".into()];
    argv.push(format!("-c{}", amount.concurrency).into());
    argv.push(format!("-d{seconds}").into());
    argv.push(format!("http://{}/", server.address).into());
    let text = output(&argv, amount.cpu, dir)?;
    let behind = |name: &str| {
        let line = text.lines().find_map(|l| l.trim().strip_prefix(name));
        line.with_context(|| format!("wrk says nothing of '{name}'"))
    };
    let requests = text.lines().find_map(|l| l.trim().split_once(" requests in"));
    Ok(Outcome {
        units: requests.context("wrk gives no number of requests")?.0.parse()?,
        rate: behind("Requests/sec:")?.trim().parse()?,
        p50_us: microseconds(behind("50%")?)?,
        p99_us: microseconds(behind("99%")?)?,
        truth: None,
    })
}

fn microseconds(text: &str) -> Result<f64> {
    let text = text.trim();
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "us" => 1.0,
        "ms" => 1e3,
        "s" => 1e6,
        unit => bail!("wrk has a unit '{unit}'"),
    };
    Ok(digits.parse::<f64>()? * factor)
}
