//! [`Graph`]: which module imports which.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::source::{self, Source};

/// The importing module and the imported one, as in `parse::strace::line`. The crate root is empty.
pub type Edge = (String, String);

/// The modules of one crate and the imports between them.
#[derive(Clone)]
pub struct Graph {
    pub modules: BTreeSet<String>,
    /// Each import with the place (file and line) of its first occurrence.
    pub edges: BTreeMap<Edge, String>,
}

struct Module {
    file: PathBuf,
    source: Source,
}

impl Graph {
    /// Reads the crate with this root file.
    pub fn of(root: &Path) -> Graph {
        let mut modules = BTreeMap::new();
        load(root.to_path_buf(), Vec::new(), root, &mut modules);
        let mut edges = BTreeMap::new();
        for (name, module) in &modules {
            for (path, line) in &module.source.uses {
                if let Some(target) = resolve(&modules, name, path, 0)
                    && target != *name
                {
                    let place = format!("{}:{line}", module.file.display());
                    edges.entry((join(name), join(&target))).or_insert(place);
                }
            }
        }
        Graph { modules: modules.keys().map(|m| join(m)).collect(), edges }
    }

    /// The sets of modules that reach each other.
    pub fn cycles(&self) -> Vec<BTreeSet<String>> {
        let mut next: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (from, to) in self.edges.keys() {
            next.entry(from).or_default().push(to);
        }
        let reach = |start: &str| {
            let mut seen = BTreeSet::new();
            let mut open: Vec<&str> = next.get(start).cloned().unwrap_or_default();
            while let Some(module) = open.pop() {
                if seen.insert(module.to_string()) {
                    open.extend(next.get(module).into_iter().flatten());
                }
            }
            seen
        };
        let all: BTreeMap<&str, BTreeSet<String>> =
            self.modules.iter().map(|m| (m.as_str(), reach(m))).collect();
        let mut cycles: Vec<BTreeSet<String>> = Vec::new();
        for (module, reached) in &all {
            let cycle: BTreeSet<String> =
                reached.iter().filter(|m| all[m.as_str()].contains(*module)).cloned().collect();
            if cycle.contains(*module) && !cycles.contains(&cycle) {
                cycles.push(cycle);
            }
        }
        cycles
    }

    /// The imports within a cycle, a line each.
    pub fn describe(&self, cycle: &BTreeSet<String>) -> String {
        let inside = |edge: &Edge| cycle.contains(&edge.0) && cycle.contains(&edge.1);
        let imports = self.edges.iter().filter(|(edge, _)| inside(edge));
        let lines = imports.map(|((from, to), place)| format!("  {from} -> {to}  ({place})\n"));
        format!("{} modules:\n{}", cycle.len(), lines.collect::<String>())
    }
}

type Name = Vec<String>;

fn join(name: &[String]) -> String {
    name.join("::")
}

/// Reads a module and those below it.
fn load(file: PathBuf, name: Name, root: &Path, into: &mut BTreeMap<Name, Module>) {
    let text = std::fs::read_to_string(&file)
        .unwrap_or_else(|e| panic!("{} cannot be read: {e}", file.display()));
    let source = Source::read(&text);
    let is_folder = file == root || file.file_name().is_some_and(|n| n == "mod.rs");
    let folder = if is_folder { file.with_file_name("") } else { file.with_extension("") };
    for child in &source.children {
        let mut name = name.clone();
        name.push(child.clone());
        let flat = folder.join(format!("{child}.rs"));
        let nested = folder.join(child).join("mod.rs");
        load(if flat.exists() { flat } else { nested }, name, root, into);
    }
    let shown = file.strip_prefix(env!("CARGO_MANIFEST_DIR")).unwrap_or(&file).to_path_buf();
    into.insert(name, Module { file: shown, source });
}

/// The module that defines what `path` means in module `from`; `None`: another crate's, or local.
fn resolve(
    modules: &BTreeMap<Name, Module>,
    from: &Name,
    path: &source::Path,
    depth: usize,
) -> Option<Name> {
    const MAX_REEXPORTS: usize = 16;
    if depth > MAX_REEXPORTS {
        return None;
    }
    let source = &modules.get(from)?.source;
    let mut rest = path.as_slice();
    let mut module = match rest.first()?.as_str() {
        "crate" => Vec::new(),
        "self" => from.clone(),
        "super" => from[..from.len().checked_sub(1)?].to_vec(),
        child if source.children.iter().any(|c| c == child) => {
            let mut module = from.clone();
            module.push(child.into());
            module
        }
        // A module or type that a `use` declaration brought in: that declaration counts.
        _ => return None,
    };
    rest = &rest[1..];
    while let Some((first, after)) = rest.split_first() {
        if first == "super" {
            module.pop()?;
        } else {
            let source = &modules.get(&module)?.source;
            if source.children.contains(first) {
                module.push(first.clone());
            } else if let Some(path) = source.names.get(first) {
                let path: Vec<String> = path.iter().chain(after).cloned().collect();
                // A name of another crate is local to the module that brings it in.
                return resolve(modules, &module, &path, depth + 1).or(Some(module));
            } else {
                return Some(module);
            }
        }
        rest = after;
    }
    Some(module)
}

fn graph(edges: &[(&str, &str)]) -> Graph {
    let edges: BTreeMap<Edge, String> =
        edges.iter().map(|(a, b)| ((a.to_string(), b.to_string()), String::new())).collect();
    let modules = edges.keys().flat_map(|(a, b)| [a.clone(), b.clone()]).collect();
    Graph { modules, edges }
}

#[test]
fn cycles_are_found_through_several_modules() {
    let acyclic = [("a", "b"), ("b", "c"), ("a", "c")];
    assert!(graph(&acyclic).cycles().is_empty());
    let cyclic = [("a", "b"), ("b", "c"), ("c", "b"), ("d", "a")];
    assert_eq!(graph(&cyclic).cycles(), [BTreeSet::from(["b".to_string(), "c".into()])]);
}
