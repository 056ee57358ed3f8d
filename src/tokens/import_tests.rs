use super::*;

fn read(text: &str) -> Result<Imports, Vec<String>> {
    read_imports(text.as_bytes(), FieldProfile::Standard)
        .map_err(|faults| faults.iter().map(ToString::to_string).collect())
}

fn faults(text: &str) -> Vec<String> {
    read(text).err().expect("a file with faults")
}

#[test]
fn a_token_and_a_vendor_are_enough() {
    let imports = read("token,vendor\n4c1f07c2-8e1c-4a4b-9a55-6a0f3b0a0001,Northern\n").unwrap();

    let token = &imports.tokens[0];
    assert_eq!(imports.len(), 1);
    assert!(token.hash == hash_token("4c1f07c2-8e1c-4a4b-9a55-6a0f3b0a0001"));
    assert_eq!((token.line, token.vendor.as_str()), (2, "Northern"));
    assert_eq!(token.permissions, [Permission::documented()]);
    assert_eq!((token.profile, token.sandbox), (FieldProfile::Standard, false));
    assert_eq!((token.expires_at, token.allowed.as_slice()), (None, [].as_slice()));
    assert_eq!(imports.short_lines(), [0; 0]);
}

#[test]
fn columns_come_in_any_order_with_a_spreadsheets_habits() {
    let imports = read(
        "\u{feff}Vendor,expires,ALLOW,sandbox,fields,permission,token\r\n\
         \"Northern, Inc.\",2027-01-31,192.0.2.7/24 ::ffff:198.51.100.1,true,full,a:b c:d, abc-1 \r\n\
         Acme,2027-01-31T12:00:00+02:00,,,,,abc-2\r\n",
    )
    .unwrap();

    let [first, second] = imports.tokens.as_slice() else { panic!("two tokens") };
    assert!(first.hash == hash_token("abc-1"));
    assert_eq!(first.vendor, "Northern, Inc.");
    assert_eq!(first.expires_at.unwrap().to_string(), "2027-01-31T00:00:00Z");
    assert_eq!(to_cidr(&first.allowed).unwrap(), ["192.0.2.0/24", "198.51.100.1/32"]);
    assert_eq!((first.profile, first.sandbox, first.permissions.len()), (FieldProfile::Full, true, 2));
    assert_eq!(second.expires_at.unwrap().to_string(), "2027-01-31T10:00:00Z");
    assert_eq!(imports.short_lines(), [2, 3], "seven characters can be guessed");
}

#[test]
fn a_line_is_counted_as_an_editor_counts_it() {
    for end in ["\n", "\r\n"] {
        let file = ["token,vendor", "", "abc,\"two\nlines\"", "", "abd,", "abc,Acme"].join(end);

        assert_eq!(
            faults(&file),
            ["line 6: vendor is empty", "line 7: has the same token as line 3"],
            "{end:?}"
        );
    }
}

#[test]
fn every_fault_is_told_with_its_line_and_nothing_of_the_file() {
    let long = "x".repeat(51);
    let file = format!(
        "token,vendor,permission,fields,sandbox,expires,allow\n\
         canary_one,Northern,,,,,\n\
         {long},,,,,,\n\
         ,Northern,canary,canary,canary,canary,canary\n\
         canary-four,Northern\n\
         canary-five,Northern,,,,,\n\
         canary-five,Acme,,,,,\n\
         canary-seven,Acme,,,,2027-01-31T12:00:00,\n"
    );

    let faults = faults(&file);

    assert_eq!(
        faults,
        [
            "line 2: token has characters beside letters, digits and dashes",
            "line 3: token has more than 50 characters",
            "line 3: vendor is empty",
            "line 4: token is empty",
            "line 4: permission isn't ACTION:RESOURCE, like user-create:violation_collection",
            "line 4: fields is none of full, standard, minimal",
            "line 4: sandbox is neither true nor false",
            "line 4: expires is neither like 2027-01-31 nor like 2027-01-31T12:00:00Z",
            "line 4: allow isn't a network: write it like 192.0.2.0/24 or 2001:db8::/32",
            "line 5: has 2 fields where the first line names 7",
            "line 7: has the same token as line 6",
            "line 8: expires is neither like 2027-01-31 nor like 2027-01-31T12:00:00Z",
        ]
    );
}

#[test]
fn a_first_line_that_is_no_header_is_refused_without_its_text() {
    let headerless = faults("canary-token,Northern\n");
    let twice = faults("token,token,vendor\nabc,abc,Northern\n");
    let nobody = faults("token\nabc\n");

    assert_eq!(headerless.len(), 4);
    assert!(
        headerless[0].starts_with("line 1: the name of column 1 is none of token, vendor,"),
        "{headerless:?}"
    );
    assert!(headerless.iter().all(|fault| !fault.contains("canary") && !fault.contains("Northern")));
    assert_eq!(twice, ["line 1: names the column token twice"]);
    assert_eq!(nobody, ["line 1: the column vendor is missing"]);
}

#[test]
fn a_file_without_a_token_or_in_another_coding_is_refused() {
    assert_eq!(faults("token,vendor\n"), ["line 1: no token follows"]);
    assert_eq!(faults(""), ["line 1: the column token is missing", "line 1: the column vendor is missing"]);

    let latin1 = read_imports(b"token,vendor\nabc,Soci\xe9t\xe9\nabd,\n", FieldProfile::Full).err().unwrap();
    let latin1: Vec<String> = latin1.iter().map(ToString::to_string).collect();
    assert_eq!(latin1, ["line 2: isn't UTF-8", "line 3: vendor is empty"]);
}
