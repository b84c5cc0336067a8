//! The imports between the files of a crate, extracted from the source text.
//!
//! A name is resolved through re-exports to the file that defines it. Code after `#[cfg(test)]` and test files are
//! ignored. A re-export is an import only if the file also uses the name. A module and its submodules belong together,
//! so a submodule that uses its parent imports nothing.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// Module paths (`node::swarm`; the root is empty), the modules that each of them imports, and the imported names.
pub(super) type Graph = BTreeMap<String, BTreeMap<String, BTreeSet<String>>>;

/// Most re-exports that are followed.
const MAX_STEPS: u32 = 16;

/// The modules of one crate.
pub(super) struct Crate {
    modules: BTreeMap<String, Module>,
}

struct Module {
    imports: Vec<Import>,
    /// The source without comments, imports and tests.
    code: String,
}

/// One leaf of a `use` declaration.
struct Import {
    /// As written: `super::session`, `crate::Peer`.
    path: Vec<String>,
    /// The name it has in this file.
    name: String,
    public: bool,
}

impl Crate {
    /// Reads all modules below the directory of the crate's root.
    pub(super) fn read(source: &Path) -> Self {
        let mut files = Vec::new();
        collect(source, "", &mut files);
        Self::of(files.iter().map(|(module, text)| (module.as_str(), text.as_str())))
    }

    /// Creates a crate from module paths and source texts.
    pub(super) fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self { modules: files.into_iter().map(|(path, text)| (path.to_owned(), Module::parse(text))).collect() }
    }

    /// Returns which module imports which.
    pub(super) fn graph(&self) -> Graph {
        self.modules.iter().map(|(path, module)| (path.clone(), self.imported(path, module))).collect()
    }

    /// Returns the lines, outside tests, that contain a command line of `ggen`, each after its module.
    pub(super) fn command_lines(&self) -> impl Iterator<Item = String> {
        self.modules.iter().flat_map(|(path, module)| {
            // A string may go on in the next line.
            let whole = module.code.split("\\\n").map(str::trim_start).collect::<String>();
            let lines: Vec<_> = whole.lines().filter(|line| names_command(line)).map(str::to_owned).collect();
            lines.into_iter().map(move |line| format!("{path}: {}", line.trim()))
        })
    }

    fn imported(&self, path: &str, module: &Module) -> BTreeMap<String, BTreeSet<String>> {
        let counts = |import: &&Import| !import.public || names(&module.code).any(|name| name == import.name);
        let declared = module.imports.iter().filter(counts).map(|import| import.path.clone());
        let mut imported: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for written in declared.chain(paths(&module.code)) {
            if let Some(target) = self.target(path, &written, 0).filter(|target| !is_within(path, target)) {
                imported.entry(target).or_default().insert(written.join("::"));
            }
        }
        imported
    }

    /// The module that defines what `path` refers to in the module `from`; `None` if it is no module of this crate.
    fn target(&self, from: &str, path: &[String], step: u32) -> Option<String> {
        let mut rest = path;
        let mut at = match rest.first()?.as_str() {
            "crate" => String::new(),
            "self" | "super" => from.to_owned(),
            child if self.modules.contains_key(&join(from, child)) => from.to_owned(),
            _ => return None,
        };
        if matches!(rest[0].as_str(), "crate" | "self") {
            rest = &rest[1..];
        }
        while rest.first().is_some_and(|part| part == "super") {
            at = parent(&at).to_owned();
            rest = &rest[1..];
        }
        while let Some(part) = rest.first()
            && self.modules.contains_key(&join(&at, part))
        {
            at = join(&at, part);
            rest = &rest[1..];
        }
        match rest.first() {
            Some(name) if step < MAX_STEPS => Some(self.defining(&at, name, step).unwrap_or(at)),
            _ => Some(at),
        }
    }

    /// Follows a re-export of `name` by the module `at`.
    fn defining(&self, at: &str, name: &str, step: u32) -> Option<String> {
        let imports = &self.modules.get(at)?.imports;
        let import = imports.iter().find(|import| import.name == name)?;
        self.target(at, &import.path, step + 1)
    }
}

impl Module {
    fn parse(text: &str) -> Self {
        let (mut imports, mut code) = (Vec::new(), String::new());
        let text = without_tests(text);
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some((public, start)) = declaration(line) else {
                code.push_str(line);
                code.push('\n');
                continue;
            };
            let mut tree = start.to_owned();
            while !tree.contains(';') {
                let Some(line) = lines.next() else { break };
                tree.push_str(line.trim());
            }
            leaves(tree.split(';').next().unwrap_or_default(), "", public, &mut imports);
        }
        Self { imports, code }
    }
}

/// Source files below a directory and their module paths, without test files.
fn collect(directory: &Path, module: &str, found: &mut Vec<(String, String)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if matches!(name, "tests" | "testing" | "loopback") || name.ends_with("_tests") {
            continue;
        }
        if path.is_dir() {
            collect(&path, &join(module, name), found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let module = if matches!(name, "lib" | "main") { module.to_owned() } else { join(module, name) };
            found.push((module, fs::read_to_string(&path).unwrap()));
        }
    }
}

