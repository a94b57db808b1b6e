//! Which server, where.

use crate::server::{Kind, QUEUED, TIMED};

/// A server under a certain load, in a certain place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Setup {
    pub name: &'static str,
    pub kind: Kind,
    /// Server and tracer on one CPU, the clients on another.
    pub pinned: bool,
    /// Measured unless others are asked for.
    by_default: bool,
}

const fn setup(name: &'static str, kind: Kind, pinned: bool, by_default: bool) -> Setup {
    Setup { name, kind, pinned, by_default }
}

const LOOP: Kind = Kind::Own("loop");
const PER_CONNECTION: Kind = Kind::Own("per-connection");
const ACCEPTORS: Kind = Kind::Own("acceptors");

pub const SETUPS: [Setup; 15] = [
    setup("one-accept/free", Kind::Own(TIMED), false, false),
    setup("queued/free", Kind::Own(QUEUED), false, true),
    setup("accept/pinned", LOOP, true, true),
    setup("accept/free", LOOP, false, true),
    setup("nginx-1/pinned", Kind::Nginx(1), true, true),
    setup("nginx-1/free", Kind::Nginx(1), false, true),
    setup("nginx-2/pinned", Kind::Nginx(2), true, false),
    setup("nginx-2/free", Kind::Nginx(2), false, true),
    setup("keep-alive/pinned", Kind::KeepAlive, true, true),
    setup("keep-alive/free", Kind::KeepAlive, false, false),
    setup("per-connection/pinned", PER_CONNECTION, true, false),
    setup("per-connection/free", PER_CONNECTION, false, true),
    setup("acceptors/pinned", ACCEPTORS, true, false),
    setup("acceptors/free", ACCEPTORS, false, true),
    setup("haproxy-4/free", Kind::Haproxy(4), false, false),
];

impl Setup {
    /// Those of `asked`, with their place or (both) without, or the default ones.
    pub fn chosen(asked: &[String]) -> Vec<Setup> {
        let is_chosen = |s: &Setup| match asked {
            [] => s.by_default,
            _ => asked.iter().any(|a| s.name == a || s.name.split('/').next() == Some(a)),
        };
        SETUPS.into_iter().filter(is_chosen).collect()
    }
}
