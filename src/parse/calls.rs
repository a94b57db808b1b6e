//! [`Calls`]: joins the system calls in the logs of other tracers than strace: the port that a socket
//! was bound to, and the address that accept returned.

use std::collections::HashMap;

use super::event::Event;
use super::host::{Ends, Host};
use super::reader::Context;
use super::timestamp::{SECOND, Stamp};
use crate::model::plural;
use crate::{RecordTime, ShortfallKind};

/// Maximum number of sockets, and of threads within a call, that are remembered. Servers have few.
const MAX_KNOWN: usize = 1 << 16;

/// A log in which times go back by more is that of another run, in nanoseconds.
const MAX_DISORDER: i64 = SECOND;

/// After such a pause it may be.
const MAX_PAUSE: i64 = 6 * 3600 * SECOND;

/// No call but the first of a run is so early, in logs whose times begin with the run.
const FIRST_CALL: i64 = SECOND / 1000;

/// The process and thread that made a call. A number that the log does not have is 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Thread {
    pub pid: u32,
    pub tid: u32,
}

/// How a call names a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Socket {
    /// By the descriptor of the process.
    Descriptor(u32),
    /// By its inode, which is that of the same socket in all processes.
    Inode(u64),
}

/// What a socket is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Local {
    /// An address, unless any, and a port.
    Ip(Option<Host>, u16),
    /// No address of IP.
    Other,
}

/// What a line of such a log says of a call.
#[derive(Debug)]
pub(crate) struct Call {
    /// The time in the line.
    pub stamp: Stamp,
    pub thread: Thread,
    pub step: Step,
}

/// See [`Call`].
#[derive(Debug)]
pub(crate) enum Step {
    /// accept returned a descriptor. The client's host is [`unknown_ends`]'s if the line has none.
    Accepted {
        /// The listening socket; `None`: that of the thread's [`Step::Accepts`], if there is one.
        listener: Option<Socket>,
        event: Box<Event>,
        /// Whether the next line of the thread may have the client's address.
        is_address_next: bool,
    },
    /// accept was called with this socket; a later line of the thread has the result.
    Accepts(Option<Socket>),
    /// accept returned an error, or a socket of another family.
    NotAccepted,
    /// A socket was bound.
    Bound(Socket, Local),
    /// A socket was bound; the next line of the thread may have the address.
    Binds(Socket),
    /// A socket was made with this descriptor.
    Made(Socket, Option<Local>),
    /// The address of the call in the line before.
    Address(Local),
    /// The address of the call whose result follows.
    Answers(Local),
    /// Another call.
    Other,
}

/// The ends of a connection if both are unknown.
pub(crate) fn unknown_ends() -> Ends {
    let unknown = || Host::Name("".into());
    Ends { client: unknown(), client_port: None, server: unknown(), server_port: None }
}

/// Fills in the ends as far as they are known. Returns whether they may be those of a connection of IP.
fn fill(ends: &mut Ends, client: Option<Local>, server: Option<Local>) -> bool {
    if client == Some(Local::Other) || server == Some(Local::Other) {
        return false;
    }
    if let Some(Local::Ip(host, port)) = client {
        ends.client_port = Some(port);
        host.into_iter().for_each(|host| ends.client = host);
    }
    if let Some(Local::Ip(host, port)) = server {
        ends.server_port = Some(port);
        host.into_iter().for_each(|host| ends.server = host);
    }
    true
}

/// What the next line of a thread may complete.
enum Pending {
    Accepts(Socket),
    /// The socket that accept was called with, and the address that it will return.
    Answers(Option<Socket>, Local),
    Accepted(Box<Event>, Option<RecordTime>),
    Binds(Socket),
}

/// The number of a run of the tracer, or of what may be one, in the log.
type Run = u32;

/// Which calls of accept the log contains.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SeenCalls {
    /// Whether accept was called.
    has_accept: bool,
    unknown_peers: u64,
    unknown_ports: u64,
    /// Connections whose socket has the descriptor of a Unix socket of what may be another run.
    maybe_unix: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Calls {
    bound: HashMap<(u32, Socket), (Local, Run)>,
    /// The same for all processes, because children inherit sockets: the process that bound it. `None`:
    /// there are several such sockets.
    shared: HashMap<Socket, Option<(u32, Local, Run)>>,
    run: Run,
    /// The latest time of the run.
    latest: Option<i64>,
    pending: HashMap<Thread, Pending>,
    seen: SeenCalls,
}

