//! The names in the documentation exist: files, constants, and the commands of `ggen` with their flags.
//!
//! The names are those in backticks, in shell blocks, and in links. Files are looked up in the tree, constants in the
//! sources, and commands in the clap definitions, which are read as text.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Checked pages in addition to those in `docs/`; relative to the root of the repository.
const PAGES: [&str; 6] =
    ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "blockstore/README.md", "registry/README.md", "cli/README.md"];
/// A relative path that begins with one of these names a file of the repository.
const TOP: [&str; 8] = [".ci", ".github", "blockstore", "cli", "docs", "examples", "registry", "tests"];
/// Directories in which the constants are defined.
const SOURCES: [&str; 3] = ["blockstore/src", "cli/src", "registry/src"];
/// Directories without sources of this repository.
const BUILT: [&str; 2] = ["node_modules", "target"];
/// Names in capitals that are not constants: of files, messages, variables and errors of the system.
const OTHER_NAMES: [&str; 20] = [
    "API_KEY",
    "CID",
    "DONT_HAVE",
    "ENOLCK",
    "ENOSYS",
    "EOPNOTSUPP",
    "FICLONE",
    "HAVE",
    "LICENSE",
    "LOCK",
    "MNEMONIC",
    "NORMAL",
    "PASSWORD",
    "PATH",
    "PUT",
    "README",
    "RUST_LOG",
    "SECRET",
    "TOKEN",
    "WANT_HAVE",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// All Rust sources below a directory, concatenated.
fn sources(directory: &Path, text: &mut String) {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), entry.file_name());
        let name = name.to_string_lossy();
        if entry.file_type().unwrap().is_dir() {
            if !BUILT.contains(&&*name) {
                sources(&path, text);
            }
        } else if name.ends_with(".rs") {
            text.push_str(&fs::read_to_string(&path).unwrap());
            text.push('\n');
        }
    }
}

/// Names of the constants that are defined in a text.
fn constants(text: &str) -> BTreeSet<String> {
    let in_capitals = |c: &char| c.is_ascii_uppercase() || c.is_ascii_digit() || *c == '_';
    let mut found = BTreeSet::new();
    for after in text.split("const ").skip(1) {
        let name: String = after.chars().take_while(in_capitals).collect();
        if !name.is_empty() && after[name.len()..].starts_with(':') {
            found.insert(name);
        }
    }
    found
}

/// Long flags, each with whether it takes a value.
type Flags = BTreeMap<String, bool>;

/// The flags that the attributes `#[arg(long)]` in a text define.
fn flags(text: &str) -> Flags {
    let mut flags = Flags::new();
    for part in text.split("#[arg(").skip(1) {
        let Some((attribute, rest)) = part.split_once(")]") else { continue };
        let mut names = attribute.split(|c: char| !c.is_alphanumeric() && c != '_');
        if !names.any(|name| name == "long") {
            continue;
        }
        let mut lines = rest.lines().map(str::trim);
        let field = lines.find(|line| !line.is_empty() && !line.starts_with(['/', '#'])).unwrap_or_default();
        let Some((name, of)) = field.trim_start_matches("pub(crate) ").split_once(": ") else { continue };
        let renamed = attribute.split("long = \"").nth(1).and_then(|rest| rest.split('"').next());
        let flag = renamed.map_or_else(|| name.replace('_', "-"), str::to_owned);
        flags.insert(flag, of.trim_end_matches(',') != "bool");
    }
    flags
}

/// The text between the braces of an unindented definition.
fn block<'a>(text: &'a str, header: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(header)?;
    if rest.starts_with('}') {
        return Some("");
    }
    rest.split("\n}").next()
}

