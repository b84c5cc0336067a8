//! The part of the facade that manages stored data: pins, garbage collection, verification, mirrors.

use std::sync::Arc;

use super::Registry;
use crate::{
    Failure, GcReport, GcRequest, MirrorReport, MirrorRequest, PinReport, PinRequest, Reporter, VerifyReport,
    VerifyRequest, home::Home,
};

impl Registry {
    /// Removes every block that no pin keeps. Other services may run at the same time.
    ///
    /// # Errors
    /// See [`Failure`]; nothing is removed if a pinned DAG cannot be read.
    pub async fn gc(&self, request: GcRequest) -> Result<GcReport, Failure> {
        if !request.dry_run {
            self.writable()?;
        }
        self.inner.services.store_quota().gc(request).await
    }

    /// Fetches a target into the store and pins it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn pin_add(&self, request: PinRequest, reporter: Arc<dyn Reporter>) -> Result<Vec<PinReport>, Failure> {
        self.writable()?.pins().add(request, reporter).await
    }

    /// Removes the user's pins of a target and returns them.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn pin_rm(&self, request: PinRequest) -> Result<Vec<PinReport>, Failure> {
        self.writable()?.pins().remove(request).await
    }

    /// Lists all pins.
    pub fn pin_ls(&self) -> Vec<PinReport> {
        self.inner.services.pins().list()
    }

    /// Hashes blocks again, and refetches bad ones if the request asks for a repair. Bad blocks are not an error: the
    /// report lists them.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn verify(&self, request: VerifyRequest, reporter: Arc<dyn Reporter>) -> Result<VerifyReport, Failure> {
        if request.repair {
            self.writable()?;
        }
        self.inner.services.verify().verify(request, reporter).await
    }

    /// Adds a mirror rule, or changes it.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn mirror_add(&self, request: MirrorRequest) -> Result<Vec<MirrorReport>, Failure> {
        self.writable()?.mirror().add_rule(request).await
    }

    /// Removes a mirror rule, and unpins what no other rule selects.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn mirror_rm(&self, request: MirrorRequest) -> Result<Vec<MirrorReport>, Failure> {
        let services = self.writable()?;
        // What is let go of frees space, but first that is written.
        self.inner.home.iter().for_each(Home::use_reserve_if_full);
        services.mirror().remove_rule(request).await
    }

    /// Lists the mirror rules, with the storage that each uses.
    ///
    /// # Errors
    /// See [`Failure`].
    pub async fn mirror_ls(&self) -> Result<Vec<MirrorReport>, Failure> {
        self.inner.services.mirror().list_rules().await
    }
}