impl Calls {
    /// Processes the calls in their order; passes accepted connections to `give`.
    pub(crate) fn see(
        &mut self,
        call: Call,
        time: Option<RecordTime>,
        give: &mut dyn FnMut(Event, Option<RecordTime>),
    ) {
        let Call { thread, step, .. } = call;
        self.note(time);
        let pending = self.pending.remove(&thread);
        if let Step::Address(address) = step {
            return self.answer(thread, pending, address, give);
        }
        let (mut began, mut client) = (None, None);
        match pending {
            Some(Pending::Accepted(event, time)) => self.give(*event, time, give),
            Some(Pending::Accepts(socket)) => began = Some(socket),
            Some(Pending::Answers(socket, address)) => (began, client) = (socket, Some(address)),
            Some(Pending::Binds(socket)) => {
                if let Step::Answers(address) = step {
                    return self.learn(thread, socket, address);
                }
            }
            None => {}
        }
        match step {
            Step::Accepted { listener, mut event, is_address_next } => {
                self.seen.has_accept = true;
                let has_client = client.is_some() || event.ends.client != unknown_ends().client;
                let socket = listener.or(began);
                let server = socket.and_then(|socket| self.local(thread, socket, has_client));
                if !fill(&mut event.ends, client, server) {
                    return;
                }
                if is_address_next && self.pending.len() < MAX_KNOWN {
                    self.pending.insert(thread, Pending::Accepted(event, time));
                } else {
                    self.give(*event, time, give);
                }
            }
            Step::NotAccepted => self.seen.has_accept = true,
            Step::Accepts(socket) => {
                self.seen.has_accept = true;
                if let (Some(socket), true) = (socket, self.pending.len() < MAX_KNOWN) {
                    self.pending.insert(thread, Pending::Accepts(socket));
                }
            }
            Step::Answers(address) if self.pending.len() < MAX_KNOWN => {
                self.pending.insert(thread, Pending::Answers(began, address));
            }
            Step::Bound(socket, local) => self.learn(thread, socket, local),
            Step::Binds(socket) if self.pending.len() < MAX_KNOWN => {
                self.pending.insert(thread, Pending::Binds(socket));
            }
            Step::Made(socket, local) => {
                self.forget(thread, socket);
                if let Some(local) = local {
                    self.learn(thread, socket, local);
                }
            }
            Step::Binds(_) | Step::Address(_) | Step::Answers(_) | Step::Other => {}
        }
    }

    /// Takes the address of the call in the line before.
    fn answer(
        &mut self,
        thread: Thread,
        pending: Option<Pending>,
        address: Local,
        give: &mut dyn FnMut(Event, Option<RecordTime>),
    ) {
        match pending {
            Some(Pending::Accepted(mut event, time)) => {
                let is_inet = fill(&mut event.ends, Some(address), None);
                if is_inet {
                    self.give(*event, time, give);
                }
            }
            Some(Pending::Binds(socket)) => self.learn(thread, socket, address),
            _ => {}
        }
    }

    /// Gives the connections that wait for further lines, at the end of the log.
    pub(crate) fn finish(&mut self, give: &mut dyn FnMut(Event, Option<RecordTime>)) -> SeenCalls {
        for (_, pending) in std::mem::take(&mut self.pending) {
            if let Pending::Accepted(event, time) = pending {
                self.give(*event, time, give);
            }
        }
        self.seen
    }

    fn give(
        &mut self,
        event: Event,
        time: Option<RecordTime>,
        give: &mut dyn FnMut(Event, Option<RecordTime>),
    ) {
        self.seen.unknown_peers += u64::from(event.ends.client == unknown_ends().client);
        self.seen.unknown_ports += u64::from(event.ends.server_port.is_none());
        give(event, time);
    }

    /// Notes the time of a call, which shows whether another run began.
    fn note(&mut self, time: Option<RecordTime>) {
        let Some(now) = time.map(RecordTime::nanoseconds) else { return };
        let begins = matches!(time, Some(RecordTime::Elapsed(ns)) if ns < FIRST_CALL);
        let is_other = self.latest.is_some_and(|latest| {
            let ahead = now.saturating_sub(latest);
            !(-MAX_DISORDER..=MAX_PAUSE).contains(&ahead) || begins && latest >= FIRST_CALL
        });
        self.run += u32::from(is_other);
        self.latest = if is_other { Some(now) } else { self.latest.max(Some(now)) };
    }