/// The name that clap gives to a variant: `PeerList` is `peer-list`.
fn kebab(variant: &str) -> String {
    let mut name = String::new();
    for (at, letter) in variant.chars().enumerate() {
        if letter.is_ascii_uppercase() && at > 0 {
            name.push('-');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}

/// A command of the program: its own flags, and the commands below it.
#[derive(Debug, Default)]
struct Command {
    flags: Flags,
    below: BTreeMap<String, Command>,
}

impl Command {
    /// Reads the type of a variant: from this text, or, for `module::Type`, from a file in `directory`.
    fn read(directory: &Path, text: &str, named: &str) -> Self {
        if let Some((module, named)) = named.split_once("::") {
            let text = fs::read_to_string(directory.join(format!("{module}.rs"))).unwrap();
            return Self::read(directory, &text, named);
        }
        if let Some(body) = block(text, &format!("enum {named} {{")) {
            return Self { below: Self::variants(directory, text, body), ..Self::default() };
        }
        let body = block(text, &format!("struct {named} {{"));
        let body = body.unwrap_or_else(|| panic!("no definition of the arguments `{named}`"));
        Self { flags: flags(body), ..Self::default() }
    }

    fn variants(directory: &Path, text: &str, body: &str) -> BTreeMap<String, Self> {
        let mut found = BTreeMap::new();
        for line in body.lines() {
            let Some(line) = line.strip_prefix("    ") else { continue };
            if !line.starts_with(|c: char| c.is_ascii_uppercase()) {
                continue;
            }
            let end = line.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(line.len());
            let (variant, rest) = line.split_at(end);
            let command = if let Some(held) = rest.strip_prefix('(') {
                Self::read(directory, text, held.split(')').next().unwrap_or_default())
            } else if rest.starts_with(" {") {
                let (_, fields) = body.split_once(&format!("\n    {variant} {{")).unwrap_or_default();
                Self { flags: flags(fields.split("\n    }").next().unwrap_or_default()), ..Self::default() }
            } else {
                Self::default()
            };
            found.insert(kebab(variant), command);
        }
        found
    }

    /// All flags of this command and its subcommands.
    fn all_flags(&self) -> BTreeSet<&str> {
        let below = self.below.values().flat_map(Self::all_flags);
        self.flags.keys().map(String::as_str).chain(below).collect()
    }
}

/// The definitions with which names are compared.
struct Definitions {
    root: PathBuf,
    constants: BTreeSet<String>,
    /// The text of all Rust sources and tests, which contains the names of environment variables.
    text: String,
    program: Command,
    /// Flags of every command.
    global: Flags,
    /// Flags of `tests/versus`.
    versus: Flags,
}

impl Definitions {
    fn read() -> Self {
        let root = root();
        let mut text = String::new();
        SOURCES.iter().for_each(|directory| sources(&root.join(directory), &mut text));
        let constants = constants(&text);
        sources(&root.join("tests"), &mut text);

        let cli = root.join("cli/src");
        let args = fs::read_to_string(cli.join("args.rs")).unwrap();
        let mut program = Command::read(&cli.join("commands"), &args, "Command");
        // Its variant `Short` is flattened: the registry's commands are available at the top level too.
        let short = program.below.remove("short").expect("`Command` in args.rs has a variant `Short`");
        program.below.extend(short.below);
        program.flags.insert("version".to_owned(), false);
        let global = fs::read_to_string(cli.join("flags.rs")).unwrap();
        let mut global = flags(block(&global, "struct GlobalArgs {").expect("flags.rs defines `GlobalArgs`"));
        global.insert("help".to_owned(), false);
        let versus = flags(&fs::read_to_string(root.join("tests/versus/src/main.rs")).unwrap());
        Self { root, constants, text, program, global, versus }
    }

    /// The names in a page that do not exist. `page` is relative to the root of the repository.
    fn faults(&self, page: &str, text: &str) -> Vec<String> {
        let parsed = Page::parse(text);
        let mut faults = Vec::new();
        for span in &parsed.spans {
            let words: Vec<&str> = span.split(' ').collect();
            match words[..] {
                [name] if names_file(name) => faults.extend(self.missing_file(page, name)),
                [name] if is_in_capitals(name) => faults.extend(self.missing_constant(name)),
                [flag, ..] if flag.starts_with("--") && !flag.starts_with("---") => {
                    faults.extend(self.missing_flag(flag))
                }
                // The short form `ggen publish ./pkg`.
                [command, _, ..] if self.program.below.contains_key(command) => {
                    faults.extend(self.missing_command(&words));
                }
                _ => faults.extend(self.missing_commands(span)),
            }
        }
        for line in &parsed.shell {
            faults.extend(self.missing_commands(line));
            // The argument of a ggen command can be a package as well as a file.
            if !line.split([' ', '(']).any(|word| word == "ggen") {
                let files = line.split(' ').filter(|word| names_file(word));
                faults.extend(files.filter_map(|file| self.missing_file(page, file)));
            }
        }
        for link in &parsed.links {
            faults.extend(self.missing_link(page, link));
        }
        faults
    }

    /// A path is relative to the root, to the page's crate, to the sources of that crate, or to those of the registry.
    fn missing_file(&self, page: &str, name: &str) -> Option<String> {
        let near = self.root.join(page).parent().expect("a page lies in a directory").to_owned();
        let places = [self.root.clone(), near.join("src"), near, self.root.join("registry/src")];
        let exists = places.iter().any(|place| place.join(name).exists());
        (!exists).then(|| format!("no file `{name}`"))
    }

    fn missing_link(&self, page: &str, link: &str) -> Option<String> {
        let file = link.split('#').next().unwrap_or_default();
        if file.is_empty() || link.contains("://") {
            return None;
        }
        let near = self.root.join(page).parent().expect("a page lies in a directory").to_owned();
        (!near.join(file).exists()).then(|| format!("no file for the link `{link}`"))
    }

    fn missing_constant(&self, name: &str) -> Option<String> {
        let is_variable = || name.starts_with("GGEN_") && self.text.contains(&format!("\"{name}\""));
        let exists = self.constants.contains(name) || OTHER_NAMES.contains(&name) || is_variable();
        (!exists).then(|| format!("no constant `{name}`"))
    }

    /// A flag without a command must be a flag of some command.
    fn missing_flag(&self, flag: &str) -> Option<String> {
        let name = flag.trim_start_matches('-').split('=').next().unwrap_or_default();
        let exists =
            self.global.contains_key(name) || self.versus.contains_key(name) || self.program.all_flags().contains(name);
        (!exists).then(|| format!("no flag `--{name}`"))
    }

    /// The faults of all commands of `ggen` in a line of shell.
    fn missing_commands(&self, line: &str) -> Vec<String> {
        let parts = line.split(['|', ';', '&', '(', ')']);
        let words = parts.map(|part| part.split_whitespace().collect::<Vec<_>>());
        let command = |words: Vec<&str>| {
            let begin = words.iter().position(|word| *word == "ggen")?;
            self.missing_command(&words[begin + 1..])
        };
        words.filter_map(command).collect()
    }

    /// The fault in a command, which is given as arguments without `ggen`.
    fn missing_command(&self, words: &[&str]) -> Option<String> {
        let (mut at, mut path) = (&self.program, "ggen".to_owned());
        let mut words = words.iter().map(|word| word.trim_matches(|c: char| matches!(c, '"' | '\'')));
        while let Some(word) = words.next() {
            if let Some(flag) = word.strip_prefix("--") {
                let (name, value) = flag.split_once('=').map_or((flag, None), |(name, value)| (name, Some(value)));
                let Some(takes_value) = at.flags.get(name).or_else(|| self.global.get(name)) else {
                    return Some(format!("no flag `--{name}` of `{path}`"));
                };
                if *takes_value && value.is_none() {
                    words.next();
                }
            } else if word.starts_with('-') || at.below.is_empty() {
                // A short flag, or an argument.
            } else if let Some(below) = at.below.get(word) {
                path = format!("{path} {word}");
                at = below;
            } else if is_placeholder(word) {
                return None;
            } else {
                return Some(format!("no command `{path} {word}`"));
            }
        }
        None
    }
}

/// The parts of a page that contain names.
struct Page {
    /// Texts in backticks, each on one line.
    spans: Vec<String>,
    /// Lines of shell blocks, without comments.
    shell: Vec<String>,
    /// Targets of links.
    links: Vec<String>,
}

impl Page {
    fn parse(text: &str) -> Self {
        let (mut prose, mut shell) = (String::new(), String::new());
        let mut fence = None;
        for line in text.lines() {
            if let Some(language) = line.trim_start().strip_prefix("```") {
                fence = if fence.is_none() { Some(language.trim()) } else { None };
                continue;
            }
            let part = match fence {
                None => &mut prose,
                Some("sh" | "bash") => &mut shell,
                Some(_) => continue,
            };
            part.push_str(line);
            part.push('\n');
        }
        let one_line = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        // A span does not extend beyond its paragraph.
        let spans = prose.split("\n\n").flat_map(|paragraph| paragraph.split('`').skip(1).step_by(2));
        let links = prose.split("](").skip(1).filter_map(|rest| rest.split(')').next());
        let shell = shell.replace("\\\n", " ");
        let lines = shell.lines().map(|line| line.split(" #").next().unwrap_or_default());
        Self {
            spans: spans.map(one_line).collect(),
            shell: lines.filter(|line| !line.trim_start().starts_with('#')).map(one_line).collect(),
            links: links.map(str::to_owned).collect(),
        }
    }
}

/// Returns whether this is a relative path of a file or directory of the repository, not of a package or a home.
fn names_file(name: &str) -> bool {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "_./-".contains(c));
    let begins = name.split_once('/').is_some_and(|(first, _)| TOP.contains(&first));
    let ends = [".rs", ".md"].iter().any(|ending| name.strip_suffix(*ending).is_some_and(|stem| !stem.is_empty()));
    is_plain && (begins || ends && !name.starts_with(['/', '-', '.']))
}

fn is_in_capitals(name: &str) -> bool {
    name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_')
}

/// Returns whether a word is a placeholder for a command: `COMMAND`, `<command>`, `...`.
fn is_placeholder(word: &str) -> bool {
    word.starts_with('<') || !word.contains(|c: char| c.is_ascii_lowercase())
}

#[test]
fn what_the_pages_name_exists() {
    let definitions = Definitions::read();
    let mut pages: Vec<String> = PAGES.iter().map(|page| (*page).to_owned()).collect();
    for entry in fs::read_dir(definitions.root.join("docs")).unwrap() {
        let name = entry.unwrap().file_name();
        let name = name.to_str().expect("names in docs/ are UTF-8");
        if name.ends_with(".md") {
            pages.push(format!("docs/{name}"));
        }
    }
    pages.sort_unstable();
    let mut faults = Vec::new();
    for page in pages {
        let text = fs::read_to_string(definitions.root.join(&page)).unwrap();
        faults.extend(definitions.faults(&page, &text).into_iter().map(|fault| format!("{page}: {fault}")));
    }
    assert!(faults.is_empty(), "names in the pages that do not exist:\n{}", faults.join("\n"));
}

/// The test above detects a file, a constant, a flag and a command that do not exist.
#[test]
fn what_does_not_exist_is_reported() {
    let definitions = Definitions::read();
    let good = "\
`registry/src/ops.rs`, `ops/fetch.rs`, `cli/src/commands/`, `MAX_BLOCK_BYTES`, `GGEN_HOME`, `--min-replicas`, `mirror ls`,
`ggen marketplace p2p publish ./pkg --version 1.2.3`, `ggen help gpack`, `ggen COMMAND`, [here](docs/gpack.md#keys)

```sh
cargo test --package none        # not ours
export PEER=$(ggen --home DIR marketplace p2p status --format json | grep x)
ggen key recovery show --key default
```
```rust
let file = \"docs/none.md\";
```
";
    assert_eq!(definitions.faults("README.md", good), Vec::<String>::new());
    // Relative to the crate of the page.
    assert_eq!(definitions.faults("cli/README.md", "`tests/suite/main.rs` `src/args.rs`"), Vec::<String>::new());

    let bad = "\
`registry/src/none.rs`, `ops/none.rs`, `docs/none.md`, `MAX_NONE_BYTES`, `GGEN_NONE`, `--none`, `mirror none`,
`ggen marketplace p2p publish ./pkg --none`, `ggen none`, `ggen marketplace
none`, [here](docs/none.md)

```sh
tests/none --flag
export PEER=$(ggen --home DIR marketplace p2p none --format json | grep x)
ggen pin ls --offline
```
";
    assert_eq!(
        definitions.faults("README.md", bad),
        [
            "no file `registry/src/none.rs`",
            "no file `ops/none.rs`",
            "no file `docs/none.md`",
            "no constant `MAX_NONE_BYTES`",
            "no constant `GGEN_NONE`",
            "no flag `--none`",
            "no command `ggen mirror none`",
            "no flag `--none` of `ggen marketplace p2p publish`",
            "no command `ggen none`",
            "no command `ggen marketplace none`",
            "no file `tests/none`",
            "no command `ggen marketplace p2p none`",
            "no flag `--offline` of `ggen pin ls`",
            "no file for the link `docs/none.md`",
        ]
    );
}
