//! The configuration file: default values for command-line options. Options on the command line override them.

use std::env;
use std::io;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Command};
use toml::{Table, Value};

use super::args::is_filter;

/// The environment variable that names another file. If it is empty, no file is read.
pub(super) const VARIABLE: &str = "TCPTALLY_CONFIG";

/// Options that a configuration file cannot set.
const NOT_CONFIGURABLE: &[&str] = &["help", "version", "no-config", "pid"];

/// Why the configuration file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConfigError {
    #[error("cannot read the configuration file '{0}': {1}; --no-config ignores it")]
    Read(String, io::Error),
    #[error(
        "the configuration file '{0}' is not TOML: {1}; write each option as NAME = VALUE, as in top = 20"
    )]
    Syntax(String, String),
    #[error(
        "the configuration file '{path}': {cause}; 'tcptally {command} --help' lists the options"
    )]
    Option { path: String, command: String, cause: String },
}

/// An option that the file sets for a command.
#[derive(Debug, PartialEq, Eq)]
struct Setting {
    command: &'static str,
    /// The id of the option in clap.
    id: String,
    /// The long name.
    name: String,
    values: Vec<String>,
}

/// The settings that were read from the file.
#[derive(Debug, Default)]
pub(super) struct Config {
    path: String,
    settings: Vec<Setting>,
}

/// The commands, each of which may have a table of its own.
const COMMANDS: [&str; 3] = ["trace", "watch", "parse"];

impl Config {
    /// Reads the file, if there is one.
    pub(super) fn read(command: &Command) -> Result<Config, ConfigError> {
        let Some((path, must_exist)) = path() else { return Ok(Config::default()) };
        let name = path.display().to_string();
        match std::fs::read_to_string(&path) {
            Ok(text) => Config::parse(name, &text, command),
            Err(e) if e.kind() == io::ErrorKind::NotFound && !must_exist => Ok(Config::default()),
            // With sudo, HOME can be another user's directory. That is not a mistake of the user.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied && !must_exist => {
                Ok(Config::default())
            }
            Err(e) => Err(ConfigError::Read(name, e)),
        }
    }

    fn parse(path: String, text: &str, command: &Command) -> Result<Config, ConfigError> {
        let syntax =
            |e: toml::de::Error| ConfigError::Syntax(path.clone(), one_line(&e.to_string()));
        let table: Table = text.parse().map_err(syntax)?;
        let mut settings = Vec::new();
        let (own, common): (Vec<_>, Vec<_>) =
            table.iter().partition(|(name, _)| COMMANDS.contains(&name.as_str()));
        for (name, value) in common {
            let having = COMMANDS.iter().filter(|c| option(command, c, name).is_some());
            let commands: Vec<_> = having.copied().collect();
            let error =
                |cause| ConfigError::Option { path: path.clone(), command: "trace".into(), cause };
            if commands.is_empty() {
                return Err(error(format!("there is no option '{name}'")));
            }
            for command_name in commands {
                settings.extend(setting(command, command_name, name, value).map_err(error)?);
            }
        }
        for (command_name, table) in own {
            let error = |cause| ConfigError::Option {
                path: path.clone(),
                command: command_name.clone(),
                cause,
            };
            let Some(table) = table.as_table() else {
                return Err(error(format!("'{command_name}' must be a table: [{command_name}]")));
            };
            let known = COMMANDS.iter().find(|c| *c == command_name).copied().unwrap_or("trace");
            for (name, value) in table {
                // A command's own table replaces what is set for all commands.
                settings.retain(|s: &Setting| s.command != known || s.name != *name);
                settings.extend(setting(command, known, name, value).map_err(error)?);
            }
        }
        Ok(Config { path, settings })
    }

    /// Makes the settings the defaults of the command line.
    pub(super) fn apply(&self, mut command: Command) -> Command {
        for setting in &self.settings {
            command = command.mut_subcommand(setting.command, |command| {
                command.mut_arg(&setting.id, |arg| with_default(arg, &setting.values))
            });
        }
        command
    }

    /// Describes the settings that affect what is counted, and with `all` the other settings in use.
    pub(super) fn notice(&self, matches: &ArgMatches, all: bool) -> Option<String> {
        let (command, matches) = matches.subcommand()?;
        let used = self.settings.iter().filter(|s| s.command == command);
        let used = used.filter(|s| {
            let is_replaced = matches.value_source(&s.id) == Some(ValueSource::CommandLine);
            !is_replaced && (all || is_filter(&s.id))
        });
        let used: Vec<String> = used
            .map(|s| format!("--{} {}", s.name, s.values.join(",")).trim_end().into())
            .collect();
        (!used.is_empty()).then(|| format!("from {}: {}", self.path, used.join(", ")))
    }
}

/// The file to read, and whether it must exist.
fn path() -> Option<(PathBuf, bool)> {
    if let Some(path) = env::var_os(VARIABLE) {
        return (!path.is_empty()).then(|| (path.into(), true));
    }
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = set("XDG_CONFIG_HOME").or_else(|| Some(set("HOME")?.join(".config")))?;
    Some((folder.join("tcptally/config.toml"), false))
}

fn option<'a>(command: &'a Command, name: &str, long: &str) -> Option<&'a Arg> {
    let mut args = command.find_subcommand(name)?.get_arguments();
    args.find(|arg| arg.get_long_and_visible_aliases().is_some_and(|all| all.contains(&long)))
}

