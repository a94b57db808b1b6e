//! Logs with one connection or packet a line: pfSense's filterlog, Zeek's conn.log (columns), flow logs of
//! Amazon VPC.

use std::io::{self, Write};

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::random::Random;
use super::{Attempt, Clients};

/// The heading of Zeek's columns.
const ZEEK: &str = "#separator \\x09\n#set_separator\t,\n#empty_field\t(empty)\n#unset_field\t-\n\
    #path\tconn\n#open\t2026-11-02-00-00-00\n\
    #fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tservice\tduration\torig_bytes\t\
    resp_bytes\tconn_state\tlocal_orig\tlocal_resp\tmissed_bytes\thistory\torig_pkts\torig_ip_bytes\t\
    resp_pkts\tresp_ip_bytes\ttunnel_parents\n\
    #types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tinterval\tcount\tcount\tstring\tbool\tbool\t\
    count\tstring\tcount\tcount\tcount\tcount\tset[string]\n";

/// The heading of a flow log.
const VPC: &str =
    "srcaddr dstaddr srcport dstport protocol packets bytes start end action tcp-flags\n";

/// Writes `size` bytes of `kind`: `filterlog`, `zeek` or `vpc-flow`.
pub fn write(out: &mut impl Write, kind: &str, size: u64, mut random: Random) -> io::Result<()> {
    let mut clients = Clients::new();
    let heading = match kind {
        "zeek" => ZEEK,
        "vpc-flow" => VPC,
        _ => "",
    };
    out.write_all(heading.as_bytes())?;
    let (mut written, mut now) = (heading.len() as u64, 1_793_577_600_000_000_i64);
    while written < size {
        now += random.below(40_000) as i64;
        let attempt = clients.next(&mut random);
        // One line in eight is not of a connection that came in, or of the other direction of one.
        let is_other = random.below(8) == 0;
        let line = match kind {
            "zeek" => zeek(&attempt, now, is_other),
            "vpc-flow" => vpc(&attempt, now, is_other),
            _ => filterlog(&attempt, now, is_other)?,
        };
        written += line.len() as u64;
        out.write_all(line.as_bytes())?;
    }
    Ok(())
}

fn filterlog(a: &Attempt, now: i64, is_blocked: bool) -> io::Result<String> {
    let at = Timestamp::from_microsecond(now).map_err(io::Error::other)?;
    let at = TimeZone::UTC.to_datetime(at).strftime("%b %e %H:%M:%S").to_string();
    let action = if is_blocked { "block" } else { "pass" };
    let Attempt { ip, port, to, id, isn } = a;
    Ok(format!(
        "{at} fw1 filterlog[71234]: 82,,,1000000103,em0,match,{action},in,4,0x0,,64,{id},0,DF,6,tcp,60,{ip},\
         192.0.2.77,{port},{to},0,S,{isn},,64240,,mss;sackOK;TS;nop;wscale\n"
    ))
}

fn zeek(a: &Attempt, now: i64, is_udp: bool) -> String {
    let proto = if is_udp { "udp" } else { "tcp" };
    let Attempt { ip, port, to, id, isn } = a;
    format!(
        "{}.{:06}\tC{isn:08x}{id:04x}\t{ip}\t{port}\t192.0.2.77\t{to}\t{proto}\tssl\t4.25{id}\t517\t3500\tSF\tF\tT\t\
         0\tShADadFf\t9\t985\t8\t3916\t(empty)\n",
        now / 1_000_000,
        now % 1_000_000
    )
}

fn vpc(a: &Attempt, now: i64, has_answer: bool) -> String {
    let (start, end) = (now / 1_000_000, now / 1_000_000 + 8);
    let Attempt { ip, port, to, id, .. } = a;
    let request = format!("{ip} 192.0.2.77 {port} {to} 6 9 {id} {start} {end} ACCEPT 2\n");
    if has_answer {
        return format!("{request}192.0.2.77 {ip} {to} {port} 6 8 {id} {start} {end} ACCEPT 18\n");
    }
    request
}
