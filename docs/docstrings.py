"""Docstrings as the site shows them: their doctests as code."""

import re

import griffe

DOCTEST = re.compile(r"^( *)>>> .*(?:\n\1\S.*)*", re.MULTILINE)


class Doctests(griffe.Extension):
    """Puts a fence around each doctest, which Markdown takes for a quotation."""

    def on_instance(self, *, obj, **kwargs):
        if obj.docstring:
            text = re.sub(
                r"^Example:$", "**Example**\n", obj.docstring.value, flags=re.M
            )
            obj.docstring.value = DOCTEST.sub(fenced, text)


def fenced(doctest):
    indent = doctest[1]
    return f"{indent}```pycon\n{doctest[0]}\n{indent}```"
