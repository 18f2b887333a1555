//! Formats that are read, and what is said of those that are not.

use super::*;

fn read(text: &str) -> Result<Format, String> {
    Format::try_from(text.to_owned()).map_err(|error| error.to_string())
}

#[test]
fn the_default_is_one() {
    assert_eq!(Format::default().text(), DEFAULT_FORMAT);
    assert!(!Format::default().wants_head());
}

#[test]
fn apaches_and_php_fpms_own_formats_are_read() {
    for text in [
        "%h %l %u %t \"%r\" %>s %b",
        "%v:%p %h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"",
        "%{Foobar}i -> %U%q %{msec}t %{end:usec_frac}t %I %S %X %{remote}p %{pid}P 100%%",
        "%R - %u %t \"%m %r%q\" %s %f %{milliseconds}d %n %{REQUEST_TIME}e %{X-Powered-By}o",
        "%{%Y-%m-%dT%H:%M:%S%z}t %{begin:%s}t %T %{us}T %D",
    ] {
        let format = read(text).unwrap();
        assert_eq!(read(&String::from(format.clone())), Ok(format), "{text}");
    }
}

#[test]
fn each_parameter_is_asked_for_once() {
    let format = read("%m %r %{Content-Type}i %{X-a}i %m").unwrap();
    let wanted = [
        "REQUEST_METHOD",
        "REQUEST_URI",
        "SCRIPT_NAME",
        "SERVER_PROTOCOL",
        "CONTENT_TYPE",
        "HTTP_X_A",
    ];
    assert_eq!(format.parameters(), wanted);
}

#[test]
fn text_between_is_kept_together() {
    let text = |text: &str| Item::Text(text.to_owned());
    let format = read("a%%b%sc").unwrap();
    assert_eq!(format.items(), [text("a%b"), Item::Status, text("c")]);
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    for (text, words) in [
        ("%h %y", "has %y (character 4), which is not known"),
        ("\u{e4}%h%", "has % (character 4), which has no letter"),
        ("%{Referer", "has a { that is not closed"),
        ("%i", "has %i (character 1), which needs a name"),
        ("%{a b}i", "has %{a b}i (character 1), which needs the name"),
        (
            "%{hours}T",
            "has %{hours}T (character 1), which is not known",
        ),
        ("%{tid}P", "has %{tid}P (character 1), which is not known"),
        ("%{%Q}t", "has %{%Q}t (character 1), which is no time"),
        ("%{%n}t", "which is no time"),
        ("%{qeue}t", "which is no time"),
        (
            "%400{Referer}i",
            "has %4 (character 1), which is a condition",
        ),
        ("%!200s", "has %! (character 1), which is a condition"),
        ("%Q", "%q has the ?"),
        ("%\u{e4}", "has %\u{e4} (character 1), which is not known"),
        ("a\nb", "one line"),
        ("", "is empty"),
    ] {
        let error = read(text).unwrap_err();
        assert!(error.contains(words), "{text:?}: {error}");
    }
    assert!(read(&"x".repeat(LONGEST + 1)).is_err());
}
