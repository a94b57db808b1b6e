//! Packets in the orders in which records have them.

use super::client::{Client, MAX_FLOWS, MIN_OLDER};
use super::*;
use crate::model::connection::Connection;
use crate::parse::Options;
use crate::parse::host::Ends;

struct Bench {
    deduplicator: Deduplicator,
    given: Vec<Connection>,
}

impl Bench {
    fn new(established: bool) -> Bench {
        let options = Options { established, ..Options::default() };
        let cx = Context {
            options: &options,
            sink: &mut Vec::new(),
            status: &mut SourceStatus::new("parse"),
            failures: &mut Vec::new(),
            is_own_line: None,
            is_known_line: None,
        };
        Bench { deduplicator: Deduplicator::new(&cx), given: Vec::new() }
    }

    /// `port` is the client's, `at` in seconds.
    fn see(&mut self, kind: PacketKind, port: u16, at: f64, isn: Option<u32>, id: Option<u16>) {
        self.see_to(kind, port, 80, at, isn, id);
    }

    fn see_to(
        &mut self,
        kind: PacketKind,
        port: u16,
        to: u16,
        at: f64,
        isn: Option<u32>,
        id: Option<u16>,
    ) {
        let ends = Ends {
            client: "198.51.100.1".parse().unwrap(),
            client_port: Some(port),
            server: "192.0.2.77".parse().unwrap(),
            server_port: Some(to),
        };
        let time = Some(RecordTime::Clock((at * 1e9) as i64));
        let (server_isn, outgoing, point) = (None, false, None);
        let s = PacketObservation { ends, time, kind, isn, server_isn, outgoing, id, point };
        self.deduplicator.see(s, &mut |ends, time| self.given.push(ends.connection_at(time)));
    }

    fn end(mut self) -> usize {
        let mut status = SourceStatus::new("parse");
        self.deduplicator
            .finish("x", &mut status, &mut |ends, time| self.given.push(ends.connection_at(time)));
        self.given.len()
    }
}

#[test]
fn one_sequence_number_is_one_connection() {
    let mut b = Bench::new(false);
    for at in [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0, 127.0] {
        b.see(PacketKind::Syn, 1, at, Some(7), None);
    }
    b.see(PacketKind::SynAck, 1, 127.1, Some(7), None);
    assert_eq!(b.given.len(), 1);
    b.see(PacketKind::Syn, 1, 128.0, Some(20_000), None);
    assert_eq!(b.end(), 2);
}

#[test]
fn fast_open_and_a_lone_syn_ack_count_once() {
    let mut b = Bench::new(false);
    b.see(PacketKind::Syn, 1, 0.0, Some(u32::MAX - 3), None);
    b.see(PacketKind::SynAck, 1, 0.1, Some(6), None);
    b.see(PacketKind::SynAck, 2, 0.1, Some(6), None);
    // Captured in the wrong order.
    b.see(PacketKind::Syn, 2, 0.1, Some(6), None);
    b.see(PacketKind::SynAck, 2, 1.1, Some(6), None);
    assert_eq!(b.end(), 2);
}

#[test]
fn close_ip_ids_are_one_connection() {
    let mut b = Bench::new(false);
    for (at, id) in [(0.0, 65535), (0.0, 65535), (1.0, 1), (2.0, 2), (3.5, 30_000)] {
        b.see(PacketKind::Syn, 1, at, None, Some(id));
    }
    assert_eq!(b.end(), 2);
}

#[test]
fn ports_alone_join_what_is_sent_again_in_time() {
    let mut b = Bench::new(false);
    for at in [0.0, 1.0, 3.0, 7.0, 15.0, 31.0, 63.0] {
        b.see(PacketKind::Syn, 1, at, None, None);
    }
    assert_eq!(b.given.len(), 1);
    b.see(PacketKind::Syn, 2, 0.0, None, None);
    b.see(PacketKind::Syn, 2, 10.0, None, None);
    assert_eq!(b.end(), 3);
}

/// From 198.51.100.1:1 at 0 s, without numbers.
fn packet(kind: PacketKind, server_port: u16) -> PacketObservation {
    let ends = Ends {
        client: "198.51.100.1".parse().unwrap(),
        client_port: Some(1),
        server: "192.0.2.77".parse().unwrap(),
        server_port: Some(server_port),
    };
    let time = Some(RecordTime::Clock(0));
    PacketObservation {
        ends,
        time,
        kind,
        isn: None,
        server_isn: None,
        outgoing: false,
        id: None,
        point: None,
    }
}

fn syn(server_port: u16) -> PacketObservation {
    packet(PacketKind::Syn, server_port)
}

