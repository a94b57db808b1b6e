//! The command `tcptally`.

fn main() {
    std::process::exit(tcptally::run_program())
}
