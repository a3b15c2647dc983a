"""A shop assistant over a small SQLite shop: finds products, knows orders, and can order, but only what is in stock.

    python examples/shop_assistant/main.py MODEL ["QUESTION"]

Each tool is a typed function with a docstring. What may happen to the shop is decided in these functions and by the database's
own rules, never by what a model or a customer writes.
"""

import sqlite3
import sys
import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field

import kwen

HERE = Path(__file__).parent
SYSTEM = "Answer the question in one short sentence, from what the tool says."
SHOP = """
CREATE TABLE products (name TEXT PRIMARY KEY, price INTEGER NOT NULL, stock INTEGER NOT NULL CHECK (stock >= 0));
CREATE TABLE orders (id INTEGER PRIMARY KEY, product TEXT REFERENCES products(name), count INTEGER CHECK (count > 0));
INSERT INTO products VALUES ('desk lamp', 23, 12), ('floor lamp', 61, 3), ('oak table', 240, 2), ('chair', 45, 0);
"""
Word = Annotated[str, Field(max_length=30)]


class Shop:
    """The tools of one shop. A connection for each call: tools run in threads of their own."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with sqlite3.connect(path) as connection:
            connection.executescript(SHOP)

    def find_products(self, word: Word) -> str:
        """Find products by a word of their name: price and stock.

        Args:
            word: a word of the product's name, such as lamp
        """
        with sqlite3.connect(self._path) as connection:
            rows = connection.execute("SELECT name, price, stock FROM products WHERE instr(name, ?)", (word.lower(),)).fetchall()
        return "; ".join(f"{name}: {price} coins, {stock} in stock" for name, price, stock in rows) or f"no product with {word!r}"

    def order(self, product: Word, count: Annotated[int, Field(ge=1, le=100)]) -> str:
        """Order a product.

        Args:
            product: the product's full name
            count: how many
        """
        with sqlite3.connect(self._path) as connection:
            row = connection.execute("SELECT price, stock FROM products WHERE name = ?", (product.lower(),)).fetchone()
            if row is None:
                return f"there is no product called {product!r}"
            if row[1] < count:
                return f"only {row[1]} in stock"
            connection.execute("UPDATE products SET stock = stock - ? WHERE name = ?", (count, product.lower()))
            number = connection.execute("INSERT INTO orders (product, count) VALUES (?, ?)", (product.lower(), count)).lastrowid
        return f"order {number}: {count} x {product} for {row[0] * count} coins"


def main(model: str, question: str = "How much is the oak table?") -> None:
    """Ask, print what happened, and save the run beside this file."""
    with tempfile.TemporaryDirectory() as folder:
        shop = Shop(Path(folder) / "shop.db")
        agent = kwen.Agent(
            kwen.load(model), [shop.find_products, shop.order], call_format="hermes", must_call=True, parallel=False,
            system=SYSTEM, max_steps=3, max_new_tokens=100,
        )  # fmt: skip
        run = agent.run(question)
    for call in run.calls:
        print(f"{call.name}({call.arguments}) = {call.observation}")
    print(f"answer: {run.answer}")
    run.save(HERE / "run.json")


if __name__ == "__main__":
    main(*sys.argv[1:])
