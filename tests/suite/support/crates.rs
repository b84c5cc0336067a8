//! Packages made of the sources of real crates: those that this build has downloaded.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// The gathered crates include one with more files than this.
pub(crate) const MANY_FILES: usize = 1000;

/// Files that are not copied: cargo's own marker, and ignore files, which would make a publish leave out files that the
/// crate does contain.
const LEFT_OUT: [&str; 3] = [".cargo-ok", ".gitignore", ".ggenignore"];

/// Largest size in bytes of a gathered crate, so that twenty of them take only seconds.
const LARGEST_CRATE_BYTES: u64 = 80 << 20;

/// Files of crates that may hold keys for their tests.
const TEST_KEYS: [&str; 7] = ["*.rs", "*.md", "*.pem", "*.der", "*.key", "*.rsa", "*.cc"];

/// One crate's sources with a `gpack.toml` added, under a temporary directory.
#[derive(Debug)]
pub(crate) struct CratePackage {
    /// The package name: lower case letters, digits and hyphens.
    pub(crate) name: String,
    /// The crate's version.
    pub(crate) version: String,
    /// The directory that holds the sources and `gpack.toml`.
    pub(crate) path: PathBuf,
    /// Number of files, `gpack.toml` included.
    pub(crate) files: usize,
    /// Sum of the files' sizes, `gpack.toml` included.
    pub(crate) bytes: u64,
}

/// Packages of real crates; dropping this removes their directories.
#[derive(Debug)]
pub(crate) struct CratePackages {
    /// In order of their names.
    pub(crate) packages: Vec<CratePackage>,
    _directory: TempDir,
}

/// A crate unpacked in cargo's registry.
struct Source {
    name: String,
    version: String,
    path: PathBuf,
    files: usize,
    bytes: u64,
}

/// Copies `count` crates of different sizes from cargo's unpacked registry sources, each at one version, and adds a
/// `gpack.toml` to each. Every run with the same `Cargo.lock` yields the same crates.
///
/// # Panics
///
/// When the registry holds fewer crates, or none with more than [`MANY_FILES`] files.
pub(crate) fn gather(count: usize) -> CratePackages {
    let directory = TempDir::with_prefix("crates-").expect("a temporary directory can be made");
    let packages = choose(sources(), count).iter().map(|source| package(source, directory.path())).collect();
    CratePackages { packages, _directory: directory }
}

/// Copies the `count` smallest crates from cargo's unpacked registry sources, each with a `gpack.toml` that contains
/// the description, keywords and categories of the crate's own manifest.
///
/// # Panics
///
/// When the registry holds fewer crates.
pub(crate) fn gather_described(count: usize) -> CratePackages {
    let directory = TempDir::with_prefix("crates-").expect("a temporary directory can be made");
    let mut sources = sources();
    assert!(sources.len() >= count, "{} crates in cargo's registry, {count} wanted", sources.len());
    sources.sort_by(|a, b| (a.bytes, &a.name).cmp(&(b.bytes, &b.name)));
    sources.truncate(count);
    // Small and large crates are distributed evenly, and the sequence is independent of the registry.
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    let packages = sources.iter().map(|source| described(source, directory.path())).collect();
    CratePackages { packages, _directory: directory }
}

/// Selects crates evenly from the list in order of size, including the smallest and the one with the most files.
fn choose(mut sources: Vec<Source>, count: usize) -> Vec<Source> {
    assert!(count >= 2 && sources.len() >= count, "{} crates in cargo's registry, {count} wanted", sources.len());
    sources.sort_by(|a, b| (a.bytes, &a.name).cmp(&(b.bytes, &b.name)));
    let most_files = (0..sources.len()).max_by_key(|&index| sources[index].files).expect("there are sources");
    assert!(sources[most_files].files > MANY_FILES, "no crate in cargo's registry has more than {MANY_FILES} files");
    let largest = sources.remove(most_files);
    let last = sources.len() - 1;
    let mut wanted: Vec<usize> = (0..count - 1).map(|index| index * last / (count - 1)).collect();
    wanted.dedup();
    let mut chosen: Vec<Source> = vec![largest];
    for (index, source) in sources.into_iter().enumerate() {
        if wanted.binary_search(&index).is_ok() {
            chosen.push(source);
        }
    }
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    chosen
}

/// Returns the unpacked crates of all registries, one version of each, without those that are too large.
fn sources() -> Vec<Source> {
    let root = cargo_home().join("registry/src");
    let mut sources: Vec<Source> =
        entries(&root).iter().flat_map(|registry| entries(registry)).filter_map(|path| source(&path)).collect();
    sources.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    sources.dedup_by(|later, earlier| later.name == earlier.name);
    sources
}

