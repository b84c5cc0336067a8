//! Conversion between the reports of operations and the packages of the API.

use std::{fmt::Display, str::FromStr, time::Duration};

use crate::{
    ErrorKind, Failure, PackageInfo, PublishContentRequest, ReleaseInfo, SearchHit,
    package::Metadata,
    traits::{ContentId, HashAlgorithm, Package, Result},
};

pub(super) fn content_request(package: Package, timeout: Duration) -> Result<PublishContentRequest> {
    Ok(PublishContentRequest {
        content: package.content_id.cid()?,
        package: package.id,
        version: package.version,
        executables: package.executables,
        metadata: package.metadata,
        dependencies: package.dependencies,
        key: None,
        trust_clock: false,
        allow_secrets: false,
        timeout,
    })
}

/// A hit contains only the fields of a result list; [`get_package`](crate::traits::Registry::get_package) returns all.
pub(super) fn package_of_hit(hit: SearchHit) -> Result<Package> {
    let metadata = Metadata {
        description: hit.description,
        license: hit.license,
        category: hit.category,
        tags: hit.tags,
        ..Metadata::default()
    };
    Ok(Package {
        id: read(&hit.package)?,
        version: read(&hit.version)?,
        metadata,
        content_id: ContentId::new(hit.cid, HashAlgorithm::Sha256),
        dependencies: Vec::new(),
        executables: Vec::new(),
        publisher: Some(read(&hit.publisher)?),
        release: None,
        yanked: false,
    })
}

pub(super) fn package_of_info(info: PackageInfo) -> Result<Package> {
    let (Some(id), Some(version)) = (&info.package, &info.version) else {
        return Err(Failure::new(ErrorKind::NotFound, format!("{} is not a release", info.cid)));
    };
    Ok(Package {
        id: read(id)?,
        version: read(version)?,
        content_id: ContentId::new(&info.cid, HashAlgorithm::Sha256),
        publisher: info.publisher.as_deref().map(read).transpose()?,
        release: info.release.as_deref().map(read).transpose()?,
        yanked: info.yanked,
        metadata: info.metadata,
        dependencies: info.dependencies,
        executables: info.executables,
    })
}

/// Converts the answer to a request for all versions.
pub(super) fn packages_of_versions(info: PackageInfo) -> Result<Vec<Package>> {
    let PackageInfo { package, publisher, releases, .. } = info;
    let of_release = |entry: ReleaseInfo| {
        let ReleaseInfo { version, release, yanked, record, .. } = entry;
        let record = record
            .ok_or_else(|| Failure::new(ErrorKind::Failed, format!("the record of version {version} was not read")))?;
        Ok(Package {
            id: read(package.as_deref().unwrap_or_default())?,
            version: read(&version)?,
            metadata: record.metadata,
            content_id: ContentId::new(record.cid, HashAlgorithm::Sha256),
            dependencies: record.dependencies,
            executables: record.executables,
            publisher: publisher.as_deref().map(read).transpose()?,
            release: Some(read(&release)?),
            yanked,
        })
    };
    releases.into_iter().map(of_release).collect()
}

/// Parses text that this process has formatted itself.
fn read<T: FromStr<Err: Display>>(text: &str) -> Result<T> {
    text.parse().map_err(|error: T::Err| Failure::new(ErrorKind::Failed, format!("`{text}` cannot be read: {error}")))
}
