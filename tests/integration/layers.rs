//! The shape of the code: imports go downwards only, and each crate, URL, SQL text and variable stays behind its wall.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every module of the crate, from the ground up: one may import those of earlier rows, none of its own row.
const RANKS: [&[&str]; 15] = [
    &["certificates", "clock", "cluster", "compress", "config", "metrics", "tls", "traces", "transport"],
    &["access_log", "database", "limits", "log", "outlet", "router"],
    &["audit", "explain", "loadtest", "migrate", "provision", "records"],
    &["ledger"],
    &["claim", "tenant"],
    &["auth", "batches", "directory"],
    &["delivery", "tokens"],
    &["request"],
    &["problem"],
    &["response"],
    &["openapi"],
    &["handler"],
    &["listener", "reload", "scrape", "sweep"],
    &["admin"],
    &["cli"],
];

/// Where HTTP is spoken, beside `admin`.
const HTTP: [&str; 11] = [
    "cli/demo/call.rs",
    "handler.rs",
    "handler/correlation.rs",
    "listener.rs",
    "loadtest/call.rs",
    "loadtest/connections.rs",
    "loadtest/endpoint.rs",
    "loadtest/once/collect.rs",
    "problem.rs",
    "request.rs",
    "response.rs",
];

/// Where the driver is named outside `database`, and why.
const DRIVER: [(&str, &str); 16] = [
    ("claim.rs", "the rows of its own answer"),
    ("cli/demo/databases.rs", "makes roles and databases as a superuser, who is no tenant"),
    ("cli/demo/error.rs", "the error of that"),
    ("cli/sample.rs", "runs as the schema's owner, outside any pool"),
    ("cluster.rs", "how its superuser connects"),
    ("cluster/error.rs", "the error of that"),
    ("cluster/plan.rs", "waits until the server answers"),
    ("config/connection.rs", "a parsed URL is the driver's own type"),
    ("config/database_tls.rs", "sslmode is part of it"),
    ("config/database_url.rs", "parses it"),
    ("migrate.rs", "refinery takes the driver's client"),
    ("provision.rs", "runs as the server's administrator, who is no tenant"),
    ("records/encode.rs", "writes JSON straight from the rows' binary values"),
    ("records/read.rs", "the same"),
    ("records/shape.rs", "the same: columns and their types"),
    ("records/value.rs", "the same"),
];

/// One file of src/, without comments and without its unit tests.
struct Source {
    path: String,
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut directories = vec![root.clone()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                directories.push(path);
            } else if name.ends_with(".rs") && !name.ends_with("tests.rs") && !name.ends_with("workspace.rs")
            {
                let text = fs::read_to_string(&path).unwrap();
                let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
                let lines = text.lines().filter(|line| !line.trim_start().starts_with("//"));
                sources.push(Source { path: name, code: lines.collect::<Vec<_>>().join("\n") });
            }
        }
    }
    assert!(sources.len() > 40, "src/ was read");
    sources
}

impl Source {
    /// The module of the crate that the file is part of.
    fn module(&self) -> &str {
        self.path.split(['/', '.']).next().unwrap()
    }

    /// The modules that `crate::` names, alone or in braces.
    fn imports(&self) -> BTreeSet<String> {
        let mut imports = BTreeSet::new();
        for (at, _) in self.code.match_indices("crate::") {
            let rest = &self.code[at + "crate::".len()..];
            let named = match rest.strip_prefix('{') {
                Some(list) => &list[..list.find("};").expect("a list ends")],
                None => rest,
            };
            let mut depth = 0;
            let items = named.split(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                c == ',' && depth == 0
            });
            let items: Vec<&str> = if rest.starts_with('{') { items.collect() } else { vec![rest] };
            imports.extend(items.into_iter().map(|item| {
                item.trim().chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect::<String>()
            }));
        }
        imports.remove("");
        imports
    }

    /// Whether the code names a crate's paths: `name::`, not as the end of a longer name.
    fn names_crate(&self, name: &str) -> bool {
        let path = format!("{name}::");
        self.code.match_indices(&path).any(|(at, _)| {
            !self.code[..at].ends_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':' | '.'))
        })
    }
}

