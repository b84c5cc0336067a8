//! The flags of all commands. Doc comments are the help.

use std::path::PathBuf;

use clap::ValueEnum;

/// Flags of every command; they stand before or after its name.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalArgs {
    /// Directory of identity, keys, store, catalog, configuration and socket [env: GGEN_HOME] [default: ~/.ggen]
    // Clap's `env` would refuse an empty variable, which means the same as none.
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) home: Option<PathBuf>,
    /// Configuration file [default: <home>/p2p-config.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Output format
    #[arg(long, global = true, value_enum, default_value_t = Format::Human)]
    pub(crate) format: Format,
    /// Print only results, warnings and errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
    /// Log to stderr (RUST_LOG selects what)
    #[arg(long, global = true)]
    pub(crate) verbose: bool,
}

/// Form of the answer on stdout.
// The flag's own help describes the variants: help texts of their own would double the length of every help.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Human,
    Json,
}
