//! `ggen man`: the manual page, for packagers of the binary.

use std::io;

use clap::Command;
use clap_mangen::Man;
use ggen_marketplace::{ErrorKind, Failure};

use crate::ui::Ui;

pub(crate) fn run(program: Command, ui: &Ui) -> Result<(), Failure> {
    let page = page(program)
        .map_err(|cause| Failure::from_error(ErrorKind::Failed, &cause).while_doing("cannot write the manual page"))?;
    ui.raw(page.as_bytes())
}

/// The manual page: the program, followed by one section per command. Abbreviated forms of commands have no section.
fn page(mut program: Command) -> io::Result<String> {
    program.build();
    // Clap's list of subcommands refers to a page for each, but there is only one page.
    let mut page = text(&program, |man, out| {
        man.render_title(out)?;
        man.render_name_section(out)?;
        man.render_synopsis_section(out)?;
        man.render_description_section(out)?;
        man.render_options_section(out)?;
        man.render_extra_section(out)
    })?;
    let registry = ["marketplace", "p2p"].into_iter().try_fold(&program, |command, name| command.find_subcommand(name));
    let is_short_form =
        |command: &&Command| registry.is_some_and(|registry| registry.find_subcommand(command.get_name()).is_some());
    let mut open: Vec<_> = program.get_subcommands().filter(|command| !is_short_form(command)).collect();
    open.reverse();
    let mut described = Vec::new();
    while let Some(command) = open.pop() {
        let below: Vec<_> = command.get_subcommands().filter(|below| below.get_name() != "help").collect();
        if below.is_empty() && command.get_name() != "help" {
            described.push(command);
        }
        open.extend(below.into_iter().rev());
    }
    for command in described {
        page += &section(command)?;
    }
    page += &text(&program, |man, out| man.render_version_section(out))?;
    Ok(page)
}

/// The sections of a command's own page, one level lower. They start after a roff request line.
fn section(command: &Command) -> io::Result<String> {
    let title = command.get_bin_name().unwrap_or(command.get_name()).to_uppercase();
    let body = text(command, |man, out| {
        man.render_synopsis_section(out)?;
        man.render_description_section(out)?;
        man.render_options_section(out)?;
        man.render_extra_section(out)
    })?;
    let lowered = body.lines().map(|line| match line.strip_prefix(".SH ") {
        Some(heading) => format!(".SS {heading}\n"),
        None => format!("{line}\n"),
    });
    Ok(format!(".SH \"{title}\"\n{}", lowered.collect::<String>()))
}

fn text(command: &Command, render: impl FnOnce(&Man, &mut Vec<u8>) -> io::Result<()>) -> io::Result<String> {
    let mut out = Vec::new();
    render(&Man::new(command.clone()), &mut out)?;
    String::from_utf8(out).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::args::Args;

    #[test]
    fn every_command_has_its_section_with_its_flags_and_its_example() {
        let page = page(Args::command()).unwrap();
        for title in ["GGEN MARKETPLACE P2P PUBLISH", "GGEN MARKETPLACE P2P KEY LIST", "GGEN COMPLETIONS"] {
            assert!(page.contains(&format!(".SH \"{title}\"\n")), "no {title}");
        }
        assert!(!page.contains("\"GGEN PUBLISH\"") && !page.contains("GGEN HELP"), "{page}");
        assert!(!page.contains("ggen\\-marketplace(1)"), "there is no such page");
        assert!(!page.contains(".SH SUBCOMMANDS"), "{page}");
        let publish = page.split("P2P PUBLISH\"\n").nth(1).unwrap().split("\n.SH ").next().unwrap();
        for part in [".SS SYNOPSIS", "skip\\-verify", "Example"] {
            assert!(publish.contains(part), "no {part} in {publish}");
        }
    }
}
