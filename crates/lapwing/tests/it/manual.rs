//! Help, completions and manual pages: one definition, three forms.

use crate::support::server::lapwing;

/// Every long flag that the help of a command shows.
fn flags(command: &str) -> Vec<String> {
    let help = lapwing(&[command, "--help"]);
    assert_eq!(help.code, Some(0));
    let lines = help.out.iter().filter_map(|line| line.trim_start().strip_prefix("--"));
    let flags: Vec<_> = lines
        .map(|line| line.split([' ', '=']).next().unwrap().to_owned())
        .collect();
    assert!(flags.len() > 2, "{command}: {flags:?}");
    flags
}

#[test]
fn completions_and_manual_pages_know_every_flag_of_the_help() {
    let bash = lapwing(&["completions", "bash"]).out.join("\n");
    for command in ["serve", "listen", "verify", "export", "publish", "demo"] {
        // The manual writes a dash as \-.
        let page = lapwing(&["man", command]).out.join("\n").replace("\\-", "-");
        for flag in flags(command) {
            assert!(bash.contains(&format!("--{flag}")), "completions of {command}: {flag}");
            assert!(page.contains(&format!("--{flag}")), "manual of {command}: {flag}");
        }
    }
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert_eq!(lapwing(&["completions", shell]).code, Some(0), "{shell}");
    }
    let unknown = lapwing(&["man", "dance"]);
    assert_eq!(unknown.code, Some(2));
    assert_eq!(unknown.err[1], "hint: lapwing --help lists the commands");
}

#[test]
fn the_short_help_fits_a_screen_and_every_flag_says_its_default() {
    for command in ["serve", "listen", "verify", "export", "publish", "demo"] {
        let short = lapwing(&[command, "-h"]).out;
        assert!(short.len() <= 60, "{command}: {} lines", short.len());
        assert!(short.iter().all(|line| line.chars().count() <= 100), "{command}");
        let long = lapwing(&[command, "--help"]).out.join("\n");
        for flag in flags(command)
            .iter()
            .filter(|flag| !["help", "color", "json"].contains(&flag.as_str()))
        {
            // Where it is described: the usage line may name it, and another may begin with its name.
            let named = |line: &str| {
                let name = line.trim().strip_prefix("--").unwrap_or_default();
                name.split([' ', '=']).next() == Some(flag)
            };
            let begin = long
                .split_inclusive('\n')
                .take_while(|line| !named(line))
                .map(str::len)
                .sum::<usize>();
            let about = long[begin..].trim_start();
            let end = about[2..].find("\n      --").map_or(about.len(), |end| end + 2);
            assert!(about[..end].contains("[default:"), "{command} --{flag} says no default");
        }
    }
}
