"""Two problems of our own in HumanEvalPack's published format and six languages; the second has a helper above its function."""

import json
from pathlib import Path

ABOUT = "Count the even numbers of a list."
WITH_HELPER = "Double every number of a list."
RUST_HEAD = """\
use std::{slice::Iter, cmp::{max, self}, mem::replace, collections::{HashSet, HashMap}, ops::Index, ascii::AsciiExt};
use rand::Rng;
use regex::Regex;
use md5;
use std::any::{Any, TypeId};
"""

# (entry point, above the function, the function's first line, canonical body, wrong body, tests)
PROBLEMS = {
    "python": [
        (
            "count_even",
            "from typing import List\n\n\n",
            "def count_even(numbers: List[int]) -> int:\n",
            "    return sum(number % 2 == 0 for number in numbers)\n",
            "    return len(numbers)\n",
            "\n\ndef check(count_even):\n    assert count_even([1, 2, 4]) == 2\n    assert count_even([]) == 0\n\n"
            "check(count_even)",
        ),
        (
            "double_all",
            "def twice(number):\n    return number * 2\n\n\n",
            "def double_all(numbers):\n",
            "    return [twice(number) for number in numbers]\n",
            "    return numbers\n",
            "\n\ndef check(double_all):\n    assert double_all([1, 5]) == [2, 10]\n\ncheck(double_all)",
        ),
    ],
    "js": [
        (
            "CountEven",
            "\n",
            "const countEven = (numbers) => {\n",
            "  return numbers.filter((number) => number % 2 === 0).length;\n}\n\n",
            "  return numbers.length;\n}\n\n",
            "const testCountEven = () => {\n  console.assert(countEven([1, 2, 4]) === 2)\n"
            "  console.assert(countEven([]) === 0)\n}\n\ntestCountEven()\n",
        ),
        (
            "DoubleAll",
            "const twice = (number) => {\n  return number * 2;\n}\n\n",
            "const doubleAll = (numbers) => {\n",
            "  return numbers.map(twice);\n}\n\n",
            "  return numbers;\n}\n\n",
            "const testDoubleAll = () => {\n  console.assert(\n"
            "    JSON.stringify(doubleAll([1, 5])) === JSON.stringify([2, 10])\n  )\n}\n\ntestDoubleAll()\n",
        ),
    ],
    "java": [
        (
            "countEven",
            "import java.util.*;\nimport java.lang.*;\n\nclass Solution {\n",
            "    public int countEven(List<Integer> numbers) {\n",
            "        return (int) numbers.stream().filter(number -> number % 2 == 0).count();\n    }\n}",
            "        return numbers.size();\n    }\n}",
            """public class Main {
    public static void main(String[] args) {
        Solution s = new Solution();
        List<Boolean> correct = Arrays.asList(
                s.countEven(Arrays.asList(1, 2, 4)) == 2,
                s.countEven(new ArrayList<>()) == 0
        );
        if (correct.contains(false)) {
            throw new AssertionError();
        }
    }
}""",
        ),
        (
            "doubleAll",
            "import java.util.*;\nimport java.lang.*;\n\nclass Solution {\n"
            "    public int twice(int number) {\n        return number * 2;\n    }\n",
            "    public List<Integer> doubleAll(List<Integer> numbers) {\n",
            "        List<Integer> result = new ArrayList<>();\n        for (int number : numbers) {\n"
            "            result.add(twice(number));\n        }\n        return result;\n    }\n}",
            "        return numbers;\n    }\n}",
            """public class Main {
    public static void main(String[] args) {
        Solution s = new Solution();
        if (!s.doubleAll(Arrays.asList(1, 5)).equals(Arrays.asList(2, 10))) {
            throw new AssertionError();
        }
    }
}""",
        ),
    ],
    "go": [
        (
            "CountEven",
            'import (\n    "math"\n)\n\n',
            "func CountEven(numbers []int) int {\n",
            "    count := 0\n    for _, number := range numbers {\n        if math.Mod(float64(number), 2) == 0 {\n"
            "            count += 1\n        }\n    }\n    return count\n}\n\n",
            "    return len(numbers)\n}\n\n",
            "func TestCountEven(t *testing.T) {\n    assert := assert.New(t)\n    assert.Equal(2, CountEven([]int{1, 2, 4}))\n"
            "    assert.Equal(0, CountEven([]int{}))\n}\n",
        ),
        (
            "DoubleAll",
            "\nfunc twice(number int) int {\n    return number * 2\n}\n\n",
            "func DoubleAll(numbers []int) []int {\n",
            "    result := make([]int, 0)\n    for _, number := range numbers {\n        result = append(result, twice(number))\n"
            "    }\n    return result\n}\n\n",
            "    return numbers\n}\n\n",
            "func TestDoubleAll(t *testing.T) {\n    assert := assert.New(t)\n"
            "    assert.Equal([]int{2, 10}, DoubleAll([]int{1, 5}))\n}\n",
        ),
    ],
    "cpp": [
        (
            "count_even",
            "#include<stdio.h>\n#include<vector>\nusing namespace std;\n",
            "int count_even(vector<int> numbers){\n",
            "    int count=0;\n    for (int i=0;i<numbers.size();i++)\n    if (numbers[i]%2==0) count+=1;\n"
            "    return count;\n}\n",
            "    return numbers.size();\n}\n",
            "#undef NDEBUG\n#include<assert.h>\nint main(){\n    assert (count_even({1, 2, 4}) == 2);\n"
            "    assert (count_even({}) == 0);\n}\n",
        ),
        (
            "double_all",
            "#include<stdio.h>\n#include<vector>\nusing namespace std;\nint twice(int number){\n    return number*2;\n}\n",
            "vector<int> double_all(vector<int> numbers){\n",
            "    vector<int> out;\n    for (int number : numbers) out.push_back(twice(number));\n    return out;\n}\n",
            "    return numbers;\n}\n",
            "#undef NDEBUG\n#include<assert.h>\nint main(){\n    assert (double_all({1, 5}) == vector<int>({2, 10}));\n}",
        ),
    ],
    "rust": [
        (
            "count_even",
            f"\n{RUST_HEAD}\n",
            "fn count_even(numbers:Vec<i32>) -> usize{\n",
            "    return numbers.iter().filter(|number| *number % 2 == 0).count();\n}\n",
            "    return numbers.len();\n}\n",
            "\n#[cfg(test)]\nmod tests {\n    use super::*;\n\n    #[test]\n    fn test_count_even() {\n"
            "        assert_eq!(count_even(vec![1, 2, 4]), 2);\n        assert_eq!(count_even(vec![]), 0);\n    }\n\n}\n",
        ),
        (
            "double_all",
            f"\n{RUST_HEAD}\nfn twice(number: i32) -> i32 {{\n    number * 2\n}}\n\n",
            "fn double_all(numbers:Vec<i32>) -> Vec<i32>{\n",
            "    let seen: HashMap<i32, i32> = HashMap::new();\n    assert!(seen.is_empty());\n"
            "    numbers.into_iter().map(twice).collect()\n}\n",
            "    numbers\n}\n",
            "\n#[cfg(test)]\nmod tests {\n    use super::*;\n\n    #[test]\n    fn test_double_all() {\n"
            "        assert_eq!(double_all(vec![1, 5]), vec![2, 10]);\n    }\n\n}\n",
        ),
    ],
}
TASK_IDS = {"python": "Python", "js": "JavaScript", "java": "Java", "go": "Go", "cpp": "CPP", "rust": "Rust"}


