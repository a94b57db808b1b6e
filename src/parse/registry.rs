//! The registry of record formats: the list of all.

use super::lines;
use super::reader::RecordFormat;
use super::{
    asa, audit, azure, bcc, conntrack, events, falco, filterlog, fortigate, gcp, gvisor, haproxy,
    juniper, kdump, mikrotik, mongodb, netfilter, netflow, nlb, paloalto, parquet, pcap,
    perf_trace, report, server_log, sock_state, socket_list, strace, suricata, sysdig, systemtap,
    tcpdump, truss, tshark, vpc_flow, windows_firewall, zeek,
};

/// All record formats. The first that recognises a record reads it, so a specific format stands
/// before a general one.
pub(crate) const FORMATS: &[&RecordFormat] = &[
    &parquet::FORMAT,
    &pcap::FORMAT,
    &report::FORMAT,
    &events::FORMAT,
    &gvisor::FORMAT,
    &perf_trace::FORMAT,
    &truss::FORMAT,
    &kdump::FORMAT,
    &audit::FORMAT,
    &sock_state::FORMAT,
    &strace::FORMAT,
    &conntrack::FORMAT,
    &filterlog::FORMAT,
    &asa::FORMAT,
    &fortigate::FORMAT,
    &juniper::FORMAT,
    &paloalto::FORMAT,
    &haproxy::FORMAT,
    &sysdig::FORMAT,
    &zeek::FORMAT,
    &suricata::FORMAT,
    &windows_firewall::FORMAT,
    &mikrotik::FORMAT,
    &vpc_flow::FORMAT,
    &nlb::FORMAT,
    &gcp::FORMAT,
    &azure::FORMAT,
    &mongodb::FORMAT,
    &falco::FORMAT,
    &netfilter::FORMAT,
    &netflow::FORMAT,
    &bcc::tcpaccept::FORMAT,
    &bcc::tcpstates::FORMAT,
    &bcc::tcplife::FORMAT,
    &bcc::tcptracer::FORMAT,
    &systemtap::FORMAT,
    &server_log::FORMAT,
    &socket_list::FORMAT,
    &tshark::list::FORMAT,
    &tshark::json::FORMAT,
    &tshark::fields::FORMAT,
    &tcpdump::FORMAT,
];

/// Finds the format of a record that begins with `head`.
pub(super) fn recognise(head: &[u8]) -> Option<&'static RecordFormat> {
    let head = lines::without_terminal_sequences(head);
    FORMATS.iter().copied().find(|format| (format.recognise)(&head))
}

/// The format of this name.
pub(super) fn named(name: &str) -> Option<&'static RecordFormat> {
    FORMATS.iter().find(|format| format.name == name).copied()
}

/// Lists the names of all formats, for messages.
pub(super) fn known() -> String {
    let names: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    names.join(", ")
}
