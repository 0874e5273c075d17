use super::*;
use proptest::prelude::*;

const HEX: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

#[test]
fn names_are_completed_as_docker_completes_them() {
    let pinned = format!("sha256:{HEX}");
    for (given, whole) in [
        ("python:3", "docker.io/library/python:3".to_owned()),
        ("python", "docker.io/library/python:latest".to_owned()),
        ("nginx/unit", "docker.io/nginx/unit:latest".to_owned()),
        ("docker.io/python", "docker.io/library/python:latest".to_owned()),
        ("index.docker.io/a/b:1", "docker.io/a/b:1".to_owned()),
        ("ghcr.io/a/b/c:V1.0_x", "ghcr.io/a/b/c:V1.0_x".to_owned()),
        ("127.0.0.1:5000/app", "127.0.0.1:5000/app:latest".to_owned()),
        ("registry:5000/app:2", "registry:5000/app:2".to_owned()),
        ("[::1]:5000/app", "[::1]:5000/app:latest".to_owned()),
        ("[::1]/app", "[::1]/app:latest".to_owned()),
        ("localhost/app", "localhost/app:latest".to_owned()),
        ("localhost:5000/app", "localhost:5000/app:latest".to_owned()),
        ("python:5000", "docker.io/library/python:5000".to_owned()),
        ("MyHost/app", "MyHost/app:latest".to_owned()),
        ("a/b__c.d-e---f:x", "docker.io/a/b__c.d-e---f:x".to_owned()),
        (&format!("app@{pinned}"), format!("docker.io/library/app@{pinned}")),
        // The digest decides; the tag beside it is a comment.
        (&format!("app:1@{pinned}"), format!("docker.io/library/app@{pinned}")),
    ] {
        let name = ImageName::parse(given).unwrap_or_else(|e| panic!("{given}: {e}"));
        assert_eq!(name.to_string(), whole, "{given}");
        assert_eq!(ImageName::parse(&whole).expect("again"), name, "{given}");
    }
}

#[test]
fn bad_names_say_what_is_wrong() {
    use NameProblem::*;
    let long = "a/".repeat(130) + "a";
    let long_tag = format!("a:{}", "t".repeat(129));
    for (given, problem) in [
        ("", Empty),
        (":tag", Empty),
        ("host.example/", Empty),
        ("a:", Tag),
        ("a:-x", Tag),
        (&long_tag, Tag),
        ("a:b c", Tag),
        ("App", UpperCase),
        ("ghcr.io/App", UpperCase),
        ("a..b", Path),
        ("a___b", Path),
        ("a//b", Path),
        ("a/../b", Path),
        ("-a", Path),
        ("a b", Path),
        ("../a", Host),
        ("http://host/a", Host),
        ("host:99999/a", Host),
        ("-host.example/a", Host),
        ("[::g]/a", Host),
        ("a@sha256:12", Digest),
        ("a@md5:0123", Digest),
        (HEX, LooksLikeId),
        (&long, TooLong),
    ] {
        assert_eq!(ImageName::parse(given), Err(problem), "{given}");
    }
}

#[test]
fn only_this_machine_is_loopback_and_only_localhost_is_the_store() {
    for (given, loopback, local) in [
        ("localhost/a", true, true),
        ("localhost:5000/a", true, false),
        ("hub.localhost:5000/a", true, false),
        ("127.8.9.1:5000/a", true, false),
        ("[::1]:5000/a", true, false),
        ("[::2]:5000/a", false, false),
        ("128.0.0.1:5000/a", false, false),
        ("localhost.example.com/a", false, false),
        ("notlocalhost:1/a", false, false),
        ("python", false, false),
    ] {
        let name = ImageName::parse(given).expect(given);
        assert_eq!((name.is_loopback(), name.is_local()), (loopback, local), "{given}");
    }
    let name = ImageName::parse("hub.localhost:5000/a").expect("name");
    assert_eq!(name.address(), "127.0.0.1:5000");
    assert_eq!(ImageName::parse("python").expect("name").endpoint(), "docker.io:443");
    assert_eq!(ImageName::parse("127.0.0.1/a").expect("name").endpoint(), "127.0.0.1:80");
}

proptest! {
    #[test]
    fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,60}") {
        if let Ok(name) = ImageName::parse(&text) {
            prop_assert_eq!(ImageName::parse(&name.to_string()), Ok(name));
        }
    }

    #[test]
    fn every_name_of_the_grammar_is_read(
        host in "([a-z0-9]{1,5}\\.){1,3}[a-z]{2,4}(:[1-9][0-9]{0,3})?",
        path in "[a-z0-9]{1,4}((\\.|_|__|-{1,3})[a-z0-9]{1,3}){0,2}(/[a-z0-9]{1,6}){0,3}",
        tag in "[A-Za-z0-9_][A-Za-z0-9_.-]{0,20}",
    ) {
        let text = format!("{host}/{path}:{tag}");
        let name = ImageName::parse(&text).map_err(|e| TestCaseError::fail(e.to_string()))?;
        prop_assert_eq!(name.to_string(), if host == "docker.io" { name.to_string() } else { text });
        prop_assert_eq!(name.tag(), Some(tag.as_str()));
    }
}
