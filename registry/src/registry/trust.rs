//! The part of the facade that decides which publishers are trusted.

use super::Registry;
use crate::{Failure, TrustAddRequest, TrustRemoveRequest, TrustReport};

impl Registry {
    /// Lists the namespaces of which this home knows the publisher, and how it is known.
    ///
    /// # Errors
    /// [`Verification`](crate::ErrorKind::Verification) if the trust file of the home is damaged.
    pub async fn trust_list(&self) -> Result<Vec<TrustReport>, Failure> {
        self.inner.services.trust().list().await
    }

    /// Trusts a publisher for a namespace: bare names of the namespace mean its packages from now on.
    ///
    /// # Errors
    /// As [`Registry::trust_list`]; [`Usage`](crate::ErrorKind::Usage) for an invalid namespace or publisher id.
    pub async fn trust_add(&self, request: TrustAddRequest) -> Result<TrustReport, Failure> {
        self.writable()?.trust().add(request).await
    }

    /// Trusts no publisher for a namespace any more. The next fetch of one of its packages is a first use again.
    ///
    /// # Errors
    /// As [`Registry::trust_list`]; [`NotFound`](crate::ErrorKind::NotFound) if no publisher is trusted for it.
    pub async fn trust_remove(&self, request: TrustRemoveRequest) -> Result<TrustReport, Failure> {
        self.writable()?.trust().remove(request).await
    }
}