def rows(language: str) -> list[dict[str, str]]:
    """The published rows of a language."""
    found = []
    for number, (entry_point, above, first, body, wrong, test) in enumerate(PROBLEMS[language]):
        about = (ABOUT, WITH_HELPER)[number]
        if language == "python":
            prompt = f'{above}{first}    """ {about} """\n'
        elif language == "java":
            prompt = f"{above}    /**\n    {about}\n     */\n{first}"
        elif language == "rust":
            prompt = f"fn main(){{}}\n{above}/*\n {about}\n*/\n{first}\n"
        elif language == "go":
            prompt = f"{above}// {about}\n{first}"
        else:
            prompt = f"{above}/*\n{about}\n*/\n{first}"
        row = {
            "task_id": f"{TASK_IDS[language]}/{number}",
            "prompt": prompt,
            "declaration": above + first,
            "canonical_solution": body,
            "buggy_solution": wrong,
            "bug_type": "missing logic",
            "failure_symptoms": "incorrect output",
            "entry_point": entry_point,
            "test": test,
            "example_test": test,
            "signature": first.strip(" {\n"),
            "docstring": about,
            "instruction": f"Write a function `{first.strip()}` to solve the following problem:\n{about}",
        }
        if language == "go":
            row["import"] = above if above.startswith("import") else ""
            row["test_setup"] = 'package main\n\nimport (\n    "testing"\n    "github.com/stretchr/testify/assert"\n)\n'
        found.append(row)
    return found


def write(folder: Path, language: str, published: bool = False, **changes: object) -> Path:
    """The folder for --data, with the language's file in it, where we or where its publisher keeps it."""
    file = folder / "humanevalpack" / f"{language}.jsonl"
    if published:
        file = folder / "humanevalpack" / "data" / language / "data" / "humanevalpack.jsonl"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(row | changes) + "\n" for row in rows(language)))
    return folder
