//! The mirror's database, as services use it.

use std::{ops::Deref, sync::Arc};

use crate::{
    Failure,
    index::Claim,
    mirror::{Book, BookError},
    ops::{blocking_thread::Blocking, clock, failure},
    package::PackageId,
};

/// The mirror's database. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct MirrorBook(Arc<Book>);

impl MirrorBook {
    pub(crate) fn new(book: Book) -> Self {
        Self(Arc::new(book))
    }

    /// Runs a step on the database without blocking the async runtime.
    pub(super) async fn with<T: Send + 'static>(
        &self,
        step: impl FnOnce(&Book) -> Result<T, BookError> + Send + 'static,
    ) -> Result<T, Failure> {
        let book = self.clone();
        Blocking::Pool.run(move || step(&book).map_err(failure::book)).await
    }

    /// Returns the mirrored claims of all publishers on a package.
    pub(in crate::ops) async fn claims_on(&self, package: &PackageId) -> Result<Vec<Claim>, Failure> {
        let name = package.clone();
        verified(self.with(move |book| book.claims_on(&name)).await?).await
    }
}

impl Deref for MirrorBook {
    type Target = Book;

    fn deref(&self) -> &Book {
        &self.0
    }
}

/// Verifies encoded claims without blocking the async runtime. Drops those that do not verify.
pub(super) async fn verified(claims: Vec<Vec<u8>>) -> Result<Vec<Claim>, Failure> {
    let verify = |bytes: Vec<u8>| match Claim::verify(&bytes, clock::now()) {
        Ok(claim) => Some(claim),
        Err(error) => {
            tracing::warn!(target: crate::LOG_TARGET, %error, "a mirrored claim does not verify");
            None
        }
    };
    Blocking::Pool.run(move || Ok(claims.into_iter().filter_map(verify).collect())).await
}