fn count(packets: impl IntoIterator<Item = PacketObservation>) -> usize {
    let mut b = Bench::new(false);
    for packet in packets {
        b.deduplicator.see(packet, &mut |ends, time| b.given.push(ends.connection_at(time)));
    }
    b.end()
}

#[test]
fn a_translated_syn_at_another_point_counts_once() {
    let at = |point, port| PacketObservation { id: Some(9), point: Some(point), ..syn(port) };
    assert_eq!(count([at(1, 80), at(2, 8080)]), 1);
    assert_eq!(count([at(1, 80), at(2, 80), at(3, 8080), at(4, 8080)]), 1);
    let other_id = PacketObservation { id: Some(10), ..at(2, 8080) };
    assert_eq!(count([at(1, 80), other_id]), 2);
}

#[test]
fn one_id_from_one_port_at_one_point_is_a_scan() {
    let at = |point, port| PacketObservation { id: Some(256), point: Some(point), ..syn(port) };
    assert_eq!(count((1..12).map(|port| at(1, port))), 11);
    // Each is forwarded, and so seen twice.
    assert_eq!(count((1..12).flat_map(|port| [at(1, port), at(2, port)])), 11);
    // A rule, and so a prefix, for each port.
    assert_eq!(count((1..12).map(|port| at(port.into(), port))), 11);
    // No point is known, and no sequence number.
    let id_alone = |port| PacketObservation { id: Some(256), ..syn(port) };
    assert_eq!(count((1..3).map(id_alone)), 2);
}

#[test]
fn syn_acks_with_both_isns_are_of_one_connection() {
    let asked = |port| PacketObservation { isn: Some(7), ..syn(port) };
    let answer = |port, isn| PacketObservation {
        isn: Some(7),
        server_isn: Some(isn),
        ..packet(PacketKind::SynAck, port)
    };
    assert_eq!(count([asked(80), asked(8080), answer(8080, 5), answer(80, 5)]), 1);
    assert_eq!(count([asked(80), answer(8080, 5), answer(80, 5)]), 1);
    assert_eq!(count([asked(80), answer(80, 5), answer(8080, 5)]), 1);
    assert_eq!(count([answer(80, 5), answer(8080, 5)]), 1);
    // A scan with one ISN: other servers, or other ports, answer with other ISNs.
    assert_eq!(count([asked(80), asked(8080), answer(8080, 5), answer(80, 6)]), 2);
    assert_eq!(count([asked(80), answer(80, 6), asked(8080), answer(8080, 5)]), 2);
    assert_eq!(count([answer(80, 5), answer(8080, 6)]), 2);
    assert_eq!(count((1..12).map(asked)), 11);
}

#[test]
fn outbound_connections_are_left_out_with_their_syn_acks() {
    let sent = |port| PacketObservation { outgoing: true, isn: Some(7), ..syn(port) };
    let came = |port| PacketObservation { outgoing: false, ..sent(port) };
    let answer = |port| PacketObservation { isn: Some(7), ..packet(PacketKind::SynAck, port) };
    assert_eq!(count([sent(80), answer(80)]), 0);
    assert_eq!(count([sent(80), answer(80), came(80)]), 1);
    assert_eq!(count([came(80), sent(80), answer(80)]), 1);
    // Forwarded, and translated.
    assert_eq!(count([came(80), sent(8080), answer(8080), answer(80)]), 1);
}

#[test]
fn a_forwarded_syn_that_comes_in_too_is_not_taken_off_the_outbound_connections() {
    let sent = |port| PacketObservation { outgoing: true, isn: Some(7), ..syn(port) };
    let came = |port| PacketObservation { outgoing: false, ..sent(port) };
    let mut b = Bench::new(false);
    for packet in [came(80), sent(8080), came(8080)] {
        b.deduplicator.see(packet, &mut |ends, time| b.given.push(ends.connection_at(time)));
    }
    assert_eq!(b.deduplicator.outbound, 0);
    assert_eq!(b.end(), 2);
}

#[test]
fn late_syn_acks_to_a_scan_are_no_new_connections() {
    for ports in [66, 5000] {
        let mut b = Bench::new(false);
        for (kind, isn) in [(PacketKind::Syn, 0), (PacketKind::SynAck, 0)] {
            for port in 1..=ports {
                let at = f64::from(port) / 1e3;
                b.see_to(kind, 1, port, at, Some(u32::from(port) * 99_999 + isn), None);
            }
        }
        assert_eq!(b.end(), usize::from(ports));
    }
}

#[test]
fn connections_of_one_port_over_hours_are_forgotten() {
    let mut b = Bench::new(false);
    for n in 0..100_000_u32 {
        b.see_to(PacketKind::Syn, 1, n as u16, f64::from(n), Some(n), None);
    }
    let older: usize =
        b.deduplicator.young.clients.iter().filter_map(|c| c.older.as_ref()).map(|o| o.count).sum();
    assert!(older <= 2 * MIN_OLDER, "{older}");
    assert_eq!(b.end(), 100_000);
}