/// Reads a directory such as `serde-1.0.228`; `None` if it is no crate or too large.
fn source(path: &Path) -> Option<Source> {
    let directory = path.file_name()?.to_str()?;
    // The version begins after the first hyphen that a digit follows; crate names such as `h2-0` do not occur.
    let split =
        directory.match_indices('-').find(|(at, _)| directory[at + 1..].starts_with(|c: char| c.is_ascii_digit()));
    let (name, version) = (&directory[..split?.0], &directory[split?.0 + 1..]);
    let mut source = Source {
        name: name.replace('_', "-").to_lowercase(),
        version: version.to_owned(),
        path: path.to_owned(),
        files: 0,
        bytes: 0,
    };
    for file in files(path) {
        source.files += 1;
        source.bytes += fs::metadata(&file).ok()?.len();
    }
    (source.bytes <= LARGEST_CRATE_BYTES).then_some(source)
}

fn described(source: &Source, directory: &Path) -> CratePackage {
    let manifest = fs::read_to_string(source.path.join("Cargo.toml")).unwrap_or_default();
    let manifest: toml::Table = manifest.parse().unwrap_or_default();
    let of_crate = |field: &str| manifest.get("package").and_then(|package| package.get(field));
    let words = |field: &str| {
        let list = of_crate(field).and_then(toml::Value::as_array).into_iter().flatten();
        list.filter_map(|word| word.as_str().map(toml::Value::from)).collect::<Vec<_>>()
    };
    let description = of_crate("description").and_then(toml::Value::as_str).unwrap_or("A crate").trim().to_owned();
    let mut fields = toml::Table::new();
    fields.insert("name".to_owned(), source.name.clone().into());
    fields.insert("version".to_owned(), source.version.clone().into());
    fields.insert("description".to_owned(), description.into());
    fields.insert("keywords".to_owned(), words("keywords").into());
    fields.insert("allow-secrets".to_owned(), TEST_KEYS.map(toml::Value::from).to_vec().into());
    let mut gpack = toml::Table::new();
    gpack.insert("package".to_owned(), fields.into());
    if let Some(category) = words("categories").into_iter().next() {
        gpack.insert("metadata".to_owned(), toml::Table::from_iter([("category".to_owned(), category)]).into());
    }
    let mut package = package(source, directory);
    let text = gpack.to_string();
    let file = package.path.join("gpack.toml");
    package.bytes = package.bytes + text.len() as u64 - fs::metadata(&file).map_or(0, |former| former.len());
    fs::write(file, text).expect("the copy can be written to");
    package
}

fn package(source: &Source, directory: &Path) -> CratePackage {
    let path = directory.join(format!("{}-{}", source.name, source.version));
    copy_tree(&source.path, &path);
    let manifest = format!(
        "[package]\nname = \"{}\"\nversion = \"{}\"\ndescription = \"Sources of the crate {}\"\nallow-secrets = {TEST_KEYS:?}\n",
        source.name, source.version, source.name
    );
    fs::write(path.join("gpack.toml"), &manifest).expect("the copy can be written to");
    CratePackage {
        name: source.name.clone(),
        version: source.version.clone(),
        path,
        files: source.files + 1,
        bytes: source.bytes + manifest.len() as u64,
    }
}

/// Copies the regular files of a tree, with their permissions.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("files() returns paths below its argument"));
        let parent = target.parent().expect("the target is a file in a directory");
        fs::create_dir_all(parent).unwrap_or_else(|error| panic!("cannot create `{}`: {error}", parent.display()));
        fs::copy(&file, &target).unwrap_or_else(|error| panic!("cannot copy `{}`: {error}", file.display()));
    }
}

/// Returns the regular files below a directory, in order of their paths.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![directory.to_owned()];
    while let Some(next) = open.pop() {
        for path in entries(&next) {
            let left_out = path.file_name().is_some_and(|name| LEFT_OUT.iter().any(|skip| OsStr::new(skip) == name));
            if path.is_dir() && !path.is_symlink() {
                open.push(path);
            } else if path.is_file() && !path.is_symlink() && !left_out {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn entries(directory: &Path) -> Vec<PathBuf> {
    let read = fs::read_dir(directory).unwrap_or_else(|error| panic!("cannot list `{}`: {error}", directory.display()));
    let mut paths: Vec<PathBuf> = read.map(|entry| entry.expect("the directory is listed to its end").path()).collect();
    paths.sort();
    paths
}

/// Returns cargo's home: `CARGO_HOME`, else `.cargo` in the user's home.
pub(crate) fn cargo_home() -> PathBuf {
    env::var_os("CARGO_HOME").map(PathBuf::from).unwrap_or_else(|| {
        let home = env::home_dir().expect("the user running the tests has a home directory");
        home.join(".cargo")
    })
}
