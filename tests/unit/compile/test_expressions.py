from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from traefikee.compile.expressions import ExpressionError, circuit_breaker, retry


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("NetworkErrorRatio() > 0.5", "NetworkErrorRatio() > 0.5"),
        ("LatencyAtQuantileMS(50.0)>50", "LatencyAtQuantileMS(50.0) > 50"),
        ("LatencyAtQuantileMS( 99.9 ) >= 050", "LatencyAtQuantileMS(99.9) >= 50"),
        ("ResponseCodeRatio(500,600,0,600) != .25", "ResponseCodeRatio(500, 600, 0, 600) != 0.25"),
        ("NetworkErrorRatio() < 1e-1", "NetworkErrorRatio() < 0.1"),
        ("NetworkErrorRatio() == 1.", "NetworkErrorRatio() == 1.0"),
        ("(((NetworkErrorRatio() > 0.5)))", "NetworkErrorRatio() > 0.5"),
        (
            "NetworkErrorRatio() > 0.5 || NetworkErrorRatio() > 0.6 && NetworkErrorRatio() > 0.7",
            "NetworkErrorRatio() > 0.5 || (NetworkErrorRatio() > 0.6 && NetworkErrorRatio() > 0.7)",
        ),
        (
            "(NetworkErrorRatio() > 0.5 || NetworkErrorRatio() > 0.6) && NetworkErrorRatio() > 0.7",
            "(NetworkErrorRatio() > 0.5 || NetworkErrorRatio() > 0.6) && NetworkErrorRatio() > 0.7",
        ),
        ("\n NetworkErrorRatio()\t<=\n0.5 ", "NetworkErrorRatio() <= 0.5"),
    ],
)
def test_circuit_breakers(text: str, canonical: str) -> None:
    assert circuit_breaker(text) == canonical
    assert circuit_breaker(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("IsNetworkError()", "IsNetworkError()"),
        ("IsNetworkError() && Attempts() <= 2", "IsNetworkError() && Attempts() <= 2"),
        ('ResponseCode()==503||RequestMethod()!="x"', 'ResponseCode() == 503 || RequestMethod() != "x"'),
        ("RequestMethod() == `GET`", 'RequestMethod() == "GET"'),
        ('RequestMethod() == ""', 'RequestMethod() == ""'),
    ],
)  # fmt: skip
def test_retries(text: str, canonical: str) -> None:
    assert retry(text) == canonical
    assert retry(canonical) == canonical


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the expression is empty; write for example LatencyAtQuantileMS(50.0) > 100"),
        ("NetworkErrorRatio() > 1", 'NetworkErrorRatio() > "1" has to be a decimal number, such as 0.5'),
        ("LatencyAtQuantileMS(50.0) > 50.0",
         'LatencyAtQuantileMS(50.0) > "50.0" has to be a whole number, such as 50'),
        ("LatencyAtQuantileMS(50) > 50", 'in LatencyAtQuantileMS(...) "50" has to be a decimal number, such as 0.5'),
        ("LatencyAtQuantileMS() > 50",
         "LatencyAtQuantileMS takes 1 argument; write for example LatencyAtQuantileMS(50.0) > 100"),
        ("NetworkErrorRatio(1) > 0.5",
         "NetworkErrorRatio takes no argument; write for example NetworkErrorRatio() > 0.5"),
        ("ResponseCodeRatio(1, 2, 3) > 0.5",
         "ResponseCodeRatio takes 4 arguments; write for example ResponseCodeRatio(500, 600, 0, 600) > 0.5"),
        ("NetworkErrorRatio()", "NetworkErrorRatio() has to be compared; write for example NetworkErrorRatio() > 0.5"),
        ("NetworkErrorRate() > 0.5", 'unknown function "NetworkErrorRate"; did you mean "NetworkErrorRatio"?'),
        ("Attempts() > 1", 'unknown function "Attempts"; known are LatencyAtQuantileMS, NetworkErrorRatio, '
         "ResponseCodeRatio"),
        ("0.5 < NetworkErrorRatio()", '"0.5" stands where one of the functions LatencyAtQuantileMS, NetworkErrorRatio, '
         "ResponseCodeRatio has to be"),
        ("!NetworkErrorRatio() > 0.5", '"!NetworkErrorRatio()" cannot be read; allowed are names, numbers, texts in '
         "quotes, brackets, && || == != < <= > >="),
        ("NetworkErrorRatio() > -0.5", '"-0.5" cannot be read; allowed are names, numbers, texts in quotes, brackets, '
         "&& || == != < <= > >="),
        ("NetworkErrorRatio() > 0.5 > 0.4",
         '">" stands where the expression has to go on with "&&" or "||", or end'),
        ("(NetworkErrorRatio() > 0.5", 'in brackets the end stands where ")" has to be'),
        ("NetworkErrorRatio > 0.5", 'after NetworkErrorRatio ">" stands where "(" has to be'),
        ("NetworkErrorRatio() > 0.5 &&", "the end stands where one of the functions LatencyAtQuantileMS, "
         "NetworkErrorRatio, ResponseCodeRatio has to be"),
        ("LatencyAtQuantileMS(50.0) > 99999999999", "99999999999 is too large"),
        ("(" * 60 + "NetworkErrorRatio() > 0.5" + ")" * 60, "its brackets are more than 25 deep"),
        ("x" * 5000, "the expression has more than 4096 characters"),
    ],
)  # fmt: skip
def test_circuit_breaker_errors(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        circuit_breaker(text)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("IsNetworkError() == 1", 'IsNetworkError() is true or false by itself; leave out "==" and what follows'),
        ('RequestMethod() < "x"', 'RequestMethod() is a text, for which there is no "<"; use == or !='),
        ("RequestMethod() == GET", 'RequestMethod() == "GET" has to be a text in quotes, such as "GET"'),
        (
            'RequestMethod() == "G\\"T"',
            '""G\\"T"" cannot be read; allowed are names, numbers, texts in quotes, brackets, && || == != < <= > >=',
        ),
        ("Attempts()", "Attempts() has to be compared; write for example Attempts() <= 2"),
        ("NetworkErrorRatio() > 0.5", 'unknown function "NetworkErrorRatio"; did you mean "IsNetworkError"?'),
    ],
)
def test_retry_errors(text: str, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        retry(text)
    assert str(caught.value) == message


_COMPARISON = st.one_of(
    st.just("IsNetworkError()"),
    st.builds("Attempts() {} {}".format, st.sampled_from(["<", "<=", "==", "!=", ">=", ">"]), st.integers(0, 999)),
    st.builds('RequestMethod() {} "{}"'.format, st.sampled_from(["==", "!="]), st.sampled_from(["GET", "", "x y"])),
)
_EXPRESSIONS = st.recursive(
    _COMPARISON,
    lambda inner: st.builds("({}) {} ({})".format, inner, st.sampled_from(["&&", "||"]), inner),
    max_leaves=8,
)


@given(_EXPRESSIONS)
def test_the_canonical_form_is_canonical(text: str) -> None:
    canonical = retry(text)
    assert retry(canonical) == canonical
    assert "".join(char for char in text if char not in "() ") == "".join(
        char for char in canonical if char not in "() "
    )


@given(st.text() | st.text(alphabet='Atemps()0.5<>=&|" \n,IsNetworkError', max_size=30))
def test_any_text_is_an_expression_or_an_error(text: str) -> None:
    for parse in (retry, circuit_breaker):
        try:
            canonical = parse(text)
        except ExpressionError:
            continue
        assert parse(canonical) == canonical
