//! What one line of a strace log costs, by its form: `cargo bench --bench line`.

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use tcptally::internals::{Block, read_block};

/// So many lines that they fit into the cache with their facts.
const LINES: usize = 500;

const FORMS: &[(&str, &str)] = &[
    (
        "accept",
        "10946 11:11:29.332815 accept4(5, {sa_family=AF_INET, sin_port=htons(36459), sin_addr=inet_addr(\"127.0.0.3\")}, [128 => 16], SOCK_CLOEXEC) = 9\n",
    ),
    (
        "accept-epoch-T",
        "1795346683.510489 accept(3, {sa_family=AF_INET, sin_port=htons(45909), sin_addr=inet_addr(\"127.0.0.2\")}, [16]) = 4 <0.000019>\n",
    ),
    (
        "accept-pair",
        "10946 11:11:29.332815 accept4(5,  <unfinished ...>\n10946 11:11:29.332915 <... accept4 resumed>{sa_family=AF_INET, sin_port=htons(36459), sin_addr=inet_addr(\"127.0.0.3\")}, [128 => 16], SOCK_CLOEXEC) = 9\n",
    ),
    (
        "accept-v6-yy",
        "14506 accept4(4<TCPv6:[[::]:24151]>, {sa_family=AF_INET6, sin6_port=htons(41565), sin6_flowinfo=htonl(0), inet_pton(AF_INET6, \"::1\", &sin6_addr), sin6_scope_id=0}, [28], 0) = 5<TCPv6:[[::1]:24151->[::1]:41565]>\n",
    ),
    (
        "accept-colour",
        "\x1b[0m[\x1b[35mpid  2654\x1b[0m]\x1b[35m 11:05:01 <... accept resumed>\x1b[0m, \x1b[35m\x1b[0m{sa_family=AF_INET, sin_port=htons(33249), sin_addr=inet_addr(\"127.0.0.3\")}, [16]) = \x1b[32m4\x1b[0m\n",
    ),
    (
        "other",
        "10946 11:11:29.332815 recvfrom(7, \"GET / HTTP/1.0\\r\\nHost: x\\r\\n\\r\\n\", 8192, 0, NULL, NULL) = 27\n",
    ),
    ("close", "10946 11:11:29.332815 close(7)                                = 0\n"),
    ("noise", "127.0.0.2 - - [22/Nov/2026 10:59:12] \"GET / HTTP/1.0\" 200 -\n"),
];

#[divan::bench(args = FORMS.iter().map(|f| f.0))]
fn form(bencher: Bencher<'_, '_>, name: &str) {
    let form = FORMS.iter().find(|f| f.0 == name).map_or("", |f| f.1);
    let text = form.repeat(LINES);
    let mut block = Block::default();
    bencher.counter(BytesCount::of_str(&text)).counter(ItemsCount::new(LINES)).bench_local(|| {
        block.clear();
        read_block(&mut block, divan::black_box(text.as_bytes()));
        block.facts.len()
    });
}

fn main() {
    divan::main();
}
