"""WikiText-2 (Merity et al., 2016): DIR/wikitext2/test.txt, or the hub's wikitext-2-v1/test-00000-of-00001.parquet; an item an
article, its text as it stands in the file.

An article begins at a line " = Title = ". It is read in windows as long as the model's context that predict disjoint parts, the
last one filled up with what stands before it, as lm-eval's rolling log-likelihood is. Words are what white space separates.
The hub's rows are the lines; those that are blank, " \\n" in the file, are empty there.
"""

import re
from pathlib import Path

from kwen.errors import UserError
from kwen.evals.task import Item, Task
from kwen.evals.tasks.files import Files

_TITLE = re.compile(r"(?:^|(?<=\n)) = (?!= )[^\n]* (?<!= )= ?\n(?= ?\n)")
_ALL = 1 << 20


def items(data: Path | None, seed: int) -> list[Item]:
    """The articles, in the file's order; the id is the title and its place."""
    files = Files(data, "wikitext2", "wikitext2", "WikiText-2 word level, Salesforce")
    name = files.first("test.txt", "wikitext-2-v1/test-00000-of-00001.parquet")
    where = f"{files.root}/{name}"
    if name.endswith(".parquet"):
        text = "".join(row.text("text") or " \n" for row in files.rows(name))
    else:
        try:
            text = files.read(name).decode()
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: not UTF-8 ({error}); fetch it again") from None
    titles = list(_TITLE.finditer(text))
    if not titles or text[: titles[0].start()].strip():
        raise UserError(f'{where}: a line " = Title = " before a blank one is expected first')
    ends = [title.start() for title in titles[1:]] + [len(text)]
    found = []
    for place, (title, end) in enumerate(zip(titles, ends, strict=True)):
        article = text[title.start() : end]
        extra = {"source": "wikitext2", "words": len(article.split())}
        name = title[0].strip(" =\n")
        found.append(Item(f"{place} {name}", article, "", "en", "article", extra))
    return found


TASK = Task(name="wikitext2", version=1, kind="perplexity", items=items, metric="bits_per_byte",
            settings={"window": _ALL, "stride": _ALL})  # fmt: skip
