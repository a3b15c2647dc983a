"""A data analyst: a CSV file in, a plot and a finding out.

    python examples/data_analyst/main.py MODEL [FILE.csv] [QUESTION]

The model chooses what to compare with what; the columns of the file are the only words it can choose (an enum in the tool's
schema, kept by constrained decoding). The work is done in the sandbox. A larger model may write code of its own: give
it "python" as a further tool.
"""

import csv
import sys
from pathlib import Path

import kwen
from kwen.sandbox.session import Session

HERE = Path(__file__).parent
SYSTEM = "Answer the question in one short sentence, from what the tool says."
CODE = """
import csv, statistics, matplotlib.pyplot as plt
groups = {{}}
for row in csv.DictReader(open({name!r})):
    groups.setdefault(row[{by!r}], []).append(float(row[{value!r}]))
means = sorted(((statistics.mean(values), group) for group, values in groups.items()), reverse=True)
plt.bar([group for _, group in means], [mean for mean, _ in means]); plt.title({title!r}); plt.show()
print("The highest is {{1}} with {{0:.5g}}.".format(*means[0]), "The lowest is {{1}} with {{0:.5g}}.".format(*means[-1]))
"""


def compare_tool(session: Session, path: Path) -> kwen.Tool:
    """The tool that compares the mean of one column between the values of another, for the columns that the file has."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    numbers = [name for name in rows[0] if all(row[name].replace(".", "", 1).lstrip("-").isdigit() for row in rows)]
    words = [name for name in rows[0] if name not in numbers]
    name = session.put(path)

    def compare(arguments: dict[str, str]) -> kwen.ToolResult:
        value, by = arguments["value"], arguments["by"]
        outcome = session.run(CODE.format(name=name, by=by, value=value, title=f"mean {value} by {by}"))
        return kwen.ToolResult(outcome.error or outcome.text.strip(), images=tuple(outcome.images), error=bool(outcome.error))

    schema = {
        "type": "object",
        "properties": {
            "value": {"type": "string", "enum": numbers, "description": "the column of numbers to compare"},
            "by": {"type": "string", "enum": words, "description": "the column that makes the groups"},
        },
        "required": ["value", "by"],
        "additionalProperties": False,
    }
    about = "Compare the mean of a column between groups of rows, and plot it."
    return kwen.Tool("compare", about, schema, compare, timeout_s=None)


def main(model: str, path: str = str(HERE / "visitors.csv"), question: str = "Which city has the most visitors?") -> None:
    """Ask, and save the plot, the run and the answer beside this file."""
    with Session() as session:
        agent = kwen.Agent(
            kwen.load(model), [compare_tool(session, Path(path))], call_format="hermes", must_call=True, parallel=False,
            system=SYSTEM, max_steps=3, max_new_tokens=120,
        )  # fmt: skip
        run = agent.run(question)
    for call in run.calls:
        print(f"{call.name}({call.arguments}) = {call.observation}")
    for file in run.files:
        (HERE / file.name).write_bytes(file.data)
        print(f"plot: {file.name}")
    print(f"answer: {run.answer}")
    run.save(HERE / "run.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