fn files_that(condition: impl Fn(&Source) -> bool) -> BTreeSet<String> {
    sources().into_iter().filter(condition).map(|source| source.path).collect()
}

fn set<'a>(paths: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    paths.into_iter().map(str::to_owned).collect()
}

#[test]
fn modules_import_downwards_only() {
    let ranks: BTreeMap<&str, usize> = RANKS
        .iter()
        .enumerate()
        .flat_map(|(rank, modules)| modules.iter().map(move |module| (*module, rank)))
        .collect();
    let mut upwards = Vec::new();
    let mut seen = BTreeSet::new();

    for source in sources().iter().filter(|source| !matches!(source.module(), "lib" | "main")) {
        let module = source.module();
        let rank = *ranks.get(module).unwrap_or_else(|| panic!("{module} has no rank"));
        seen.insert(module.to_owned());
        for import in source.imports().iter().filter(|import| *import != module) {
            let below =
                *ranks.get(import.as_str()).unwrap_or_else(|| panic!("{}: crate::{import}?", source.path));
            if below >= rank {
                upwards.push(format!("{} imports {import}", source.path));
            }
        }
    }

    assert_eq!(upwards, [""; 0]);
    assert_eq!(
        seen,
        ranks.keys().map(|module| (*module).to_owned()).collect(),
        "the table is of what there is"
    );
}

#[test]
fn http_is_spoken_in_few_places() {
    let speaks = |source: &Source| {
        let crates = ["hyper", "hyper_util", "http", "http_body_util"];
        source.module() != "admin" && crates.iter().any(|name| source.names_crate(name))
    };

    let strangers: Vec<String> = files_that(speaks).difference(&set(HTTP)).cloned().collect();

    assert_eq!(strangers, [""; 0]);
}

#[test]
fn the_driver_is_named_where_sql_is_spoken() {
    let named = files_that(|source| {
        let driver = ["tokio_postgres", "deadpool_postgres"].iter().any(|name| source.names_crate(name));
        driver && source.module() != "database"
    });

    let strangers: Vec<String> =
        named.difference(&set(DRIVER.map(|(path, _reason)| path))).cloned().collect();

    assert_eq!(strangers, [""; 0]);
}

#[test]
fn an_exception_that_is_not_needed_any_more_is_struck_off() {
    let driver = files_that(|source| source.names_crate("tokio_postgres"));
    let http = files_that(|source| source.names_crate("hyper") || source.names_crate("http"));

    let idle: Vec<String> = set(DRIVER.map(|(path, _reason)| path)).difference(&driver).cloned().collect();
    let silent: Vec<String> = set(HTTP).difference(&http).cloned().collect();

    assert_eq!(idle, [""; 0]);
    assert_eq!(silent, [""; 0]);
}

#[test]
fn sql_stands_in_sql_files() {
    let verbs = ["SELECT ", "INSERT INTO ", "UPDATE ", "DELETE FROM "];

    let files = files_that(|source| verbs.iter().any(|verb| source.code.contains(verb)));

    assert_eq!(files, set([]));
}

#[test]
fn urls_are_known_to_the_router() {
    let files = files_that(|source| source.code.contains("/api/") && !source.path.starts_with("cli/demo"));

    let operators = files_that(|source| source.code.contains("\"/admin/"));

    // problem.rs: the words of an error tell a vendor how to write the path.
    assert_eq!(files, set(["problem.rs", "router.rs"]));
    assert_eq!(operators, set(["admin/router.rs"]));
}

#[test]
fn the_environment_is_read_by_the_command_line_and_the_configuration() {
    let files = files_that(|source| {
        ["env::var(", "env::var_os(", "env::vars("].iter().any(|read| source.code.contains(read))
    });

    // cluster/installation.rs: looks for PostgreSQL's programs on the PATH.
    assert_eq!(files, set(["cli.rs", "cluster/installation.rs", "config.rs"]));
}
