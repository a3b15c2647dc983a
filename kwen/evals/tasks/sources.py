"""Where the Hugging Face hub keeps the benchmarks, by the folder of `--data` that they are read from.

Listed are the data sets whose files the tasks read as they lie there. Each is of the publisher where the publisher keeps it on
the hub, pinned to a commit, so that two fetches give the same prompts.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Source:
    """A data set of the hub: its repository, the revision (a commit, or a branch to follow), and patterns of the paths to fetch
    (`*` stands for anything)."""

    repository: str
    revision: str
    files: tuple[str, ...]


SOURCES = {
    "arc": Source(
        "allenai/ai2_arc",
        "210d026faf9955653af8916fad021475a3f00453",
        ("ARC-Easy/test-00000-of-00001.parquet", "ARC-Challenge/test-00000-of-00001.parquet"),
    ),
    "boolq": Source("google/boolq", "35b264d03638db9f4ce671b711558bf7ff0f80d5", ("data/validation-00000-of-00001.parquet",)),
    "ceval": Source(
        "ceval/ceval-exam",
        "617524a00b307ff6f9933702f724131fe12ca7ce",
        ("*/dev-00000-of-00001.parquet", "*/val-00000-of-00001.parquet"),
    ),
    "cmmlu": Source("haonan-li/cmmlu", "efcc940752ea4a1ea94d2727f11f83858d64fc8e", ("cmmlu_v1_0_1.zip",)),
    "commonsenseqa": Source(
        "tau/commonsense_qa",
        "94630fe30dad47192a8546eb75f094926d47e155",
        ("data/train-00000-of-00001.parquet", "data/validation-00000-of-00001.parquet"),
    ),
    "gsm8k": Source(
        "openai/gsm8k",
        "740312add88f781978c0658806c59bc2815b9866",
        ("main/train-00000-of-00001.parquet", "main/test-00000-of-00001.parquet"),
    ),
    "hellaswag": Source(
        "Rowan/hellaswag", "218ec52e09a7e7462a5400043bb9a69a41d06b76", ("data/validation-00000-of-00001.parquet",)
    ),
    "humaneval": Source(
        "openai/openai_humaneval",
        "7dce6050a7d6d172f3cc5c32aa97f52fa1a2e544",
        ("openai_humaneval/test-00000-of-00001.parquet",),
    ),
    "humanevalpack": Source(
        "bigcode/humanevalpack", "9a41762f73a8cb23bb5811b73d5aab164efcf378", ("*/test-00000-of-00001.parquet",)
    ),
    "ifeval": Source("google/IFEval", "966cd89545d6b6acfd7638bc708b98261ca58e84", ("ifeval_input_data.jsonl",)),
    "lambada": Source("EleutherAI/lambada_openai", "900124bf3b8235c6daf21033af9948b3f07346c4", ("data/lambada_test_en.jsonl",)),
    "math": Source(
        "EleutherAI/hendrycks_math",
        "21a5633873b6a120296cce3e2df9d5550074f4a3",
        ("*/train-00000-of-00001.parquet", "*/test-00000-of-00001.parquet"),
    ),
    "mbpp": Source(
        "google-research-datasets/mbpp",
        "4bb6404fdc6cacfda99d4ac4205087b89d32030c",
        ("full/prompt-00000-of-00001.parquet", "full/test-00000-of-00001.parquet"),
    ),
    "mmlu": Source(
        "cais/mmlu",
        "c30699e8356da336a370243923dbaf21066bb9fe",
        ("all/dev-00000-of-00001.parquet", "all/test-00000-of-00001.parquet"),
    ),
    "naturalquestions": Source(
        "google-research-datasets/nq_open",
        "5dd9790a83002ad084ddeb7c420dc716852c6f28",
        ("nq_open/validation-00000-of-00001.parquet",),
    ),
    "piqa": Source("ybisk/piqa", "142c51238b3ca2bc61e9a075913871b8b600e8e1", ("plain_text/validation/0000.parquet",)),
    "siqa": Source("allenai/social_i_qa", "537a2ec8ec565adc0b70b70752893e59e024df26", ("default/validation/0000.parquet",)),
    "wikitext2": Source(
        "Salesforce/wikitext", "b08601e04326c79dfdd32d625aee71d232d685c3", ("wikitext-2-v1/test-00000-of-00001.parquet",)
    ),
}
"""piqa's and siqa's commits are of the branch refs/convert/parquet, the hub's own conversion of what a script loads there."""


def folder_of(task: str) -> str:
    """The folder of `--data` that a task reads: its name up to the first "-"."""
    return task.partition("-")[0]
