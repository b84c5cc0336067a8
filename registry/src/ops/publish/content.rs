//! Publishes a tree by its CID. Missing blocks are fetched first, and the tree is checked like an imported one.

use std::{path::Path, sync::Arc};

use ggen_blockstore::{Cid, EntryKind, Finding, TreeLimits, list_tree};

use super::{
    Publisher, Signing,
    draft::{Content, Draft},
    gpack_file::read_from_store,
    input::Tarball,
    intake::Intake,
    replicas::Replicas,
    secrets::{Source, find_secrets, is_never_allowed, withheld},
    warnings,
};
use crate::{
    ErrorKind, Failure, FetchRequest, FetchTo, Interrupt, PublishContentRequest, Published, Reporter,
    ops::failure::{self, usage},
};

impl Publisher {
    /// Imports a directory or a tarball into the store and returns its root.
    pub(crate) async fn import(&self, path: &Path, reporter: Arc<dyn Reporter>) -> Result<Cid, Failure> {
        let (importer, path) = (self.importer.clone(), path.to_owned());
        let mut tarball = Tarball::at_path();
        let mut import =
            move || importer.import_remembering(&path, &mut tarball, Intake::default(), &*reporter, &|| false);
        self.storage.run(move || Ok(import()?.root)).await
    }

    /// Publishes a tree by its CID.
    pub(crate) async fn publish_content(
        &self,
        request: PublishContentRequest,
        reporter: Arc<dyn Reporter>,
    ) -> Result<Published, Failure> {
        let lease = self.storage.store.lease();
        let new_blocks = self.bring_content(&request, reporter.clone()).await?;
        let signing = Signing::new(request.key.clone(), request.trust_clock);
        let importer = self.importer.clone();
        let draft = move || {
            let PublishContentRequest { package, version, content, executables, metadata, dependencies, .. } = request;
            let limits = TreeLimits { max_bytes: importer.package_bytes, ..TreeLimits::default() };
            let tree = list_tree(&*importer.storage.store, content, &limits).map_err(failure::store)?;
            if tree.is_file() {
                return Err(usage(format!("{content} is a file, a package is a directory")));
            }
            let is_file = |path: &String| {
                tree.entries.iter().any(|entry| entry.path == *path && matches!(entry.kind, EntryKind::File { .. }))
            };
            if let Some(missing) = executables.iter().find(|path| !is_file(path)) {
                return Err(usage(format!("there is no file `{missing}` in {content}")));
            }
            let found = find_secrets(&*importer.storage.store, &tree)?;
            let shown = content.to_string();
            // A tree need not contain a gpack.toml.
            let gpack = read_from_store(&*importer.storage.store, content, Path::new(&shown));
            let allowed = gpack.map(|gpack| gpack.allow_secrets).unwrap_or_default();
            let is_allowed = |found: &Finding| {
                !is_never_allowed(found) && (request.allow_secrets || allowed.match_file(&found.path))
            };
            let refused: Vec<_> = found.iter().filter(|found| !is_allowed(found)).cloned().collect();
            if !refused.is_empty() {
                return Err(withheld(Path::new(&shown), &refused, Source::Tree));
            }
            let warnings = found.iter().map(|found| warnings::of_secret(found, &allowed)).collect();
            let manifest = importer.write_manifest(content)?;
            let content = Content {
                root: content,
                size_bytes: tree.size_bytes,
                files: tree.files,
                executables,
                new_blocks,
                _lease: lease,
            };
            let (namespace, name) = (Some(package.namespace().to_owned()), package.name().to_owned());
            Ok(Draft { content, manifest, namespace, name, version, metadata, dependencies, warnings })
        };
        self.publish_draft(signing, Replicas::default(), reporter, Interrupt::new(), draft).await
    }

    /// Fetches the missing blocks of the content, and returns their number.
    async fn bring_content(
        &self,
        request: &PublishContentRequest,
        reporter: Arc<dyn Reporter>,
    ) -> Result<u64, Failure> {
        let content = request.content;
        let sources = FetchRequest {
            target: content.to_string(),
            to: FetchTo::Path(std::path::PathBuf::new()),
            timeout: request.timeout,
            offline: false,
            providers: Vec::new(),
            min_reputation: None,
        };
        let mut download = self.downloads.open(&sources, reporter).await?;
        download.search_under(&content);
        self.quota.bring_dag(&mut download, content).await.map_err(|failure| {
            let is_missing = matches!(failure.kind, ErrorKind::TimedOut | ErrorKind::NotFound);
            let attempted = format!("cannot publish {}@{}: its content", request.package, request.version);
            let attempted = match is_missing {
                true => format!("{attempted} {content} is not in this store, and no provider was found"),
                false => format!("{attempted} {content} cannot be had"),
            };
            let failure = failure.while_doing(attempted);
            match failure.kind {
                ErrorKind::TimedOut => failure.hinted("connect to a peer that has the content, or import it first"),
                _ => failure,
            }
        })?;
        Ok(download.so_far().blocks)
    }
}
