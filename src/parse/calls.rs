//! [`Calls`]: joins the system calls in the logs of other tracers than strace: the port that a socket
//! was bound to, and the address that accept returned.

use std::collections::HashMap;

use super::event::Event;
use super::host::{Ends, Host};
use super::reader::Context;
use super::timestamp::Stamp;
use crate::model::plural;
use crate::{RecordTime, ShortfallKind};

/// Maximum number of sockets, and of threads within a call, that are remembered. Servers have few.
const MAX_KNOWN: usize = 1 << 16;

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

/// Which calls of accept the log contains.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SeenCalls {
    /// Whether accept was called.
    has_accept: bool,
    unknown_peers: u64,
    unknown_ports: u64,
}

/// See the module.
#[derive(Default)]
pub(crate) struct Calls {
    bound: HashMap<(u32, Socket), Local>,
    /// The same for all processes, because children inherit sockets: the process that bound it. `None`:
    /// there are several such sockets.
    shared: HashMap<Socket, Option<(u32, Local)>>,
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
                let server = listener.or(began).and_then(|socket| self.local(thread, socket));
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

    fn learn(&mut self, thread: Thread, socket: Socket, local: Local) {
        // The kernel chooses the port.
        let local = (!matches!(local, Local::Ip(_, 0))).then_some(local);
        let (Some(local), true) = (local, self.bound.len() < MAX_KNOWN) else {
            return self.forget(thread, socket);
        };
        let shared = self.shared.entry(socket).or_insert_with(|| Some((thread.pid, local.clone())));
        match shared {
            Some((pid, known)) if *pid == thread.pid => known.clone_from(&local),
            Some((_, known)) if *known != local => *shared = None,
            Some(_) | None => {}
        }
        self.bound.insert((thread.pid, socket), local);
    }

    fn forget(&mut self, thread: Thread, socket: Socket) {
        if self.bound.remove(&(thread.pid, socket)).is_some() {
            self.shared.insert(socket, None);
        }
    }

    fn local(&self, thread: Thread, socket: Socket) -> Option<Local> {
        let own = self.bound.get(&(thread.pid, socket));
        let shared = || self.shared.get(&socket)?.as_ref().map(|(_, local)| local);
        own.or_else(shared).cloned()
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
