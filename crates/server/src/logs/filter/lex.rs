//! The words of a filter.

use super::FilterError;

/// A word and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Token {
    pub(super) kind: TokenKind,
    /// Index of its first character.
    pub(super) start: usize,
    /// Index after its last character.
    pub(super) end: usize,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum TokenKind {
    Open,
    Close,
    Comma,
    /// A minus before a restriction: NOT.
    Minus,
    And,
    Or,
    Not,
    Op(Op),
    /// Without quotes.
    Text(String),
    /// What stands between quotes, escapes untouched.
    Quoted(String),
    End,
}

/// How a field is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
    /// `:`
    Has,
    /// `=~`
    Matches,
    /// `!~`
    MatchesNot,
}

/// Longer ones come first: `>=` is not `>` and `=`.
const OPS: [(&str, Op); 9] = [
    ("!=", Op::NotEqual),
    ("!~", Op::MatchesNot),
    ("=~", Op::Matches),
    ("<=", Op::LessOrEqual),
    (">=", Op::GreaterOrEqual),
    ("=", Op::Equal),
    ("<", Op::Less),
    (">", Op::Greater),
    (":", Op::Has),
];

/// Splits a filter into words; the last is [`TokenKind::End`].
pub(super) fn tokens(text: &str) -> Result<Vec<Token>, FilterError> {
    let chars: Vec<char> = text.chars().collect();
    let mut tokens = Vec::new();
    let mut at = 0;
    loop {
        at = skip(&chars, at);
        let (kind, end) = token(&chars, at)?;
        let last = kind == TokenKind::End;
        tokens.push(Token { kind, start: at, end });
        if last {
            return Ok(tokens);
        }
        at = end;
    }
}

/// The next place that is neither white space nor a comment (`--` to the end of the line).
fn skip(chars: &[char], mut at: usize) -> usize {
    loop {
        while chars.get(at).is_some_and(|c| c.is_whitespace()) {
            at += 1;
        }
        if !chars[at..].starts_with(&['-', '-']) {
            return at;
        }
        while chars.get(at).is_some_and(|c| *c != '\n') {
            at += 1;
        }
    }
}

fn token(chars: &[char], at: usize) -> Result<(TokenKind, usize), FilterError> {
    let Some(first) = chars.get(at) else {
        return Ok((TokenKind::End, at));
    };
    match first {
        '(' => return Ok((TokenKind::Open, at + 1)),
        ')' => return Ok((TokenKind::Close, at + 1)),
        ',' => return Ok((TokenKind::Comma, at + 1)),
        '"' | '\'' => return quoted(chars, at),
        '-' if chars.get(at + 1).is_some_and(|next| !next.is_ascii_digit()) => return Ok((TokenKind::Minus, at + 1)),
        _ => {}
    }
    let is_op = |sign: &str| sign.chars().enumerate().all(|(offset, c)| chars.get(at + offset) == Some(&c));
    if let Some((sign, op)) = OPS.iter().find(|(sign, _)| is_op(sign)) {
        return Ok((TokenKind::Op(*op), at + sign.len()));
    }
    let end = chars[at..].iter().position(|c| !is_text(*c)).map_or(chars.len(), |length| at + length);
    if end == at {
        return Err(FilterError::at(at, format!("`{first}` may stand in quotes only")));
    }
    let text: String = chars[at..end].iter().collect();
    let kind = match text.as_str() {
        "AND" => TokenKind::And,
        "OR" => TokenKind::Or,
        "NOT" => TokenKind::Not,
        _ => TokenKind::Text(text),
    };
    Ok((kind, end))
}

/// Whether a character may stand in a word without quotes.
fn is_text(c: char) -> bool {
    !c.is_whitespace() && !c.is_control() && !"()\"'`,=<>!:~\\{}[]|^".contains(c)
}

fn quoted(chars: &[char], start: usize) -> Result<(TokenKind, usize), FilterError> {
    let mut at = start + 1;
    while let Some(c) = chars.get(at) {
        match c {
            '\\' => at += 2,
            c if *c == chars[start] => return Ok((TokenKind::Quoted(chars[start + 1..at].iter().collect()), at + 1)),
            _ => at += 1,
        }
    }
    Err(FilterError::at(start, "this quotation mark has no second one"))
}

/// What a quoted text means, its escapes resolved. A backslash before any other character stands for itself.
pub(super) fn unescape(raw: &str) -> String {
    let mut text = String::with_capacity(raw.len());
    let mut chars = raw.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            text.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => text.push('\n'),
            Some('r') => text.push('\r'),
            Some('t') => text.push('\t'),
            Some(marked @ ('"' | '\'' | '\\')) => text.push(marked),
            Some('u') => match code(chars.as_str()) {
                Some(c) => {
                    text.push(c);
                    chars = chars.as_str()[4..].chars();
                }
                None => text.push_str("\\u"),
            },
            Some(other) => text.extend(['\\', other]),
            None => text.push('\\'),
        }
    }
    text
}

/// The character of four hexadecimal digits.
fn code(digits: &str) -> Option<char> {
    let digits = digits.get(..4).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
    char::from_u32(u32::from_str_radix(digits, 16).ok()?)
}
