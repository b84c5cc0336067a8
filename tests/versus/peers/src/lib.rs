//! A node of another system as a process of its own: it starts once, untimed, and then carries out commands that come
//! on standard input, so that a command's time is the system's work and not its start.
//!
//! Words are separated by tabs, and every line is answered by one line:
//!
//! | line | answer |
//! |---|---|
//! | (at the start) | `ready ADDRESS` |
//! | `add PATH` | `ok ID` |
//! | `get ID ADDRESS OUT` | `ok` |
//!
//! What fails is answered by `error` and the reason. The process ends at the end of its input.

use std::fmt::Display;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Stdout};

/// What a node does when it is told to.
pub trait Node {
    /// Takes the file or directory at `path` into its store; returns what others ask for it by.
    fn add(&self, path: &Path) -> impl Future<Output = Result<String>>;

    /// Fetches what `id` names from the node at `address` and writes it as `out`.
    fn get(&self, id: &str, address: &str, out: &Path) -> impl Future<Output = Result<()>>;
}

/// Says that the node is ready at `address`, and does what standard input says until it ends.
///
/// # Errors
///
/// When standard input or output fails, or a line is no command.
pub async fn serve(address: impl Display, node: &impl Node) -> Result<()> {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut out = tokio::io::stdout();
    say(&mut out, &format!("ready\t{address}")).await?;
    while let Some(line) = lines.next_line().await.context("cannot read standard input")? {
        let words: Vec<&str> = line.split('\t').collect();
        let answer = match words[..] {
            ["add", path] => node.add(Path::new(path)).await.map(|id| format!("ok\t{id}")),
            ["get", id, address, out] => node.get(id, address, Path::new(out)).await.map(|()| "ok".to_owned()),
            _ => bail!("`{line}` is no command"),
        };
        let answer = answer.unwrap_or_else(|error| format!("error\t{error:#}").replace('\n', " "));
        say(&mut out, &answer).await?;
    }
    Ok(())
}

async fn say(out: &mut Stdout, line: &str) -> Result<()> {
    let written = async {
        out.write_all(format!("{line}\n").as_bytes()).await?;
        out.flush().await
    };
    written.await.context("cannot write to standard output")
}