#[test]
fn established_needs_a_later_packet_of_the_client() {
    let mut b = Bench::new(true);
    b.see(PacketKind::Syn, 1, 0.0, Some(5), None);
    b.see(PacketKind::SynAck, 1, 0.1, Some(5), None);
    b.see(PacketKind::Onward, 1, 0.2, None, None);
    b.see(PacketKind::Onward, 1, 0.3, None, None);
    b.see(PacketKind::Syn, 2, 0.0, Some(5), None);
    b.see(PacketKind::SynAck, 2, 0.1, Some(5), None);
    b.see(PacketKind::Syn, 3, 0.0, Some(5), None);
    b.see(PacketKind::Onward, 3, 0.1, None, None);
    assert_eq!(b.given[0].time, Some(RecordTime::Clock(0)));
    assert_eq!(b.end(), 1);

    let mut answers_only = Bench::new(true);
    answers_only.see(PacketKind::SynAck, 1, 0.1, Some(5), None);
    assert_eq!(answers_only.end(), 1);
}

#[test]
fn attempts_from_before_the_first_answer_are_reported() {
    for (later, wrong) in
        [(&[][..], 0), (&[PacketKind::SynAck], 2), (&[PacketKind::SynAck, PacketKind::Onward], 2)]
    {
        let mut b = Bench::new(true);
        b.see(PacketKind::Syn, 1, 0.0, Some(5), None);
        b.see(PacketKind::Syn, 2, 0.0, Some(6), None);
        // Much later, so that nothing of them can follow.
        for at in [300.0, 600.0] {
            b.see(PacketKind::Syn, 3, at, Some(7), None);
        }
        for kind in later {
            b.see(*kind, 3, 600.1, Some(7), None);
        }
        let mut status = SourceStatus::new("parse");
        b.deduplicator.finish("x", &mut status, &mut |_, _| {});
        let reported: u64 = status.shortfalls().iter().map(|s| s.count).sum();
        assert_eq!(reported, wrong, "{later:?}");
    }
}

#[test]
fn all_connections_of_ports_in_a_record_without_times_are_bounded() {
    let mut b = Bench::new(false);
    // Each port has less than are compared.
    let total = 40 * 1000;
    assert!(total > 2 * MAX_FLOWS);
    for isn in 0..40 {
        for port in 0..1000 {
            let syn = PacketObservation { time: None, isn: Some(isn * 100_000), ..syn(80) };
            let ends = Ends { client_port: Some(port), ..syn.ends.clone() };
            b.deduplicator.see(PacketObservation { ends, ..syn }, &mut |ends, time| {
                b.given.push(ends.connection_at(time));
            });
        }
        let sets = [&b.deduplicator.young, &b.deduplicator.old];
        let remembered: usize = sets.iter().flat_map(|s| &s.clients).map(Client::len).sum();
        assert!(remembered <= 2 * (MAX_FLOWS + 40), "{remembered}");
    }
    assert_eq!(b.end(), total);
}

#[test]
fn memory_is_bounded() {
    let mut b = Bench::new(false);
    for n in 0..20_000_u32 {
        b.see(PacketKind::Syn, (n % 60_000) as u16, f64::from(n), Some(n), None);
    }
    assert!(b.deduplicator.young.len() + b.deduplicator.old.len() <= 2 * 131 + 2);
    assert_eq!(b.end(), 20_000);
}

#[test]
fn one_wrong_time_makes_nothing_new() {
    for (established, wrong) in [(false, PacketKind::Syn), (true, PacketKind::Onward)] {
        let mut b = Bench::new(established);
        for _ in 0..2 {
            b.see(PacketKind::Syn, 1, 0.0, Some(7), None);
            b.see(PacketKind::SynAck, 1, 0.1, Some(7), None);
            b.see(PacketKind::Onward, 1, 0.2, Some(8), None);
            b.see(wrong, 2, 500.0, Some(9), None);
        }
        let given = b.given.iter().filter(|c| c.port == Some(1)).count();
        assert_eq!(given, 1, "{wrong:?}");
    }
}

/// A RST of the server that acknowledges the SYN with the number `isn`.
fn refusal(port: u16, isn: u32) -> PacketObservation {
    PacketObservation { isn: Some(isn), server_isn: Some(0), ..packet(PacketKind::Rst, port) }
}

fn count_established(packets: &[PacketObservation]) -> usize {
    let mut b = Bench::new(true);
    for packet in packets.iter().cloned() {
        b.deduplicator.see(packet, &mut |ends, time| b.given.push(ends.connection_at(time)));
    }
    b.end()
}

