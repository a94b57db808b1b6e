//! `tcptally man` and `tcptally completions`: made from the definitions of the command line.

use std::io::{self, Write};

use crate::cli::args::Cli;
use clap::CommandFactory;
use clap_complete::Shell;

use super::request::Usage;

/// Prints the manual page of the program, or of one of its subcommands.
pub(super) fn man(subcommand: Option<&str>) -> anyhow::Result<i32> {
    let mut program = Cli::command();
    program.build();
    let page = match subcommand {
        None => program,
        Some(name) => {
            let known = |c: &&clap::Command| c.get_name() == name && !c.is_hide_set();
            let Some(command) = program.get_subcommands().find(known) else {
                return Err(Usage(format!("there is no subcommand '{name}'")).into());
            };
            command.clone()
        }
    };
    let mut text = Vec::new();
    clap_mangen::Man::new(page).render(&mut text)?;
    io::stdout().lock().write_all(&text)?;
    Ok(0)
}

/// Prints the completions for a shell.
pub(super) fn completions(shell: Shell) -> anyhow::Result<i32> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tcptally", &mut text);
    io::stdout().lock().write_all(&text)?;
    Ok(0)
}