    fn learn(&mut self, thread: Thread, socket: Socket, local: Local) {
        // The kernel chooses the port.
        let local = (!matches!(local, Local::Ip(_, 0))).then_some(local);
        let (Some(local), true) = (local, self.bound.len() < MAX_KNOWN) else {
            return self.forget(thread, socket);
        };
        let run = self.run;
        let own = || Some((thread.pid, local.clone(), run));
        let shared = self.shared.entry(socket).or_insert_with(own);
        match shared {
            Some((pid, _, known)) if *pid == thread.pid || *known != run => *shared = own(),
            Some((_, known, _)) if *known != local => *shared = None,
            Some(_) | None => {}
        }
        self.bound.insert((thread.pid, socket), (local, run));
    }

    fn forget(&mut self, thread: Thread, socket: Socket) {
        match self.bound.remove(&(thread.pid, socket)) {
            Some((_, run)) if run == self.run => {
                self.shared.insert(socket, None);
            }
            // What another run did tells nothing about this one.
            Some(_) => {
                self.shared.remove(&socket);
            }
            None => {}
        }
    }

    /// What a socket is bound to. What another run says of it counts only if the process is the same for certain.
    fn local(&mut self, thread: Thread, socket: Socket, has_client: bool) -> Option<Local> {
        let own = self.bound.get(&(thread.pid, socket)).map(|(local, run)| (local, *run));
        let shared = || self.shared.get(&socket)?.as_ref().map(|(_, local, run)| (local, *run));
        let is_certain = own.is_some() && thread.pid != 0 || matches!(socket, Socket::Inode(_));
        let (local, run) = own.or_else(shared)?;
        if is_certain || run == self.run {
            return Some(local.clone());
        }
        self.seen.maybe_unix += u64::from(*local == Local::Other && !has_client);
        None
    }
}

