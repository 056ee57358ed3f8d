//! Changes the text of one TOML file: what isn't meant stays byte for byte, comments and line ends included.
//!
//! Sections as people write them, `[tenants.ID]` and keys below it, are cut and filled by their place in the text. Where a
//! tenant is written in one line or with dotted keys, toml_edit writes the file anew.

use std::ops::Range;

use toml_edit::{Document, DocumentMut, InlineTable, Item, Key, Table, TableLike, Value};

use crate::config::{PauseConfig, TenantId};

const TENANTS: &str = "tenants";
const PAUSED: &str = "paused";

/// Whether the file has a section for the tenant.
pub fn names_tenant(text: &str, id: &TenantId) -> bool {
    Document::parse(text).is_ok_and(|document| find(document.as_table(), id).is_some())
}

/// A new section with these settings, as text.
pub fn render_section(id: &TenantId, settings: &[(&str, String)]) -> String {
    let lines = settings.iter().map(|(key, value)| format!("{key} = {}\n", Value::from(value.as_str())));
    format!("[{TENANTS}.{id}]\n{}", lines.collect::<String>())
}

/// The text with a section at its end.
pub fn append_section(text: &str, section: &str) -> String {
    let end = line_end(text);
    let gap = match text {
        "" => "",
        text if text.ends_with('\n') => end,
        _ => &end.repeat(2),
    };
    format!("{text}{gap}{}", section.replace('\n', end))
}

/// The text with the tenant paused; `None` where it has no section in here.
pub fn set_pause(text: &str, id: &TenantId, pause: &PauseConfig) -> Option<String> {
    let text = clear_pause(text, id).unwrap_or_else(|| text.to_owned());
    let document = Document::parse(text.as_str()).ok()?;
    let pause = render_pause(pause);
    if let Item::Table(section) = find(document.as_table(), id)?
        && let Some(own) = section_range(&text, section)
    {
        let end = line_end(&text);
        let before = if text[..own.end].ends_with('\n') { "" } else { end };
        let line = format!("{before}{PAUSED} = {pause}{end}");
        return Some(format!("{}{line}{}", &text[..own.end], &text[own.end..]));
    }
    let mut document: DocumentMut = text.parse().ok()?;
    find_mut(&mut document, id)?.insert(PAUSED, Item::Value(Value::from(pause)));
    Some(document.to_string())
}

/// The text without the tenant's pause; `None` where there is none.
pub fn clear_pause(text: &str, id: &TenantId) -> Option<String> {
    let document = Document::parse(text).ok()?;
    let section = find(document.as_table(), id)?;
    let (key, paused) = section.as_table_like()?.get_key_value(PAUSED)?;
    if let (Item::Table(section), Item::Value(_)) = (section, paused)
        && !section.is_dotted()
        && let Some(range) = entry_range(key, paused)
    {
        return Some(cut(text, vec![whole_lines(text, range)]));
    }
    let mut document: DocumentMut = text.parse().ok()?;
    find_mut(&mut document, id)?.remove(PAUSED)?;
    Some(document.to_string())
}

/// The text without the tenant's section; comments above it stay. `None` where it has none.
pub fn remove_section(text: &str, id: &TenantId) -> Option<String> {
    let document = Document::parse(text).ok()?;
    let mut ranges = Vec::new();
    if let Item::Table(section) = find(document.as_table(), id)?
        && collect_ranges(text, section, &mut ranges)
    {
        return Some(cut(text, ranges));
    }
    let mut document: DocumentMut = text.parse().ok()?;
    document.get_mut(TENANTS)?.as_table_like_mut()?.remove(id.as_str())?;
    Some(document.to_string())
}

/// Whether nothing is left but comments.
pub fn is_empty(text: &str) -> bool {
    Document::parse(text).is_ok_and(|document| document.as_table().is_empty())
}

fn render_pause(pause: &PauseConfig) -> InlineTable {
    let mut table = InlineTable::new();
    table.insert("reason", Value::from(pause.reason.as_str()));
    if let Some(until) = pause.until {
        let until = until.to_string().parse::<toml_edit::Datetime>();
        table.insert("until", Value::from(until.expect("RFC 3339 is what both write")));
    }
    table
}

fn find<'a>(document: &'a Table, id: &TenantId) -> Option<&'a Item> {
    document.get(TENANTS)?.as_table_like()?.get(id.as_str())
}

fn find_mut<'a>(document: &'a mut DocumentMut, id: &TenantId) -> Option<&'a mut dyn TableLike> {
    document.get_mut(TENANTS)?.as_table_like_mut()?.get_mut(id.as_str())?.as_table_like_mut()
}

/// A section's own lines, from its header to its last key; `None` where it has no header of its own.
fn section_range(text: &str, section: &Table) -> Option<Range<usize>> {
    if section.is_dotted() || section.is_implicit() {
        return None;
    }
    let header = section.span()?;
    let mut end = header.end;
    for (key, item) in section.iter().filter_map(|(key, _)| section.get_key_value(key)) {
        match item {
            Item::Value(_) => end = end.max(entry_range(key, item)?.end),
            Item::Table(table) if table.is_dotted() => return None,
            Item::Table(_) => {}
            Item::None | Item::ArrayOfTables(_) => return None,
        }
    }
    Some(whole_lines(text, header.start..end))
}

