//! Conditions such as `NetworkErrorRatio() > 0.5 && LatencyAtQuantileMS(50.0) > 50`: circuit breakers of Traefik 1.7
//! and the `retryExpression` of buffering. What the functions are is for those who ask.

/// How many parentheses may be open.
const MAX_DEPTH: usize = 64;

/// A condition, if `T` is one of its comparisons.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Expression<T> {
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Test(T),
}

/// A call, and what it is compared with; nothing if it is a condition by itself.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    pub(crate) function: String,
    pub(crate) arguments: Vec<Literal>,
    pub(crate) with: Option<(Operator, Literal)>,
}

/// How two values are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Equal,
    NotEqual,
}

/// A value that was written down.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Literal {
    Integer(i64),
    Float(f64),
    Text(String),
}

impl Operator {
    /// Whether the comparison holds.
    pub(crate) fn holds<T: PartialOrd + ?Sized>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
            Self::Equal => left == right,
            Self::NotEqual => left != right,
        }
    }
}

impl<T> Expression<T> {
    /// Whether it holds, if `test` tells whether a comparison does.
    pub(crate) fn holds(&self, test: &impl Fn(&T) -> bool) -> bool {
        match self {
            Self::And(left, right) => left.holds(test) && right.holds(test),
            Self::Or(left, right) => left.holds(test) || right.holds(test),
            Self::Test(comparison) => test(comparison),
        }
    }
}

/// Reads a condition; `known` makes something of each comparison, or says what is wrong with it.
pub(crate) fn parse<T>(text: &str, known: &impl Fn(Comparison) -> Result<T, String>) -> Result<Expression<T>, String> {
    let mut parser = Parser { rest: text, known, depth: 0 };
    let parsed = parser.alternatives().and_then(|parsed| match parser.peek() {
        None => Ok(parsed),
        Some(_) => Err(format!("\"{}\" was not expected", parser.rest.trim())),
    });
    parsed.map_err(|error| format!("expression \"{text}\": {error}"))
}

struct Parser<'a, F> {
    rest: &'a str,
    known: &'a F,
    depth: usize,
}

impl<T, F: Fn(Comparison) -> Result<T, String>> Parser<'_, F> {
    fn alternatives(&mut self) -> Result<Expression<T>, String> {
        let mut left = self.conjunction()?;
        while self.takes("||") {
            left = Expression::Or(Box::new(left), Box::new(self.conjunction()?));
        }
        Ok(left)
    }

    fn conjunction(&mut self) -> Result<Expression<T>, String> {
        let mut left = self.comparison()?;
        while self.takes("&&") {
            left = Expression::And(Box::new(left), Box::new(self.comparison()?));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expression<T>, String> {
        if self.takes("(") {
            self.depth += 1;
            if self.depth > MAX_DEPTH {
                return Err("there are too many parentheses in each other".to_owned());
            }
            let inner = self.alternatives()?;
            self.expect(")")?;
            self.depth -= 1;
            return Ok(inner);
        }
        let function = self.word();
        if function.is_empty() {
            return Err(match self.peek() {
                Some(_) => format!("a function was expected at \"{}\"", self.rest.trim()),
                None => "it ends where a function was expected".to_owned(),
            });
        }
        self.expect("(")?;
        let mut arguments = Vec::new();
        if !self.takes(")") {
            loop {
                arguments.push(self.literal()?);
                if !self.takes(",") {
                    break;
                }
            }
            self.expect(")")?;
        }
        let with = match self.operator() {
            Some(operator) => Some((operator, self.literal()?)),
            None => None,
        };
        (self.known)(Comparison { function, arguments, with }).map(Expression::Test)
    }

    fn operator(&mut self) -> Option<Operator> {
        const ALL: [(&str, Operator); 6] = [
            ("<=", Operator::LessOrEqual),
            ("<", Operator::Less),
            (">=", Operator::GreaterOrEqual),
            (">", Operator::Greater),
            ("==", Operator::Equal),
            ("!=", Operator::NotEqual),
        ];
        ALL.iter().find(|(text, _)| self.takes(text)).map(|(_, operator)| *operator)
    }

    fn literal(&mut self) -> Result<Literal, String> {
        if self.takes("\"") {
            let (inner, rest) = self.rest.split_once('"').ok_or("a text has no end")?;
            self.rest = rest;
            return Ok(Literal::Text(inner.to_owned()));
        }
        self.peek();
        let end = self.rest.find(|it: char| !it.is_ascii_digit() && it != '.' && it != '-').unwrap_or(self.rest.len());
        let (number, rest) = self.rest.split_at(end);
        if number.is_empty() {
            return Err(format!("a number was expected at \"{}\"", self.rest.trim()));
        }
        self.rest = rest;
        let wrong = || format!("\"{number}\" is not a number");
        if number.contains('.') {
            return number.parse().map(Literal::Float).map_err(|_| wrong());
        }
        number.parse().map(Literal::Integer).map_err(|_| wrong())
    }

    fn word(&mut self) -> String {
        self.peek();
        let end = self.rest.find(|it: char| !it.is_ascii_alphanumeric() && it != '_').unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn peek(&mut self) -> Option<char> {
        self.rest = self.rest.trim_start();
        self.rest.chars().next()
    }

    fn takes(&mut self, text: &str) -> bool {
        self.peek();
        match self.rest.strip_prefix(text) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, text: &str) -> Result<(), String> {
        if self.takes(text) {
            return Ok(());
        }
        Err(match self.rest.trim() {
            "" => format!("it ends where \"{text}\" was expected"),
            rest => format!("\"{text}\" was expected at \"{rest}\""),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> Result<String, String> {
        fn written(expression: &Expression<Comparison>) -> String {
            match expression {
                Expression::And(left, right) => format!("({} and {})", written(left), written(right)),
                Expression::Or(left, right) => format!("({} or {})", written(left), written(right)),
                Expression::Test(test) => test.function.clone(),
            }
        }
        parse(text, &Ok).map(|parsed| written(&parsed))
    }

    #[test]
    fn and_binds_more_than_or() {
        assert_eq!(shape("a() > 1 || b() && c() < 2").unwrap(), "(a or (b and c))");
        assert_eq!(shape("(a()||b())&&c()").unwrap(), "((a or b) and c)");
        assert_eq!(shape(" a( 1 , 2.5 , \"x\" ) == \"y\" ").unwrap(), "a");
    }

    #[test]
    fn literals() {
        let Ok(Expression::Test(test)) = parse("f(1, 2.0, \"x y\") >= -3", &Ok) else { panic!() };
        assert_eq!(test.arguments, [Literal::Integer(1), Literal::Float(2.0), Literal::Text("x y".into())]);
        assert_eq!(test.with, Some((Operator::GreaterOrEqual, Literal::Integer(-3))));
    }

    #[test]
    fn mistakes() {
        for text in
            ["", "a", "a(", "a()>", "a() b()", "a() &&", "(a()", "a() > x", "!a()", "a(1", "a() > 1.2.3", "a() > \"x"]
        {
            assert!(shape(text).is_err(), "{text}");
        }
        assert!(shape(&format!("{}a(){}", "(".repeat(65), ")".repeat(65))).is_err());
        assert!(shape(&format!("{}a(){}", "(".repeat(64), ")".repeat(64))).is_ok());
    }
}
