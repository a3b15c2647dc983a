"""A reader of a folder of documents: questions are answered from lines that a search finds.

    python examples/folder_reader/main.py MODEL [FOLDER] ["QUESTION"]

`search` and `read` come with Kwen; they see the folder and nothing else, whatever path a model asks for.
"""

import sys
from pathlib import Path

import kwen

HERE = Path(__file__).parent
SYSTEM = "Answer the question in one short sentence, from what the tool says."


def main(model: str, folder: str = str(HERE / "documents"), question: str = "When does the museum open?") -> None:
    """Ask, print what was found and said, and save the run beside this file."""
    with kwen.Agent(
        kwen.load(model), ["search", "read"], workspace=folder, call_format="hermes", must_call=True, parallel=False,
        system=SYSTEM, max_steps=3, max_new_tokens=100,
    ) as agent:  # fmt: skip
        run = agent.run(question)
    for call in run.calls:
        print(f"{call.name}({call.arguments}) = {call.observation}")
    print(f"answer: {run.answer}")
    run.save(HERE / "run.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