/// The lines of a section and of those below it; false where one of them isn't written as a section.
fn collect_ranges(text: &str, section: &Table, ranges: &mut Vec<Range<usize>>) -> bool {
    let Some(own) = section_range(text, section) else { return false };
    ranges.push(own);
    section.iter().all(|(_, item)| match item {
        Item::Table(below) => collect_ranges(text, below, ranges),
        _ => true,
    })
}

fn entry_range(key: &Key, item: &Item) -> Option<Range<usize>> {
    Some(key.span()?.start..item.span()?.end)
}

fn whole_lines(text: &str, range: Range<usize>) -> Range<usize> {
    let start = text[..range.start].rfind('\n').map_or(0, |newline| newline + 1);
    let end = text[range.end..].find('\n').map_or(text.len(), |newline| range.end + newline + 1);
    start..end
}

fn cut(text: &str, mut ranges: Vec<Range<usize>>) -> String {
    ranges.sort_by_key(|range| range.start);
    let mut rest = text.to_owned();
    for range in ranges.into_iter().rev() {
        rest.replace_range(range, "");
    }
    rest
}

fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# all of them\n[gateway] # here\nlisten = \"0.0.0.0:1\"\n\n# about A\n[tenants.A]   # the first\n\
                        name = \"A\" # for people\n# what may go\neligibility = { grace_days = 1 }\n\n# about B\n\
                        [tenants.B]\nname = '''\n[tenants.A]\n'''\n[tenants.B.eligibility]\ngrace_days = 2\n\n# the end\n";

    fn id(text: &str) -> TenantId {
        TenantId::parse(text).unwrap()
    }

    fn pause() -> PauseConfig {
        PauseConfig {
            reason: "moving \"it\"".to_owned(),
            until: Some("2026-12-01T08:00:00Z".parse().unwrap()),
        }
    }

    const LINE: &str = "paused = { reason = 'moving \"it\"', until = 2026-12-01T08:00:00Z }";

    #[test]
    fn a_pause_is_one_line_more_and_resuming_takes_it_away_again() {
        for (tenant, after) in [("A", "eligibility = { grace_days = 1 }\n"), ("B", "[tenants.A]\n'''\n")] {
            let paused = set_pause(TEXT, &id(tenant), &pause()).unwrap();

            assert_eq!(paused, TEXT.replace(after, &format!("{after}{LINE}\n")));
            assert_eq!(clear_pause(&paused, &id(tenant)).unwrap(), TEXT);
            assert_eq!(
                set_pause(&paused, &id(tenant), &pause()).unwrap(),
                paused,
                "set twice, it stands once"
            );
        }
        assert_eq!(set_pause(TEXT, &id("C"), &pause()), None);
        assert_eq!(clear_pause(TEXT, &id("A")), None);
    }

    #[test]
    fn line_ends_stay_as_they_are() {
        let text = TEXT.replace('\n', "\r\n");
        let paused = set_pause(&text, &id("A"), &pause()).unwrap();

        assert_eq!(paused.matches('\n').count(), paused.matches("\r\n").count());
        assert_eq!(clear_pause(&paused, &id("A")).unwrap(), text);
    }

    #[test]
    fn a_file_that_ends_in_the_midst_of_a_line_is_gone_on_with() {
        let text = "[tenants.A]\nname = \"A\"";

        assert_eq!(set_pause(text, &id("A"), &pause()).unwrap(), format!("{text}\n{LINE}\n"));
        assert_eq!(append_section(text, "[x]\n"), format!("{text}\n\n[x]\n"));
        assert_eq!(append_section("", "[x]\n"), "[x]\n");
        assert_eq!(append_section("a = 1\n", "[x]\n"), "a = 1\n\n[x]\n");
    }

    #[test]
    fn a_tenant_in_another_form_is_paused_too() {
        for text in [
            "[tenants]\nA = { name = \"A\" }\n",
            "[tenants]\nA.name = \"A\"\n",
            "[tenants.A.eligibility]\ngrace_days = 1\n",
            "[tenants.A]\neligibility.grace_days = 1\n",
        ] {
            let paused = set_pause(text, &id("A"), &pause()).unwrap();
            let table: toml::Table = paused.parse().unwrap();
            assert!(table["tenants"]["A"]["paused"].is_table(), "{paused}");
            let resumed: toml::Table = clear_pause(&paused, &id("A")).unwrap().parse().unwrap();
            assert_eq!(resumed, text.parse::<toml::Table>().unwrap());
        }
    }

    #[test]
    fn removing_a_tenant_leaves_the_others_and_every_comment_around_it() {
        let without_a = remove_section(TEXT, &id("A")).unwrap();
        let without_b = remove_section(TEXT, &id("B")).unwrap();

        assert_eq!(
            without_a,
            TEXT.replace(
                "[tenants.A]   # the first\nname = \"A\" # for people\n# what may go\neligibility = { grace_days = 1 }\n",
                ""
            )
        );
        assert!(without_b.ends_with("# about B\n\n# the end\n"), "{without_b}");
        assert!(names_tenant(&without_b, &id("A")) && !names_tenant(&without_b, &id("B")));
        assert!(!is_empty(&without_b) && is_empty("# nothing\n"));
        assert_eq!(remove_section("[tenants]\nA = { name = \"A\" }\n", &id("A")).unwrap(), "[tenants]\n");
    }

    #[test]
    fn a_section_is_written_with_its_values_quoted() {
        let section = render_section(&id("A"), &[("name", "a \"b\" \\".to_owned())]);

        let table: toml::Table = section.parse().unwrap();
        assert_eq!(table["tenants"]["A"]["name"].as_str(), Some("a \"b\" \\"));
    }
}