/// Removes comments, and the item after each `#[cfg(test)]`. The source must be formatted by rustfmt: an item with a
/// block ends with a brace at the indentation at which it begins.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines().map(|line| line.split("//").next().unwrap_or_default());
    while let Some(line) = lines.next() {
        if !line.trim_start().starts_with("#[cfg(test)]") && !line.trim_start().starts_with("#[cfg(any(test") {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        let ends = |line: &str| line.len() > indent && !line[indent..].starts_with(char::is_whitespace);
        for line in lines.by_ref() {
            let opens = line.trim_end().ends_with(['{', '(', '[', ',']) || line.trim_start().starts_with("#[");
            if ends(line) && !opens {
                break;
            }
        }
    }
    kept
}

/// The rest of a line that begins a `use` declaration, and whether it re-exports.
fn declaration(line: &str) -> Option<(bool, &str)> {
    let line = line.trim_start();
    if let Some(rest) = line.strip_prefix("use ") {
        return Some((false, rest));
    }
    let rest = line.strip_prefix("pub")?;
    let rest = if rest.starts_with('(') { rest.split_once(')')?.1 } else { rest };
    Some((true, rest.trim_start().strip_prefix("use ")?))
}

/// Splits `a::{b, c::d as e}` into its leaves.
fn leaves(tree: &str, before: &str, public: bool, found: &mut Vec<Import>) {
    let tree = tree.trim();
    if let Some((start, group)) = tree.split_once('{') {
        let group = group.strip_suffix('}').unwrap_or(group);
        let (mut depth, mut from) = (0, 0);
        for (index, byte) in group.bytes().enumerate().chain([(group.len(), b',')]) {
            match byte {
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b',' if depth == 0 => {
                    leaves(&group[from..index], &format!("{before}{start}"), public, found);
                    from = index + 1;
                }
                _ => {}
            }
        }
        return;
    }
    if tree.is_empty() {
        return;
    }
    let (path, name) = tree.split_once(" as ").unwrap_or((tree, ""));
    let mut path: Vec<_> = format!("{before}{path}").split("::").map(str::to_owned).collect();
    if path.len() > 1 && path.last().is_some_and(|last| last == "self" || last == "*") {
        path.pop();
    }
    let last = path.last().cloned().unwrap_or_default();
    found.push(Import { path, name: if name.is_empty() { last } else { name.to_owned() }, public });
}

/// Whether a line contains a command of `ggen`, or a flag in backticks. Those of `ggen` have no `=`.
fn names_command(line: &str) -> bool {
    let mut quoted = line.split('`').skip(1).step_by(2).flat_map(str::split_whitespace);
    let is_flag = |word: &str| word.starts_with("--") && word.len() > 2 && !word.contains('=');
    line.contains("ggen marketplace") || line.contains("`ggen ") || quoted.any(is_flag)
}

fn is_name(byte: char) -> bool {
    byte.is_alphanumeric() || byte == '_'
}

fn names(code: &str) -> impl Iterator<Item = &str> {
    code.split(|byte| !is_name(byte)).filter(|name| !name.is_empty())
}

/// Paths of two or more components in code: `crate::a::b`, `child::f`.
fn paths(code: &str) -> impl Iterator<Item = Vec<String>> {
    let whole = code.split(|byte| !is_name(byte) && byte != ':').filter(|path| path.contains("::"));
    whole.map(|path| path.split("::").map(str::to_owned).take_while(|part| part.chars().all(is_name)).collect())
}

fn join(module: &str, child: &str) -> String {
    if module.is_empty() { child.to_owned() } else { format!("{module}::{child}") }
}

fn parent(module: &str) -> &str {
    module.rsplit_once("::").map_or("", |(parent, _)| parent)
}

/// Returns whether `module` is `other`, or is below it.
fn is_within(module: &str, other: &str) -> bool {
    module.strip_prefix(other).is_some_and(|rest| rest.is_empty() || other.is_empty() || rest.starts_with("::"))
}

/// Sets of modules in which each module imports, directly or indirectly, every other module of the set.
pub(super) fn circles(graph: &Graph) -> BTreeSet<BTreeSet<&str>> {
    let reached: BTreeMap<_, _> = graph.keys().map(|module| (module.as_str(), reachable(graph, module))).collect();
    let mut found = BTreeSet::new();
    for (module, others) in &reached {
        let back = |other: &&str| reached.get(other).is_some_and(|back| back.contains(module));
        let circle: BTreeSet<_> = others.iter().copied().filter(back).collect();
        if circle.len() > 1 {
            found.insert(circle);
        }
    }
    found
}

/// The modules that `from` imports, directly or indirectly.
fn reachable<'a>(graph: &'a Graph, from: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(module) = open.pop() {
        for next in graph.get(module).into_iter().flat_map(BTreeMap::keys) {
            if reached.insert(next.as_str()) {
                open.push(next);
            }
        }
    }
    reached
}
