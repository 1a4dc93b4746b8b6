r"""Our docstrings -> reStructuredText: an indented paragraph is a formula, a command, Python, or a small table.

Docstrings are read in a terminal far more often than on the site, so formulas stand in them in plain letters. On the site
they are set:

>>> as_tex("L(s) = w_label CE(y, q) + w_teacher tau^2 D(p || q)")
'L(s) = w_{\\mathrm{label}} \\mathrm{CE}(y, q) + w_{\\mathrm{teacher}} \\tau^{2} D(p \\,\\|\\, q)'
"""

import re

GREEK = {"tau", "alpha", "beta", "lambda", "mu", "epsilon", "rho", "pi"}
OPERATORS = {"sum", "log", "ln", "exp", "max", "min"}
NAMED = {"mean", "softmax", "argmax"}
SIGNS = {"||": r"\,\|\,", "!=": r"\ne", "<=": r"\le", ">=": r"\ge", "*": r"\cdot", "#": r"\#", "{": r"\{", "}": r"\}",
         "%": r"\%", "&": r"\cap", "sqrt": r"\surd"}
TOKEN = re.compile(
    r"\|\||!=|<=|>=|\w\^_\w|1e-\d+|\b(?:\d+|[A-Za-z])/[A-Z]\b|\ba (?=[a-z]{3})|[A-Za-z]+(?:-[a-z]{2,})?|\d+(?:\.\d+)?|\s+|."
)
SECTIONS = ("Args:", "Returns:", "Raises:", "Yields:")


def as_rst(lines: list[str]) -> list[str]:
    """The lines of a docstring with a directive before each indented paragraph, and a blank line before each list."""
    out: list[str] = []
    i = 0
    while i < len(lines):
        if lines[i].startswith("    ") and not _said(out) and _above(out) not in SECTIONS:
            end = next((j for j in range(i, len(lines)) if not lines[j].strip()), len(lines))
            out += _block(lines[i:end])
            i = end
            continue
        if lines[i].startswith("- ") and _said(out) and not out[-1].startswith(("- ", "  ")):
            out.append("")
        out.append(lines[i])
        i += 1
    return out


def _said(out: list[str]) -> bool:
    """Does the paragraph go on?"""
    return bool(out and out[-1].strip())


def _above(out: list[str]) -> str:
    """The last line that is not indented: a section's second paragraph is indented too."""
    return next((line for line in reversed(out) if line.strip() and not line.startswith(" ")), "")


def _block(paragraph: list[str]) -> list[str]:
    if is_formula(paragraph):
        return [".. math::", "", "   " + r" \\ ".join(as_tex(row) for row in paragraph), ""]
    return [f".. code-block:: {language(paragraph)}", "", *paragraph, ""]


def is_formula(block: list[str]) -> bool:
    """Every line is an equation, and none is a call, an assignment of Python or a comment."""
    calls = r"\b(?!softmax|mean|max|sqrt|terms)[a-z]{3,}[a-z_]*\("
    python = re.compile(r"[\"`]|\w{2}\[|[a-z]\.[a-z]|\*\*|//|#(?!\{)|= [a-z]{4,}_|" + calls)
    return all(" = " in line and not python.search(re.sub(r"askd/\w+\.py", "", line)) for line in block)


def language(block: list[str]) -> str:
    """How a paragraph that is no formula is coloured."""
    if re.match(r"\s*(askd|make|accelerate) ", block[0]):
        return "sh"
    python = re.compile(r"^\s*(from \w|import |for |print\(|\w+(?:, \w+)* = [\w\[{(]|[\w.]+\(|\w+\[)")
    return "python" if python.search(block[0]) and not re.search(r"\S {3,}[a-z]+ ", block[0].split("#")[0]) else "text"


def as_tex(line: str) -> str:
    """One line of plain letters as TeX; what stands after two spaces is another equation, below, or else a remark."""
    first, *more = re.split(r" {2,}", re.sub(" +=", " =", line.strip()))  # signs may be aligned
    return _formula(first) + "".join(rf" \\ {_formula(p)}" if "=" in p or p[0] == "(" else rf" \quad {_remark(p)}" for p in more)


def _remark(text: str) -> str:
    return rf"\text{{{re.sub(r'([&%#_])', lambda m: chr(92) + m[1], text)}}}"


def _formula(text: str) -> str:
    tokens, out, i = TOKEN.findall(re.sub(" +", " ", text)), [], 0
    while i < len(tokens):
        if tokens[i] in "_^" and i + 1 < len(tokens):
            end = tokens.index("}", i) if tokens[i + 1] == "{" else i + 1
            script = _formula("".join(tokens[i + 2 : end])) if end > i + 1 else _word(tokens[end], script=True)
            out.append(f"{tokens[i]}{{{script}}}")
            i = end + 1
        else:
            out.append(_word(tokens[i]))
            i += 1
    words = r"\\text\{[\w-]+\}"
    one = re.sub(f"{words}(?: {words})*", lambda m: rf"\text{{{' '.join(re.findall('{(.*?)}', m[0]))}}}", "".join(out))
    return re.sub(r"(\\text\{[^}]*)\} ", r"\1 }", re.sub(r" \\text\{", r"\\text{ ", one))  # a space of TeX is none


def _word(token: str, script: bool = False) -> str:
    if token in SIGNS:
        return SIGNS[token]
    if token in GREEK or token in OPERATORS:
        return f"\\{token}"
    if token in NAMED:
        return rf"\operatorname{{{token}}}"
    if "^_" in token:
        return rf"\hat{{{token[0]}}}_{{{token[-1]}}}"
    if token.startswith("1e"):
        return f"10^{{{token[2:]}}}"
    if token == "a ":
        return r"\text{a} "
    if "/" in token[1:]:
        return rf"\frac{{{token.split('/')[0]}}}{{{token.split('/')[1]}}}"
    if len(token) > 1 and token[0].isalpha():
        return rf"\mathrm{{{token}}}" if script or token[:2].isupper() else rf"\text{{{token}}}"
    return token