/// The setting of one option of one command; `None` if it is switched off.
fn setting(
    command: &Command,
    command_name: &'static str,
    name: &str,
    value: &Value,
) -> Result<Option<Setting>, String> {
    let found = option(command, command_name, name).filter(|_| !NOT_CONFIGURABLE.contains(&name));
    let Some(arg) = found else { return Err(format!("there is no option '{name}'")) };
    let takes_value = arg.get_action().takes_values();
    let mut values = Vec::new();
    for value in value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice) {
        match value {
            Value::Boolean(false) if !takes_value => return Ok(None),
            Value::Boolean(true) if !takes_value => {}
            Value::String(text) if takes_value => values.push(text.clone()),
            Value::Integer(number) if takes_value => values.push(number.to_string()),
            _ if takes_value => return Err(format!("'{name}' needs a text or a number")),
            _ => return Err(format!("'{name}' is true or false")),
        }
    }
    if let Some(delimiter) = arg.get_value_delimiter() {
        values = values.iter().flat_map(|v| v.split(delimiter)).map(str::to_owned).collect();
    }
    for value in &values {
        let line = ["tcptally".into(), command_name.into(), format!("--{name}={value}")];
        if let Err(error) = command.clone().try_get_matches_from(line)
            && matches!(error.kind(), ErrorKind::ValueValidation | ErrorKind::InvalidValue)
        {
            let text = error.render().to_string();
            let text = text.split("\n\nUsage").next().unwrap_or_default();
            let text = text.split("\n\nFor more").next().unwrap_or_default();
            return Err(one_line(text.trim_start_matches("error: ")));
        }
    }
    let id = arg.get_id().to_string();
    Ok(Some(Setting { command: command_name, id, name: name.to_owned(), values }))
}

fn with_default(arg: Arg, values: &[String]) -> Arg {
    match arg.get_action().takes_values() {
        true => arg.default_values(values.to_vec()),
        false => arg.default_value("true"),
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::super::args::{Cli, Command as Subcommand};
    use super::*;
    use clap::{CommandFactory, FromArgMatches};

    fn config(text: &str) -> Result<Config, String> {
        Config::parse("config.toml".into(), text, &Cli::command()).map_err(|e| e.to_string())
    }

    fn watch(text: &str, line: &str) -> super::super::args::WatchArgs {
        let command = config(text).unwrap().apply(Cli::command());
        let words = ["tcptally", "watch"].into_iter().chain(line.split_whitespace());
        let matches = command.try_get_matches_from(words).unwrap();
        match Cli::from_arg_matches(&matches).unwrap().command {
            Subcommand::Watch(args) => args,
            other => panic!("{other:?}"),
        }
    }

    const FILE: &str = "top = 7\nby = \"net,port\"\nquiet = true\nnot-from = [\"10.0.0.0/8\", \"::1\"]\n\
                        [watch]\ntop = 9\nport = 443\n[parse]\ntz = \"UTC\"\n";

    #[test]
    fn settings_are_defaults_that_the_command_line_replaces() {
        let args = watch(FILE, "");
        assert_eq!((args.count.top, args.count.by.len(), args.count.quiet), (Some(9), 2, true));
        assert_eq!(args.count.not_from.len(), 2);
        assert_eq!(args.count.ports.unwrap().to_string(), "443");
        let args = watch(FILE, "--by ip -n 3 --not-from ::1 --port https");
        assert_eq!(
            (args.count.top, args.count.by.len(), args.count.not_from.len()),
            (Some(3), 1, 1)
        );
        // An option on the command line overrides a conflicting setting in the file.
        assert!(watch(FILE, "--events --port 1").count.events);
        assert!(watch("quiet = false", "").count.top.is_none());
    }

    #[test]
    fn settings_that_cannot_be_used_are_named() {
        for (text, cause) in [
            ("tpo = 3", "there is no option 'tpo'"),
            ("[watch]\npid = 3", "there is no option 'pid'"),
            ("[watch]\ntz = 'UTC'", "there is no option 'tz'"),
            ("top = 'many'", "invalid value 'many' for '--top <N>'"),
            ("format = 'pdf'", "possible values"),
            ("quiet = 3", "'quiet' is true or false"),
            ("top = true", "'top' needs a text or a number"),
            ("watch = 3", "must be a table"),
            ("top 3", "is not TOML"),
            ("--top 3", "write each option as NAME = VALUE"),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(cause) && error.contains("config.toml"), "{text}: {error}");
        }
    }

    #[test]
    fn settings_that_exclude_connections_are_printed() {
        let config = config(FILE).unwrap();
        let notice = |line: &str, all| {
            let words = ["tcptally", "watch"].into_iter().chain(line.split_whitespace());
            let matches = config.apply(Cli::command()).try_get_matches_from(words).unwrap();
            config.notice(&matches, all)
        };
        let text = "from config.toml: --not-from 10.0.0.0/8,::1, --port 443";
        assert_eq!(notice("", false).as_deref(), Some(text));
        assert_eq!(notice("--port 1 --not-from ::2", false), None);
        assert!(notice("--port 1 --top 1", true).unwrap().contains("--by net,port"));
    }
}
