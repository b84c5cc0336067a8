//! Builds the directories of a tree while its entries arrive in order.

use super::{
    Profile,
    directory::DirectoryBuilder,
    file::{Child, Sink},
};
use crate::{Error, Refusal, Result};

/// Receives the entries of a tree, each directory before its contents, and its contents before the next entry.
///
/// Memory is bounded by the entries of the directories on one path.
#[derive(Debug)]
pub(crate) struct TreeBuilder {
    profile: Profile,
    /// The directories on the path to the last entry, each with its own path.
    open: Vec<(String, DirectoryBuilder)>,
}

impl TreeBuilder {
    pub(crate) fn new(profile: Profile) -> Self {
        Self { profile, open: vec![(String::new(), DirectoryBuilder::new(profile))] }
    }

    /// Starts a directory.
    pub(crate) fn enter(&mut self, path: &str, sink: &mut impl Sink) -> Result<()> {
        self.leave_until_parent_of(path, sink)?;
        self.open.push((path.to_owned(), DirectoryBuilder::new(self.profile)));
        Ok(())
    }

    /// Adds a file or a symlink.
    pub(crate) fn add(&mut self, path: &str, child: Child, sink: &mut impl Sink) -> Result<()> {
        self.leave_until_parent_of(path, sink)?;
        self.add_to_last(path, child)
    }

    /// Completes all directories, and returns the root.
    pub(crate) fn finish(mut self, sink: &mut impl Sink) -> Result<Child> {
        while self.open.len() > 1 {
            self.leave(sink)?;
        }
        let (_, root) = self.open.pop().expect("the root stays open");
        root.finish(sink)
    }

    fn leave_until_parent_of(&mut self, path: &str, sink: &mut impl Sink) -> Result<()> {
        while self.open.len() > 1 && !is_parent(&self.open[self.open.len() - 1].0, path) {
            self.leave(sink)?;
        }
        Ok(())
    }

    fn leave(&mut self, sink: &mut impl Sink) -> Result<()> {
        let (path, directory) = self.open.pop().expect("called with an open directory below the root");
        let child = directory.finish(sink)?;
        self.add_to_last(&path, child)
    }

    fn add_to_last(&mut self, path: &str, child: Child) -> Result<()> {
        let (_, directory) = self.open.last_mut().expect("the root stays open");
        let name = path.rsplit('/').next().unwrap_or(path);
        if directory.add(name, child) { Ok(()) } else { Err(Error::refused(path, Refusal::Duplicate)) }
    }
}

fn is_parent(directory: &str, path: &str) -> bool {
    path.rsplit_once('/').is_some_and(|(parent, _)| parent == directory)
}
