//! Packages, as programs publish and receive them.

use ggen_blockstore::Cid;
use semver::Version;

use crate::{
    Dependency, ErrorKind, Failure, Metadata, PackageId, PublisherId,
    package::{MAX_DEPENDENCIES, MAX_VERSION_CHARS},
    traits::{ContentId, Result},
};

/// One version of a package.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Package {
    /// `namespace/name`.
    pub id: PackageId,
    /// The version.
    pub version: Version,
    /// Descriptive metadata.
    pub metadata: Metadata,
    /// Root of its tree.
    pub content_id: ContentId,
    /// Packages that it depends on.
    pub dependencies: Vec<Dependency>,
    /// Paths of its executable files.
    pub executables: Vec<String>,
    /// The publisher whose signature was verified; none before it is published.
    pub publisher: Option<PublisherId>,
    /// The signed record; none before it is published.
    pub release: Option<Cid>,
    /// Yanked: not chosen for new installations.
    pub yanked: bool,
}

impl Package {
    /// Starts building a package for publication.
    pub fn builder(id: PackageId, version: Version) -> PackageBuilder {
        PackageBuilder {
            id,
            version,
            metadata: Metadata::default(),
            content_id: None,
            dependencies: Vec::new(),
            executables: Vec::new(),
        }
    }
}

/// Builds a [`Package`]. A description and a content id are required.
#[derive(Clone, Debug)]
#[must_use]
pub struct PackageBuilder {
    id: PackageId,
    version: Version,
    metadata: Metadata,
    content_id: Option<ContentId>,
    dependencies: Vec<Dependency>,
    executables: Vec<String>,
}

impl PackageBuilder {
    /// A display name, if it differs from the package's name.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.metadata.title = Some(title.into());
        self
    }

    /// A description of one or a few sentences.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.metadata.description = description.into();
        self
    }

    /// An SPDX expression.
    pub fn license(mut self, license: impl Into<String>) -> Self {
        self.metadata.license = Some(license.into());
        self
    }

    /// The category.
    pub fn category(mut self, category: impl Into<String>) -> Self {
        self.metadata.category = Some(category.into());
        self
    }

    /// Adds a tag to filter by.
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.metadata.tags.push(tag.into());
        self
    }

    /// Adds a keyword for search.
    pub fn keyword(mut self, keyword: impl Into<String>) -> Self {
        self.metadata.keywords.push(keyword.into());
        self
    }

    /// Adds an author.
    pub fn author(mut self, author: impl Into<String>) -> Self {
        self.metadata.authors.push(author.into());
        self
    }

    /// The location of the source repository.
    pub fn repository(mut self, repository: impl Into<String>) -> Self {
        self.metadata.repository = Some(repository.into());
        self
    }

    /// The homepage.
    pub fn homepage(mut self, homepage: impl Into<String>) -> Self {
        self.metadata.homepage = Some(homepage.into());
        self
    }

    /// The root of the package's tree, as `ipfs add -r` or [`import_directory`](ggen_blockstore::import_directory)
    /// returns it.
    pub fn content_id(mut self, content: ContentId) -> Self {
        self.content_id = Some(content);
        self
    }

    /// Adds a dependency.
    pub fn dependency(mut self, dependency: Dependency) -> Self {
        self.dependencies.push(dependency);
        self
    }

    /// Adds an executable file by its path in the tree, because UnixFS content does not record it.
    pub fn executable(mut self, path: impl Into<String>) -> Self {
        self.executables.push(path.into());
        self
    }

    /// Validates and builds the package.
    ///
    /// # Errors
    /// [`Usage`](ErrorKind::Usage) with the invalid field and the reason.
    pub fn build(self) -> Result<Package> {
        let Self { id, version, metadata, content_id, dependencies, executables } = self;
        let refuse = |reason: String| Err(Failure::new(ErrorKind::Usage, format!("the package {id} {reason}")));
        if metadata.description.trim().is_empty() {
            return refuse("has no description".to_owned());
        }
        if let Err((field, reason)) = metadata.validate() {
            return refuse(format!("cannot be: its {field} {reason}"));
        }
        if version.to_string().len() > MAX_VERSION_CHARS {
            return refuse(format!("cannot be: its version has more than {MAX_VERSION_CHARS} characters"));
        }
        if dependencies.len() > MAX_DEPENDENCIES {
            return refuse(format!("has {} dependencies, the limit is {MAX_DEPENDENCIES}", dependencies.len()));
        }
        let Some(content_id) = content_id else {
            return refuse("has no content id".to_owned());
        };
        content_id.cid()?;
        let (publisher, release, yanked) = (None, None, false);
        Ok(Package { id, version, metadata, content_id, dependencies, executables, publisher, release, yanked })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traits::HashAlgorithm;

    fn builder() -> PackageBuilder {
        let content = ContentId::new("QmaCpDMGvV2BGHeYERUEnRQAwe3N8SzbUtfsmvsqQLuvuJ", HashAlgorithm::Sha256);
        Package::builder(PackageId::new("myorg", "awesome-lib"), Version::new(1, 0, 0))
            .description("A truly awesome library")
            .content_id(content)
    }

    #[test]
    fn what_is_built_is_what_was_said() {
        let package = builder().title("Awesome").license("MIT").tag("rust").tag("library").build().unwrap();
        assert_eq!(format!("{} v{}", package.id, package.version), "myorg/awesome-lib v1.0.0");
        assert_eq!(package.metadata.tags, ["rust", "library"]);
        assert_eq!(package.metadata.license.as_deref(), Some("MIT"));
        assert_eq!((package.publisher, package.release, package.yanked), (None, None, false));
    }

    #[test]
    fn what_is_missing_or_too_long_is_named() {
        let elided = ContentId::new("QmX7Zd...", HashAlgorithm::Sha256);
        let nothing = Package::builder(PackageId::new("a", "b"), Version::new(1, 0, 0));
        for (builder, reason) in [
            (builder().description(" "), "has no description"),
            (nothing.description("x"), "has no content id"),
            (builder().content_id(elided), "`QmX7Zd...` is no content id"),
            (builder().title("x".repeat(600)), "its title has 600 bytes"),
        ] {
            let failure = builder.build().unwrap_err();
            assert_eq!(failure.kind, ErrorKind::Usage);
            assert!(failure.message.contains(reason), "{failure}");
        }
    }
}
