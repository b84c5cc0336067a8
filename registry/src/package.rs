//! The data model of a package registry: names, versions, package metadata and releases.
//!
//! *Invariants*: a [`PackageId`] always matches its grammar, a [`Release`] respects its limits. This module reads
//! neither a file nor a clock nor the network.

mod error;
mod gpack;
mod metadata;
mod name;
mod near;
mod release;
mod requirement;
mod secret;
mod target;

pub use error::{GpackError, NameError};
pub use gpack::{Gpack, MAX_GPACK_BYTES, NamedFile, UnknownKey};
pub use metadata::{Dependency, MAX_DEPENDENCIES, Metadata};
pub use name::{MAX_NAME_CHARS, PackageId};
pub(crate) use near::nearest_package;
pub use release::{MAX_INLINE_EXECUTABLES_BYTES, MAX_VERSION_CHARS, Release};
pub use requirement::Requirement;
pub(crate) use secret::secret_in;
pub use target::Target;