#[test]
fn refused_attempts_are_not_established() {
    let asked = |port, isn| PacketObservation { isn: Some(isn), ..syn(port) };
    let answer = |port, isn| PacketObservation {
        isn: Some(isn),
        server_isn: Some(5),
        ..packet(PacketKind::SynAck, port)
    };
    // The other was never answered.
    assert_eq!(count_established(&[asked(80, 7), refusal(80, 7), asked(81, 7)]), 0);
    assert_eq!(count_established(&[asked(81, 7), asked(80, 7), refusal(80, 7)]), 0);
    // Data of TCP Fast Open, of which the RST acknowledges all.
    assert_eq!(count_established(&[asked(80, 7), refusal(80, 1007)]), 0);
    // SYN again, once something listens there.
    let again = [asked(80, 7), refusal(80, 7), asked(80, 20_000), answer(80, 20_000)];
    assert_eq!(count_established(&again), 1);
    assert_eq!(count(again), 2);
    let same = [asked(80, 7), refusal(80, 7), asked(80, 7), answer(80, 7)];
    assert_eq!(count_established(&same), 1);
    // Neither number is known.
    let bare = |kind| packet(kind, 80);
    assert_eq!(count_established(&[bare(PacketKind::Syn), bare(PacketKind::Rst)]), 0);
}

#[test]
fn refusals_behind_address_translation_refuse_one_attempt() {
    let asked = |port| PacketObservation { isn: Some(7), id: Some(9), ..syn(port) };
    for packets in [
        [asked(80), asked(8080), refusal(8080, 7), refusal(80, 7)],
        [asked(80), asked(8080), refusal(80, 7), refusal(8080, 7)],
    ] {
        assert_eq!(count_established(&packets), 0);
        assert_eq!(count(packets), 1);
    }
    assert_eq!(count_established(&[asked(80), asked(8080), refusal(8080, 7)]), 0);
}

#[test]
fn rsts_that_answer_no_syn_do_not_show_that_answers_were_captured() {
    let asked = PacketObservation { isn: Some(7), ..syn(80) };
    let end =
        |server_isn, isn| PacketObservation { server_isn: Some(server_isn), ..refusal(80, isn) };
    let of_other_client = Ends { client_port: Some(2), ..syn(80).ends };
    for rst in [
        // The server resets a connection in which the client sent data.
        end(500, 300),
        // Of a connection from before the record.
        end(0, 4_000_000_000),
        refusal(81, 7),
        PacketObservation { ends: of_other_client, ..refusal(80, 7) },
        PacketObservation { time: Some(RecordTime::Clock(200_000_000_000)), ..refusal(80, 7) },
    ] {
        assert_eq!(count_established(&[asked.clone(), rst.clone()]), 1, "{rst:?}");
    }
    assert_eq!(count_established(&[asked, end(500, 7)]), 0);
}

#[test]
fn connections_that_end_without_a_syn_ack_are_reported_beside_refusals() {
    let asked = |port, isn| PacketObservation { isn: Some(isn), ..syn(port) };
    let end = |isn| PacketObservation { server_isn: Some(500), ..refusal(80, isn) };
    for (packets, reported) in [
        (vec![asked(80, 7), end(300), asked(81, 7), refusal(81, 7)], 1),
        (vec![asked(81, 7), refusal(81, 7), asked(80, 7), end(300)], 1),
        // From before the SYN.
        (vec![asked(81, 7), refusal(81, 7), asked(80, 7), end(0)], 0),
        (vec![asked(80, 7), end(300)], 0),
    ] {
        let mut b = Bench::new(true);
        for packet in &packets {
            b.deduplicator.see(packet.clone(), &mut |_, _| {});
        }
        let mut status = SourceStatus::new("parse");
        b.deduplicator.finish("x", &mut status, &mut |_, _| {});
        let found: u64 = status.shortfalls().iter().map(|s| s.count).sum();
        assert_eq!(found, reported, "{packets:?}");
    }
}

#[test]
fn attempts_from_before_the_first_refusal_are_reported() {
    let mut b = Bench::new(true);
    for (port, at) in [(1, 0.0), (2, 0.0), (3, 300.0), (3, 600.0)] {
        b.see(PacketKind::Syn, port, at, Some(u32::from(port)), None);
    }
    b.see(PacketKind::Rst, 3, 600.1, Some(3), None);
    let mut status = SourceStatus::new("parse");
    b.deduplicator.finish("x", &mut status, &mut |_, _| {});
    let reported: u64 = status.shortfalls().iter().map(|s| s.count).sum();
    assert_eq!(reported, 2);
}
