"""The clauses that passages to read are made of, and the questions that each allows, in both languages.

`{s}` is the subject as the sentence names it (name or pronoun), `{p}` the person's name, `{q}` a place's name, `{w}` the name of an animal
or thing, `{animal}` `{thing}` `{colour}` `{job}` `{food}` `{instrument}` common words. A question names the slot that answers it.
"""

from dataclasses import dataclass

from kwen.nanoworld.names import Language


@dataclass(frozen=True)
class Clause:
    """One sentence of a passage and the questions it answers, as (question, slot of the answer)."""

    text: str
    questions: tuple[tuple[str, str], ...]


# place: a person and a named place. named: a person and a named animal or thing. plain: a person and common words.
CLAUSES: dict[Language, dict[str, tuple[Clause, ...]]] = {
    "en": {
        "place": (
            Clause("{s} lives in the village of {q}.", (("Where does {p} live?", "q"), ("What is the name of the village?", "q"), ("Who lives in the village?", "p"))),
            Clause("{s} was born in {q}.", (("Where was {p} born?", "q"), ("In which place was {p} born?", "q"), ("Who was born in {q}?", "p"))),
            Clause("{s} travelled to {q} by train.", (("Where did {p} travel?", "q"), ("To which place did the train go?", "q"), ("Who went by train?", "p"))),
            Clause("{s} works in a shop in {q}.", (("Where does {p} work?", "q"), ("In which place is the shop?", "q"), ("Who works in the shop?", "p"))),
            Clause("{s} has a farm near {q}.", (("Where is the farm of {p}?", "q"), ("Which place is near the farm?", "q"), ("Who has a farm?", "p"))),
            Clause("{s} opened a school in {q}.", (("Where is the school?", "q"), ("In which place did {p} open a school?", "q"), ("Who opened the school?", "p"))),
            Clause("{s} moved to the town of {q} last year.", (("Where did {p} move?", "q"), ("What is the name of the town?", "q"), ("Who moved last year?", "p"))),
            Clause("{s} spent the summer in {q}.", (("Where did {p} spend the summer?", "q"), ("Who spent the summer in {q}?", "p"))),
            Clause("{s} sells bread in {q}.", (("Where does {p} sell bread?", "q"), ("Who sells bread?", "p"))),
            Clause("{s} walked over the hills to {q}.", (("Where did {p} walk?", "q"), ("Which place lies behind the hills?", "q"), ("Who walked over the hills?", "p"))),
            Clause("{s} built a house in {q}.", (("Where is the house?", "q"), ("Where did {p} build a house?", "q"), ("Who built a house?", "p"))),
        ),
        "named": (
            Clause("{s} has a {animal} called {w}.", (("What is the {animal} called?", "w"), ("What is the name of the {animal}?", "w"), ("Who has a {animal}?", "p"))),
            Clause("{s} sails a boat named {w}.", (("What is the name of the boat?", "w"), ("Which boat does {p} sail?", "w"), ("Who sails the boat?", "p"))),
            Clause("{s} wrote a song called {w}.", (("What is the song called?", "w"), ("What is the name of the song?", "w"), ("Who wrote the song?", "p"))),
            Clause("{s} runs a shop with the name {w}.", (("What is the name of the shop?", "w"), ("What is the shop of {p} called?", "w"), ("Who runs the shop?", "p"))),
            Clause("{s} reads a book called {w}.", (("What is the book called?", "w"), ("Which book does {p} read?", "w"), ("Who reads the book?", "p"))),
            Clause("{s} rides a horse named {w}.", (("What is the name of the horse?", "w"), ("Which horse does {p} ride?", "w"), ("Who rides the horse?", "p"))),
            Clause("{s} discovered a star and called it {w}.", (("What is the star called?", "w"), ("What is the name of the star?", "w"), ("Who discovered the star?", "p"))),
        ),
        "plain": (
            Clause("{s} found a {colour} {thing} near the river.", (("Who found the {thing}?", "p"), ("What did {p} find?", "thing"), ("What colour is the {thing}?", "colour"))),
            Clause("{s} bought a {colour} {thing} at the market.", (("Who bought the {thing}?", "p"), ("What did {p} buy?", "thing"), ("What colour is the {thing}?", "colour"))),
            Clause("{s} lost a {thing} in the snow.", (("Who lost the {thing}?", "p"), ("What did {p} lose?", "thing"))),
            Clause("{s} works as a {job}.", (("Who works as a {job}?", "p"), ("What is the job of {p}?", "job"))),
            Clause("{s} likes to eat {food}.", (("Who likes {food}?", "p"), ("What does {p} like to eat?", "food"))),
            Clause("{s} plays the {instrument} every evening.", (("Who plays the {instrument}?", "p"), ("What does {p} play?", "instrument"))),
            Clause("{s} hid a {thing} under the bed.", (("Who hid the {thing}?", "p"), ("What is under the bed?", "thing"))),
        ),
    },
    "zh": {
        "place": (
            Clause("{s}住在{q}村。", (("{p}住在哪里？", "q"), ("村子叫什么名字？", "q"), ("谁住在村子里？", "p"))),
            Clause("{s}出生在{q}。", (("{p}出生在哪里？", "q"), ("谁出生在{q}？", "p"))),
            Clause("{s}坐火车去了{q}。", (("{p}去了哪里？", "q"), ("火车去了哪里？", "q"), ("谁坐了火车？", "p"))),
            Clause("{s}在{q}的商店工作。", (("{p}在哪里工作？", "q"), ("商店在哪里？", "q"), ("谁在商店工作？", "p"))),
            Clause("{s}在{q}附近有一个农场。", (("{p}的农场在哪里附近？", "q"), ("谁有一个农场？", "p"))),
            Clause("{s}在{q}开了一所学校。", (("学校在哪里？", "q"), ("{p}在哪里开了学校？", "q"), ("谁开了学校？", "p"))),
            Clause("{s}去年搬到了{q}。", (("{p}搬到了哪里？", "q"), ("谁去年搬家了？", "p"))),
            Clause("{s}在{q}过了夏天。", (("{p}在哪里过了夏天？", "q"), ("谁在{q}过了夏天？", "p"))),
            Clause("{s}在{q}卖面包。", (("{p}在哪里卖面包？", "q"), ("谁卖面包？", "p"))),
            Clause("{s}在{q}盖了一座房子。", (("房子在哪里？", "q"), ("{p}在哪里盖了房子？", "q"), ("谁盖了房子？", "p"))),
        ),
        "named": (
            Clause("{s}有一只{animal}，名叫{w}。", (("{animal}叫什么名字？", "w"), ("{p}的{animal}叫什么？", "w"), ("谁有一只{animal}？", "p"))),
            Clause("{s}有一条船，船名是{w}。", (("船叫什么名字？", "w"), ("{p}的船叫什么？", "w"), ("谁有一条船？", "p"))),
            Clause("{s}写了一首歌，歌名是{w}。", (("歌叫什么名字？", "w"), ("{p}写的歌叫什么？", "w"), ("谁写了歌？", "p"))),
            Clause("{s}开了一家店，店名是{w}。", (("店叫什么名字？", "w"), ("{p}的店叫什么？", "w"), ("谁开了店？", "p"))),
            Clause("{s}读了一本书，书名是{w}。", (("书叫什么名字？", "w"), ("{p}读的书叫什么？", "w"), ("谁读了书？", "p"))),
            Clause("{s}骑一匹马，马名叫{w}。", (("马叫什么名字？", "w"), ("{p}的马叫什么？", "w"), ("谁骑马？", "p"))),
        ),
        "plain": (
            Clause("{s}在河边找到一个{colour}的{thing}。", (("谁找到了{thing}？", "p"), ("{p}找到了什么？", "thing"), ("{thing}是什么颜色的？", "colour"))),
            Clause("{s}在集市买了一个{colour}的{thing}。", (("谁买了{thing}？", "p"), ("{p}买了什么？", "thing"), ("{thing}是什么颜色的？", "colour"))),
            Clause("{s}在雪里丢了一个{thing}。", (("谁丢了{thing}？", "p"), ("{p}丢了什么？", "thing"))),
            Clause("{s}是一名{job}。", (("谁是{job}？", "p"), ("{p}做什么工作？", "job"))),
            Clause("{s}喜欢吃{food}。", (("谁喜欢吃{food}？", "p"), ("{p}喜欢吃什么？", "food"))),
            Clause("{s}每天晚上演奏{instrument}。", (("谁演奏{instrument}？", "p"), ("{p}演奏什么？", "instrument"))),
            Clause("{s}在床下藏了一个{thing}。", (("谁藏了{thing}？", "p"), ("床下有什么？", "thing"))),
        ),
    },
}  # fmt: skip

SCENERY: dict[Language, tuple[str, ...]] = {
    "en": ("It was a warm day.", "The wind was cold.", "Everyone was happy.", "The sun was shining.", "It was early in the morning.", "The road was long.",
           "The sky was grey.", "Birds were singing in the trees."),
    "zh": ("那天很暖和。", "风很冷。", "大家都很高兴。", "太阳出来了。", "那是一个早晨。", "路很长。", "天空是灰色的。", "小鸟在树上唱歌。"),
}  # fmt: skip

REQUESTS: dict[Language, tuple[str, ...]] = {
    "en": ("{t}\n{q}", "{t} {q}", "Read the text: {t}\n{q}", "{t}\nQuestion: {q}", "Read this and answer.\n{t}\n{q}"),
    "zh": ("{t}\n{q}", "{t}{q}", "阅读短文：{t}\n{q}", "{t}\n问题：{q}", "读一读，然后回答。\n{t}\n{q}"),
}