impl SeenCalls {
    /// Reports what a log of calls does not show. `accept` and `address` say how the tracer shows calls of
    /// accept, and their addresses.
    pub(crate) fn report(self, name: &str, accept: &str, address: &str, cx: &mut Context<'_>) {
        cx.status.record_shortfall(
            ShortfallKind::Unobservable,
            u64::from(!self.has_accept && cx.status.unreadable_lines() == 0),
            format!("{name}: no call of accept is in it, so it does not show that accept was traced; {accept}"),
        );
        cx.status.record_shortfall(
            ShortfallKind::UnreadInput,
            self.maybe_unix,
            format!(
                "{name}: {} may be of Unix sockets: the log seems to have several runs of the tracer; put each run into \
                 a file of its own",
                plural(self.maybe_unix, "connection", "connections")
            ),
        );
        if self.unknown_peers > 0 {
            cx.status.warn(format!(
                "{name}: the log does not show the client's address of {}{address}",
                plural(self.unknown_peers, "connection", "connections")
            ));
        }
        cx.status.warn_of_local_ports(
            name,
            self.unknown_ports,
            ", because it does not show to which address a socket was bound",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THREAD: Thread = Thread { pid: 7, tid: 8 };

    #[test]
    fn sockets_of_another_run_are_not_those_of_this() {
        const MS: i64 = SECOND / 1000;
        let socket = Socket::Descriptor(5);
        let single = Thread::default();
        for (maker, acceptor, at, want) in [
            (THREAD, Thread { pid: 9, tid: 9 }, 900 * MS, (0, 0)),
            (THREAD, Thread { pid: 9, tid: 9 }, 10 * 3600 * SECOND, (1, 1)),
            (THREAD, Thread { pid: 9, tid: 9 }, 0, (1, 1)),
            (THREAD, THREAD, 0, (0, 0)),
            (single, single, 900 * MS, (0, 0)),
            (single, single, 0, (1, 1)),
        ] {
            let mut calls = Calls::default();
            let mut found = 0;
            for (thread, step, at) in [
                (maker, Step::Made(socket, Some(Local::Other)), 500 * MS),
                (acceptor, accepted(5, false), at),
            ] {
                let call = Call { stamp: Stamp::None, thread, step };
                calls.see(call, Some(RecordTime::Elapsed(at)), &mut |_, _| found += 1);
            }
            assert_eq!((found, calls.seen.maybe_unix), want, "{maker:?} {acceptor:?} {at}");
        }
    }

    fn accepted(listener: u32, is_address_next: bool) -> Step {
        let event = Box::new(Event::new(Stamp::None, unknown_ends(), Some(true)));
        let listener = Some(Socket::Descriptor(listener));
        Step::Accepted { listener, event, is_address_next }
    }

    fn address(port: u16) -> Local {
        Local::Ip(Host::address(b"198.51.100.7"), port)
    }

    /// The ports of each connection: of the client and of the server.
    fn ports(steps: Vec<(Thread, Step)>) -> Vec<(Option<u16>, Option<u16>)> {
        let mut calls = Calls::default();
        let mut found = Vec::new();
        let mut give =
            |event: Event, _| found.push((event.ends.client_port, event.ends.server_port));
        for (thread, step) in steps {
            calls.see(Call { stamp: Stamp::None, thread, step }, None, &mut give);
        }
        calls.finish(&mut give);
        found
    }

    #[test]
    fn an_accept_gets_the_port_that_its_socket_was_bound_to() {
        let three = Socket::Descriptor(3);
        let child = Thread { pid: 9, tid: 9 };
        let bound = |thread, port| (thread, Step::Bound(three, Local::Ip(None, port)));
        let seen = ports(vec![bound(THREAD, 80), (child, accepted(3, false))]);
        assert_eq!(seen, [(None, Some(80))], "a child inherits it");
        let seen = ports(vec![
            bound(THREAD, 80),
            bound(child, 81),
            (Thread::default(), accepted(3, false)),
        ]);
        assert_eq!(seen, [(None, None)], "two processes");
        let seen = ports(vec![
            bound(THREAD, 80),
            (THREAD, Step::Made(three, None)),
            (THREAD, accepted(3, false)),
        ]);
        assert_eq!(seen, [(None, None)], "another socket");
        let unix = (THREAD, Step::Bound(three, Local::Other));
        assert_eq!(ports(vec![unix, (THREAD, accepted(3, false))]), [], "a Unix socket");
    }

    #[test]
    fn an_address_before_the_result_belongs_to_the_call_of_its_thread() {
        let result = || {
            let event = Box::new(Event::new(Stamp::None, unknown_ends(), Some(true)));
            Step::Accepted { listener: None, event, is_address_next: false }
        };
        let seen = ports(vec![
            (THREAD, Step::Binds(Socket::Descriptor(3))),
            (THREAD, Step::Answers(address(80))),
            (THREAD, Step::Accepts(Some(Socket::Descriptor(3)))),
            (THREAD, Step::Answers(address(40755))),
            (THREAD, result()),
            // The beginning of the call is not in the log.
            (THREAD, Step::Answers(address(40756))),
            (THREAD, result()),
            // The address is that of connect.
            (THREAD, Step::Answers(address(99))),
            (THREAD, Step::Other),
            (THREAD, result()),
            (THREAD, Step::Answers(Local::Other)),
            (THREAD, result()),
        ]);
        assert_eq!(seen, [(Some(40755), Some(80)), (Some(40756), None), (None, None)]);
    }

    #[test]
    fn an_address_in_the_next_line_belongs_to_the_call_of_its_thread() {
        let other = Thread { pid: 7, tid: 9 };
        let seen = ports(vec![
            (THREAD, Step::Binds(Socket::Descriptor(3))),
            (THREAD, Step::Address(address(80))),
            (THREAD, accepted(3, true)),
            (other, Step::Address(address(99))),
            (THREAD, Step::Address(address(40755))),
            (THREAD, Step::Address(address(98))),
            (THREAD, accepted(3, true)),
            (THREAD, Step::Other),
            (THREAD, Step::Address(address(97))),
            (THREAD, accepted(3, true)),
            (THREAD, Step::Address(Local::Other)),
            (THREAD, accepted(3, true)),
        ]);
        assert_eq!(seen, [(Some(40755), Some(80)), (None, Some(80)), (None, Some(80))]);
    }
}
