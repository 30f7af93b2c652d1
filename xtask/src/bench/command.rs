//! Commands with places to fill in: `prog -kernel {kernel} 'a b'`.

use anyhow::{Result, bail};

/// A command as words, split as a shell splits them.
#[derive(Debug, PartialEq, Eq)]
pub struct Template(Vec<String>);

impl Template {
    /// Splits `text` at blanks; single and double quotes keep blanks together.
    pub fn parse(text: &str) -> Result<Self> {
        let mut words = Vec::new();
        let mut word: Option<String> = None;
        let mut quote = None;
        for c in text.chars() {
            match (quote, c) {
                (Some(open), _) if c == open => quote = None,
                (Some(_), _) => word.get_or_insert_default().push(c),
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, _) if c.is_whitespace() => words.extend(word.take()),
                (None, _) => word.get_or_insert_default().push(c),
            }
        }
        if quote.is_some() {
            bail!("the command {text} has a quote that is not closed");
        }
        words.extend(word);
        if words.is_empty() {
            bail!("the command is empty");
        }
        Ok(Template(words))
    }

    /// The command with each `{name}` replaced. A value is never split, whatever blanks it has.
    pub fn fill(&self, values: &[(&str, String)]) -> Vec<String> {
        let replace =
            |word: String, (name, value): &(&str, String)| word.replace(&format!("{{{name}}}"), value);
        self.0.iter().map(|word| values.iter().fold(word.clone(), replace)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rstest::rstest;

    #[rstest]
    #[case("a  b c", &["a", "b", "c"])]
    #[case("a 'b c' \"\"", &["a", "b c", ""])]
    #[case("a --x='1 2'3", &["a", "--x=1 23"])]
    fn commands_are_split_as_by_a_shell(#[case] text: &str, #[case] words: &[&str]) {
        assert_eq!(Template::parse(text).unwrap().0, words);
    }

    #[rstest]
    #[case("  ")]
    #[case("a 'b")]
    fn commands_that_are_none_are_refused(#[case] text: &str) {
        assert!(Template::parse(text).is_err());
    }

    #[test]
    fn a_value_with_blanks_stays_one_word() {
        let filled = Template::parse("run --append {append}").unwrap().fill(&[("append", "a b".into())]);
        assert_eq!(filled, ["run", "--append", "a b"]);
    }
}
